//! Figures as they are asked for: from what is summed up, and from what waits now.

use std::collections::{BTreeMap, HashMap};

use domain::stats::{Bucket, Figures, Stats, StatsQuery, Subjects, Window, instant};
use domain::time::Timestamp;

use super::connection::Link;
use super::fault::Fault;
use super::figures::{Key, WHOLE_ACCOUNT, add_up, read_hour, read_minute};
use super::hot;
use super::reader::{Readers, end};

/// The mark of the first hour that is not summed up from its minutes.
pub(super) const ROLLED: &str = "stats_rolled";

/// What waits for a webhook: how many, tests left out, and since when the oldest is due.
type Waiting = HashMap<u32, (u64, Timestamp)>;

impl Readers {
    /// The figures of each subject.
    pub(super) async fn stats(&self, query: &StatsQuery) -> Result<Vec<Stats>, Fault> {
        let subjects: Vec<(u32, Vec<u32>)> = match &query.subjects {
            Subjects::Account => {
                let directory = self.shared.directory.read();
                vec![(WHOLE_ACCOUNT, directory.webhooks_of(query.account).map(|webhook| webhook.number).collect())]
            }
            Subjects::Webhooks(webhooks) => webhooks.iter().map(|webhook| (*webhook, vec![*webhook])).collect(),
        };
        let all: Vec<u32> = subjects.iter().flat_map(|(_, webhooks)| webhooks).copied().collect();
        let link = self.snapshot().await?;
        let waiting = waiting(&link, query.account, &all).await?;
        let mut buckets = buckets(&link, query).await?;
        end(link).await?;
        let directory = self.shared.directory.read();
        let stats = |(subject, webhooks): (u32, Vec<u32>)| {
            let mut stats = Stats { buckets: buckets.remove(&subject).unwrap_or_default(), ..Stats::default() };
            for webhook in webhooks {
                let Some((count, oldest)) = waiting.get(&webhook) else { continue };
                let paused = directory.webhook_numbered(webhook).is_some_and(|webhook| webhook.pause.is_some());
                *(if paused { &mut stats.held } else { &mut stats.pending }) += count;
                stats.oldest_due = stats.oldest_due.into_iter().chain([*oldest]).min();
            }
            stats
        };
        Ok(subjects.into_iter().map(stats).collect())
    }
}

async fn waiting(link: &Link, account: u32, webhooks: &[u32]) -> Result<Waiting, Fault> {
    let shards: Vec<i16> = webhooks.iter().map(|webhook| hot::shard(account, *webhook)).collect();
    let webhooks: Vec<i32> = webhooks.iter().map(|webhook| *webhook as i32).collect();
    let rows = link
        .rows(
            "SELECT w.webhook, h.count, h.oldest FROM unnest($1::smallint[], $2::integer[]) AS w (shard, webhook)
             CROSS JOIN LATERAL (SELECT count(*) AS count, min(due_at) AS oldest FROM hot
                                 WHERE hot.shard = w.shard AND hot.webhook = w.webhook AND NOT hot.test) AS h
             WHERE h.count > 0",
            &[&shards, &webhooks],
        )
        .await?;
    let read =
        |row: &tokio_postgres::Row| (row.get::<_, i32>(0) as u32, (row.get::<_, i64>(1) as u64, Timestamp(row.get(2))));
    Ok(rows.iter().map(read).collect())
}

/// The steps in which something ended, of each subject.
async fn buckets(link: &Link, query: &StatsQuery) -> Result<HashMap<u32, Vec<Bucket>>, Fault> {
    let Window { step, first, last } = query.window;
    let (account, only) = match &query.subjects {
        Subjects::Account => (query.account as i32, None),
        Subjects::Webhooks(webhooks) => {
            (query.account as i32, Some(webhooks.iter().map(|webhook| *webhook as i32).collect::<Vec<_>>()))
        }
    };
    let subject = |webhook: u32| if only.is_some() { webhook } else { WHOLE_ACCOUNT };
    let mut summed: HashMap<u32, BTreeMap<i64, Figures>> = HashMap::new();
    let mut minutes_from = first;
    if !step.is_within_hours() {
        let rolled = super::marks::number(link, ROLLED).await?.unwrap_or(i64::MIN);
        let hours = only.clone().unwrap_or_else(|| vec![WHOLE_ACCOUNT as i32]);
        let rows = link
            .rows(
                "SELECT account, webhook, start, crc, figures FROM stats_hours
                 WHERE account = $1 AND webhook = ANY ($2) AND start >= $3 AND start <= $4 AND start < $5 ORDER BY start",
                &[&account, &hours, &first.div_euclid(60), &last.div_euclid(60), &rolled],
            )
            .await?;
        for (key, figures) in rows.iter().map(read_hour) {
            let steps = summed.entry(subject(key.webhook)).or_default();
            steps.entry(step.start(key.start * 60)).or_default().add(&figures);
        }
        minutes_from = first.max(rolled.saturating_mul(60));
    }
    let rows = link
        .rows(
            "SELECT account, webhook, start, writer, crc, figures FROM stats_minutes
             WHERE account = $1 AND start >= $2 AND start <= $3 AND ($4::integer[] IS NULL OR webhook = ANY ($4))
             ORDER BY start, webhook",
            &[&account, &minutes_from, &last, &only],
        )
        .await?;
    let mut of_minutes: BTreeMap<Key, Vec<Figures>> = BTreeMap::new();
    for (key, figures) in rows.iter().map(read_minute) {
        of_minutes.entry(key).or_default().push(figures);
    }
    for (key, figures) in of_minutes {
        let steps = summed.entry(subject(key.webhook)).or_default();
        steps.entry(step.start(key.start)).or_default().add(&add_up(figures));
    }
    let bucket = |(start, figures)| Bucket { start: instant(start), figures };
    Ok(summed.into_iter().map(|(of, steps)| (of, steps.into_iter().map(bucket).collect())).collect())
}
