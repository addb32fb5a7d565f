//! What idempotency keys were answered.

use domain::event::Idempotency;
use domain::id::EventId;
use domain::key::IDEMPOTENCY_KEPT;
use domain::time::Timestamp;
use domain::vault::Vault;

use super::connection::Link;
use super::fault::Fault;
use crate::rows::damaged::Damaged;
use crate::rows::idempotency::{Columns, context};
pub(super) use crate::rows::idempotency::{Found, Kept};
use crate::rows::stamps::Stamp;

/// What these keys were answered, each in its place.
pub(super) async fn find(
    link: &Link,
    vault: &Vault,
    keys: &[&Idempotency],
    now: Timestamp,
) -> Result<Vec<Result<Found, Damaged>>, Fault> {
    let hashes: Vec<&[u8]> = keys.iter().map(|key| &key.key[..]).collect();
    let rows = link
        .rows(
            "SELECT k.place, i.request, i.at, i.event, i.lead, i.deliveries, i.answer, i.crc
             FROM unnest($1::bytea[]) WITH ORDINALITY AS k (key, place) JOIN idempotency AS i ON i.key = k.key
             WHERE i.at > $2",
            &[&hashes, &now.minus(IDEMPOTENCY_KEPT).0],
        )
        .await?;
    let mut found: Vec<_> = keys.iter().map(|_| Ok(Found::New)).collect();
    for row in rows {
        let place = row.get::<_, i64>(0) as usize - 1;
        let (Some(key), Some(answer)) = (keys.get(place), found.get_mut(place)) else { continue };
        let columns =
            Columns { at: row.get(2), event: row.get(3), lead: row.get(4), deliveries: row.get(5), answer: row.get(6) };
        *answer = read(vault, key, row.get(1), &columns, row.get(7));
    }
    Ok(found)
}

fn read(
    vault: &Vault,
    key: &Idempotency,
    request: &[u8],
    columns: &Columns<'_>,
    stored: i64,
) -> Result<Found, Damaged> {
    let damaged = || Damaged("answer of an idempotency key".to_owned());
    let request: [u8; 32] = request.try_into().map_err(|_| damaged())?;
    columns.sum(&key.key, &request).verify(stored, || "answer of an idempotency key".to_owned())?;
    if request != key.request {
        return Ok(Found::OtherRequest);
    }
    if let (Some(event), Some(lead), Some(deliveries)) = (columns.event, columns.lead, columns.deliveries) {
        return Ok(Found::Same(Kept::Event(Stamp { key: EventId(event as u64), lead }, deliveries as usize)));
    }
    let plain = vault.open(&context(&key.key), columns.answer.ok_or_else(damaged)?)?;
    Ok(Found::Same(Kept::Answer(plain.to_vec())))
}

/// What keys are answered, as arrays.
#[derive(Debug, Default)]
pub(super) struct Answers {
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
                "INSERT INTO idempotency (key, request, at, event, lead, deliveries, answer, crc)
                 SELECT k.key, k.request, $3, k.event, k.lead, k.deliveries, k.answer, k.crc
                 FROM unnest($1::bytea[], $2::bytea[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bytea[], $9::bigint[])
                     AS k (key, request, event, lead, deliveries, answer, crc)
                 ORDER BY k.key
                 ON CONFLICT (key) DO UPDATE
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
        "DELETE FROM idempotency WHERE key IN
             (SELECT key FROM idempotency WHERE at <= $1 ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED)",
        &[&now.minus(IDEMPOTENCY_KEPT).0, &budget],
    )
    .await
}
