//! How a received body differs from the one that was sent.

use serde_json::Value;

/// What happened to a body on its way into the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Difference {
    /// Nothing.
    None,
    /// The same, with white space around it.
    Trimmed,
    /// The same JSON, with spaces or line breaks between its parts.
    Spaced,
    /// The same JSON, written otherwise: numbers, escapes or the order of keys.
    Rewritten,
    /// A part of it.
    Cut,
    /// Other contents, from this byte on.
    Other {
        /// The first byte that differs, from 0.
        at: usize,
    },
}

impl Difference {
    /// Compares what was received with what was sent.
    pub(super) fn between(received: &[u8], sent: &[u8]) -> Self {
        if received == sent {
            return Self::None;
        }
        if received.trim_ascii() == sent.trim_ascii() {
            return Self::Trimmed;
        }
        if without_space(received) == without_space(sent) {
            return Self::Spaced;
        }
        let parsed = |bytes| serde_json::from_slice::<Value>(bytes).ok();
        if let (Some(received), Some(sent)) = (parsed(received), parsed(sent))
            && (received == sent || floats(&received) == floats(&sent))
        {
            return Self::Rewritten;
        }
        if sent.starts_with(received) {
            return Self::Cut;
        }
        let at = received.iter().zip(sent).position(|(a, b)| a != b).unwrap_or(sent.len().min(received.len()));
        Self::Other { at }
    }

    /// It in words.
    pub(super) fn said(&self) -> String {
        match self {
            Self::None => "exactly the bytes that we signed".to_owned(),
            Self::Trimmed => "the same, with white space around it".to_owned(),
            Self::Spaced => "the same JSON, re-serialised with other spaces".to_owned(),
            Self::Rewritten => {
                "the same JSON, re-serialised: keys, numbers or escapes are written otherwise".to_owned()
            }
            Self::Cut => "the beginning of it only: the rest was not read".to_owned(),
            Self::Other { at } => format!("other contents, from byte {at} on"),
        }
    }
}

/// Whether JSON has white space between its parts, which bodies of ours have not.
pub(super) fn is_respaced(body: &[u8]) -> bool {
    without_space(body).len() != body.len()
}

/// The bytes without the white space outside of strings.
fn without_space(json: &[u8]) -> Vec<u8> {
    let (mut inside, mut escaped) = (false, false);
    let kept = json.iter().copied().filter(|&byte| {
        let keep = inside || !byte.is_ascii_whitespace();
        if byte == b'"' && !escaped {
            inside = !inside;
        }
        escaped = inside && byte == b'\\' && !escaped;
        keep
    });
    kept.collect()
}

/// The value with every number as most languages would read it.
fn floats(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.to_string().parse::<f64>().map_or(Value::Null, |n| n.to_string().into()),
        Value::Array(values) => values.iter().map(floats).collect(),
        Value::Object(members) => members.iter().map(|(key, value)| (key.clone(), floats(value))).collect(),
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_told_apart() {
        let sent = br#"{"event":"a.b","data":{"n":1.50,"s":"x \" y"}}"#;
        let check = |received: &str, expected| {
            assert_eq!(Difference::between(received.as_bytes(), sent), expected, "{received}")
        };
        check(r#"{"event":"a.b","data":{"n":1.50,"s":"x \" y"}}"#, Difference::None);
        check("{\"event\":\"a.b\",\"data\":{\"n\":1.50,\"s\":\"x \\\" y\"}}\n", Difference::Trimmed);
        check(r#"{"event": "a.b", "data": {"n": 1.50, "s": "x \" y"}}"#, Difference::Spaced);
        check(r#"{"data":{"n":1.5,"s":"x \" y"},"event":"a.b"}"#, Difference::Rewritten);
        check(r#"{"event":"a.b","data":{"#, Difference::Cut);
        check(r#"{"event":"a.c","data":{"n":1.50,"s":"x \" y"}}"#, Difference::Other { at: 12 });
        check(r#"{"event":"a.b","data":{"n":1.50,"s":"x\" y"}}"#, Difference::Other { at: 38 });
        assert!(is_respaced(b"{\"a\": 1}") && !is_respaced(b"{\"a\":\"x y\"}"));
    }
}
