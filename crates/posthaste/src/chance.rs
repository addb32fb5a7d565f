//! The machine's chance: for keys, secrets and seeds.

use data_encoding::BASE32_NOPAD;

/// Fills `bytes` from the system's generator.
///
/// # Panics
/// When the system has none: nothing that is to be secret could be made.
pub(crate) fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the system gives random bytes");
}

/// `N` random bytes.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}

/// A new platform key: `phk_` and 32 letters and digits, 160 bits of chance.
pub(crate) fn platform_key() -> String {
    format!("phk_{}", BASE32_NOPAD.encode(&bytes::<20>()).to_ascii_lowercase())
}
