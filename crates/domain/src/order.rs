//! Order, for webhooks that ask for it: first in, first out, over all their events or over those with the same key.
//!
//! The key is read from the producer's own bytes. Two events have the same key if the pointer finds equal text, or the same
//! value as it is written: `1` and `1.0` are two keys.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde::{Deserialize, Serialize};

use crate::catalogue::NESTING_MAX;
use crate::catalogue::raw_json::{Cursor, Stop, unescape};
use crate::json_pointer::{BadPointer, JsonPointer};

/// What stands for "all events of the webhook".
const BY_WEBHOOK: &str = "webhook";

/// In which order a webhook gets its events: the next event of a key is sent once the one before it has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Order {
    /// Where an event's key is; `None` for one key over the whole webhook.
    pointer: Option<JsonPointer>,
}

/// What events have in common that keep their order: a hash, so two keys may in rare cases wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderKey(u64);

impl OrderKey {
    /// The key of all events where the order is by webhook, and of those in which the pointer finds nothing.
    pub const NONE: Self = Self(0);
}

/// Not an order; the text says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is \"webhook\", or a JSON pointer into data; {shown:?} is {why}")]
pub struct BadOrder {
    shown: String,
    why: BadPointer,
}

impl Order {
    /// Reads `webhook`, or a JSON pointer (RFC 6901) such as `/customer/id`.
    ///
    /// # Errors
    /// When it is neither, or longer than 256 bytes.
    pub fn parse(by: &str) -> Result<Self, BadOrder> {
        if by == BY_WEBHOOK {
            return Ok(Self { pointer: None });
        }
        match JsonPointer::parse(by) {
            Ok(pointer) => Ok(Self { pointer: Some(pointer) }),
            Err(why) => Err(BadOrder { shown: by.chars().take(40).collect(), why }),
        }
    }

    /// The order as [`Self::parse`] reads it.
    #[must_use]
    pub fn by(&self) -> String {
        self.pointer.as_ref().map_or_else(|| BY_WEBHOOK.to_owned(), JsonPointer::to_string)
    }

    /// Whether keys are read from events; otherwise all have the same.
    #[must_use]
    pub const fn reads_data(&self) -> bool {
        self.pointer.is_some()
    }

    /// The key of an event with this `data`. Where the pointer finds nothing, or null, that is [`OrderKey::NONE`].
    #[must_use]
    pub fn key(&self, data: &[u8]) -> OrderKey {
        let Some(names) = self.pointer.as_ref().map(JsonPointer::segments) else { return OrderKey::NONE };
        // What was accepted is well-formed; should it not be, it has no key.
        std::str::from_utf8(data).ok().and_then(|text| find(Cursor::new(text), names).ok().flatten()).map_or(
            OrderKey::NONE,
            |value| {
                let mut hasher = DefaultHasher::new();
                value.hash(&mut hasher);
                OrderKey(hasher.finish().max(1))
            },
        )
    }
}

impl TryFrom<String> for Order {
    type Error = BadOrder;

    fn try_from(text: String) -> Result<Self, BadOrder> {
        Self::parse(&text)
    }
}

impl From<Order> for String {
    fn from(order: Order) -> Self {
        order.by()
    }
}

/// A value by which events are told apart.
#[derive(Hash)]
enum Found {
    Text(String),
    /// A number, a truth value, an object or a list, as it is written.
    Written(String),
}

/// The value to which the names lead from where `at` stands; null counts as nothing.
fn find(mut at: Cursor<'_>, names: &[String]) -> Result<Option<Found>, Stop> {
    let first = at.peek()?;
    let Some((name, names)) = names.split_first() else {
        if first == b'"' {
            let (raw, escaped) = at.string()?;
            return Ok(Some(Found::Text(if escaped { unescape(raw) } else { raw.to_owned() })));
        }
        let start = at.clone();
        at.skip(NESTING_MAX)?;
        let written = at.since(&start)?;
        return Ok((written != "null").then(|| Found::Written(written.to_owned())));
    };
    let inner = match first {
        b'{' => member(at, name)?,
        b'[' => item(at, name)?,
        _ => None,
    };
    inner.map_or(Ok(None), |inner| find(inner, names))
}

/// Where the value of an object's member starts; of equal names the last one counts.
fn member<'a>(mut at: Cursor<'a>, name: &str) -> Result<Option<Cursor<'a>>, Stop> {
    let mut found = None;
    at.advance();
    if at.peek()? == b'}' {
        return Ok(None);
    }
    loop {
        at.peek()?;
        let (raw, escaped) = at.string()?;
        at.expect(b':')?;
        if if escaped { unescape(raw) == name } else { raw == name } {
            found = Some(at.clone());
        }
        at.skip(NESTING_MAX)?;
        if !at.more(b'}')? {
            return Ok(found);
        }
    }
}

/// Where an item of a list starts; it is named by its place, from 0 on.
fn item<'a>(mut at: Cursor<'a>, name: &str) -> Result<Option<Cursor<'a>>, Stop> {
    let plain = name == "0" || (!name.starts_with('0') && name.bytes().all(|byte| byte.is_ascii_digit()));
    let Some(place) = name.parse::<usize>().ok().filter(|_| plain) else { return Ok(None) };
    at.advance();
    if at.peek()? == b']' {
        return Ok(None);
    }
    for _ in 0..place {
        at.skip(NESTING_MAX)?;
        if !at.more(b']')? {
            return Ok(None);
        }
    }
    at.peek()?;
    Ok(Some(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn key(by: &str, data: &str) -> OrderKey {
        Order::parse(by).expect("an order").key(data.as_bytes())
    }

    #[test]
    fn what_is_an_order() {
        for by in ["webhook", "/", "/a", "/customer/id", "/a~0b~1c/0", "//"] {
            assert_eq!(Order::parse(by).map(|order| order.by()), Ok(by.to_owned()));
        }
        for by in ["", "Webhook", "customer", "#/a", "/a~", "/a~2", "/~é"] {
            assert!(Order::parse(by).is_err(), "{by}");
        }
        assert!(Order::parse(&format!("/{}", "a".repeat(256))).is_err());
        let stored = serde_json::to_string(&Order::parse("/a/b").expect("an order")).expect("JSON");
        assert_eq!(stored, r#""/a/b""#);
        assert_eq!(serde_json::from_str::<Order>(&stored).ok(), Order::parse("/a/b").ok());
    }

    #[test]
    fn equal_values_have_equal_keys() {
        let by = "/customer/id";
        let one = key(by, r#"{"customer":{"id":"c1"}}"#);
        assert_ne!(one, OrderKey::NONE);
        for same in [
            r#" { "x" : [1, {"id":"c2"}], "customer" : { "name": "\"}", "id" : "c1" } } "#,
            r#"{"customer":{"id":"\u00631"}}"#,
            r#"{"customer":{"i\u0064":"c1"}}"#,
            r#"{"customer":7,"customer":{"id":"c2","id":"c1"}}"#,
        ] {
            assert_eq!(key(by, same), one, "{same}");
        }
        for other in [r#"{"customer":{"id":"c2"}}"#, r#"{"customer":{"id":["c1"]}}"#] {
            assert_ne!(key(by, other), one, "{other}");
        }
        assert_ne!(key("/n", r#"{"n":1}"#), key("/n", r#"{"n":"1"}"#));
        assert_ne!(key("/n", r#"{"n":1}"#), key("/n", r#"{"n":1.0}"#));
        assert_eq!(key("/n", r#"{"n":1e400}"#), key("/n", r#"{ "n" : 1e400 }"#));
        assert_eq!(key("/list/1", r#"{"list":[0,"a",2]}"#), key("/list/1", r#"{"list":["b","a"]}"#));
    }

    #[test]
    fn where_nothing_is_found_there_is_one_key() {
        for data in [
            "{}",
            "[]",
            "7",
            "null",
            r#""customer""#,
            r#"{"customer":null}"#,
            r#"{"customer":{"id":null}}"#,
            r#"{"customer":"id"}"#,
            r#"{"customer":[{"id":1}]}"#,
            r#"{"Customer":{"id":1}}"#,
            "{broken",
        ] {
            assert_eq!(key("/customer/id", data), OrderKey::NONE, "{data}");
        }
        for by in ["/l/2", "/l/-", "/l/01", "/l/+1", "/l/99999999999999999999999"] {
            assert_eq!(key(by, r#"{"l":[1,2]}"#), OrderKey::NONE, "{by}");
        }
        assert_eq!(key("webhook", r#"{"a":1}"#), key("webhook", r#"{"a":2}"#));
    }

    proptest! {
        #[test]
        fn finds_what_serde_json_finds(names in prop::collection::vec("[a-c/~0-1]{0,2}", 1..4), other in "[a-c]{1,2}", n in 0u32..5) {
            let mut data = json!(n);
            for name in names.iter().rev() {
                data = json!({ name: data, format!("{other}-"): [{"x": null}, "]}"] });
            }
            let by: String = names.iter().map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1"))).collect();
            let text = data.to_string();
            prop_assert_eq!(data.pointer(&by), Some(&Value::from(n)));
            let order = Order::parse(&by).expect("an order");
            let found = find(Cursor::new(&text), order.pointer.as_ref().expect("a pointer").segments()).expect("well-formed");
            prop_assert!(matches!(found, Some(Found::Written(written)) if written == n.to_string()));
        }
    }
}
