//! The platform's part: accounts with their webhooks, and events for them at a fixed rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use hyper::Method;
use serde_json::json;

use super::pool::{Pool, at_pace, read};
use super::receivers::{Receiver, nobody};
use super::tally::Tally;
use crate::bench::{Failed, event};

/// The type that goes to all who never answer well: rare, since a webhook that keeps failing is sent one request after the
/// other.
const RARE: &str = "enrichment.failed";
/// Events per second of an account that are of that type.
const RARE_PER_SECOND: f64 = 0.1;
/// Every so many requests is a batch of this many events.
const BATCH: (u64, u64) = (40, 20);
/// Requests with events at once.
const REQUESTS_MAX: usize = 256;
/// So many accounts keep a bounded number of bytes.
const BOUNDED_ONE_IN: u64 = 4;

/// What posts the events.
pub(super) struct Platform {
    pub(super) pool: Arc<Pool>,
    pub(super) tally: Arc<Tally>,
    pub(super) accounts: u64,
    pub(super) rate: u32,
    /// The types with their examples; the rare one is apart.
    samples: Vec<(String, String)>,
    rare: Vec<(String, String)>,
    next: AtomicU64,
}

/// How the ids of the webhooks begin that get all events of their account and answer well: what goes to them is never cancelled.
pub(super) const STEADY: &str = "wh_steady_";

/// The id of the n-th account.
pub(super) fn account(n: u64) -> String {
    format!("soak-{n}")
}

impl Platform {
    pub(super) fn new(pool: Arc<Pool>, tally: Arc<Tally>, accounts: u64, rate: u32) -> Arc<Self> {
        let (rare, samples) =
            crate::bench::samples(usize::MAX).iter().cloned().partition(|(name, _)| name.as_str() == RARE);
        Arc::new(Self { pool, tally, accounts, rate, samples, rare, next: AtomicU64::new(0) })
    }

    /// Makes the accounts, each with the same webhooks: one gets all events and answers well, others do not.
    ///
    /// # Errors
    /// What keeps any of them from being made.
    pub(super) async fn settle(&self, plain: &Receiver, tls: &Receiver) -> Result<(), Failed> {
        let nobody = nobody()?;
        for n in 0..self.accounts {
            let account = account(n);
            let mut about = json!({"id": account, "name": format!("Soak {n}")});
            if n % BOUNDED_ONE_IN == 0 {
                about["retention_size"] = json!("2MiB");
            }
            self.make("/v1/accounts", &about).await?;
            let path = format!("/v1/accounts/{account}/webhooks");
            for webhook in [
                // By TLS, in order and signed with ed25519 for some.
                json!({"name": "steady", "id": format!("{STEADY}{n}"), "url": tls.url("steady"), "events": ["*"], "max_in_flight": 50,
                    "signing": if n.is_multiple_of(3) { "ed25519" } else { "hmac" }}),
                json!({"name": "flaky", "url": plain.url("flaky"), "events": ["sequence.*"]}),
                json!({"name": "ordered", "url": plain.url("flaky"), "events": ["watchlist.*"], "order": {"by": "webhook"},
                    "retry_schedule": ["100ms", "200ms", "400ms"]}),
                json!({"name": "large", "url": tls.url("large"), "events": ["enrichment.completed"]}),
                json!({"name": "slow", "url": plain.url("slow"), "events": ["alert.*"], "rate_limit": 20,
                    "headers": {"X-Soak": "yes"}}),
                json!({"name": "failing", "url": plain.url("failing"), "events": [RARE]}),
                json!({"name": "gone", "url": plain.url("gone"), "events": [RARE]}),
                json!({"name": "hanging", "url": tls.url("hang"), "events": [RARE], "timeout": "1s"}),
                json!({"name": "cutting", "url": plain.url("cut"), "events": [RARE]}),
                json!({"name": "nobody", "url": nobody, "events": [RARE]}),
            ] {
                self.make(&path, &webhook).await?;
            }
        }
        Ok(())
    }

    async fn make(&self, path: &str, what: &serde_json::Value) -> Result<(), Failed> {
        let answer = self.pool.json(Method::POST, path, what).await?;
        if answer.status.is_success() {
            return Ok(());
        }
        Err(Failed(format!("POST {path}: {} {}", answer.status, read(&answer))))
    }

    /// Posts events until no more is asked for.
    pub(super) async fn post(self: Arc<Self>) {
        let events_of_round = (BATCH.0 - 1 + BATCH.1) as f64;
        let gap = Duration::from_secs_f64(events_of_round / BATCH.0 as f64 / f64::from(self.rate));
        at_pace(Arc::clone(&self.tally), gap, REQUESTS_MAX, |n| {
            let platform = Arc::clone(&self);
            async move {
                match n {
                    _ if n % BATCH.0 == BATCH.0 - 1 => platform.batch(n).await,
                    _ if n % 97 == 11 => platform.wrong().await,
                    _ if n % 16 == 5 => platform.with_key(n).await,
                    _ => platform.one().await,
                }
            }
        })
        .await;
    }

    /// The next event: its number, and the request's body.
    fn next(&self) -> (u64, Bytes) {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let account = account(n % self.accounts);
        // The n-th event of its account.
        let nth = n / self.accounts;
        let each = (f64::from(self.rate) / self.accounts as f64 / RARE_PER_SECOND).max(2.0) as u64;
        let (samples, at) =
            if nth % each == n % self.accounts % each { (&self.rare, 0) } else { (&self.samples, nth as usize) };
        let event = event_numbered(samples, at, n);
        let mut body = BytesMut::from(format!(r#"{{"account":"{account}","#).as_bytes());
        body.put(event.slice(1..));
        (n, body.freeze())
    }

    async fn one(&self) -> Result<(), Failed> {
        let (n, body) = self.next();
        let answer = self.pool.ask(Method::POST, "/v1/events", &[], body).await?;
        if self.tally.fits("events posted alone", &answer, &[202]) {
            self.tally.accepted(n);
        }
        Ok(())
    }

    /// One with a key, and the same once more: it has to get the same answer.
    async fn with_key(&self, nth: u64) -> Result<(), Failed> {
        let (n, body) = self.next();
        let key = format!("soak-{n}");
        let headers = [("idempotency-key", key.as_str())];
        let ask = || self.pool.ask(Method::POST, "/v1/events", &headers, body.clone());
        let first = ask().await?;
        if !self.tally.fits("events posted with a key", &first, &[202]) {
            return Ok(());
        }
        self.tally.accepted(n);
        if nth % 64 == 5 {
            let again = ask().await?;
            let fits = self.tally.fits("events posted with the same key again", &again, &[202]);
            if fits && read(&again)["id"] != read(&first)["id"] {
                self.tally.fault(format!("the same key got {} and then {}", read(&first), read(&again)));
            }
        }
        Ok(())
    }

    /// A batch, as an array or as lines.
    async fn batch(&self, nth: u64) -> Result<(), Failed> {
        let events: Vec<_> = (0..BATCH.1).map(|_| self.next()).collect();
        let lines = (nth / BATCH.0).is_multiple_of(2);
        let (before, between, after) = if lines { ("", &b"\n"[..], "") } else { ("[", &b","[..], "]") };
        let mut body = BytesMut::from(before);
        for (place, (_, event)) in events.iter().enumerate() {
            if place > 0 {
                body.put(between);
            }
            body.put(event.clone());
        }
        body.put(after.as_bytes());
        let kind = if lines { "application/x-ndjson" } else { "application/json" };
        let answer = self.pool.ask(Method::POST, "/v1/events", &[("content-type", kind)], body.freeze()).await?;
        if !self.tally.fits("batches", &answer, &[200]) {
            return Ok(());
        }
        let results = read(&answer);
        let results = results["results"].as_array().cloned().unwrap_or_default();
        if results.len() != events.len() {
            self.tally.fault(format!("a batch of {} got {} results", events.len(), results.len()));
        }
        for ((n, _), result) in events.iter().zip(&results) {
            match result["status"].as_u64() {
                Some(202) => self.tally.accepted(*n),
                Some(429 | 503) => {
                    self.tally.refused.fetch_add(1, Ordering::Relaxed);
                }
                _ => self.tally.fault(format!("an event of a batch got {result}")),
            }
        }
        Ok(())
    }

    /// One that has to be refused.
    async fn wrong(&self) -> Result<(), Failed> {
        let body = Bytes::from_static(br#"{"account":"soak-0","event":"no.such_type","data":{"bench":1}}"#);
        let answer = self.pool.ask(Method::POST, "/v1/events", &[], body).await?;
        self.tally.fits("events of no type", &answer, &[422]);
        Ok(())
    }
}

/// An event of the `at`-th sample that carries the number `n`.
fn event_numbered(samples: &[(String, String)], at: usize, n: u64) -> Bytes {
    let one = std::slice::from_ref(&samples[at % samples.len()]);
    event(one, n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::load::Target;
    use crate::bench::number;

    #[test]
    fn events_are_numbered_and_few_are_of_the_rare_type() {
        let target = Target { address: ([127, 0, 0, 1], 1).into(), path: "/", key: None };
        let platform = Platform::new(Pool::new(target), Arc::default(), 20, 200);
        let mut rare = 0;
        for n in 0..20_000 {
            let (found, body) = platform.next();
            let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!((found, number(body["data"].to_string().as_bytes())), (n, Some(n)));
            assert_eq!(body["account"], account(n % 20));
            rare += u64::from(body["event"] == RARE);
        }
        // A hundred seconds' worth for twenty accounts.
        assert_eq!(rare, 200);
    }
}
