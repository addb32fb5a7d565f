//! Reading single values out of the API's JSON for a table or a sentence.

use std::time::Duration;

use domain::time::Timestamp;
use serde_json::Value;

use crate::output::span;

/// The text member `name`; empty if there is none.
pub(crate) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The texts of the list `name`, by commas.
pub(crate) fn texts(value: &Value, name: &str) -> String {
    let list = value.get(name).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).collect::<Vec<_>>().join(",")
}

/// The whole number `name`.
pub(crate) fn number(value: &Value, name: &str) -> Option<u64> {
    value.get(name).and_then(Value::as_u64)
}

/// The instant `name`, in the local time zone; `–` if there is none.
pub(crate) fn instant(value: &Value, name: &str) -> String {
    timestamp(value, name).map_or_else(|| "–".to_owned(), span::day_and_time)
}

/// The instant `name`.
pub(crate) fn timestamp(value: &Value, name: &str) -> Option<Timestamp> {
    text(value, name).parse().ok()
}

/// The milliseconds `name`, as a person says them.
pub(crate) fn milliseconds(value: &Value, name: &str) -> Option<String> {
    let ms = value.get(name)?.as_f64()?;
    Some(span::spoken(Duration::try_from_secs_f64(ms / 1_000.0).ok()?))
}
