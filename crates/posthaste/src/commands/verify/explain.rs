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
        return Err(Stop::new(Exit::NotFound, "The body of this attempt was removed by retention: nothing to compare with."));
    }
    let given = secrets.first().map(|text| super::secret(text)).transpose()?;
    let secret_fits = given.as_ref().map(|secret| signature::verify(sent.body.as_bytes(), &sent.header, secret) == Check::Valid);
    let header_fits = header.map(|header| header == sent.header);
    let difference = Difference::between(received, sent.body.as_bytes());
    let valid = difference == Difference::None && secret_fits != Some(false) && header_fits != Some(false);
    if session.console.json() {
        session.console.value(&json!({
            "verdict": if valid { "valid" } else { "mismatch" }, "webhook_id": sent.webhook,
            "secret_fits": secret_fits, "header_fits": header_fits, "header": sent.header,
            "body": {"received_bytes": received.len(), "signed_bytes": sent.body.len(), "difference": difference.said()},
        }));
    } else {
        say(&sent, received, &difference, (secret_fits, header_fits), session);
    }
    Ok(if valid { Exit::Ok } else { Exit::Failure })
}

fn say(
    sent: &Sent,
    received: &[u8],
    difference: &Difference,
    (secret_fits, header_fits): (Option<bool>, Option<bool>),
    session: &Session<'_>,
) {
    let say = |text: &str| session.console.line(text);
    let body_fits = *difference == Difference::None;
    if body_fits && secret_fits != Some(false) && header_fits != Some(false) {
        say(&format!("✓ {} fits.", sent.header_name));
    } else {
        say(&format!("✕ {} does not match.", sent.header_name));
    }
    say(&match secret_fits {
        Some(true) => format!("  secret   the one that signed it, of {}, whole string as key", sent.webhook),
        Some(false) => format!("  secret   not the one that signed it: `posthaste webhooks secret {}` shows it", sent.webhook),
        None => format!("  secret   not given (--secret); `posthaste webhooks secret {}` shows it", sent.webhook),
    });
    let what = if header_fits == Some(false) { "what we sent; yours is another" } else { "what we sent" };
    say(&format!("  header   {}…     {what}", sent.header.chars().take(16).collect::<String>()));
    let sizes = format!("your copy has {} bytes, we signed {}", received.len(), sent.body.len());
    say(&format!("  body     {sizes}: {}", difference.said()));
    if let Some(advice) = advice(difference, secret_fits, header_fits) {
        say(&format!("→ {advice}"));
    }
}

fn advice(difference: &Difference, secret_fits: Option<bool>, header_fits: Option<bool>) -> Option<&'static str> {
    match difference {
        Difference::Spaced | Difference::Rewritten => Some(RAW),
        Difference::Trimmed => Some("Keep the bytes as they came: an editor or `echo` adds a line break."),
        Difference::Cut => Some("Read the body to its end before verifying it."),
        Difference::Other { .. } => Some("This is not the body of this attempt: compare the delivery's id in the headers."),
        Difference::None if secret_fits == Some(false) => Some("Put the whole secret into your configuration, whsec_ included."),
        Difference::None if header_fits == Some(false) => Some("Take the header of the same request as the body."),
        Difference::None => None,
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
        text(header, "name").ends_with("-Signature") && HEXLOWER.decode(value.as_bytes()).is_ok_and(|mac| mac.len() == 32)
    };
    headers.iter().find(is_it).map(|header| (text(header, "name").to_owned(), text(header, "value").to_owned()))
}
