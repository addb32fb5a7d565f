//! The inbox's routes: receiving, looking, and the answer switch.

use std::convert::Infallible;

use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use serde::Deserialize;
use serde_json::json;

use crate::inbox::Inbox;
use crate::inbox::answer::{Answer, Reply};
use crate::inbox::log::Received;
use crate::inbox::verdict::{Came, Verdict};

/// The largest body that is read: above any event that can be accepted.
const BODY_MAX: usize = 1 << 20;
/// How many requests a list shows.
const SHOWN: usize = 100;

type Out = Response<Full<Bytes>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Switch {
    answer: Answer,
}

impl Inbox {
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Result<Out, Infallible> {
        let (head, body) = request.into_parts();
        let Ok(body) = Limited::new(body, BODY_MAX).collect().await.map(http_body_util::Collected::to_bytes) else {
            return Ok(json_answer(StatusCode::PAYLOAD_TOO_LARGE, &json!({"error": "at most 1 MiB, please"})));
        };
        let mut parts = head.uri.path().trim_matches('/').splitn(3, '/');
        let (place, name, what) = (parts.next(), parts.next().unwrap_or_default(), parts.next());
        if place != Some("inbox") || !self.boxes.contains_key(name) {
            return Ok(self.not_found());
        }
        Ok(match (&head.method, what) {
            // A look before a URL is saved is no request that was received.
            (&Method::GET | &Method::HEAD, None | Some("requests")) => self.list(name),
            (&Method::GET, Some("answer")) => self.show_answer(name),
            (&Method::PUT, Some("answer")) => self.switch(name, &body),
            (_, None) => send(self.receive(name, &head.headers, &body)).await,
            _ => self.not_found(),
        })
    }

    fn receive(&self, name: &str, headers: &HeaderMap, body: &Bytes) -> Reply {
        let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
        let ours = |name: &str| text(&format!("{}-{name}", self.headers_start));
        let [page, id, timestamp, signatures] =
            [&self.signature_header, "webhook-id", "webhook-timestamp", "webhook-signature"].map(text);
        let came = Came {
            body,
            page: page.as_deref(),
            id: id.as_deref().unwrap_or_default(),
            timestamp: timestamp.as_deref().unwrap_or_default(),
            signatures: signatures.as_deref().unwrap_or_default(),
        };
        let signature = Verdict::of(&came, &*self.signers);
        let lossy = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let received = Received {
            number: 0,
            received_at: self.clock.now(),
            headers: headers.iter().map(|(name, value)| (name.to_string(), lossy(value))).collect(),
            body: String::from_utf8_lossy(body).into_owned(),
            event: ours("event"),
            delivery: ours("delivery"),
            attempt: ours("attempt").and_then(|number| number.parse().ok()),
            signature,
            signature_said: signature.said(),
            answered: None,
        };
        self.log(name).map_or(Answer::Gone.reply(1), |mut log| log.take(received))
    }

    fn list(&self, name: &str) -> Out {
        let (requests, answer) = match self.log(name) {
            Some(log) => (log.latest(SHOWN), log.answer()),
            None => return self.not_found(),
        };
        json_answer(StatusCode::OK, &json!({"inbox": name, "answer": answer, "data": requests}))
    }

    fn show_answer(&self, name: &str) -> Out {
        let Some(answer) = self.log(name).map(|log| log.answer()) else { return self.not_found() };
        json_answer(StatusCode::OK, &json!({"answer": answer, "said": answer.said()}))
    }

    fn switch(&self, name: &str, body: &[u8]) -> Out {
        match serde_json::from_slice::<Switch>(body) {
            Ok(Switch { answer }) => {
                if let Some(mut log) = self.log(name) {
                    log.switch(answer);
                }
                self.show_answer(name)
            }
            Err(_) => {
                let said = format!("send {{\"answer\": …}} with one of {}", Answer::NAMES);
                json_answer(StatusCode::UNPROCESSABLE_ENTITY, &json!({"error": said}))
            }
        }
    }

    fn not_found(&self) -> Out {
        let paths: Vec<String> = self.boxes.keys().map(|name| format!("/inbox/{name}")).collect();
        let said = "post to one of these; GET …/requests lists what came, PUT …/answer switches the answer";
        json_answer(StatusCode::NOT_FOUND, &json!({"error": said, "inboxes": paths}))
    }
}

async fn send(reply: Reply) -> Out {
    if !reply.after.is_zero() {
        tokio::time::sleep(reply.after).await;
    }
    let mut response = Response::new(Full::from(reply.body));
    // Who still waits when a hang ends gets the answer of a proxy that gave up.
    *response.status_mut() =
        reply.status.and_then(|status| StatusCode::from_u16(status).ok()).unwrap_or(StatusCode::GATEWAY_TIMEOUT);
    if let Some(seconds) = reply.retry_after {
        response.headers_mut().insert("retry-after", http::HeaderValue::from_static(seconds));
    }
    response
}

fn json_answer(status: StatusCode, value: &serde_json::Value) -> Out {
    let mut response = Response::new(Full::from(format!("{value:#}\n")));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    response
}
