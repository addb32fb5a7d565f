//! Problem documents (RFC 9457) as sentences.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::Value;

use crate::exit::{Exit, Stop};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    title: String,
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

/// What a command says about an answer that is no success.
pub(crate) fn stop(status: u16, body: &[u8]) -> Stop {
    let document: Option<Value> = serde_json::from_slice(body).ok();
    let problem: Problem = serde_json::from_slice(body).unwrap_or_default();
    let mut said = match &problem.detail {
        Some(detail) => detail.clone(),
        None if problem.title.is_empty() => format!("The server answered with status {status}."),
        None => problem.title.clone(),
    };
    if status == 401 {
        said = format!("Give a key that is valid here, by --key or POSTHASTE_KEY: {said}");
    }
    // One fault is said once: where it is all there is to say.
    let single = matches!(&problem.errors[..], [one] if one.detail == said);
    for fault in problem.errors.iter().filter(|_| !single) {
        let place = if fault.pointer.is_empty() { "the request" } else { &fault.pointer };
        let _in_memory = write!(said, "\n  {place}: {} ({})", fault.detail, fault.code);
    }
    if let (true, Some(id)) = (status >= 500, &problem.request_id) {
        let _in_memory = write!(said, "\n  The server's log has more under request id {id}.");
    }
    Stop { exit: Exit::of_status(status), said, problem: document, retry_after: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_becomes_a_sentence_with_each_fault_below_it() {
        let body =
            br#"{"title":"Unprocessable","detail":"The URL cannot be used.","code":"invalid","request_id":"req_1",
            "errors":[{"pointer":"/url","code":"url_scheme","detail":"`http://x` must start with https://."}]}"#;
        let stop = stop(422, body);
        assert_eq!(stop.exit, Exit::Refused);
        assert_eq!(stop.said, "The URL cannot be used.\n  /url: `http://x` must start with https://. (url_scheme)");
        assert!(stop.problem.is_some());
    }

    #[test]
    fn answers_of_others_are_no_riddle() {
        assert_eq!(stop(502, b"<html>").said, "The server answered with status 502.");
        assert!(stop(401, b"{}").said.starts_with("Give a key that is valid here"));
    }
}
