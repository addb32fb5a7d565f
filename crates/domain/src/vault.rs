//! Encryption at rest: secrets and header values, bound to what they belong to.

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

/// Length of the random nonce in front of every sealed text.
const NONCE: usize = 24;

/// The operator's encryption key at work.
#[derive(Clone)]
pub struct Vault(XChaCha20Poly1305);

/// The sealed text was made with another key, for another context, or was damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot be opened: sealed with another encryption key, or damaged")]
pub struct Unopened;

impl Vault {
    /// The vault of a 32-byte key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(XChaCha20Poly1305::new(key.into()))
    }

    /// Seals `plain` under a fresh random `nonce`. `context` says what it belongs to, and opening asks for it again, so
    /// that a sealed text moved to another row does not open.
    ///
    /// # Panics
    /// Never: the cipher takes texts of any length that fits into memory.
    #[must_use]
    pub fn seal(&self, context: &str, plain: &[u8], nonce: [u8; NONCE]) -> Vec<u8> {
        let payload = Payload { msg: plain, aad: context.as_bytes() };
        let mut sealed = nonce.to_vec();
        sealed.extend(self.0.encrypt(&XNonce::from(nonce), payload).expect("texts that fit into memory can be sealed"));
        sealed
    }

    /// Opens what [`Self::seal`] sealed for the same context.
    ///
    /// # Errors
    /// [`Unopened`].
    pub fn open(&self, context: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Unopened> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE>().ok_or(Unopened)?;
        let payload = Payload { msg: text, aad: context.as_bytes() };
        self.0.decrypt(&XNonce::from(*nonce), payload).map(Zeroizing::new).map_err(|_| Unopened)
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(••••)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_with_the_same_key_and_context_and_undamaged() {
        let vault = Vault::new(&[1; 32]);
        let mut sealed = vault.seal("wh_a/secret", b"whsec_x", [7; NONCE]);
        assert_eq!(vault.open("wh_a/secret", &sealed).map(|p| p.to_vec()), Ok(b"whsec_x".to_vec()));
        assert_eq!(vault.open("wh_b/secret", &sealed), Err(Unopened));
        assert_eq!(Vault::new(&[2; 32]).open("wh_a/secret", &sealed), Err(Unopened));
        assert_eq!(vault.open("wh_a/secret", &sealed[..10]), Err(Unopened));
        let last = sealed.len() - 1;
        sealed[last] ^= 1;
        assert_eq!(vault.open("wh_a/secret", &sealed), Err(Unopened));
    }
}
