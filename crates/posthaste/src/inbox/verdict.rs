//! What the inbox finds when it checks a signature: the page's own check, and that of the public key where a webhook has one.

use domain::key_pair::PublicKey;
use domain::secret::SigningSecret;
use domain::signature::{Check, Received, verify};
use serde::{Deserialize, Serialize};

/// What may sign a webhook's requests now.
#[derive(Debug, Clone)]
pub(crate) struct Signers {
    /// The secrets: the new one and, while a rotation overlaps, the old.
    pub(crate) secrets: Vec<SigningSecret>,
    /// The public keys of the pairs that sign beside them; none unless the webhook wants `v1a`.
    pub(crate) keys: Vec<PublicKey>,
}

/// What of a request is checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Came<'a> {
    pub(super) body: &'a [u8],
    /// The page's signature header.
    pub(super) page: Option<&'a str>,
    /// `webhook-id`, `webhook-timestamp` and `webhook-signature`; empty if they did not come.
    pub(super) id: &'a str,
    pub(super) timestamp: &'a str,
    pub(super) signatures: &'a str,
}

/// Whether a request came from us, unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// The signature fits.
    Verified,
    /// It fits, and so does the one that a public key checks.
    VerifiedByKey,
    /// It does not fit the body under any secret of the webhook.
    Mismatch,
    /// It fits, and the one for the public key does not.
    KeyMismatch,
    /// It fits, and there is none for the public key, though the webhook has one.
    KeyMissing,
    /// The header is no signature.
    Malformed,
    /// There is no signature header.
    Missing,
    /// The body names no webhook that we know.
    UnknownWebhook,
}

impl Verdict {
    /// Checks a request.
    pub(super) fn of(came: &Came<'_>, signers: &dyn Fn(&str) -> Option<Signers>) -> Self {
        #[derive(Deserialize)]
        struct Named {
            webhook_id: String,
        }
        let Some(header) = came.page else { return Self::Missing };
        let Ok(Named { webhook_id }) = serde_json::from_slice(came.body) else { return Self::UnknownWebhook };
        let Some(Signers { secrets, keys }) = signers(&webhook_id) else { return Self::UnknownWebhook };
        let checks: Vec<Check> = secrets.iter().map(|secret| verify(came.body, header, secret)).collect();
        if checks.contains(&Check::Malformed) {
            Self::Malformed
        } else if !checks.contains(&Check::Valid) {
            Self::Mismatch
        } else if keys.is_empty() {
            Self::Verified
        } else {
            let Came { body, id, timestamp, signatures, .. } = *came;
            let received = Received { body, id, timestamp, signatures };
            let checks: Vec<Check> = keys.iter().map(|key| received.verify(key)).collect();
            if checks.contains(&Check::Valid) {
                Self::VerifiedByKey
            } else if checks.contains(&Check::Malformed) {
                Self::KeyMissing
            } else {
                Self::KeyMismatch
            }
        }
    }

    /// Whether everything that should sign has signed.
    pub(crate) const fn fits(self) -> bool {
        matches!(self, Self::Verified | Self::VerifiedByKey)
    }

    /// The verdict for people.
    pub(crate) const fn said(self) -> &'static str {
        match self {
            Self::Verified => "signature verified",
            Self::VerifiedByKey => "signature verified, by the public key too",
            Self::Mismatch => "signature does not match",
            Self::KeyMismatch => "v1a in webhook-signature does not match the public key",
            Self::KeyMissing => "no v1a in webhook-signature, though the webhook signs with ed25519",
            Self::Malformed => "signature header is not sha256= and 64 hex digits",
            Self::Missing => "no signature header",
            Self::UnknownWebhook => "signature not checked: the body names no webhook of ours",
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::key_pair::KeyPair;
    use domain::signature::{KeyPairs, SentRequest, SigningSecrets, ToSign};

    use super::*;

    const BODY: &[u8] = br#"{"webhook_id":"wh_a"}"#;

    fn secrets() -> SigningSecrets {
        SigningSecrets::new(SigningSecret::from_bytes(&[3; 32]))
    }

    fn check(came: &Came<'_>, keys: &[PublicKey]) -> Verdict {
        let signers = Signers { secrets: vec![secrets().current], keys: keys.to_vec() };
        Verdict::of(came, &|id: &str| (id == "wh_a").then(|| signers.clone()))
    }

    /// The page's header, the id, the time and the standard's header.
    fn signed(secrets: &SigningSecrets) -> [String; 4] {
        let delivery = domain::id::DeliveryId { event: domain::id::EventId(1), place: 0 };
        let (now, brand) = (domain::time::Timestamp(0), domain::brand::Brand::default());
        let sent =
            SentRequest::sign(&ToSign { delivery, body: BODY, now, secrets, url: "", brand: &brand, custom: &[] });
        let headers = sent.headers("a.b", delivery, 1);
        ["X-CronDB-Signature", "webhook-id", "webhook-timestamp", "webhook-signature"]
            .map(|name| headers.iter().find(|(other, _)| other == name).expect("it is signed").1.clone())
    }

    #[test]
    fn only_the_page_s_own_signature_is_verified() {
        let [good, ..] = signed(&secrets());
        let came = Came { body: BODY, page: Some(&good), id: "", timestamp: "", signatures: "" };
        let with = |body, page| check(&Came { body, page, ..came }, &[]);
        assert_eq!(check(&came, &[]), Verdict::Verified);
        assert_eq!(with(br#"{"webhook_id": "wh_a"}"#, Some(&good)), Verdict::Mismatch);
        assert_eq!(with(BODY, Some("sha256=beef")), Verdict::Mismatch);
        assert_eq!(with(BODY, Some("md5=x")), Verdict::Malformed);
        assert_eq!(with(BODY, None), Verdict::Missing);
        assert_eq!(with(br#"{"webhook_id":"wh_b"}"#, Some(&good)), Verdict::UnknownWebhook);
        assert_eq!(with(b"not json", Some(&good)), Verdict::UnknownWebhook);
    }

    #[test]
    fn a_webhook_with_a_key_pair_has_to_sign_with_it() {
        let pair = KeyPair::from_seed(&[5; 32]);
        let keys = [KeyPair::from_seed(&[6; 32]).public(), pair.public()];
        let [page, id, timestamp, signatures] =
            signed(&SigningSecrets { pairs: Some(KeyPairs::new(pair)), ..secrets() });
        let came = Came { body: BODY, page: Some(&page), id: &id, timestamp: &timestamp, signatures: &signatures };
        assert_eq!(check(&came, &keys), Verdict::VerifiedByKey);
        assert_eq!(check(&came, &keys[..1]), Verdict::KeyMismatch);
        assert_eq!(check(&Came { timestamp: "1", ..came }, &keys), Verdict::KeyMismatch);
        assert_eq!(check(&Came { signatures: "v1,AAAA", ..came }, &keys), Verdict::KeyMissing);
        assert_eq!(check(&Came { page: Some("sha256=beef"), ..came }, &keys), Verdict::Mismatch);
        assert!(Verdict::VerifiedByKey.fits() && !Verdict::KeyMismatch.fits() && !Verdict::KeyMissing.fits());
    }
}
