//! Redaction: what the log does not show of an event's data. What is sent, and what is kept to be sent again, is whole.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::catalogue::NESTING_MAX;
use crate::catalogue::raw_json::{Cursor, Stop, unescape};
use crate::json_pointer::JsonPointer;
use crate::refusal::Refusal;

/// The code of every refusal of a redaction.
pub const REDACT_INVALID: &str = "redact_invalid";
/// How many pointers an account may name.
pub const POINTERS_MAX: usize = 64;
/// What stands in the place of a value that is not shown.
pub const REDACTED: &str = "\"[redacted]\"";
/// The segment that means every member and every element.
const EVERY: &str = "*";

/// The values that are not shown: JSON pointers into `data`, in which `*` stands for every member or element.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redaction(Vec<JsonPointer>);

impl Redaction {
    /// Reads the list that a person or a program gives; a pointer that is there already is not added again.
    ///
    /// # Errors
    /// A refusal with [`REDACT_INVALID`] for each fault, at `/redact` or `/redact/0` and so on.
    pub fn parse(texts: &[String]) -> Result<Self, Vec<Refusal>> {
        if texts.len() > POINTERS_MAX {
            let detail = format!("`redact` has {} pointers; at most {POINTERS_MAX} are taken.", texts.len());
            return Err(vec![Refusal::new("/redact", REDACT_INVALID, detail)]);
        }
        let mut pointers: Vec<JsonPointer> = Vec::new();
        let mut refusals = Vec::new();
        for (place, text) in texts.iter().enumerate() {
            match JsonPointer::parse(text) {
                Ok(pointer) if pointers.contains(&pointer) => {}
                Ok(pointer) => pointers.push(pointer),
                Err(why) => {
                    let shown = crate::event_filter::shown(text);
                    let detail = format!("{shown} is {why}.");
                    refusals.push(Refusal::new(format!("/redact/{place}"), REDACT_INVALID, detail));
                }
            }
        }
        if refusals.is_empty() { Ok(Self(pointers)) } else { Err(refusals) }
    }

    /// Whether everything is shown.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pointers as they are written.
    pub fn texts(&self) -> impl ExactSizeIterator<Item = String> {
        self.0.iter().map(ToString::to_string)
    }

    /// `data`, which is well-formed JSON, as it is shown: every value that a pointer means is [`REDACTED`], and every other
    /// byte is as it was. Data that cannot be read is not shown at all.
    #[must_use]
    pub fn apply<'a>(&self, data: &'a [u8]) -> Cow<'a, [u8]> {
        if self.is_empty() {
            return Cow::Borrowed(data);
        }
        let hidden = || Cow::Owned(REDACTED.as_bytes().to_vec());
        let Ok(text) = std::str::from_utf8(data) else { return hidden() };
        let wanted: Vec<&[String]> = self.0.iter().map(JsonPointer::segments).collect();
        let mut found = Vec::new();
        if find(&mut Cursor::new(text), &wanted, NESTING_MAX, &mut found).is_err() {
            return hidden();
        }
        if found.is_empty() {
            return Cow::Borrowed(data);
        }
        let mut shown = Vec::with_capacity(data.len());
        let mut done = 0;
        for (start, end) in found {
            shown.extend_from_slice(&data[done..start]);
            shown.extend_from_slice(REDACTED.as_bytes());
            done = end;
        }
        shown.extend_from_slice(&data[done..]);
        Cow::Owned(shown)
    }
}

/// Consumes a value, and finds the parts of it that `wanted` means, in order and apart from each other: where each starts
/// and ends.
fn find(
    cursor: &mut Cursor<'_>,
    wanted: &[&[String]],
    depth_left: usize,
    found: &mut Vec<(usize, usize)>,
) -> Result<(), Stop> {
    let first = cursor.peek()?;
    if wanted.iter().any(|segments| segments.is_empty()) {
        let start = cursor.at();
        cursor.skip(depth_left)?;
        found.push((start, cursor.at()));
        return Ok(());
    }
    if wanted.is_empty() || !matches!(first, b'{' | b'[') {
        return cursor.skip(depth_left);
    }
    let depth_left = depth_left.checked_sub(1).ok_or(Stop::TooDeep)?;
    let is_object = first == b'{';
    let close = if is_object { b'}' } else { b']' };
    cursor.advance();
    if cursor.peek()? == close {
        cursor.advance();
        return Ok(());
    }
    let mut place = 0usize;
    loop {
        let name: Cow<'_, str> = if is_object {
            let (raw, escaped) = cursor.string()?;
            cursor.expect(b':')?;
            if escaped { Cow::Owned(unescape(raw)) } else { Cow::Borrowed(raw) }
        } else {
            Cow::Owned(place.to_string())
        };
        let below: Vec<&[String]> = wanted
            .iter()
            .filter_map(|segments| segments.split_first())
            .filter(|(segment, _)| **segment == *name || *segment == EVERY)
            .map(|(_, rest)| rest)
            .collect();
        find(cursor, &below, depth_left, found)?;
        place += 1;
        if !cursor.more(close)? {
            return Ok(());
        }
    }
}

impl Serialize for Redaction {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.texts())
    }
}

impl<'de> Deserialize<'de> for Redaction {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let texts = Vec::<String>::deserialize(d)?;
        let pointers = texts.iter().map(|text| JsonPointer::parse(text)).collect::<Result<_, _>>();
        pointers.map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
