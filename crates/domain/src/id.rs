//! Identifiers: how they read, what they carry, and how they are parsed.
//!
//! An event's id carries its place in time, a delivery's id the event and the webhook's place in the event's list, an
//! attempt's id the delivery and the attempt's number. So none of them needs a row of its own to exist, and the store
//! finds each by its key without an index over text.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::time::Timestamp;

/// Crockford's base 32 in lower case: no `i`, `l`, `o`, `u`, sorts like the number.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The id's text was not one that this system gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id of the expected kind")]
pub struct BadId;

fn encode(value: u64, digits: usize, out: &mut String) {
    for i in (0..digits).rev() {
        let digit = (value >> (5 * i)) & 31;
        out.push(char::from(ALPHABET[digit as usize]));
    }
}

fn decode(text: &str) -> Result<u64, BadId> {
    text.bytes().try_fold(0u64, |value, byte| {
        let digit = ALPHABET.iter().position(|&a| a == byte).ok_or(BadId)?;
        if value >> 59 != 0 {
            return Err(BadId);
        }
        Ok(value << 5 | digit as u64)
    })
}

/// Base-32 digits of an event's key: 13 × 5 bits hold 63.
const EVENT_DIGITS: usize = 13;
/// Base-32 digits of a webhook's place in the event's list.
const PLACE_DIGITS: usize = 2;
/// How many webhooks one event can go to: what [`PLACE_DIGITS`] can name.
pub const PLACES_MAX: usize = 1024;
/// Low bits of an event's key that are left to tell events of one microsecond, and nodes, apart.
pub const EVENT_RESIDUE_BITS: u32 = 11;

/// An event, `evt_…`. The key is its microsecond of acceptance and a residue; keys of one store only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub u64);

impl EventId {
    /// The smallest id that can be given at `micros` since 1970. Ids end with the year 2112: whatever is later is that.
    #[must_use]
    pub const fn first_at(micros: i64) -> Self {
        let last = i64::MAX as u64 >> EVENT_RESIDUE_BITS;
        let micros = micros.unsigned_abs();
        Self((if micros < last { micros } else { last }) << EVENT_RESIDUE_BITS)
    }
}

/// From when on, in microseconds since 1970, no event is accepted: a day before ids end, which is room for timestamps that lead
/// the clock and for marks that lead them.
const IDS_END: i64 = (i64::MAX >> EVENT_RESIDUE_BITS) - 86_400_000_000;

impl EventId {
    /// Whether ids can be given at this instant, and after it. What was given once they cannot would be in the way of all that comes
    /// after it.
    #[must_use]
    pub const fn reach(now: Timestamp) -> bool {
        now.0 < IDS_END
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(4 + EVENT_DIGITS);
        text.push_str("evt_");
        encode(self.0, EVENT_DIGITS, &mut text);
        f.write_str(&text)
    }
}

impl FromStr for EventId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let digits = text.strip_prefix("evt_").ok_or(BadId)?;
        event_key(digits).map(Self)
    }
}

fn event_key(digits: &str) -> Result<u64, BadId> {
    if digits.len() != EVENT_DIGITS {
        return Err(BadId);
    }
    let key = decode(digits)?;
    // SQLite's and PostgreSQL's integers are signed: keys stay below 2^63.
    if key >> 63 != 0 { Err(BadId) } else { Ok(key) }
}

/// An entry of the audit log, `aud_…`. The key is made like an event's: its microsecond and a residue; keys only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuditId(pub u64);

impl AuditId {
    /// The smallest id that can be given at this instant.
    #[must_use]
    pub const fn first_at(at: Timestamp) -> Self {
        Self(EventId::first_at(if at.0 < 0 { 0 } else { at.0 }).0)
    }

    /// When the entry was written.
    #[must_use]
    pub const fn at(self) -> Timestamp {
        Timestamp((self.0 >> EVENT_RESIDUE_BITS) as i64)
    }
}

impl fmt::Display for AuditId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(4 + EVENT_DIGITS);
        text.push_str("aud_");
        encode(self.0, EVENT_DIGITS, &mut text);
        f.write_str(&text)
    }
}

impl FromStr for AuditId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let digits = text.strip_prefix("aud_").ok_or(BadId)?;
        event_key(digits).map(Self)
    }
}

/// A delivery, `dlv_…`: one event on its way to the webhook at `place` of the event's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId {
    /// The event that is delivered.
    pub event: EventId,
    /// The webhook's place in the event's list, from 0; below [`PLACES_MAX`].
    pub place: u16,
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(4 + EVENT_DIGITS + PLACE_DIGITS);
        text.push_str("dlv_");
        encode(self.event.0, EVENT_DIGITS, &mut text);
        encode(u64::from(self.place), PLACE_DIGITS, &mut text);
        f.write_str(&text)
    }
}

impl FromStr for DeliveryId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let digits = text.strip_prefix("dlv_").ok_or(BadId)?;
        if digits.len() != EVENT_DIGITS + PLACE_DIGITS || !digits.is_ascii() {
            return Err(BadId);
        }
        let (event, place) = digits.split_at(EVENT_DIGITS);
        let place = u16::try_from(decode(place)?).map_err(|_| BadId)?;
        Ok(Self { event: EventId(event_key(event)?), place })
    }
}

/// An attempt, `att_…`: the delivery's digits and the attempt's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    /// The delivery that the attempt belongs to.
    pub delivery: DeliveryId,
    /// The attempt's number in its delivery, from 1.
    pub number: u16,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(4 + EVENT_DIGITS + PLACE_DIGITS + 4);
        text.push_str("att_");
        encode(self.delivery.event.0, EVENT_DIGITS, &mut text);
        encode(u64::from(self.delivery.place), PLACE_DIGITS, &mut text);
        encode(u64::from(self.number), if self.number < 1024 { 2 } else { 4 }, &mut text);
        f.write_str(&text)
    }
}

impl FromStr for AttemptId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let digits = text.strip_prefix("att_").ok_or(BadId)?;
        let split = EVENT_DIGITS + PLACE_DIGITS;
        if !digits.is_ascii() || !(digits.len() == split + 2 || digits.len() == split + 4) {
            return Err(BadId);
        }
        let (delivery, number) = digits.split_at(split);
        let (event, place) = delivery.split_at(EVENT_DIGITS);
        Ok(Self {
            delivery: DeliveryId {
                event: EventId(event_key(event)?),
                place: u16::try_from(decode(place)?).map_err(|_| BadId)?,
            },
            number: u16::try_from(decode(number)?).map_err(|_| BadId)?,
        })
    }
}

/// `prefix_` and 20 digits: 50 bits of `micros` since 1970, so that ids sort by age, and 50 bits of chance.
#[must_use]
pub fn make(prefix: &str, micros: i64, chance: u64) -> String {
    let mut text = String::with_capacity(prefix.len() + 21);
    text.push_str(prefix);
    text.push('_');
    encode(micros.unsigned_abs() >> 1, 10, &mut text);
    encode(chance, 10, &mut text);
    text
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id as it is written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.into())) } else { Err(BadId) }
            }
        }
        serde_as_text!($name);
    };
}

macro_rules! serde_as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

serde_as_text!(EventId);
serde_as_text!(DeliveryId);
serde_as_text!(AttemptId);
serde_as_text!(AuditId);

fn token(text: &str, prefix: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|rest| {
        (1..=64).contains(&rest.len()) && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    })
}

text_id!(
    /// A customer of the platform: 1–64 letters, digits, `_`, `-`, chosen by the platform.
    AccountId,
    |text| token(text, "")
);
text_id!(
    /// A webhook, `wh_…`; a platform that moves in may bring its own, which its receivers know.
    WebhookId,
    |text| token(text, "wh_")
);
text_id!(
    /// A replay in bulk, `rpl_…`.
    ReplayId,
    |text| token(text, "rpl_")
);
text_id!(
    /// An API key's id, `key_…`; the key itself is shown once and kept hashed.
    KeyId,
    |text| token(text, "key_")
);
text_id!(
    /// A session's id, `ses_…`; its token is shown once and kept hashed.
    SessionId,
    |text| token(text, "ses_")
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_later_than_they_reach_are_beyond_all() {
        for text in ["2300-01-01T00:00:00Z", "9999-12-30T00:00:00Z"] {
            let late: crate::time::Timestamp = text.parse().expect("an instant");
            let id = EventId::first_at(late.0);
            assert!(id > EventId::first_at(1_795_464_000_000_000) && i64::try_from(id.0).is_ok(), "{text}");
        }
    }

    #[test]
    fn ids_read_back_as_written() {
        let event = EventId::first_at(1_795_464_000_123_456);
        let delivery = DeliveryId { event, place: 1023 };
        for number in [1, 6, 1023, 1024, u16::MAX] {
            let attempt = AttemptId { delivery, number };
            assert_eq!(attempt.to_string().parse(), Ok(attempt));
        }
        assert_eq!(event.to_string().parse(), Ok(event));
        let entry = AuditId::first_at(Timestamp(1_795_464_000_123_456));
        assert_eq!((entry.to_string().parse(), entry.at().0), (Ok(entry), 1_795_464_000_123_456));
        assert_eq!(delivery.to_string().parse(), Ok(delivery));
        assert!(delivery.to_string()[4..].starts_with(&event.to_string()[4..]));
    }

    #[test]
    fn text_sorts_like_time() {
        let earlier = EventId::first_at(1_000_000).to_string();
        let later = EventId::first_at(1_000_001).to_string();
        assert!(earlier < later);
        assert!(make("wh", 1_000_000, u64::MAX) < make("wh", 1_000_002, 0));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in
            ["", "evt_", "evt_0", "evt_zzzzzzzzzzzzz", "evt_000000000000é", "dlv_0000000000000", "EVT_0000000000000"]
        {
            assert_eq!(text.parse::<EventId>(), Err(BadId), "{text}");
        }
        assert_eq!("wh_%00".parse::<WebhookId>(), Err(BadId));
        assert_eq!("a/../b".parse::<AccountId>(), Err(BadId));
        assert_eq!("".parse::<AccountId>(), Err(BadId));
    }
}
