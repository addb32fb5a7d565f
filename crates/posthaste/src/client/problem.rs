//! Problem documents (RFC 9457) as sentences.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::Value;
use url::form_urlencoded;

use crate::exit::{Exit, Stop};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    title: String,
    code: String,
    detail: Option<String>,
    request_id: Option<String>,
    errors: Vec<Fault>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Fault {
    pointer: String,
    code: String,
    detail: String,
}

/// What an account has, as its routes name it: what it is called, and what lists it.
const KINDS: [(&str, &str, &str); 6] = [
    ("webhooks", "webhook", "webhooks list"),
    ("deliveries", "delivery", "deliveries list"),
    ("events", "event", "events list"),
    ("keys", "key", "keys list"),
    ("replays", "replay", "replay list"),
    ("portal-sessions", "portal session", "portal list"),
];
/// Words of the API, and those of the command line for the same.
const WORDS: [(&str, &str); 4] = [
    ("GET /v1/event-types lists", "`posthaste event-types list` shows"),
    ("`GET /v1/event-types` lists", "`posthaste event-types list` shows"),
    ("POST /v1/accounts creates one", "`posthaste accounts list` shows those that there are"),
    ("null stands for the operator's", "default stands for the operator's"),
];

/// What is not there, or is there already, by the route that was asked for it, and what shows what there is.
fn found_or_missing(path: &str, code: &str) -> Option<String> {
    let (path, query) = path.strip_prefix("/v1/").map(|path| path.split_once('?').unwrap_or((path, "")))?;
    // A part reads like the name of a field in a query.
    let plain = |part: &str| form_urlencoded::parse(part.as_bytes()).next().map(|(name, _)| name.into_owned());
    let parts: Vec<String> = path.split('/').filter_map(plain).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    Some(match (code, &parts[..]) {
        ("account_not_found", ["accounts", account, ..]) => {
            format!("There is no account {account}: `posthaste accounts list` shows those that there are.")
        }
        ("exists", ["accounts"]) => {
            "There is an account with this id already: name another id, or change that one by `posthaste accounts edit`.".to_owned()
        }
        ("exists", ["accounts", account, "webhooks"]) => {
            format!(
                "There is a webhook with this id in account {account} already: name another, or change that one by `posthaste webhooks edit`."
            )
        }
        ("not_found", ["event-types", name]) => {
            format!("There is no event type {name}: `posthaste event-types list` shows those that there are.")
        }
        ("not_found", ["keys", id, ..]) => {
            format!(
                "There is no key {id} of the platform: `posthaste keys list --platform` shows those that there are."
            )
        }
        // The stream itself is there: what it was asked about is not.
        ("not_found", ["accounts", account, "stream"]) => {
            let (_, id) = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "webhook")?;
            format!(
                "There is no webhook {id} in account {account}, or no longer: `posthaste webhooks list` shows what there is."
            )
        }
        ("not_found", ["accounts", account, kind, id, ..]) => {
            let (_, noun, list) = KINDS.iter().find(|(part, ..)| part == kind)?;
            format!(
                "There is no {noun} {id} in account {account}, or no longer: `posthaste {list}` shows what there is."
            )
        }
        _ => return None,
    })
}

/// What a command says about the answer to a request for `path` of the server at `base` that is no success.
pub(crate) fn stop(status: u16, base: &str, path: &str, body: &[u8]) -> Stop {
    let document: Option<Value> = serde_json::from_slice(body).ok();
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    let mut said = match &problem.detail {
        Some(detail) => detail.clone(),
        None if problem.title.is_empty() => format!("The server answered with status {status}."),
        None => problem.title.clone(),
    };
    if let Some(ours) = found_or_missing(path, &problem.code) {
        said = ours;
    } else if problem.code == "not_found" {
        said = format!("Check the URL: the server has nothing at {base}{path}.");
    } else if problem.code.is_empty() && (300..500).contains(&status) {
        said = format!(
            "Check the URL: what answers at {base} with status {status} is not posthaste, or a proxy before it."
        );
    }
    if status == 401 {
        said = "Give a key that is valid here, by --key, POSTHASTE_KEY or POSTHASTE_KEY_FILE.".to_owned();
    }
    // One fault is said once: where it is all there is to say.
    let single = matches!(&problem.errors[..], [one] if one.detail == said);
    for fault in problem.errors.iter().filter(|_| !single) {
        let place = if fault.pointer.is_empty() { "the request" } else { &fault.pointer };
        let _in_memory = write!(said, "\n  {place}: {} ({})", fault.detail, fault.code);
    }
    for (api, ours) in WORDS {
        said = said.replace(api, ours);
    }
    if let (true, Some(id)) = (status >= 500, &problem.request_id) {
        let _in_memory = write!(said, "\n  The server's log has more under request id {id}.");
    }
    // Who is sent elsewhere has asked at the wrong address.
    let lasts = (300..400).contains(&status);
    Stop { exit: Exit::of_status(status), said, problem: document, retry_after: None, lasts }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_becomes_a_sentence_with_each_fault_below_it() {
        let body =
            br#"{"title":"Unprocessable","detail":"The URL cannot be used.","code":"invalid","request_id":"req_1",
            "errors":[{"pointer":"/url","code":"url_scheme","detail":"`http://x` must start with https://."}]}"#;
        let stop = stop(422, "http://x", "/v1/x", body);
        assert_eq!(stop.exit, Exit::Refused);
        assert_eq!(stop.said, "The URL cannot be used.\n  /url: `http://x` must start with https://. (url_scheme)");
        assert!(stop.problem.is_some());
    }

    #[test]
    fn answers_of_others_are_no_riddle() {
        assert_eq!(stop(502, "http://x", "/v1/x", b"<html>").said, "The server answered with status 502.");
        assert!(stop(401, "http://x", "/v1/x", b"{}").said.starts_with("Give a key that is valid here"));
    }

    #[test]
    fn what_is_not_there_is_named_with_what_lists_it() {
        let says = |path: &str, code: &str| {
            let body =
                format!(r#"{{"code":"{code}","detail":"There is no such account. POST /v1/accounts creates one."}}"#);
            stop(404, "http://x/v1", path, body.as_bytes()).said
        };
        for (path, code, said) in [
            (
                "/v1/accounts/a/webhooks/Demo%20inbox/pause",
                "not_found",
                "no webhook Demo inbox in account a, or no longer",
            ),
            ("/v1/accounts/a/deliveries/dlv_1?x=y", "not_found", "no delivery dlv_1 in account a"),
            (
                "/v1/accounts/a/stream?types=attempt&webhook=wh_1",
                "not_found",
                "no webhook wh_1 in account a, or no longer",
            ),
            ("/v1/accounts/a/replays/rpl_1", "not_found", "`posthaste replay list` shows"),
            ("/v1/accounts/a/webhooks/wh_1", "account_not_found", "no account a: `posthaste accounts list`"),
            ("/v1/accounts", "exists", "an account with this id already: name another id"),
            ("/v1/accounts/a/webhooks", "exists", "a webhook with this id in account a already"),
            ("/v1/event-types/nope", "not_found", "no event type nope"),
            ("/v1/keys/key_1", "not_found", "`posthaste keys list --platform`"),
            ("/v1/events", "account_not_found", "no such account. `posthaste accounts list`"),
            (
                "/v1/accounts/a/webhooks",
                "not_found",
                "Check the URL: the server has nothing at http://x/v1/v1/accounts/a/webhooks.",
            ),
            (
                "/v1/accounts/a/webhooks",
                "",
                "Check the URL: what answers at http://x/v1 with status 404 is not posthaste, or a proxy before it.",
            ),
        ] {
            assert!(says(path, code).contains(said), "{}", says(path, code));
        }
    }
}
