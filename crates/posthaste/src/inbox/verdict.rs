//! What the inbox finds when it checks a signature, with the page's own check.

use domain::secret::SigningSecret;
use domain::signature::{Check, verify};
use serde::{Deserialize, Serialize};

/// Whether a request came from us, unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// The signature fits.
    Verified,
    /// It does not fit the body under any secret of the webhook.
    Mismatch,
    /// The header is no signature.
    Malformed,
    /// There is no signature header.
    Missing,
    /// The body names no webhook that we know.
    UnknownWebhook,
}

impl Verdict {
    /// Checks a body against its signature header.
    pub(crate) fn of(body: &[u8], header: Option<&str>, secrets: &dyn Fn(&str) -> Vec<SigningSecret>) -> Self {
        #[derive(Deserialize)]
        struct Named {
            webhook_id: String,
        }
        let Some(header) = header else { return Self::Missing };
        let Ok(Named { webhook_id }) = serde_json::from_slice(body) else { return Self::UnknownWebhook };
        let checks: Vec<Check> = secrets(&webhook_id).iter().map(|secret| verify(body, header, secret)).collect();
        if checks.contains(&Check::Valid) {
            Self::Verified
        } else if checks.contains(&Check::Malformed) {
            Self::Malformed
        } else if checks.is_empty() {
            Self::UnknownWebhook
        } else {
            Self::Mismatch
        }
    }

    /// The verdict for people.
    pub(crate) const fn said(self) -> &'static str {
        match self {
            Self::Verified => "signature verified",
            Self::Mismatch => "signature does not match",
            Self::Malformed => "signature header is not sha256= and 64 hex digits",
            Self::Missing => "no signature header",
            Self::UnknownWebhook => "signature not checked: the body names no webhook of ours",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_page_s_own_signature_is_verified() {
        let secret = SigningSecret::from_bytes(&[3; 32]);
        let secrets = |id: &str| if id == "wh_a" { vec![SigningSecret::from_bytes(&[3; 32])] } else { Vec::new() };
        let body = br#"{"webhook_id":"wh_a"}"#;
        let good = signature_of(body, &secret);
        let check = |body: &[u8], header: Option<&str>| Verdict::of(body, header, &secrets);
        assert_eq!(check(body, Some(&good)), Verdict::Verified);
        assert_eq!(check(br#"{"webhook_id": "wh_a"}"#, Some(&good)), Verdict::Mismatch);
        assert_eq!(check(body, Some("sha256=beef")), Verdict::Mismatch);
        assert_eq!(check(body, Some("md5=x")), Verdict::Malformed);
        assert_eq!(check(body, None), Verdict::Missing);
        assert_eq!(check(br#"{"webhook_id":"wh_b"}"#, Some(&good)), Verdict::UnknownWebhook);
        assert_eq!(check(b"not json", Some(&good)), Verdict::UnknownWebhook);
    }

    fn signature_of(body: &[u8], secret: &SigningSecret) -> String {
        use domain::signature::{SentRequest, SigningSecrets, ToSign};
        let secrets = SigningSecrets::new(secret.clone());
        let delivery = domain::id::DeliveryId { event: domain::id::EventId(1), place: 0 };
        let now = domain::time::Timestamp(0);
        let brand = domain::brand::Brand::default();
        let sent =
            SentRequest::sign(&ToSign { delivery, body, now, secrets: &secrets, url: "", brand: &brand, custom: &[] });
        let headers = sent.headers("a.b", delivery, 1);
        headers.into_iter().find(|(name, _)| name == "X-CronDB-Signature").expect("it is signed").1
    }
}
