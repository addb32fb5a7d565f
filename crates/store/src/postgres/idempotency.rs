//! What idempotency keys were answered.

use domain::event::Idempotency;
use domain::key::IDEMPOTENCY_KEPT;
use domain::time::Timestamp;
use domain::vault::Vault;

use super::connection::Link;
use super::fault::Fault;
use super::shared::Shared;
use crate::rows::damaged::Damaged;
use crate::rows::idempotency::{Columns, context};
pub(super) use crate::rows::idempotency::{Found, Kept};
use crate::rows::stamps::Stamp;

/// In place of the account where only the key's hash knows it: in rows of earlier layouts, and of a store that has moved in.
const NAMELESS: i32 = -1;

/// Whether there are keys of which only their hash knows whose they are.
pub(super) async fn has_nameless(link: &Link) -> Result<bool, Fault> {
    // In the order of the key, so that no plan reads the whole table to find that there are none.
    let sql = "SELECT 1 FROM idempotency WHERE account = $1 ORDER BY account, key LIMIT 1";
    Ok(link.row(sql, &[&NAMELESS]).await?.is_some())
}

/// What these keys were answered, each in its place.
pub(super) async fn find(
    link: &Link,
    shared: &Shared,
    keys: &[&Idempotency],
    now: Timestamp,
) -> Result<Vec<Result<Found, Damaged>>, Fault> {
    let mut accounts: Vec<i32> = keys.iter().map(|key| key.account as i32).collect();
    let mut hashes: Vec<&[u8]> = keys.iter().map(|key| &key.key[..]).collect();
    if shared.has_nameless_keys() {
        accounts.resize(2 * keys.len(), NAMELESS);
        hashes.extend_from_within(..);
    }
    let rows = link
        .rows(
            "SELECT k.place, i.request, i.at, i.event, i.lead, i.deliveries, i.answer, i.crc
             FROM unnest($1::integer[], $2::bytea[]) WITH ORDINALITY AS k (account, key, place)
             JOIN idempotency AS i ON i.account = k.account AND i.key = k.key
             WHERE i.at > $3",
            &[&accounts, &hashes, &now.minus(IDEMPOTENCY_KEPT).0],
        )
        .await?;
    let mut found: Vec<_> = keys.iter().map(|_| Ok(Found::New)).collect();
    for row in rows {
        let place = (row.get::<_, i64>(0) as usize - 1) % keys.len().max(1);
        let (Some(key), Some(answer)) = (keys.get(place), found.get_mut(place)) else { continue };
        let columns =
            Columns { at: row.get(2), event: row.get(3), lead: row.get(4), deliveries: row.get(5), answer: row.get(6) };
        *answer = columns.read(&shared.vault, key, row.get(1), row.get(7));
    }
    Ok(found)
}

/// What keys are answered, as arrays.
#[derive(Debug, Default)]
pub(super) struct Answers {
    accounts: Vec<i32>,
    keys: Vec<Vec<u8>>,
    requests: Vec<Vec<u8>>,
    events: Vec<Option<i64>>,
    leads: Vec<Option<i64>>,
    deliveries: Vec<Option<i64>>,
    answers: Vec<Option<Vec<u8>>>,
    sums: Vec<i64>,
    /// When they are answered.
    at: Timestamp,
}

impl Answers {
    pub(super) const fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// A key has had an event accepted.
    pub(super) fn event(&mut self, key: &Idempotency, now: Timestamp, stamp: Stamp, deliveries: usize) {
        self.push(key, now, Some((stamp, deliveries)), None);
    }

    /// A key was answered so.
    pub(super) fn answer(&mut self, vault: &Vault, nonce: [u8; 24], key: &Idempotency, now: Timestamp, answer: &[u8]) {
        self.push(key, now, None, Some(vault.seal(&context(&key.key), answer, nonce)));
    }

    fn push(&mut self, key: &Idempotency, now: Timestamp, event: Option<(Stamp, usize)>, answer: Option<Vec<u8>>) {
        let columns = Columns {
            at: now.0,
            event: event.map(|(stamp, _)| stamp.key.0 as i64),
            lead: event.map(|(stamp, _)| stamp.lead),
            deliveries: event.map(|(_, deliveries)| deliveries as i64),
            answer: answer.as_deref(),
        };
        self.at = now;
        self.sums.push(columns.sum(&key.key, &key.request).sum());
        self.events.push(columns.event);
        self.leads.push(columns.lead);
        self.deliveries.push(columns.deliveries);
        self.accounts.push(key.account as i32);
        self.keys.push(key.key.to_vec());
        self.requests.push(key.request.to_vec());
        self.answers.push(answer);
    }

    /// Writes them. Another node may have been first with a key: then there is a conflict, and its answer to be found.
    pub(super) async fn write(&self, link: &Link) -> Result<(), Fault> {
        if self.keys.is_empty() {
            return Ok(());
        }
        let written = link
            .run(
                "INSERT INTO idempotency (account, key, request, at, event, lead, deliveries, answer, crc)
                 SELECT k.account, k.key, k.request, $3, k.event, k.lead, k.deliveries, k.answer, k.crc
                 FROM unnest($1::bytea[], $2::bytea[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bytea[], $9::bigint[],
                             $10::integer[]) AS k (key, request, event, lead, deliveries, answer, crc, account)
                 ORDER BY k.account, k.key
                 ON CONFLICT (account, key) DO UPDATE
                 SET request = excluded.request, at = excluded.at, event = excluded.event, lead = excluded.lead,
                     deliveries = excluded.deliveries, answer = excluded.answer, crc = excluded.crc
                 WHERE idempotency.at <= $4",
                &[
                    &self.keys,
                    &self.requests,
                    &self.at.0,
                    &self.at.minus(IDEMPOTENCY_KEPT).0,
                    &self.events,
                    &self.leads,
                    &self.deliveries,
                    &self.answers,
                    &self.sums,
                    &self.accounts,
                ],
            )
            .await?;
        if written as usize == self.keys.len() {
            Ok(())
        } else {
            Err(Fault::Conflict("an idempotency key came to two nodes at once".to_owned()))
        }
    }
}

/// Forgets up to `budget` keys that are kept long enough; returns how many.
pub(super) async fn prune(link: &Link, now: Timestamp, budget: i64) -> Result<u64, Fault> {
    link.run(
        "DELETE FROM idempotency WHERE (account, key) IN
             (SELECT account, key FROM idempotency WHERE at <= $1 ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED)",
        &[&now.minus(IDEMPOTENCY_KEPT).0, &budget],
    )
    .await
}

/// Forgets up to `budget` keys of an account that was closed; returns how many.
pub(super) async fn erase(link: &Link, account: i32, budget: i64) -> Result<u64, Fault> {
    link.run(
        "DELETE FROM idempotency WHERE (account, key) IN
             (SELECT account, key FROM idempotency WHERE account = $1 ORDER BY key LIMIT $2)",
        &[&account, &budget],
    )
    .await
}
