//! Figures as they are asked for: from what is summed up, and from memory for what waits now.

use std::collections::{BTreeMap, HashMap};

use domain::stats::{Bucket, Figures, Stats, StatsQuery, Subjects, Window, instant};
use domain::time::Timestamp;
use rusqlite::Connection;

use super::fault::Fault;
use super::figures::{self, Key, Table, WHOLE_ACCOUNT};
use super::reader::Reader;
use super::{counted, due, journal};

/// How many waiting deliveries are looked at, in all, to find the oldest due one.
const LOOKED_AT: usize = 10_000;

/// The figures of each subject.
pub(super) fn of(reader: &Reader, query: &StatsQuery) -> Result<Vec<Stats>, Fault> {
    let subjects = match &query.subjects {
        Subjects::Account => {
            let directory = reader.shared.directory.read();
            let webhooks = directory.webhooks_of(query.account).map(|webhook| webhook.number).collect();
            vec![(WHOLE_ACCOUNT, webhooks)]
        }
        Subjects::Webhooks(webhooks) => webhooks.iter().map(|webhook| (*webhook, vec![*webhook])).collect(),
    };
    let waiting = waiting(reader, &subjects);
    let snapshot = reader.snapshot()?;
    let summed = Summed::new(&snapshot, query)?;
    let looked_at = LOOKED_AT / subjects.len().max(1);
    let mut all = Vec::with_capacity(subjects.len());
    for ((webhook, _), waiting) in subjects.into_iter().zip(waiting) {
        let buckets = summed.buckets(webhook)?;
        let oldest_due = waiting.oldest_due(&snapshot, looked_at)?;
        all.push(Stats { buckets, held: waiting.held, pending: waiting.pending, oldest_due });
    }
    Ok(all)
}

/// The tables, in one state of the store.
struct Summed<'a> {
    conn: &'a Connection,
    account: u32,
    window: Window,
    /// From where on minutes are not in their hours.
    rolled: Key,
    /// The first minute of which some may not be.
    unrolled: Option<i64>,
    /// What is in neither yet.
    counted: BTreeMap<Key, Figures>,
}

impl<'a> Summed<'a> {
    fn new(conn: &'a Connection, query: &StatsQuery) -> Result<Self, Fault> {
        let rolled = counted::rolled(conn)?.unwrap_or_default();
        let unrolled = figures::first_start(conn, Table::Minutes, rolled.start)?;
        let counted = journal::counted(conn)?;
        Ok(Self { conn, account: query.account, window: query.window, rolled, unrolled, counted })
    }

    /// The steps in which something ended.
    fn buckets(&self, webhook: u32) -> Result<Vec<Bucket>, Fault> {
        let Window { step, first, last } = self.window;
        let mut buckets = BTreeMap::<i64, Figures>::new();
        let mut add = |minute: i64, figures: &Figures| buckets.entry(step.start(minute)).or_default().add(figures);
        if step.is_within_hours() {
            for minute in first..=last {
                self.of_minute(minute, webhook, Key::default(), |figures| add(minute, figures))?;
            }
        } else {
            for hour in first.div_euclid(60)..=last.div_euclid(60) {
                let key = Key { start: hour, account: self.account, webhook };
                if let Some(figures) = figures::get(self.conn, Table::Hours, key)? {
                    add(hour * 60, &figures);
                }
            }
            if let Some(unrolled) = self.unrolled {
                for minute in unrolled.max(first)..=last {
                    self.of_minute(minute, webhook, self.rolled, |figures| add(minute, figures))?;
                }
            }
        }
        for (key, figures) in &self.counted {
            let meant = key.account == self.account && (webhook == WHOLE_ACCOUNT || key.webhook == webhook);
            if meant && (first..=last).contains(&key.start) {
                add(key.start, figures);
            }
        }
        let bucket = |(start, figures)| Bucket { start: instant(start), figures };
        Ok(buckets.into_iter().map(bucket).collect())
    }

    /// The figures of one minute, of rows from `from` on.
    fn of_minute(&self, start: i64, webhook: u32, from: Key, mut add: impl FnMut(&Figures)) -> Result<(), Fault> {
        if webhook == WHOLE_ACCOUNT {
            for (key, figures) in figures::minute_of_account(self.conn, start, self.account)? {
                if key >= from {
                    add(&figures);
                }
            }
            return Ok(());
        }
        let key = Key { start, account: self.account, webhook };
        if key >= from
            && let Some(figures) = figures::get(self.conn, Table::Minutes, key)?
        {
            add(&figures);
        }
        Ok(())
    }
}

/// What waits now, as memory knows it.
#[derive(Default)]
struct Waiting {
    held: u64,
    pending: u64,
    /// The webhooks of which something waits on disk.
    on_disk: Vec<u32>,
    /// The oldest due instant of what waits in memory.
    oldest: Option<Timestamp>,
}

impl Waiting {
    /// The oldest due instant, as far as `looked_at` rows tell.
    fn oldest_due(&self, conn: &Connection, looked_at: usize) -> Result<Option<Timestamp>, Fault> {
        let mut oldest = self.oldest;
        let share = (looked_at / self.on_disk.len().max(1)).max(1);
        for webhook in &self.on_disk {
            let rows = due::of_webhook(conn, *webhook, None, Timestamp(i64::MAX), share)?;
            oldest = oldest.into_iter().chain(rows.iter().map(|due| due.due_at)).min();
        }
        Ok(oldest)
    }
}

/// What waits now for each subject.
fn waiting(reader: &Reader, subjects: &[(u32, Vec<u32>)]) -> Vec<Waiting> {
    let directory = reader.shared.directory.read();
    // One lock for both: what gets its row moves from memory to disk under it.
    let fresh = reader.shared.fresh();
    let mut all = Vec::with_capacity(subjects.len());
    // The webhooks of which something waits in memory, each with the place of its subject.
    let mut in_memory = HashMap::new();
    for (place, (_, webhooks)) in subjects.iter().enumerate() {
        let mut waiting = Waiting::default();
        for &webhook in webhooks {
            let (on_disk, fresh) = (fresh.on_disk(webhook), fresh.untested_of(webhook) as u64);
            if directory.webhook_numbered(webhook).is_some_and(|webhook| webhook.pause.is_some()) {
                waiting.held += on_disk + fresh;
            } else {
                waiting.pending += on_disk + fresh;
            }
            if on_disk > 0 {
                waiting.on_disk.push(webhook);
            }
            if fresh > 0 {
                in_memory.insert(webhook, place);
            }
        }
        all.push(waiting);
    }
    for (_, delivery) in fresh.iter() {
        if in_memory.is_empty() {
            break;
        }
        // The first of a webhook is its oldest.
        if !delivery.test
            && let Some(place) = in_memory.remove(&delivery.webhook)
        {
            let oldest = &mut all[place].oldest;
            *oldest = oldest.iter().copied().chain([delivery.due_at]).min();
        }
    }
    all
}
