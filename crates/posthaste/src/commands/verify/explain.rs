//! Why a signature did not fit: what was received beside what the attempt sent.

use data_encoding::HEXLOWER;
use domain::id::AttemptId;
use domain::signature::{self, Check, Received};
use serde_json::{Value, json};

use super::difference::Difference;
use crate::cli::Session;
use crate::client::path::path;
use crate::exit::{Ended, Exit, Stop};
use crate::output::value::{number, text};

/// What the advice for each kind of difference starts with.
const RAW: &str = "Verify the raw bytes before parsing them. Flask: request.get_data(); Express: express.raw({type:'application/json'})";

/// What somebody has received, and checks it with.
pub(super) struct Given<'a> {
    pub(super) body: &'a [u8],
    /// The value of a signature header: the brand's, or `webhook-signature`.
    pub(super) header: Option<&'a str>,
    pub(super) secrets: &'a [String],
    pub(super) public_keys: &'a [String],
}

/// What the attempt sent.
struct Sent {
    webhook: String,
    header_name: String,
    header: String,
    body: Vec<u8>,
    /// How many bytes were signed, where the log hides values of them: then `body` is what was received, until it shows not to be that.
    hidden: Option<u64>,
    /// `webhook-id`, `webhook-timestamp` and `webhook-signature`.
    standard: [String; 3],
}

impl Sent {
    /// What the public key's holder has to check.
    fn for_key(&self) -> Received<'_> {
        let [id, timestamp, signatures] = &self.standard;
        Received { body: &self.body, id, timestamp, signatures }
    }

    fn signed_bytes(&self) -> u64 {
        self.hidden.unwrap_or(self.body.len() as u64)
    }

    /// Whether a key pair has signed it.
    fn has_key_signature(&self) -> bool {
        self.standard[2].split_ascii_whitespace().any(|one| one.starts_with("v1a,"))
    }

    /// The header that one was taken from, by how it reads.
    fn header_like(&self, received: &str) -> &str {
        if received.starts_with("v1") { &self.standard[2] } else { &self.header }
    }
}

/// What was found, piece by piece.
struct Found {
    secret: Secret,
    key: Key,
    /// Whether the received header is the one that was sent; `None` if it was not given.
    header_fits: Option<bool>,
    body: Difference,
}

/// What is known of the public key.
enum Key {
    /// None has signed, and nobody asked about one.
    None,
    /// None has signed, though one was given.
    NotSigned,
    /// It was given, and it fits, or not.
    Given(bool),
    /// The webhook's key that fits: which one, and the key.
    Fits(&'static str, String),
    /// It was not given, and is none that the webhook has today.
    Unknown,
}

impl Key {
    /// Whether one that was given fits.
    const fn given(&self) -> Option<bool> {
        match self {
            Self::Given(fits) => Some(*fits),
            Self::NotSigned => Some(false),
            Self::None | Self::Fits(..) | Self::Unknown => None,
        }
    }

    /// It in words.
    fn said(&self, webhook: &str) -> Option<String> {
        Some(match self {
            Self::None => return None,
            Self::NotSigned => format!(
                "{webhook} did not sign this with a key pair: `posthaste webhooks edit {webhook} --signing ed25519` turns it on"
            ),
            Self::Given(true) => format!("yours fits v1a in webhook-signature: it is {webhook}'s"),
            Self::Given(false) => {
                format!(
                    "yours does not fit v1a in webhook-signature: `posthaste webhooks show {webhook}` shows the right one"
                )
            }
            Self::Fits(which, key) => {
                format!("{key}     {which} public key of {webhook}: it fits v1a in webhook-signature")
            }
            Self::Unknown => format!("none of {webhook}'s public keys of today: they were rotated since"),
        })
    }
}

/// What is known of the secret.
enum Secret {
    /// It was given, and it signed the request, or not.
    Given(bool),
    /// The webhook's secret that signed it: which one, and how it starts.
    Signed(&'static str, String),
    /// It was not given, and cannot be shown here.
    Unknown,
    /// A public key was given in its place.
    NotAsked,
    /// It, or what was received, is another than the one that was used: which, cannot be told.
    Unsure,
}

impl Found {
    fn fits(&self) -> bool {
        let secret_fits = !matches!(self.secret, Secret::Given(false));
        secret_fits
            && self.key.given() != Some(false)
            && self.header_fits != Some(false)
            && self.body == Difference::None
    }

    /// What to do about it.
    fn advice(&self) -> Option<&'static str> {
        match self.body {
            Difference::Spaced | Difference::Rewritten => Some(RAW),
            Difference::Trimmed => Some("Keep the bytes as they came: an editor or `echo` adds a line break."),
            Difference::Cut => Some("Read the body to its end before verifying it."),
            Difference::Empty => Some(
                "Keep the raw bytes before anything reads them: of a body that was parsed nothing is left to be read again.",
            ),
            Difference::Other { .. } => {
                Some("This is not the body of this attempt: compare the delivery's id in the headers.")
            }
            Difference::Hidden => {
                Some("Verify the raw bytes as they came, whole, with this webhook's secret or public key of that time.")
            }
            Difference::None if matches!(self.secret, Secret::Given(false)) => {
                Some("Put the whole secret into your configuration, whsec_ included.")
            }
            Difference::None if self.key.given() == Some(false) => {
                Some("Take the webhook's public key, whpk_ included, and fetch it anew after a rotation.")
            }
            Difference::None if self.header_fits == Some(false) => {
                Some("Take the header of the same request as the body.")
            }
            Difference::None => None,
        }
    }
}

/// Compares, and says what is wrong.
pub(super) async fn run(attempt: &str, given: &Given<'_>, session: &Session<'_>) -> Ended {
    let received = given.body;
    let sent = fetch(attempt, received, session).await?;
    if sent.body.is_empty() && sent.hidden.is_none() {
        let said = "The body of this attempt was removed by retention: nothing to compare with.";
        return Err(Stop::new(Exit::NotFound, said));
    }
    let mut found = Found {
        // Who checks with a public key has no secret.
        secret: if given.secrets.is_empty() && !given.public_keys.is_empty() {
            Secret::NotAsked
        } else {
            secret(&sent, given.secrets, session).await?
        },
        key: key(&sent, given.public_keys, session).await?,
        header_fits: given.header.map(|header| header.trim() == sent.header_like(header)),
        body: Difference::between(received, &sent.body),
    };
    let signed = matches!(found.secret, Secret::Given(true) | Secret::Signed(..))
        || matches!(found.key, Key::Given(true) | Key::Fits(..));
    if sent.hidden.is_some() && !signed {
        let body = if received.is_empty() { Difference::Empty } else { Difference::Hidden };
        (found.secret, found.key, found.body) = (Secret::Unsure, Key::None, body);
    }
    if session.console.json() {
        session.console.value(&json!({
            "verdict": if found.fits() { "valid" } else { "mismatch" }, "webhook_id": sent.webhook,
            "secret_fits": match &found.secret {
                Secret::Given(fits) => Some(*fits),
                Secret::Signed(..) | Secret::Unknown | Secret::NotAsked | Secret::Unsure => None,
            },
            "public_key_fits": found.key.given(), "webhook_signature": sent.standard[2],
            "header_fits": found.header_fits, "header": sent.header,
            "body": {"received_bytes": received.len(), "signed_bytes": sent.signed_bytes(), "difference": found.body.said()},
        }));
    } else {
        say(&sent, received.len(), &found, session);
    }
    Ok(if found.fits() { Exit::Ok } else { Exit::Failure })
}

/// Whether a secret that was given signed the request, or else which of the webhook's did.
async fn secret(sent: &Sent, given: &[String], session: &Session<'_>) -> Result<Secret, Stop> {
    let signed = |text: &str| -> Result<bool, Stop> {
        Ok(signature::verify(&sent.body, &sent.header, &super::secret(text)?) == Check::Valid)
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

/// Whether a public key that was given fits, or else which of the webhook's does.
async fn key(sent: &Sent, given: &[String], session: &Session<'_>) -> Result<Key, Stop> {
    let received = sent.for_key();
    let fits = |text: &str| Ok::<_, Stop>(received.verify(&super::public_key(text)?) == Check::Valid);
    let all: Vec<bool> = given.iter().map(|text| fits(text)).collect::<Result<_, _>>()?;
    match (sent.has_key_signature(), given.is_empty()) {
        (false, true) => return Ok(Key::None),
        (false, false) => return Ok(Key::NotSigned),
        (true, false) => return Ok(Key::Given(all.contains(&true))),
        (true, true) => {}
    }
    // It is open to all, so nobody's key for the API is in the way.
    let set = session.client.get(&format!("/.well-known/webhooks/{}/keys", sent.webhook)).await;
    let Ok(set) = set.and_then(|answer| answer.value()) else { return Ok(Key::Unknown) };
    let keys = set["keys"].as_array().into_iter().flatten().map(|key| text(key, "public_key"));
    for (which, key) in ["current", "previous"].into_iter().zip(keys) {
        if fits(key)? {
            return Ok(Key::Fits(which, key.to_owned()));
        }
    }
    Ok(Key::Unknown)
}

fn say(sent: &Sent, received: usize, found: &Found, session: &Session<'_>) {
    let say = |text: &str| session.console.line(text);
    let webhook = &sent.webhook;
    let header = if matches!(found.secret, Secret::NotAsked) { "webhook-signature" } else { &sent.header_name };
    if found.fits() {
        say(&format!("✓ {header} fits."));
    } else {
        say(&format!("✕ {header} does not match."));
    }
    let secret = match &found.secret {
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
        Secret::NotAsked => String::new(),
        Secret::Unsure => {
            format!("  secret   none that is at hand has signed your copy: either is another than {webhook} used then")
        }
    };
    let key = found.key.said(webhook).map(|said| format!("  key      {said}"));
    for line in [secret].into_iter().filter(|secret| !secret.is_empty()).chain(key) {
        say(&line);
    }
    let what = if found.header_fits == Some(false) { "what we sent; yours is another" } else { "what we sent" };
    let shown = if header == sent.header_name { &sent.header } else { &sent.standard[2] };
    say(&format!("  header   {}…     {what}", shown.chars().take(16).collect::<String>()));
    let sizes = format!("your copy has {received} bytes, we signed {}", sent.signed_bytes());
    say(&format!("  body     {sizes}: {}", found.body.said()));
    if let Some(advice) = found.advice() {
        say(&format!("→ {advice}"));
    }
}

/// Fetches what the attempt sent.
async fn fetch(attempt: &str, received: &[u8], session: &Session<'_>) -> Result<Sent, Stop> {
    let id: AttemptId = attempt.parse().map_err(|_| {
        Stop::usage(format!("Give an attempt's id, att_…, as `posthaste deliveries show` prints it, not {attempt:?}."))
    })?;
    let delivery = id.delivery.to_string();
    let found = session.client.get(&path(&["accounts", &session.account, "deliveries", &delivery])).await?.value()?;
    let attempts = found["attempts"].as_array().into_iter().flatten();
    let request = attempts.filter(|a| number(a, "number") == Some(u64::from(id.number))).map(|a| &a["request"]).next();
    let request = request.ok_or_else(|| {
        let said = format!(
            "There is no attempt {attempt} (yet): `posthaste deliveries show {delivery}` has those that there are."
        );
        Stop::new(Exit::NotFound, said)
    })?;
    let (header_name, header) = signature_header(request)
        .ok_or_else(|| Stop::failure("The server's answer has no signature header: is it posthaste?"))?;
    let (webhook, body) = (text(&found, "webhook_id").to_owned(), text(request, "body").to_owned());
    let value = |name: &str| -> String {
        let mut headers = request["headers"].as_array().into_iter().flatten();
        headers.find(|header| text(header, "name") == name).map_or("", |header| text(header, "value")).to_owned()
    };
    let standard = ["webhook-id", "webhook-timestamp", "webhook-signature"].map(value);
    // The length is that of what was sent, whatever of it is shown.
    let hidden = (request["redacted"] == true).then(|| value("Content-Length").parse().unwrap_or_default());
    let body = if hidden.is_some() { received.to_vec() } else { body.into_bytes() };
    Ok(Sent { webhook, header_name, header, body, hidden, standard })
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
