//! The request of an attempt: its body, its signatures, its headers.

use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::brand::Brand;
use crate::id::{DeliveryId, WebhookId};
use crate::key_pair::{KeyPair, PublicKey, Signature, Signing};
use crate::secret::SigningSecret;
use crate::time::Timestamp;

/// HMAC-SHA256 of `parts`, one after the other.
fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// The body of a delivery: `{"event","webhook_id","timestamp","data"}` in that order, compact, `data` as the producer's
/// own bytes. It is the same on every attempt and every replay.
#[must_use]
pub fn body(event_type: &str, webhook: &WebhookId, timestamp: Timestamp, data: &[u8]) -> Bytes {
    use std::io::Write as _;
    let mut body = Vec::with_capacity(data.len() + event_type.len() + webhook.as_str().len() + 96);
    // Event types and webhook ids hold no character that JSON would escape: their grammars say so.
    write!(body, r#"{{"event":"{event_type}","webhook_id":"{webhook}","timestamp":"{timestamp}","data":"#)
        .expect("writing to memory does not fail");
    body.extend_from_slice(data);
    body.push(b'}');
    body.into()
}

/// The secrets that sign now: one, or two while a rotation overlaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningSecrets {
    /// The webhook's secret; during an overlap the new one.
    pub current: SigningSecret,
    /// The old secret and the end of its overlap.
    pub previous: Option<(SigningSecret, Timestamp)>,
    /// The key pairs that sign too, if the webhook wants `v1a`.
    pub pairs: Option<KeyPairs>,
}

/// The key pairs that sign now: they are rotated with the secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPairs {
    /// The webhook's key pair; during an overlap the new one.
    pub current: KeyPair,
    /// The old one, which signs for as long as the old secret does.
    pub previous: Option<KeyPair>,
}

impl KeyPairs {
    /// A first key pair.
    #[must_use]
    pub const fn new(current: KeyPair) -> Self {
        Self { current, previous: None }
    }
}

impl SigningSecrets {
    /// A first secret.
    #[must_use]
    pub const fn new(current: SigningSecret) -> Self {
        Self { current, previous: None, pairs: None }
    }

    /// What signs: the secrets alone, or key pairs too.
    #[must_use]
    pub const fn signing(&self) -> Signing {
        if self.pairs.is_some() { Signing::Ed25519 } else { Signing::Hmac }
    }

    /// Puts a new secret in the place of the current one, and a new key pair where there is one. The old ones go on until
    /// `until`, if that is given.
    pub fn rotate(&mut self, secret: SigningSecret, pair: KeyPair, until: Option<Timestamp>) {
        let old = std::mem::replace(&mut self.current, secret);
        self.previous = until.map(|until| (old, until));
        if let Some(pairs) = &mut self.pairs {
            let old = std::mem::replace(&mut pairs.current, pair);
            pairs.previous = until.map(|_| old);
        }
    }

    /// Forgets what signed before the last rotation; says whether there was anything.
    pub fn confirm(&mut self) -> bool {
        if let Some(pairs) = &mut self.pairs {
            pairs.previous = None;
        }
        self.previous.take().is_some()
    }

    /// The key pairs that sign at `now`, the current one first; none unless the webhook wants `v1a`.
    pub fn pairs_at(&self, now: Timestamp) -> impl Iterator<Item = &KeyPair> {
        let overlaps = self.overlapping(now).is_some();
        self.pairs
            .iter()
            .flat_map(move |pairs| std::iter::once(&pairs.current).chain(pairs.previous.as_ref().filter(|_| overlaps)))
    }

    /// The old secret, if its overlap has not ended at `now`.
    #[must_use]
    pub fn overlapping(&self, now: Timestamp) -> Option<&SigningSecret> {
        self.previous.as_ref().filter(|(_, until)| now < *until).map(|(secret, _)| secret)
    }
}

/// What an attempt's request had that cannot be derived from its delivery: kept with the attempt, so that the log shows
/// the request as it was sent whatever has changed since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentRequest {
    /// The URL as it was dialled.
    pub url: String,
    /// The header prefix in force, such as `X-CronDB`.
    pub prefix: String,
    /// The whole `User-Agent`.
    pub user_agent: String,
    /// `webhook-timestamp`: the second in which the attempt was signed.
    pub signed_at: i64,
    /// The HMAC in the brand's signature header.
    pub signature: [u8; 32],
    /// The HMACs in `webhook-signature`, the current secret's first.
    pub standard: Vec<[u8; 32]>,
    /// The ed25519 signatures in `webhook-signature`, the current key's first. They are not part of the record's own
    /// layout, which is older: the store keeps them behind it.
    #[serde(skip)]
    pub ed25519: Vec<Signature>,
    /// The names of the custom headers; their values are never kept in the log.
    pub custom: Vec<String>,
}

/// What [`SentRequest::sign`] signs, and with what.
#[derive(Debug, Clone, Copy)]
pub struct ToSign<'a> {
    /// The delivery, whose id is `webhook-id`.
    pub delivery: DeliveryId,
    /// The body's bytes.
    pub body: &'a [u8],
    /// The time of the attempt.
    pub now: Timestamp,
    /// The webhook's secrets.
    pub secrets: &'a SigningSecrets,
    /// Where it goes.
    pub url: &'a str,
    /// Whose name and prefix the headers carry.
    pub brand: &'a Brand,
    /// The names of the webhook's custom headers.
    pub custom: &'a [String],
}

impl SentRequest {
    /// Signs a request. While a rotation overlaps, the brand's header carries the old secret's signature, so that the
    /// page's `verify` never breaks, and `webhook-signature` both. Where key pairs sign, their signatures follow the HMACs,
    /// so that whoever checks those sees no difference.
    #[must_use]
    pub fn sign(to_sign: &ToSign<'_>) -> Self {
        let ToSign { delivery, body, now, secrets, url, brand, custom } = *to_sign;
        let id = delivery.to_string();
        let signed_at = now.seconds();
        let seconds = signed_at.to_string();
        let parts = standard_parts(&id, &seconds, body);
        let standard = |secret: &SigningSecret| hmac_sha256(&secret.standard_key(), &parts);
        let old = secrets.overlapping(now);
        let page_key = old.unwrap_or(&secrets.current);
        Self {
            url: url.to_owned(),
            prefix: brand.header_prefix.clone(),
            user_agent: brand.user_agent.clone(),
            signed_at,
            signature: hmac_sha256(page_key.reveal().as_bytes(), &[body]),
            standard: std::iter::once(&secrets.current).chain(old).map(standard).collect(),
            ed25519: match &secrets.pairs {
                None => Vec::new(),
                Some(_) => {
                    let message = parts.concat();
                    secrets.pairs_at(now).map(|pair| pair.sign(&message)).collect()
                }
            },
            custom: custom.to_vec(),
        }
    }

    /// The headers that we give the request, in the order in which they go out: all but `Host`, `Content-Length` and
    /// the custom ones, which follow.
    #[must_use]
    pub fn headers(&self, event_type: &str, delivery: DeliveryId, number: u16) -> Vec<(String, String)> {
        let prefix = &self.prefix;
        let macs = self.standard.iter().map(|mac| format!("v1,{}", BASE64.encode(mac)));
        let signatures = self.ed25519.iter().map(|signature| format!("{ASYMMETRIC}{}", BASE64.encode(signature)));
        let standard: Vec<String> = macs.chain(signatures).collect();
        vec![
            ("Content-Type".to_owned(), "application/json".to_owned()),
            ("User-Agent".to_owned(), self.user_agent.clone()),
            (format!("{prefix}-Signature"), format!("sha256={}", HEXLOWER.encode(&self.signature))),
            (format!("{prefix}-Event"), event_type.to_owned()),
            (format!("{prefix}-Delivery"), delivery.to_string()),
            (format!("{prefix}-Attempt"), number.to_string()),
            ("webhook-id".to_owned(), delivery.to_string()),
            ("webhook-timestamp".to_owned(), self.signed_at.to_string()),
            ("webhook-signature".to_owned(), standard.join(" ")),
        ]
    }
}

/// What stands before a signature that a public key checks.
const ASYMMETRIC: &str = "v1a,";

/// What `webhook-signature` signs.
fn standard_parts<'a>(id: &'a str, timestamp: &'a str, body: &'a [u8]) -> [&'a [u8]; 5] {
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", body]
}

/// A request as Standard Webhooks sees it: what its signatures cover, and the header that carries them.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// The body's bytes.
    pub body: &'a [u8],
    /// `webhook-id`.
    pub id: &'a str,
    /// `webhook-timestamp`.
    pub timestamp: &'a str,
    /// `webhook-signature`: any number of signatures of any kind, with spaces between.
    pub signatures: &'a str,
}

impl Received<'_> {
    /// Whether a signature `v1a` among those that came is this key's.
    #[must_use]
    pub fn verify(&self, key: &PublicKey) -> Check {
        let message = standard_parts(self.id, self.timestamp, self.body).concat();
        let signatures = self.signatures.split_ascii_whitespace().filter_map(|one| one.strip_prefix(ASYMMETRIC));
        let mut signatures = signatures.filter_map(|text| BASE64.decode(text.as_bytes()).ok()).peekable();
        if signatures.peek().is_none() {
            return Check::Malformed;
        }
        if signatures.any(|signature| key.verifies(&message, &signature)) { Check::Valid } else { Check::Mismatch }
    }
}

/// Why a signature does not fit, or that it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// It fits.
    Valid,
    /// The header is not `sha256=` and 64 hex digits; or holds no `v1a,` and base64.
    Malformed,
    /// It does not fit this body and this secret.
    Mismatch,
}

/// The page's `verify`: does `header` (`sha256=…`) fit the body under this secret? Compares in constant time.
#[must_use]
pub fn verify(body: &[u8], header: &str, secret: &SigningSecret) -> Check {
    let Some(claimed) = header.strip_prefix("sha256=").and_then(|hex| HEXLOWER.decode(hex.as_bytes()).ok()) else {
        return Check::Malformed;
    };
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes()).expect("HMAC takes a key of any length");
    mac.update(body);
    if mac.verify_slice(&claimed).is_ok() { Check::Valid } else { Check::Mismatch }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::EventId;

    fn secret(fill: u8) -> SigningSecret {
        SigningSecret::from_bytes(&[fill; 32])
    }

    fn sent(secrets: &SigningSecrets, now: Timestamp) -> SentRequest {
        let brand = Brand::default();
        let delivery = DeliveryId { event: EventId::first_at(0), place: 0 };
        SentRequest::sign(&ToSign {
            delivery,
            body: b"{}",
            now,
            secrets,
            url: "https://example.com/",
            brand: &brand,
            custom: &[],
        })
    }

    #[test]
    fn the_body_is_the_page_s() {
        let webhook: WebhookId = "wh_abc123".parse().expect("an id");
        let at: Timestamp = "2026-03-18T14:30:00Z".parse().expect("an instant");
        assert_eq!(
            body("alert.rule_created", &webhook, at, br#"{"n": 0.91}"#),
            r#"{"event":"alert.rule_created","webhook_id":"wh_abc123","timestamp":"2026-03-18T14:30:00.000000Z","data":{"n": 0.91}}"#
        );
    }

    #[test]
    fn the_old_secret_signs_the_page_s_header_until_its_overlap_ends() {
        let until = Timestamp(1_000_000);
        let secrets = SigningSecrets { previous: Some((secret(1), until)), ..SigningSecrets::new(secret(2)) };
        let header = |sent: &SentRequest| format!("sha256={}", HEXLOWER.encode(&sent.signature));
        let during = sent(&secrets, Timestamp(999_999));
        assert_eq!(verify(b"{}", &header(&during), &secret(1)), Check::Valid);
        assert_eq!(during.standard.len(), 2);
        let after = sent(&secrets, until);
        assert_eq!(verify(b"{}", &header(&after), &secret(2)), Check::Valid);
        assert_eq!(verify(b"{}", &header(&after), &secret(1)), Check::Mismatch);
        assert_eq!(after.standard.len(), 1);
        assert_eq!(verify(b"{}", "sha256=xyz", &secret(1)), Check::Malformed);
    }

    #[test]
    fn both_key_pairs_sign_until_the_overlap_ends_and_the_hmacs_stay() {
        let pair = |fill| KeyPair::from_seed(&[fill; 32]);
        let mut secrets = SigningSecrets { pairs: Some(KeyPairs::new(pair(3))), ..SigningSecrets::new(secret(1)) };
        let until = Timestamp(1_000_000);
        secrets.rotate(secret(2), pair(4), Some(until));
        let checks = |secrets: &SigningSecrets, now| {
            let sent = sent(secrets, now);
            let headers = sent.headers("a.b", DeliveryId { event: EventId::first_at(0), place: 0 }, 1);
            let value = |name: &str| headers.iter().find(|(n, _)| n == name).expect("it is there").1.clone();
            let (id, timestamp, signatures) =
                (value("webhook-id"), value("webhook-timestamp"), value("webhook-signature"));
            let kinds: Vec<_> = signatures.split(' ').map(|one| one.split(',').next().expect("a kind")).collect();
            let received = Received { body: b"{}", id: &id, timestamp: &timestamp, signatures: &signatures };
            let other = Received { timestamp: "7", ..received };
            assert_eq!(other.verify(&pair(4).public()), Check::Mismatch, "the time is signed too");
            (kinds.join(" "), [4, 3].map(|fill| received.verify(&pair(fill).public())))
        };
        let before = Timestamp(999_999);
        assert_eq!(checks(&secrets, before), ("v1 v1 v1a v1a".to_owned(), [Check::Valid, Check::Valid]));
        assert_eq!(checks(&secrets, until), ("v1 v1a".to_owned(), [Check::Valid, Check::Mismatch]));
        assert!(secrets.confirm() && !secrets.confirm());
        assert_eq!(checks(&secrets, before), ("v1 v1a".to_owned(), [Check::Valid, Check::Mismatch]));
        secrets.rotate(secret(5), pair(6), None);
        assert_eq!(secrets.pairs, Some(KeyPairs::new(pair(6))));
        let without = Received { body: b"{}", id: "a", timestamp: "1", signatures: "v1,AAAA v1a, v1a,! v1ab,AAAA" };
        assert_eq!(without.verify(&pair(6).public()), Check::Mismatch, "an empty signature is none");
        let without = Received { signatures: "v1,AAAA v1a,!", ..without };
        assert_eq!(without.verify(&pair(6).public()), Check::Malformed);
    }

    #[test]
    fn standard_webhooks_own_example() {
        // From the specification of Standard Webhooks.
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a secret");
        let mac = hmac_sha256(
            &secret.standard_key(),
            &[b"msg_p5jXN8AQM9LWM0D4loKWxJek", b".", b"1614265330", b".", br#"{"test": 2432232314}"#],
        );
        assert_eq!(BASE64.encode(&mac), "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
