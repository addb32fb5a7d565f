//! How cases are made: something sound, changed in a few places by chance.

use serde_json::{Value, json};

use crate::table::EXAMPLE;

/// No case is longer.
const LENGTH_MAX: usize = 256 * 1024;

/// What is put in by chance, beside chance itself.
pub(super) mod pieces {
    /// Into requests.
    pub(in super::super) const REQUEST: &[&[u8]] = &[
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"\0",
        b":",
        b"\"",
        b"\\",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b"%",
        b"%00",
        b"%ff",
        b"\\u0000",
        b"\\ud800",
        b"1e400",
        b"-0",
        b"9007199254740993",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"Content-Length: 5\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Expect: 100-continue\r\n",
        b"Host: other\r\n",
        b"HTTP/1.0",
        b"HTTP/2.0",
        b"Idempotency-Key: k\r\n",
        b"Upgrade: h2c\r\n",
        b"Connection: upgrade\r\n",
        b"..",
        b"/",
        b"?",
        b"&",
        b"=",
        b" ",
        b"\t",
        b"ffffffffffffffff\r\n",
        b"0\r\n\r\n",
        b"null",
        b"true",
    ];
    /// Into texts.
    pub(in super::super) const TEXT: &[&[u8]] = &[
        b"//",
        b"@",
        b":",
        b"#",
        b"?",
        b"[::1]",
        b"[",
        b"]",
        b"%",
        b"%2e",
        b"%00",
        b"..",
        b".",
        b"*",
        b"\\",
        b" ",
        b"\t",
        b"\n",
        b"\r\n",
        b"\0",
        "\u{202e}".as_bytes(),
        "\u{feff}".as_bytes(),
        "ß".as_bytes(),
        "。".as_bytes(),
        "𝟏".as_bytes(),
        b"0x7f",
        b"017700000001",
        b"xn--",
        b"https://",
        b"-",
        b"_",
        b",",
        b"=",
        b"<",
        b">",
        b"!",
        b"(",
        b")",
        b"99999999999999999999",
        b"-1",
        b"1e9",
        b"P1D",
        b"24h",
        b"\"",
        b"'",
    ];
    /// Into answers.
    pub(in super::super) const ANSWER: &[&[u8]] = &[
        b"\r\n",
        b"\r\n\r\n",
        b"\n",
        b"\r",
        b"\0",
        b":",
        b" ",
        b"\t",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101 X\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0",
        b"HTTP/9.9",
        b"ICY 200",
        b"Content-Length: 0\r\n",
        b"Content-Length: 18446744073709551616\r\n",
        b"Content-Length: -1\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Retry-After: 99999999999\r\n",
        b"Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n",
        b"Connection: keep-alive\r\n",
        b"Set-Cookie: a=b\r\n",
        b"0\r\n\r\n",
        b"ffffffffffffffff\r\n",
        b";ext=\"",
        b"\xff",
        b"999",
        b"099",
        b"+200",
    ];
    /// Into replies of a name server.
    pub(in super::super) const REPLY: &[&[u8]] = &[
        b"\xc0\x0c",
        b"\xc0\xff",
        b"\xff\xff",
        b"\x00",
        b"\x00\x05",
        b"\x00\x1c",
        b"\x00\x29",
        b"\x00\x10",
        b"\x00\x21",
        b"\x3f",
        b"\x40",
        b"\x80",
    ];
}

/// What is done to one case: always the same for the same seed and number.
pub(super) struct Mutation {
    pub(super) seed: u64,
    pub(super) case: u64,
    chance: fastrand::Rng,
}

impl Mutation {
    pub(super) fn of(seed: u64, case: u64) -> Self {
        let mut mixed = fastrand::Rng::with_seed(seed);
        Self { seed, case, chance: fastrand::Rng::with_seed(mixed.u64(..) ^ case.wrapping_mul(0x9e37_79b9_7f4a_7c15)) }
    }

    /// One of these, changed.
    pub(super) fn of_one(&mut self, seeds: &[Vec<u8>], pieces: &[&[u8]]) -> Vec<u8> {
        let mut bytes = seeds[self.chance.usize(..seeds.len())].clone();
        for _ in 0..self.chance.usize(1..=4) {
            self.change(&mut bytes, seeds, pieces);
        }
        bytes.truncate(LENGTH_MAX);
        bytes
    }

    /// The same for a text; what is no UTF-8 any more is replaced.
    pub(super) fn of_text(&mut self, seeds: &[&str]) -> String {
        let seeds: Vec<Vec<u8>> = seeds.iter().map(|text| text.as_bytes().to_vec()).collect();
        String::from_utf8_lossy(&self.of_one(&seeds, pieces::TEXT)).into_owned()
    }

    fn change(&mut self, bytes: &mut Vec<u8>, seeds: &[Vec<u8>], pieces: &[&[u8]]) {
        let chance = &mut self.chance;
        let at = chance.usize(..=bytes.len());
        let longest = chance.usize(1..=64);
        let end = (at + chance.usize(..=longest)).min(bytes.len());
        let piece = pieces[chance.usize(..pieces.len())];
        match chance.u8(..9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << chance.u8(..8),
            1 if at < bytes.len() => bytes[at] = chance.u8(..),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let again = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, again));
            }
            4 => drop(bytes.splice(at..at, piece.iter().copied())),
            5 => {
                let many = chance.usize(2..400);
                drop(bytes.splice(at..at, piece.repeat(many)));
            }
            6 => bytes.truncate(at),
            7 => {
                let other = &seeds[chance.usize(..seeds.len())];
                let from = chance.usize(..=other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => drop(bytes.splice(at..end, piece.iter().copied())),
        }
    }
}

/// A sound event, with more members than its type asks for.
pub(super) fn event(account: &str, more: &str) -> String {
    format!(r#"{{"account":"{account}","event":"watchlist.domain_changed","data":{{{EXAMPLE},{more}}}}}"#)
}

/// Sound requests, called with `key`.
pub(super) fn requests(key: &str) -> Vec<Vec<u8>> {
    let event = event("default", r#""n":1,"list":[null,true,1.5e3,"\u00e9"]"#);
    let webhook = json!({"name": "fuzz", "url": "https://example.com/hook?a=b", "events": ["watchlist.*"], "headers": {"X-Key": "a b"}, "rate_limit": 5});
    let ndjson = format!("{event}\n{event}\n");
    let with = |line: &str, more: &str, body: &str| {
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {key}\r\n{more}{length}\r\n{body}").into_bytes()
    };
    let json = "Content-Type: application/json\r\n";
    let chunked = format!("{:x}\r\n{event}\r\n0\r\nX-Trailer: a\r\n\r\n", event.len());
    let mut all = vec![
        with("POST /v1/events", json, &event),
        with("POST /v1/events", &format!("{json}Idempotency-Key: fuzz\r\n"), &event),
        with("POST /v1/events", json, &format!("[{event},{event}]")),
        with("POST /v1/events", "Content-Type: application/x-ndjson\r\n", &ndjson),
        with("POST /v1/accounts/default/webhooks", json, &webhook.to_string()),
        with("GET /v1/accounts/default/webhooks?limit=10", "", ""),
        with(
            "GET /v1/accounts/default/deliveries?status=failed,pending&event=alert.*&since=24h&q=a%20b&limit=5",
            "",
            "",
        ),
        with("GET /v1/accounts/default/events?limit=2", "Accept: text/html\r\nRange: bytes=0-1\r\n", ""),
        with("GET /", "Cookie: posthaste=x; a=b\r\nAccept-Encoding: gzip, br\r\nIf-None-Match: \"x\"\r\n", ""),
        with("GET /openapi.json", "Origin: https://example.com\r\n", ""),
        with("PATCH /v1/accounts/default", json, &json!({"name": "fuzz"}).to_string()),
    ];
    let mut head = with("POST /v1/events", &format!("{json}Transfer-Encoding: chunked\r\n"), "");
    head.extend_from_slice(chunked.as_bytes());
    all.push(head);
    all
}

/// A request that is sound but for one text in it: method, path, body. Nothing is sent to the webhooks: no event comes to their account.
pub(super) fn text_request(mutation: &mut Mutation) -> (&'static str, String, Vec<u8>) {
    let webhooks = "/v1/accounts/default/webhooks".to_owned();
    let urls = [
        "https://user@example.com:8443/a/b?c=d#e",
        "https://1.2.3.4/",
        "https://[2001:db8::1]/x",
        "https://bücher.example/ü",
    ];
    let filters = [
        "status=failed&event=alert.*",
        "since=2026-01-02T03:04:05.123456Z&until=1h",
        "code=5xx&error=response_timeout",
        "q=a+b&cursor=abc&limit=10",
    ];
    let mut webhook = json!({"name": "fuzz", "url": "https://example.com/hook", "events": ["*"]});
    match mutation.case % 6 {
        0 => webhook["url"] = Value::from(mutation.of_text(&urls)),
        1 => webhook["events"] = json!([mutation.of_text(&["alert.rule_created", "watchlist.*", "*"])]),
        2 => {
            webhook["headers"] =
                json!({mutation.of_text(&["X-Key", "Authorization"]): mutation.of_text(&["a b", "Bearer x"])})
        }
        3 => {
            let query: String = mutation.of_text(&filters).bytes().map(escaped).collect();
            return ("GET", format!("/v1/accounts/default/deliveries?{query}"), Vec::new());
        }
        4 => {
            let document = [
                r#"{"a":[1,-2.5e10,"x\u00e9\n",{"b":null}],"c":true}"#,
                r#"[[[["deep"]]]]"#,
                r#""text""#,
                "12345678901234567890.5",
            ];
            let data = mutation.of_text(&document);
            return ("POST", "/v1/events".to_owned(), event("quiet", &format!(r#""more":{data}"#)).into_bytes());
        }
        _ => webhook["name"] = Value::from(mutation.of_text(&["a name", "emoji \u{1f600} \u{202e}rtl"])),
    }
    ("POST", webhooks, webhook.to_string().into_bytes())
}

/// A byte as a query may hold it; what means something there stays.
fn escaped(byte: u8) -> String {
    match byte {
        b'!'..=b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02x}"),
    }
}

/// Sound answers of receivers.
pub(super) fn answers() -> Vec<Vec<u8>> {
    [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 500 Internal Server Error\r\nTransfer-Encoding: chunked\r\n\r\n4;a=b\r\nbody\r\n0\r\nX-T: y\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429 Too Many\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nuntil the end",
        "HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\n\u{1f}\u{8b}abc",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect()
}
