//! Why a signature did not fit: what was received beside what the attempt sent.

use data_encoding::HEXLOWER;
use domain::id::AttemptId;
use domain::signature::{self, Check};
use serde_json::{Value, json};

use super::difference::Difference;
use crate::cli::Session;
use crate::client::path::path;
use crate::exit::{Ended, Exit, Stop};
use crate::output::value::{number, text};

/// What the advice for each kind of difference starts with.
const RAW: &str = "Verify the raw bytes before parsing them. Flask: request.get_data(); Express: express.raw({type:'application/json'})";

/// What the attempt sent.
struct Sent {
    webhook: String,
    header_name: String,
    header: String,
    body: String,
}

/// What was found, piece by piece.
struct Found {
    secret: Secret,
    /// Whether the received header is the one that was sent; `None` if it was not given.
    header_fits: Option<bool>,
    body: Difference,
}

/// What is known of the secret.
enum Secret {
    /// It was given, and it signed the request, or not.
    Given(bool),
    /// The webhook's secret that signed it: which one, and how it starts.
    Signed(&'static str, String),
    /// It was not given, and cannot be shown here.
    Unknown,
}

impl Found {
    fn fits(&self) -> bool {
        let secret_fits = !matches!(self.secret, Secret::Given(false));
        secret_fits && self.header_fits != Some(false) && self.body == Difference::None
    }

    /// What to do about it.
    fn advice(&self) -> Option<&'static str> {
        match self.body {
            Difference::Spaced | Difference::Rewritten => Some(RAW),
            Difference::Trimmed => Some("Keep the bytes as they came: an editor or `echo` adds a line break."),
            Difference::Cut => Some("Read the body to its end before verifying it."),
            Difference::Other { .. } => {
                Some("This is not the body of this attempt: compare the delivery's id in the headers.")
            }
            Difference::None if matches!(self.secret, Secret::Given(false)) => {
                Some("Put the whole secret into your configuration, whsec_ included.")
            }
            Difference::None if self.header_fits == Some(false) => {
                Some("Take the header of the same request as the body.")
            }
            Difference::None => None,
        }
    }
}

/// Compares, and says what is wrong.
pub(super) async fn run(
    attempt: &str,
    received: &[u8],
    header: Option<&str>,
    secrets: &[String],
    session: &Session<'_>,
) -> Ended {
    let sent = fetch(attempt, session).await?;
    if sent.body.is_empty() {
        let said = "The body of this attempt was removed by retention: nothing to compare with.";
        return Err(Stop::new(Exit::NotFound, said));
    }
    let found = Found {
        secret: secret(&sent, secrets, session).await?,
        header_fits: header.map(|header| header == sent.header),
        body: Difference::between(received, sent.body.as_bytes()),
    };
    if session.console.json() {
        session.console.value(&json!({
            "verdict": if found.fits() { "valid" } else { "mismatch" }, "webhook_id": sent.webhook,
            "secret_fits": match &found.secret { Secret::Given(fits) => Some(*fits), Secret::Signed(..) | Secret::Unknown => None },
            "header_fits": found.header_fits, "header": sent.header,
            "body": {"received_bytes": received.len(), "signed_bytes": sent.body.len(), "difference": found.body.said()},
        }));
    } else {
        say(&sent, received.len(), &found, session);
    }
    Ok(if found.fits() { Exit::Ok } else { Exit::Failure })
}

/// Whether a secret that was given signed the request, or else which of the webhook's did.
async fn secret(sent: &Sent, given: &[String], session: &Session<'_>) -> Result<Secret, Stop> {
    let signed = |text: &str| -> Result<bool, Stop> {
        Ok(signature::verify(sent.body.as_bytes(), &sent.header, &super::secret(text)?) == Check::Valid)
    };
    if !given.is_empty() {
        let all: Vec<bool> = given.iter().map(|text| signed(text)).collect::<Result<_, _>>()?;
        return Ok(Secret::Given(all.contains(&true)));
    }
    let shown = session.client.get(&path(&["accounts", &session.account, "webhooks", &sent.webhook, "secret"])).await;
    // A webhook that was deleted, or a key that may not see secrets: then there is less to say.
    let Ok(shown) = shown.and_then(|answer| answer.value()) else { return Ok(Secret::Unknown) };
    for (which, secret) in [("current", text(&shown, "secret")), ("previous", text(&shown["previous"], "secret"))] {
        if !secret.is_empty() && signed(secret)? {
            return Ok(Secret::Signed(which, secret.chars().take(10).collect()));
        }
    }
    Ok(Secret::Unknown)
}

fn say(sent: &Sent, received: usize, found: &Found, session: &Session<'_>) {
    let say = |text: &str| session.console.line(text);
    let webhook = &sent.webhook;
    if found.fits() {
        say(&format!("✓ {} fits.", sent.header_name));
    } else {
        say(&format!("✕ {} does not match.", sent.header_name));
    }
    say(&match &found.secret {
        Secret::Given(true) => format!("  secret   yours signed it, whole string as key: it is {webhook}'s"),
        Secret::Given(false) => {
            format!("  secret   yours did not sign it: `posthaste webhooks secret {webhook}` shows the right one")
        }
        Secret::Signed(which, start) => {
            format!("  secret   {start}…     {which} secret of {webhook}, whole string as key")
        }
        Secret::Unknown => format!(
            "  secret   none of {webhook}'s secrets of today: it was rotated since, or cannot be seen with this key"
        ),
    });
    let what = if found.header_fits == Some(false) { "what we sent; yours is another" } else { "what we sent" };
    say(&format!("  header   {}…     {what}", sent.header.chars().take(16).collect::<String>()));
    let sizes = format!("your copy has {received} bytes, we signed {}", sent.body.len());
    say(&format!("  body     {sizes}: {}", found.body.said()));
    if let Some(advice) = found.advice() {
        say(&format!("→ {advice}"));
    }
}

/// Fetches what the attempt sent.
async fn fetch(attempt: &str, session: &Session<'_>) -> Result<Sent, Stop> {
    let id: AttemptId = attempt.parse().map_err(|_| {
        Stop::usage(format!("Give an attempt's id, att_…, as `posthaste deliveries show` prints it, not {attempt:?}."))
    })?;
    let delivery = id.delivery.to_string();
    let found = session.client.get(&path(&["accounts", &session.account, "deliveries", &delivery])).await?.value()?;
    let attempts = found["attempts"].as_array().into_iter().flatten();
    let request = attempts.filter(|a| number(a, "number") == Some(u64::from(id.number))).map(|a| &a["request"]).next();
    let request = request.ok_or_else(|| Stop::new(Exit::NotFound, format!("There is no attempt {attempt} (yet).")))?;
    let (header_name, header) = signature_header(request)
        .ok_or_else(|| Stop::failure("The server's answer has no signature header: is it posthaste?"))?;
    let (webhook, body) = (text(&found, "webhook_id").to_owned(), text(request, "body").to_owned());
    Ok(Sent { webhook, header_name, header, body })
}

/// The brand's signature header: the one whose value is `sha256=` and 64 hex digits.
fn signature_header(request: &Value) -> Option<(String, String)> {
    let headers = request["headers"].as_array()?;
    let is_it = |header: &&Value| {
        let value = text(header, "value").strip_prefix("sha256=").unwrap_or_default();
        text(header, "name").ends_with("-Signature")
            && HEXLOWER.decode(value.as_bytes()).is_ok_and(|mac| mac.len() == 32)
    };
    headers.iter().find(is_it).map(|header| (text(header, "name").to_owned(), text(header, "value").to_owned()))
}
