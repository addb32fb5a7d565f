//! Reading single values out of the API's JSON for a table or a sentence.

use std::time::Duration;

use domain::endpoint_url::EndpointUrl;
use domain::time::Timestamp;
use serde_json::Value;

use crate::output::span;

/// The text member `name`; empty if there is none.
pub(crate) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Where requests go, for people: a URL that `posthaste listen` stands behind says nothing to them.
pub(crate) fn place(url: &str) -> &str {
    match EndpointUrl::stored(url) {
        Ok(stored) if stored.host().listened().is_some() => "(posthaste listen)",
        Ok(_) | Err(_) => url,
    }
}

/// The texts of the list `name`, by commas.
pub(crate) fn texts(value: &Value, name: &str) -> String {
    let list = value.get(name).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).collect::<Vec<_>>().join(",")
}

/// JSON with a line for each member, in the order in which it was written.
pub(crate) fn pretty(json: &str) -> String {
    let (mut out, mut depth, mut in_text, mut escaped) = (String::new(), 0, false, false);
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.push_str(&"  ".repeat(depth));
    };
    let mut chars = json.chars().peekable();
    while let Some(c) = chars.next() {
        if in_text {
            out.push(c);
            in_text = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            ' ' | '\t' | '\n' | '\r' => {}
            '{' | '[' => {
                out.push(c);
                while chars.next_if(|next| next.is_ascii_whitespace()).is_some() {}
                if let Some(end) = chars.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            _ => {
                in_text = c == '"';
                out.push(c);
            }
        }
    }
    out
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_its_order_on_many_lines() {
        let json = r#"{"z":[1e400,"a,\"{b"], "a" : {}, "\\":[ ], "n":null}"#;
        let lines = [
            "{",
            r#"  "z": ["#,
            "    1e400,",
            r#"    "a,\"{b""#,
            "  ],",
            r#"  "a": {},"#,
            r#"  "\\": [],"#,
            r#"  "n": null"#,
            "}",
        ];
        assert_eq!(pretty(json), lines.join("\n"));
        assert_eq!(pretty(&pretty(json)), pretty(json));
    }
}
