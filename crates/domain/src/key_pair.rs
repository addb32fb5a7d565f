//! Key pairs of ed25519, for the signature `v1a` of Standard Webhooks: whoever has the public key can check, only the
//! server can sign.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// What every private key starts with.
const PRIVATE_PREFIX: &str = "whsk_";
/// What every public key starts with.
const PUBLIC_PREFIX: &str = "whpk_";

/// An ed25519 signature.
pub type Signature = [u8; 64];

/// How `webhook-signature` is made, beside the HMACs that it always carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signing {
    /// By the secret alone.
    Hmac,
    /// By a key pair too.
    Ed25519,
}

impl Signing {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Hmac, Self::Ed25519];

    /// As API and command line write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hmac => "hmac",
            Self::Ed25519 => "ed25519",
        }
    }

    /// What [`Self::as_str`] writes as `text`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|signing| signing.as_str() == text)
    }
}

/// A private key with its public one. The same message always gets the same signature.
#[derive(Clone)]
pub struct KeyPair {
    seed: Zeroizing<[u8; 32]>,
    public: PublicKey,
    /// Ready to sign: to make it from the seed takes as long as a signature.
    ready: Arc<Ed25519KeyPair>,
}

/// The text is no key of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// No private key.
    #[error("a private key reads whsk_ and the base64 of an ed25519 seed and its public key")]
    Private,
    /// No public key.
    #[error("a public key reads whpk_ and the base64 of 32 bytes")]
    Public,
}

impl KeyPair {
    /// The key pair made of 32 chance bytes.
    ///
    /// # Panics
    /// Never: any 32 bytes are the seed of a key pair.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let ready = Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are a seed");
        Self::of(seed, ready)
    }

    fn of(seed: &[u8; 32], ready: Ed25519KeyPair) -> Self {
        let public = ready.public_key().as_ref().try_into().expect("public keys have 32 bytes");
        Self { seed: Zeroizing::new(*seed), public: PublicKey(public), ready: Arc::new(ready) }
    }

    /// Reads what [`Self::reveal`] wrote.
    ///
    /// # Errors
    /// [`BadKey::Private`], also when the public half is not that of the seed.
    pub fn parse(text: &str) -> Result<Self, BadKey> {
        let encoded = text.strip_prefix(PRIVATE_PREFIX).ok_or(BadKey::Private)?;
        let bytes = Zeroizing::new(BASE64.decode(encoded.as_bytes()).map_err(|_| BadKey::Private)?);
        let (seed, public) = bytes.split_first_chunk::<32>().ok_or(BadKey::Private)?;
        let ready = Ed25519KeyPair::from_seed_and_public_key(seed, public).map_err(|_| BadKey::Private)?;
        Ok(Self::of(seed, ready))
    }

    /// The private key as Standard Webhooks writes it: for the store alone, which seals it.
    #[must_use]
    pub fn reveal(&self) -> Zeroizing<String> {
        let bytes = Zeroizing::new([*self.seed, self.public.0].concat());
        Zeroizing::new(format!("{PRIVATE_PREFIX}{}", BASE64.encode(&bytes)))
    }

    /// The public key.
    #[must_use]
    pub const fn public(&self) -> PublicKey {
        self.public
    }

    /// Signs a message.
    ///
    /// # Panics
    /// Never: ed25519 signs messages of any length.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        self.ready.sign(message).as_ref().try_into().expect("signatures have 64 bytes")
    }
}

impl PartialEq for KeyPair {
    fn eq(&self, other: &Self) -> bool {
        self.public == other.public
    }
}

impl Eq for KeyPair {}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair(whsk_••••, {})", self.public)
    }
}

/// A public key, `whpk_` + base64: no secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Whether the signature is this key's, of this message.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.0).verify(message, signature).is_ok()
    }

    /// Its bytes as JSON Web Keys write them.
    #[must_use]
    pub fn base64url(&self) -> String {
        BASE64URL_NOPAD.encode(&self.0)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC_PREFIX}{}", BASE64.encode(&self.0))
    }
}

impl FromStr for PublicKey {
    type Err = BadKey;

    fn from_str(text: &str) -> Result<Self, BadKey> {
        let encoded = text.strip_prefix(PUBLIC_PREFIX).ok_or(BadKey::Public)?;
        let bytes = BASE64.decode(encoded.as_bytes()).map_err(|_| BadKey::Public)?;
        bytes.try_into().map(Self).map_err(|_| BadKey::Public)
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;

    use super::*;

    fn hex<const N: usize>(text: &str) -> [u8; N] {
        HEXLOWER.decode(text.as_bytes()).expect("hex").try_into().expect("as long as it is")
    }

    #[test]
    fn the_test_of_the_standard() {
        // RFC 8032, section 7.1, test 2.
        let pair = KeyPair::from_seed(&hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"));
        let public = hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        assert_eq!(pair.public(), PublicKey(public));
        let signature = pair.sign(&[0x72]);
        let expected = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                        085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
        assert_eq!(HEXLOWER.encode(&signature), expected);
        assert!(pair.public().verifies(&[0x72], &signature));
        assert!(!pair.public().verifies(&[0x73], &signature));
        assert!(!pair.public().verifies(&[0x72], &signature[..63]));
    }

    #[test]
    fn keys_read_back_as_they_are_written_and_others_are_refused() {
        let pair = KeyPair::from_seed(&[7; 32]);
        assert_eq!(KeyPair::parse(&pair.reveal()), Ok(pair.clone()));
        assert_eq!(pair.public().to_string().parse(), Ok(pair.public()));
        assert!(!format!("{pair:?}").contains(&pair.reveal()[..12]));
        // A public half that is another key's.
        let other = KeyPair::from_seed(&[8; 32]);
        let mixed = format!("whsk_{}", BASE64.encode(&[[7; 32], other.public().0].concat()));
        let seed_alone = format!("whsk_{}", BASE64.encode(&[7; 32]));
        for text in [mixed.as_str(), &seed_alone, "", "whsk_", "whsk_!", &pair.public().to_string()] {
            assert_eq!(KeyPair::parse(text), Err(BadKey::Private), "{text}");
        }
        for text in ["", "whpk_", "whpk_AAAA", "whpk_!", &pair.reveal()] {
            assert_eq!(text.parse::<PublicKey>(), Err(BadKey::Public), "{text}");
        }
    }
}
