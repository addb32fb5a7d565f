//! Checking a signature `v1a` with a public key.

use domain::signature::{Check, Received};

use super::{changed, public_key, say};
use crate::cli::Session;
use crate::exit::Ended;

/// Checks what came with each key; one that fits is enough.
pub(super) fn check(received: Received<'_>, keys: &[String], session: &Session<'_>) -> Ended {
    let mut checks = Vec::new();
    for text in keys {
        checks.push(received.verify(&public_key(text)?));
    }
    let (verdict, said) = if checks.contains(&Check::Valid) {
        (
            "valid",
            "✓ The signature fits: id, time and body are what was signed, and the key is the signer's.".to_owned(),
        )
    } else if checks.contains(&Check::Malformed) {
        let said =
            "✕ There is no v1a, and base64 in the header. Was it cut, or does the webhook sign with its secret alone?";
        ("malformed", said.to_owned())
    } else {
        let advice = changed(received.body)
            .unwrap_or("another webhook's key, a key from before a rotation, or id and time of another request");
        let size = received.body.len();
        let said = format!("✕ The signature does not fit this id, time and body of {size} bytes.\n→ Likely: {advice}.");
        ("mismatch", said)
    };
    Ok(say(verdict, &said, received.body, session))
}
