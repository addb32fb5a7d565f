//! What can be typed about a webhook, and the JSON that it becomes.

use clap::Args;
use domain::key_pair::Signing;
use serde_json::{Map, Value, json};

use crate::exit::Stop;

/// A new webhook.
#[derive(Debug, Args)]
pub(super) struct Create {
    /// A label
    name: String,
    /// Where requests go
    url: String,
    /// Bring an id along, wh_… (platform key only)
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Bring a signing secret along, whsec_… (platform key only)
    #[arg(long, value_name = "SECRET")]
    secret: Option<String>,
    #[command(flatten)]
    fields: Fields,
}

/// A change of a webhook.
#[derive(Debug, Args)]
pub(super) struct Edit {
    /// Its id, wh_…
    pub(super) id: String,
    /// Another label
    #[arg(long)]
    name: Option<String>,
    /// Another URL
    #[arg(long)]
    url: Option<String>,
    /// Only if its ETag is still this one, as `webhooks show` has it
    #[arg(long, value_name = "ETAG")]
    pub(super) if_match: Option<String>,
    #[command(flatten)]
    fields: Fields,
}

#[derive(Debug, Default, Args)]
struct Fields {
    /// Types, groups or everything: alert.domain_matched,alert.*,* [default when created: *]
    #[arg(long, value_name = "EVENTS", value_delimiter = ',')]
    events: Vec<String>,
    /// A header that requests carry, "Name: value"; all of them have to be given
    #[arg(long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// Deadline of an attempt; "default" for the operator's
    #[arg(long, value_name = "SPAN")]
    timeout: Option<String>,
    /// Delays between attempts, such as 30s,2m; "default" for the operator's
    #[arg(long, value_name = "SPANS")]
    retry_schedule: Option<String>,
    /// Requests per second at most; "default" for no limit
    #[arg(long, value_name = "COUNT")]
    rate_limit: Option<String>,
    /// Requests in flight at most; "default" for the operator's
    #[arg(long, value_name = "COUNT")]
    max_in_flight: Option<String>,
    /// Whether HTTP/2 is offered: true or false
    #[arg(long, value_name = "BOOL")]
    http2: Option<bool>,
    /// What signs: hmac, or ed25519 for a signature that a public key checks, too
    #[arg(long, value_parser = Signing::ALL.map(Signing::as_str))]
    signing: Option<String>,
    /// First in, first out: "webhook", or a JSON pointer into data such as /customer/id; "none" for no order
    #[arg(long, value_name = "BY")]
    order: Option<String>,
}

/// What takes a value back to the operator's.
const DEFAULT: &str = "default";
/// What takes the order away.
const NO_ORDER: &str = "none";

impl Create {
    /// The body of the request.
    ///
    /// # Errors
    /// When a header or a number is none.
    pub(super) fn body(&self) -> Result<Value, Stop> {
        let mut body = self.fields.members()?;
        body.insert("name".to_owned(), json!(self.name));
        body.insert("url".to_owned(), json!(self.url));
        body.entry("events").or_insert_with(|| json!(["*"]));
        for (name, value) in [("id", &self.id), ("secret", &self.secret)] {
            if let Some(value) = value {
                body.insert(name.to_owned(), json!(value));
            }
        }
        Ok(Value::Object(body))
    }
}

impl Edit {
    /// The body of the request.
    ///
    /// # Errors
    /// When a header or a number is none, or nothing is changed.
    pub(super) fn body(&self) -> Result<Value, Stop> {
        let mut body = self.fields.members()?;
        for (name, value) in [("name", &self.name), ("url", &self.url)] {
            if let Some(value) = value {
                body.insert(name.to_owned(), json!(value));
            }
        }
        if body.is_empty() {
            return Err(Stop::usage("Say what to change, such as --url or --events; --help lists it all."));
        }
        Ok(Value::Object(body))
    }
}

impl Fields {
    fn members(&self) -> Result<Map<String, Value>, Stop> {
        let mut members = Map::new();
        let mut put = |name: &str, value: Value| members.insert(name.to_owned(), value);
        if !self.events.is_empty() {
            put("events", json!(self.events));
        }
        if !self.headers.is_empty() {
            put("headers", self.headers.iter().map(|text| header(text)).collect::<Result<Map<_, _>, _>>()?.into());
        }
        if let Some(text) = &self.timeout {
            put("timeout", if text == DEFAULT { Value::Null } else { json!(text) });
        }
        if let Some(text) = &self.retry_schedule {
            let delays: Vec<&str> = text.split(',').map(str::trim).collect();
            put("retry_schedule", if text == DEFAULT { Value::Null } else { json!(delays) });
        }
        if let Some(http2) = self.http2 {
            put("http2", json!(http2));
        }
        if let Some(signing) = &self.signing {
            put("signing", json!(signing));
        }
        if let Some(by) = &self.order {
            put("order", if by == NO_ORDER { Value::Null } else { json!({"by": by}) });
        }
        for (name, text) in [("rate_limit", &self.rate_limit), ("max_in_flight", &self.max_in_flight)] {
            if let Some(text) = text {
                put(name, count(text)?);
            }
        }
        Ok(members)
    }
}

fn header(text: &str) -> Result<(String, Value), Stop> {
    match text.split_once(':') {
        Some((name, value)) => Ok((name.trim().to_owned(), json!(value.trim()))),
        None => Err(Stop::usage(format!("Write headers as \"Name: value\", not {text:?}."))),
    }
}

fn count(text: &str) -> Result<Value, Stop> {
    if text == DEFAULT {
        return Ok(Value::Null);
    }
    text.parse::<u32>()
        .map(Value::from)
        .map_err(|_| Stop::usage(format!("Give a whole number or default, not {text:?}.")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        edit: Edit,
    }

    fn body(words: &[&str]) -> Result<Value, Stop> {
        Line::try_parse_from([&["edit", "wh_a"], words].concat()).expect("it parses").edit.body()
    }

    #[test]
    fn what_is_typed_becomes_json() {
        let words = [
            "--events",
            "alert.*,a.b",
            "--header",
            "X-Key: a: b",
            "--timeout",
            "default",
            "--retry-schedule",
            "1s, 2s",
        ];
        let expected = json!({
            "events": ["alert.*", "a.b"], "headers": {"X-Key": "a: b"}, "timeout": null, "retry_schedule": ["1s", "2s"],
        });
        assert_eq!(body(&words), Ok(expected));
        assert_eq!(
            body(&["--rate-limit", "7", "--max-in-flight", "default"]),
            Ok(json!({"rate_limit": 7, "max_in_flight": null}))
        );
        assert_eq!(body(&["--signing", "ed25519"]), Ok(json!({"signing": "ed25519"})));
    }

    #[test]
    fn an_order_is_a_word_or_a_pointer() {
        assert_eq!(body(&["--order", "/customer/id"]), Ok(json!({"order": {"by": "/customer/id"}})));
        assert_eq!(body(&["--order", "webhook"]), Ok(json!({"order": {"by": "webhook"}})));
        assert_eq!(body(&["--order", "none"]), Ok(json!({"order": null})));
    }

    #[test]
    fn nothing_to_change_and_odd_words_are_faults_of_usage() {
        for words in [&[][..], &["--header", "no colon"], &["--rate-limit", "many"]] {
            assert_eq!(body(words).map_err(|stop| stop.exit), Err(crate::exit::Exit::Usage), "{words:?}");
        }
    }
}
