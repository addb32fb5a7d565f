//! What idempotency keys were answered, as every store keeps it.

use domain::event::Idempotency;
use domain::id::EventId;
use domain::vault::Vault;

use super::checksum::Checksum;
use super::damaged::Damaged;
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
    /// What a row of a key says to a request that comes with it: `request` and `sum` are the row's own.
    ///
    /// # Errors
    /// [`Damaged`]: its checksum does not fit, or it cannot be opened.
    pub(crate) fn read(&self, vault: &Vault, key: &Idempotency, request: &[u8], sum: i64) -> Result<Found, Damaged> {
        let damaged = || Damaged("answer of an idempotency key".to_owned());
        let request: [u8; 32] = request.try_into().map_err(|_| damaged())?;
        self.sum(&key.key, &request).verify(sum, || "answer of an idempotency key".to_owned())?;
        if request != key.request {
            return Ok(Found::OtherRequest);
        }
        if let (Some(event), Some(lead), Some(deliveries)) = (self.event, self.lead, self.deliveries) {
            return Ok(Found::Same(Kept::Event(Stamp { key: EventId(event as u64), lead }, deliveries as usize)));
        }
        let plain = vault.open(&context(&key.key), self.answer.ok_or_else(damaged)?)?;
        Ok(Found::Same(Kept::Answer(plain.to_vec())))
    }

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
