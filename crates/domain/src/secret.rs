//! Signing secrets: one text that serves the page's check and Standard Webhooks alike.

use std::fmt;

use data_encoding::BASE64;
use zeroize::Zeroizing;

/// What every signing secret starts with.
const PREFIX: &str = "whsec_";

/// A signing secret, `whsec_` + base64. The page's check uses the whole text as key, Standard Webhooks the decoded bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(Zeroizing<String>);

/// The text is no signing secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a signing secret reads whsec_ and the base64 of 24 to 64 bytes")]
pub struct BadSecret;

impl SigningSecret {
    /// The secret made of 32 chance bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(Zeroizing::new(format!("{PREFIX}{}", BASE64.encode(bytes))))
    }

    /// Reads a secret that a platform brings along, so that its receivers notice nothing when it moves in.
    ///
    /// # Errors
    /// [`BadSecret`] unless it reads `whsec_` and the base64 of 24–64 bytes.
    pub fn parse(text: &str) -> Result<Self, BadSecret> {
        let bytes = text.strip_prefix(PREFIX).and_then(|rest| BASE64.decode(rest.as_bytes()).ok()).ok_or(BadSecret)?;
        let bytes = Zeroizing::new(bytes);
        if (24..=64).contains(&bytes.len()) { Ok(Self(Zeroizing::new(text.to_owned()))) } else { Err(BadSecret) }
    }

    /// The whole text: the key of `X-CronDB-Signature`, and what a person copies. Never to be logged.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The decoded bytes: the key of `webhook-signature`.
    #[must_use]
    pub fn standard_key(&self) -> Zeroizing<Vec<u8>> {
        let encoded = self.0.strip_prefix(PREFIX).unwrap_or_default();
        Zeroizing::new(BASE64.decode(encoded.as_bytes()).unwrap_or_default())
    }
}

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(whsec_••••)")
    }
}
