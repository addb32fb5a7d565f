//! What idempotency keys were answered, as every store keeps it.

use super::checksum::Checksum;
use super::stamps::Stamp;

/// What a key was answered.
#[derive(Debug)]
pub(crate) enum Kept {
    /// The event that it had accepted, and to how many webhooks that goes.
    Event(Stamp, usize),
    /// The answer's bytes.
    Answer(Vec<u8>),
}

/// What became of a key.
#[derive(Debug)]
pub(crate) enum Found {
    /// It never came, or so long ago that it is forgotten.
    New,
    /// It came with the same request.
    Same(Kept),
    /// It came with another request.
    OtherRequest,
}

/// The columns beside key and request.
pub(crate) struct Columns<'a> {
    pub(crate) at: i64,
    pub(crate) event: Option<i64>,
    pub(crate) lead: Option<i64>,
    pub(crate) deliveries: Option<i64>,
    pub(crate) answer: Option<&'a [u8]>,
}

impl Columns<'_> {
    /// The checksum of the row of this key and request.
    pub(crate) fn sum(&self, key: &[u8; 32], request: &[u8; 32]) -> Checksum {
        let or = |number: Option<i64>| number.unwrap_or(i64::MIN);
        Checksum::of("idempotency")
            .bytes(key)
            .bytes(request)
            .numbers([self.at, or(self.event), or(self.lead), or(self.deliveries)])
            .bytes(self.answer.unwrap_or_default())
    }
}

/// What a sealed answer belongs to.
pub(crate) fn context(key: &[u8; 32]) -> String {
    use std::fmt::Write as _;
    let mut context = "idempotency/".to_owned();
    for byte in key {
        // Writing to memory does not fail.
        let _ = write!(context, "{byte:02x}");
    }
    context
}
