//! Rows of figures. Each writer adds to rows of its own, so it knows what is in them, and never waits for another; who reads
//! adds up the rows of all.

use std::collections::{BTreeMap, HashMap};

use domain::attempt::Attempt;
use domain::stats::{End, Figures, minute};
use domain::time::Timestamp;
use tokio_postgres::Row;

use super::connection::Link;
use super::fault::Fault;
use crate::rows::checksum::Checksum;
use crate::rows::delivery::{DeliveryRow, State};
use crate::rows::figures::{decode, encode};

/// The webhook under which the hours hold the account as a whole.
pub(super) const WHOLE_ACCOUNT: u32 = 0;

/// A minute of a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    /// The minute since 1970.
    pub(super) start: i64,
    pub(super) account: u32,
    pub(super) webhook: u32,
}

/// What a transaction changes.
#[derive(Debug, Default)]
pub(super) struct Counted(BTreeMap<Key, Figures>);

impl Counted {
    /// Counts an attempt of a delivery.
    pub(super) fn attempted(&mut self, row: &DeliveryRow, attempt: &Attempt) {
        if !row.test {
            self.at(row, attempt.ended_at()).attempted(attempt);
        }
    }

    /// Counts what has become of a delivery whose row is written.
    pub(super) fn written(&mut self, row: &DeliveryRow) {
        let end = match row.state {
            _ if row.test || row.was == Some(row.state) => return,
            State::Waiting => return,
            State::Delivered => End::Delivered,
            State::Failed => End::Failed,
            State::Cancelled => End::Cancelled,
        };
        self.at(row, row.ended_at.unwrap_or_default()).ended(end, row.retries_made > 0);
    }

    fn at(&mut self, row: &DeliveryRow, at: Timestamp) -> &mut Figures {
        self.0.entry(Key { start: minute(at), account: row.account, webhook: row.webhook }).or_default()
    }
}

/// What is in this writer's rows.
#[derive(Debug)]
pub(super) struct Totals {
    writer: i64,
    of: HashMap<Key, Figures>,
}

impl Totals {
    pub(super) fn of_writer(writer: i64) -> Self {
        Self { writer, of: HashMap::new() }
    }

    /// Writes what a transaction changes; gives what is in the rows once it is committed.
    pub(super) async fn write(&self, link: &Link, counted: Counted) -> Result<Vec<(Key, Figures)>, Fault> {
        let mut sums = Vec::with_capacity(counted.0.len());
        let (mut accounts, mut webhooks, mut starts) = (Vec::new(), Vec::new(), Vec::new());
        let (mut crcs, mut written) = (Vec::new(), Vec::new());
        for (key, more) in counted.0 {
            let mut sum = self.of.get(&key).cloned().unwrap_or_default();
            sum.add(&more);
            let bytes = encode(&sum)?;
            accounts.push(key.account as i32);
            webhooks.push(key.webhook as i32);
            starts.push(key.start);
            crcs.push(sum_of(
                "stats_minutes",
                [key.start, key.account.into(), key.webhook.into(), self.writer],
                &bytes,
            ));
            written.push(bytes);
            sums.push((key, sum));
        }
        if !sums.is_empty() {
            link.run(
                "INSERT INTO stats_minutes (account, webhook, start, crc, figures, writer)
                 SELECT k.*, $6 FROM unnest($1::integer[], $2::integer[], $3::bigint[], $4::bigint[], $5::bytea[]) AS k
                 ON CONFLICT (account, start, webhook, writer) DO UPDATE SET crc = excluded.crc, figures = excluded.figures",
                &[&accounts, &webhooks, &starts, &crcs, &written, &self.writer],
            )
            .await?;
        }
        Ok(sums)
    }

    /// It is committed.
    pub(super) fn committed(&mut self, sums: Vec<(Key, Figures)>) {
        self.of.extend(sums);
    }

    /// Whether so much is known that another writer's rows are better begun.
    pub(super) fn is_large(&self) -> bool {
        self.of.len() > 50_000
    }
}

fn sum_of<const N: usize>(table: &str, key: [i64; N], bytes: &[u8]) -> i64 {
    Checksum::of(table).numbers(key).bytes(bytes).sum()
}

/// A row of `account, webhook, start, writer, crc, figures`; one that cannot be read is lost, and said so.
pub(super) fn read_minute(row: &Row) -> (Key, Figures) {
    let key = Key { account: row.get::<_, i32>(0) as u32, webhook: row.get::<_, i32>(1) as u32, start: row.get(2) };
    let bytes: &[u8] = row.get(5);
    let sum = sum_of("stats_minutes", [key.start, key.account.into(), key.webhook.into(), row.get(3)], bytes);
    (key, checked(&format!("{key:?}"), sum == row.get::<_, i64>(4), bytes))
}

/// A row of `account, webhook, start, crc, figures`, of an hour.
pub(super) fn read_hour(row: &Row) -> (Key, Figures) {
    let key = Key { account: row.get::<_, i32>(0) as u32, webhook: row.get::<_, i32>(1) as u32, start: row.get(2) };
    let bytes: &[u8] = row.get(4);
    let sum = sum_of("stats_hours", [key.start, key.account.into(), key.webhook.into()], bytes);
    (key, checked(&format!("{key:?}"), sum == row.get::<_, i64>(3), bytes))
}

/// The checksum and the bytes of an hour's row, by account, webhook and hour.
pub(super) fn hour_row((account, webhook, hour): (u32, u32, i64), figures: &Figures) -> Result<(i64, Vec<u8>), Fault> {
    let bytes = encode(figures)?;
    Ok((sum_of("stats_hours", [hour, account.into(), webhook.into()], &bytes), bytes))
}

fn checked(row: &str, fits: bool, bytes: &[u8]) -> Figures {
    let figures = if fits { decode(bytes) } else { None };
    figures.unwrap_or_else(|| {
        tracing::error!(row, "figures were lost");
        Figures::default()
    })
}

/// Adds up figures of one key from several writers: the one that came last says how many have missed in a row.
pub(super) fn add_up(mut all: Vec<Figures>) -> Figures {
    all.sort_by_key(|figures| figures.last_attempt_at);
    Figures::sum(&all)
}
