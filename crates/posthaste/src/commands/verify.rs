//! `posthaste verify`: check a signature, explain why one does not fit, or show code that checks it.

mod asymmetric;
mod difference;
mod example;
mod explain;

use std::path::{Path, PathBuf};

use clap::Args;
use domain::key_pair::{PublicKey, Signing};
use domain::secret::SigningSecret;
use domain::signature::{self, Check, Received};
use serde_json::json;

use crate::cli::Session;
use crate::client::known::Server;
use crate::commands::verify::example::Language;
use crate::commands::verify::explain::Given;
use crate::exit::{Ended, Exit, Stop};

/// What to check.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The body as it was received: a file, or - for stdin
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// The signature header's value: sha256=…; that of webhook-signature with --public-key, or to be explained
    #[arg(long, value_name = "HEADER")]
    signature: Option<String>,
    /// The signing secret, whsec_…; given twice, either may fit [env: POSTHASTE_SECRET]
    #[arg(long, value_name = "SECRET")]
    secret: Vec<String>,
    /// The public key of a webhook that signs with ed25519, whpk_…; given twice, either may fit
    #[arg(long, value_name = "KEY")]
    public_key: Vec<String>,
    /// The header webhook-id
    #[arg(long, requires = "public_key", conflicts_with = "explain")]
    id: Option<String>,
    /// The header webhook-timestamp
    #[arg(long, value_name = "SECONDS", requires = "public_key", conflicts_with = "explain")]
    timestamp: Option<String>,
    /// Show code that checks signatures
    #[arg(long, value_enum, value_name = "LANGUAGE", conflicts_with_all = ["body", "signature", "secret", "public_key", "explain"])]
    example: Option<Language>,
    /// What the code that is shown checks: hmac, with the secret, or ed25519, with the public key
    #[arg(long, requires = "example", default_value = "hmac", value_parser = Signing::ALL.map(Signing::as_str))]
    signing: String,
    /// Compare what was received with what this attempt sent
    #[arg(long, value_name = "ATTEMPT", requires = "body")]
    explain: Option<String>,
    #[command(flatten)]
    pub(crate) server: Server,
}

/// Checks, explains, or shows.
pub(crate) async fn run(options: &Options, session: &Session<'_>) -> Ended {
    if let Some(language) = options.example {
        return example::show(language, Signing::parse(&options.signing), session);
    }
    let Some(file) = &options.body else {
        return Err(Stop::usage(
            "Give the received body, header and secret: --body FILE --signature sha256=… --secret whsec_…",
        ));
    };
    let body = read(file)?;
    if options.explain.is_none() && !options.public_key.is_empty() {
        if !options.secret.is_empty() {
            return Err(Stop::usage("Check with --secret or with --public-key, one after the other."));
        }
        let headers = (&options.id, &options.timestamp, options.signature.as_deref());
        let (Some(id), Some(timestamp), Some(signatures)) = headers else {
            return Err(Stop::usage(
                "Give what a public key checks: --id DLV --timestamp SECONDS --signature \"v1a,…\", as the headers webhook-… have it",
            ));
        };
        let received = Received { body: &body, id, timestamp, signatures };
        return asymmetric::check(received, &options.public_key, session);
    }
    let mut secrets = options.secret.clone();
    if secrets.is_empty() {
        secrets.extend(session.environment.get("POSTHASTE_SECRET").map(str::to_owned));
    }
    match &options.explain {
        Some(attempt) => {
            let given = Given {
                body: &body,
                header: options.signature.as_deref(),
                secrets: &secrets,
                public_keys: &options.public_key,
            };
            explain::run(attempt, &given, session).await
        }
        None => check(&body, options.signature.as_deref(), &secrets, session),
    }
}

fn check(body: &[u8], header: Option<&str>, secrets: &[String], session: &Session<'_>) -> Ended {
    let header = header.ok_or_else(|| Stop::usage("Give the header's value: --signature sha256=…"))?;
    if secrets.is_empty() {
        return Err(Stop::usage("Give the webhook's signing secret: --secret whsec_… or POSTHASTE_SECRET"));
    }
    let checks = secrets.iter().map(|text| Ok(signature::verify(body, header, &secret(text)?)));
    let checks: Vec<Check> = checks.collect::<Result<_, Stop>>()?;
    let (verdict, said) = if checks.contains(&Check::Valid) {
        ("valid", "✓ The signature fits: the body is what was signed with this secret.".to_owned())
    } else if checks.contains(&Check::Malformed) {
        (
            "malformed",
            "✕ The header is not sha256= and 64 lower-case hex digits. Was it cut, or is it another header?".to_owned(),
        )
    } else {
        ("mismatch", mismatch(body))
    };
    Ok(say(verdict, &said, body, session))
}

/// Says what was found, and ends by it.
fn say(verdict: &str, said: &str, body: &[u8], session: &Session<'_>) -> Exit {
    if session.console.json() {
        session.console.value(&json!({"verdict": verdict, "body_bytes": body.len()}));
    } else {
        session.console.line(said);
    }
    if verdict == "valid" { Exit::Ok } else { Exit::Failure }
}

fn mismatch(body: &[u8]) -> String {
    let advice = changed(body).unwrap_or(
        "another secret, or a body that was changed; `posthaste verify --explain att_… --body FILE` compares it with what was sent",
    );
    format!("✕ The signature does not fit this body of {} bytes and this secret.\n→ Likely: {advice}.", body.len())
}

/// What can be seen of a body that is not as it was sent.
fn changed(body: &[u8]) -> Option<&'static str> {
    if body.ends_with(b"\n") {
        Some("the file ends with a line break, which bodies that we send do not: an editor may have added it")
    } else if difference::is_rewritten(body) {
        Some(
            "the file has spaces around `data`, or its parts in another order, which bodies that we send do not: it was parsed and written again",
        )
    } else {
        None
    }
}

/// Reads a secret of ours.
///
/// # Errors
/// When it is none.
pub(super) fn secret(text: &str) -> Result<SigningSecret, Stop> {
    SigningSecret::parse(text.trim())
        .map_err(|error| Stop::usage(format!("Give the whole secret, whsec_ included: {error}.")))
}

/// Reads a public key of ours.
///
/// # Errors
/// When it is none.
fn public_key(text: &str) -> Result<PublicKey, Stop> {
    text.trim().parse().map_err(|error| Stop::usage(format!("Give the whole public key: {error}.")))
}

fn read(file: &Path) -> Result<Vec<u8>, Stop> {
    let mut body = Vec::new();
    let read = if file == Path::new("-") {
        std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut body).map(|_| body)
    } else {
        std::fs::read(file)
    };
    read.map_err(|error| Stop::usage(format!("Give a file that can be read: {}: {error}.", file.display())))
}
