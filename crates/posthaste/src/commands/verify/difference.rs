//! How a received body differs from the one that was sent.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

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
    /// Nothing of it was received.
    Empty,
    /// Other contents, from this byte on.
    Other {
        /// The first byte that differs, from 0.
        at: usize,
    },
    /// Nobody can say: the log hides values of what was sent, and no secret or key that is at hand has signed what was received.
    Hidden,
}

impl Difference {
    /// Compares what was received with what was sent.
    pub(super) fn between(received: &[u8], sent: &[u8]) -> Self {
        if received == sent {
            return Self::None;
        }
        if received.is_empty() {
            return Self::Empty;
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
            Self::Empty => "nothing of it: your copy is empty".to_owned(),
            Self::Other { at } => format!("other contents, from byte {at} on"),
            Self::Hidden => {
                "the log hides values of it (redaction), so it cannot say where your copy differs".to_owned()
            }
        }
    }
}

/// The parts of a body of ours, each as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts<'a> {
    #[serde(borrow)]
    event: &'a RawValue,
    #[serde(borrow)]
    webhook_id: &'a RawValue,
    #[serde(borrow)]
    timestamp: &'a RawValue,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// Whether it has the parts of a body of ours, and not as we put them together: with spaces between them, or in another
/// order. What stands in `data` tells nothing: that is the producer's own, spaces included.
pub(super) fn is_rewritten(body: &[u8]) -> bool {
    serde_json::from_slice(body).is_ok_and(|Parts { event, webhook_id, timestamp, data }| {
        let ours = format!(r#"{{"event":{event},"webhook_id":{webhook_id},"timestamp":{timestamp},"data":{data}}}"#);
        ours.as_bytes() != body
    })
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
    }

    #[test]
    fn a_body_that_was_written_again_is_told_by_what_is_around_its_data() {
        use domain::id::WebhookId;
        use domain::time::Timestamp;
        let webhook: WebhookId = "wh_crm".parse().expect("an id");
        let data = br#"{ "s": "x \" } y",  "n": [1.50, 2] }"#;
        let ours = domain::signature::body("alert.rule_created", &webhook, Timestamp(1_795_464_000_123_456), data);
        let ours = std::str::from_utf8(&ours).expect("text");
        assert!(!is_rewritten(ours.as_bytes()), "the spaces are the producer's: {ours}");
        let (before, data) = ours.split_once(r#","data":"#).expect("it has data");
        for other in [
            ours.replacen(':', ": ", 1),
            format!(" {ours}"),
            format!("{before},\n\"data\":{data}"),
            format!(r#"{{"data":{},{}}}"#, data.strip_suffix('}').expect("its end"), &before[1..]),
        ] {
            assert!(is_rewritten(other.as_bytes()), "{other}");
        }
        // Of what is no body of ours nothing is known.
        for other in [r#"{"domain": "a"}"#, "a b", &ours[..ours.len() - 1], r#"{ "event": "a", "extra": 1 }"#, ""] {
            assert!(!is_rewritten(other.as_bytes()), "{other}");
        }
    }
}
