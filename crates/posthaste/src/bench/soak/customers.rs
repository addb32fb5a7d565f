//! The customers' part: webhooks made, changed and deleted, sessions, keys, accounts, lists and replays.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::header::{ETAG, SET_COOKIE};
use serde_json::{Value, json};

use super::platform::{STEADY, account};
use super::pool::{Pool, read};
use super::receivers::Town;
use super::tally::Tally;
use crate::bench::Failed;

/// All that the customers do it with.
#[derive(Clone)]
pub(super) struct Customers {
    pub(super) pool: Arc<Pool>,
    pub(super) tally: Arc<Tally>,
    pub(super) town: Arc<Town>,
    pub(super) accounts: u64,
}

impl Customers {
    async fn post(
        &self,
        what: &'static str,
        path: &str,
        body: Value,
        statuses: &[u16],
    ) -> Result<Option<Value>, Failed> {
        let answer = self.pool.json(Method::POST, path, &body).await?;
        Ok(self.tally.fits(what, &answer, statuses).then(|| read(&answer)))
    }

    async fn get(&self, what: &'static str, path: &str) -> Result<Value, Failed> {
        // A webhook may have been deleted, a delivery may be past retention meanwhile.
        let answer = self.pool.json(Method::GET, path, &Value::Null).await?;
        self.tally.fits(what, &answer, &[200, 404]);
        Ok(read(&answer))
    }

    async fn delete(&self, what: &'static str, path: &str) -> Result<(), Failed> {
        let answer = self.pool.json(Method::DELETE, path, &Value::Null).await?;
        self.tally.fits(what, &answer, &[204]);
        Ok(())
    }

    fn account(&self, n: u64) -> String {
        account(n % self.accounts)
    }

    /// The whole life of a webhook, with a receiver of its own.
    pub(super) async fn webhook(self, n: u64) -> Result<(), Failed> {
        let receiver = self.town.open(None).await?;
        let all = format!("/v1/accounts/{}/webhooks", self.account(n));
        let kind = ["steady-too", "flaky", "slow", "large", "cut", "hang"][n as usize % 6];
        let body =
            json!({"name": format!("visitor {n}"), "url": receiver.url(kind), "events": ["watchlist.*", "alert.*"]});
        let Some(made) = self.post("webhooks made", &all, body, &[201]).await? else { return Ok(()) };
        let one = format!("{all}/{}", made["id"].as_str().unwrap_or_default());
        self.tally.pause(Duration::from_secs(1)).await;
        let found = self.pool.json(Method::GET, &one, &Value::Null).await?;
        if self.tally.fits("webhooks looked at", &found, &[200]) {
            let etag = found.headers.get(ETAG).and_then(|etag| etag.to_str().ok()).unwrap_or_default();
            let body = json!({"name": format!("changed {n}"), "url": receiver.url("flaky"), "headers": {"X-Visitor": n.to_string()}});
            let headers = [("if-match", etag)];
            let changed = self.pool.ask(Method::PATCH, &one, &headers, Bytes::from(body.to_string())).await?;
            // The server itself changes a webhook that begins to fail, or to work.
            self.tally.fits("webhooks edited", &changed, &[200, 412]);
        }
        if n.is_multiple_of(4) {
            self.post("tests sent", &format!("{one}/test"), json!({"event": "alert.domain_matched"}), &[200, 202])
                .await?;
            self.post("secrets rotated", &format!("{one}/secret/rotate"), json!({"overlap": "1h"}), &[200]).await?;
            self.get("secrets shown", &format!("{one}/secret")).await?;
            self.post("secrets confirmed", &format!("{one}/secret/confirm"), Value::Null, &[200]).await?;
        }
        self.post("webhooks paused", &format!("{one}/pause"), json!({"reason": "soak"}), &[200]).await?;
        self.tally.pause(Duration::from_secs(1)).await;
        if !n.is_multiple_of(3) {
            let held = if n.is_multiple_of(2) { "deliver" } else { "cancel" };
            self.post("webhooks resumed", &format!("{one}/resume"), json!({"held": held}), &[200]).await?;
            self.tally.pause(Duration::from_millis(500)).await;
        }
        self.get("figures of webhooks", &format!("{one}/stats?window=1h")).await?;
        self.delete("webhooks deleted", &one).await
    }

    /// Resumes what was paused since it was gone or kept failing.
    pub(super) async fn caretaker(self, n: u64) -> Result<(), Failed> {
        self.resume_all(n % self.accounts, if (n / self.accounts).is_multiple_of(2) { "deliver" } else { "cancel" })
            .await?;
        Ok(())
    }

    /// Resumes all webhooks of an account that are paused; how many there were. Visitors look after their own.
    pub(super) async fn resume_all(&self, n: u64, held: &str) -> Result<usize, Failed> {
        let all = format!("/v1/accounts/{}/webhooks", account(n));
        let paused = self.pool.get(&format!("{all}?status=paused&limit=100")).await?;
        let mut number = 0;
        for webhook in paused["data"].as_array().into_iter().flatten() {
            if webhook["status_reason"]["by"] != "us" && !self.tally.is_over() {
                continue;
            }
            let path = format!("{all}/{}/resume", webhook["id"].as_str().unwrap_or_default());
            let answer = self.pool.json(Method::POST, &path, &json!({"held": held, "rate": 100})).await?;
            self.tally.fits("webhooks resumed that we had paused", &answer, &[200, 404]);
            number += 1;
        }
        Ok(number)
    }

    /// A browser that signs in, looks, and signs out most of the time; a portal that ends by itself or is ended.
    pub(super) async fn session(self, n: u64) -> Result<(), Failed> {
        let account = self.account(n);
        let Some(link) = self.post("links made", "/v1/sessions/links", Value::Null, &[201]).await? else {
            return Ok(());
        };
        let token = link["url"].as_str().and_then(|url| url.split_once("#t=")).map_or("", |(_, token)| token);
        let nobody = self.pool.with(None);
        let signed_in = nobody.json(Method::POST, "/v1/sessions", &json!({"token": token})).await?;
        if self.tally.fits("browsers signed in", &signed_in, &[201]) {
            let cookie = signed_in.headers.get(SET_COOKIE).and_then(|cookie| cookie.to_str().ok()).unwrap_or_default();
            let cookie = cookie.split(';').next().unwrap_or_default().to_owned();
            let headers = [("cookie", cookie.as_str()), ("x-requested-with", "soak")];
            let path = format!("/v1/accounts/{account}/deliveries?limit=10");
            let looked = nobody.ask(Method::GET, &path, &headers, Bytes::new()).await?;
            self.tally.fits("browsers that looked", &looked, &[200]);
            if !n.is_multiple_of(16) {
                let out = nobody.ask(Method::DELETE, "/v1/sessions/current", &headers, Bytes::new()).await?;
                self.tally.fits("browsers signed out", &out, &[204]);
            }
        }
        let all = format!("/v1/accounts/{account}/portal-sessions");
        let about = json!({"access": if n.is_multiple_of(2) { "read" } else { "manage" }, "ttl": "1m", "name": format!("visitor {n}")});
        let Some(portal) = self.post("portals made", &all, about, &[201]).await? else { return Ok(()) };
        let theirs = self.pool.with(portal["token"].as_str());
        let looked = theirs.json(Method::GET, &format!("/v1/accounts/{account}/webhooks"), &Value::Null).await?;
        self.tally.fits("portals that looked", &looked, &[200]);
        if n.is_multiple_of(2) {
            let one = format!("{all}/{}", portal["id"].as_str().unwrap_or_default());
            self.delete("portals ended", &one).await?;
        }
        Ok(())
    }

    /// A key of an account, used and revoked; and an account that comes and goes.
    pub(super) async fn key_and_account(self, n: u64) -> Result<(), Failed> {
        let account = self.account(n);
        let keys = format!("/v1/accounts/{account}/keys");
        let about =
            json!({"name": format!("visitor {n}"), "scopes": ["events:write", "events:read"], "expires_in": "1h"});
        if let Some(key) = self.post("keys made", &keys, about, &[201]).await? {
            let theirs = self.pool.with(key["key"].as_str());
            let looked =
                theirs.json(Method::GET, &format!("/v1/accounts/{account}/events?limit=5"), &Value::Null).await?;
            self.tally.fits("keys used", &looked, &[200]);
            self.delete("keys revoked", &format!("{keys}/{}", key["id"].as_str().unwrap_or_default())).await?;
        }
        let guest = format!("guest-{n}");
        let Some(_) = self.post("accounts made", "/v1/accounts", json!({"id": guest}), &[201]).await? else {
            return Ok(());
        };
        let receiver = self.town.open(None).await?;
        let body = json!({"name": "guest", "url": receiver.url("slow"), "events": ["*"]});
        self.post("webhooks made", &format!("/v1/accounts/{guest}/webhooks"), body, &[201]).await?;
        let samples = crate::bench::samples(1);
        for _ in 0..20 {
            let data: Value = serde_json::from_str(&samples[0].1).unwrap_or_default();
            let body = json!({"account": guest, "event": samples[0].0, "data": data});
            self.post("events of accounts that go", "/v1/events", body, &[202]).await?;
        }
        self.delete("accounts deleted", &format!("/v1/accounts/{guest}")).await
    }

    /// One list or search after the other; what it finds is looked at.
    pub(super) async fn list(self, n: u64) -> Result<(), Failed> {
        let lists = [
            "deliveries?limit=100",
            "deliveries?status=failed&limit=50",
            "deliveries?status=pending,held&limit=50",
            "deliveries?code=5xx&since=5m",
            "deliveries?error=response_timeout",
            "deliveries?q=example",
            "deliveries?q=nothing-holds-this-text",
            "deliveries/count?status=delivered",
            "events?limit=100",
            "events?q=acme&event=alert.*",
            "webhooks?stats=24h",
            "stats?window=24h",
            "audit?limit=50",
            "replays",
            "portal-sessions",
        ];
        let base = format!("/v1/accounts/{}", self.account(n));
        let found = self.get("lists read", &format!("{base}/{}", lists[n as usize % lists.len()])).await?;
        if let Some(cursor) = found["next_cursor"].as_str()
            && n.is_multiple_of(15)
        {
            self.get("further pages read", &format!("{base}/deliveries?limit=100&cursor={cursor}")).await?;
        }
        if n % 15 < 4
            && let Some(id) = found["data"][0]["id"].as_str()
        {
            self.get("deliveries looked at", &format!("{base}/deliveries/{id}")).await?;
        }
        if n.is_multiple_of(50) {
            for path in
                ["/v1/system", "/v1/accounts", "/v1/audit?limit=20", "/openapi.json", "/v1/event-types", "/readyz"]
            {
                self.get("pages of the operator read", path).await?;
            }
        }
        Ok(())
    }

    /// A delivery sent again, one cancelled, and now and then a replay in bulk, which is stopped if it takes long.
    pub(super) async fn replay(self, n: u64) -> Result<(), Failed> {
        let base = format!("/v1/accounts/{}", self.account(n));
        for (status, act, what) in [
            ("delivered,failed", "replay", "deliveries sent again"),
            ("pending,held", "cancel", "deliveries cancelled"),
        ] {
            // Those of the webhook that has to get all events are left alone.
            let found =
                self.pool.get(&format!("{base}/deliveries?status={status}&event=enrichment.failed&limit=20")).await?;
            let ids = found["data"].as_array().into_iter().flatten();
            let others = ids.filter(|row| !row["webhook_id"].as_str().unwrap_or_default().starts_with(STEADY));
            let mut ids = others.filter_map(|row| row["id"].as_str());
            if let Some(id) = ids.next() {
                let answer =
                    self.pool.json(Method::POST, &format!("{base}/deliveries/{id}/{act}"), &Value::Null).await?;
                self.tally.fits(what, &answer, &[200, 202, 404, 409]);
            }
        }
        if !n.is_multiple_of(4) {
            return Ok(());
        }
        let filter = json!({"status": "failed,cancelled,delivered", "event": "alert.*", "since": "30s", "rate": 20});
        let mut dry = filter.clone();
        dry["dry_run"] = json!(true);
        self.post("replays counted", &format!("{base}/replays"), dry, &[200]).await?;
        let Some(replay) = self.post("replays in bulk", &format!("{base}/replays"), filter, &[202, 409]).await? else {
            return Ok(());
        };
        let one = format!("{base}/replays/{}", replay["id"].as_str().unwrap_or_default());
        for _ in 0..5 {
            self.tally.pause(Duration::from_secs(1)).await;
            if self.pool.get(&one).await?["status"] == "done" {
                return Ok(());
            }
        }
        let answer = self.pool.json(Method::POST, &format!("{one}/stop"), &Value::Null).await?;
        self.tally.fits("replays stopped", &answer, &[200, 404, 409]);
        Ok(())
    }
}
