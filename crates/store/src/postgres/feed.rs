//! What nodes tell each other: each change leaves rows in `changes`, and every node reads those of the others, often.
//!
//! A row says what is to be read again, so that order and repetition do not matter. Transactions end in another order than they
//! began: a poll reads everything of those that were not over when the last one looked, and passes over what it has seen.

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::delivery::Due;
use domain::id::{DeliveryId, EventId, WebhookId};
use domain::store::Fact;

use super::connection::Link;
use super::directory::{self, Entry};
use super::engine::Engine;
use super::fault::Fault;
use super::{accounts, event_types, hot, idempotency, keys, replays, sessions, webhooks};

/// How often others' changes are looked for.
pub(super) const EVERY: Duration = Duration::from_millis(500);
/// For how long rows are kept. Whoever has not looked for half as long reads everything anew.
pub(super) const KEPT: Duration = Duration::from_secs(3_600);

/// What is told. The numbers stand in rows: they never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Account = 1,
    AccountGone = 2,
    Webhook = 3,
    WebhookGone = 4,
    Key = 5,
    KeyGone = 6,
    Session = 7,
    SessionGone = 8,
    Resumed = 9,
    Replayed = 10,
    Cancelled = 11,
    BulkReplay = 12,
    AllCancelled = 13,
}

impl Kind {
    fn read(number: i16) -> Option<Self> {
        [
            Self::Account,
            Self::AccountGone,
            Self::Webhook,
            Self::WebhookGone,
            Self::Key,
            Self::KeyGone,
            Self::Session,
            Self::SessionGone,
            Self::Resumed,
            Self::Replayed,
            Self::Cancelled,
            Self::BulkReplay,
            Self::AllCancelled,
        ]
        .into_iter()
        .find(|kind| *kind as i16 == number)
    }
}

/// A row, less its place.
#[derive(Debug, Clone)]
pub(super) struct Told {
    kind: Kind,
    account: u32,
    number: i64,
    place: i32,
    text: Option<String>,
}

impl Told {
    const fn new(kind: Kind, account: u32, number: i64) -> Self {
        Self { kind, account, number, place: 0, text: None }
    }

    fn named(kind: Kind, text: &str) -> Self {
        Self { text: Some(text.to_owned()), ..Self::new(kind, 0, 0) }
    }

    fn of_delivery(kind: Kind, account: u32, webhook: u32, id: DeliveryId) -> Self {
        Self { place: id.place.into(), text: Some(webhook.to_string()), ..Self::new(kind, account, id.event.0 as i64) }
    }

    /// What pause has held is to be sent.
    pub(super) fn resumed(webhook: u32, rate: Option<u32>) -> Self {
        Self { place: rate.map_or(-1, |rate| rate as i32), ..Self::new(Kind::Resumed, 0, webhook.into()) }
    }

    /// A delivery is to be sent again.
    pub(super) fn replayed(account: u32, due: &Due) -> Self {
        Self::of_delivery(Kind::Replayed, account, due.webhook, due.delivery)
    }

    /// A delivery was cancelled.
    pub(super) fn cancelled(account: u32, webhook: u32, id: DeliveryId) -> Self {
        Self::of_delivery(Kind::Cancelled, account, webhook, id)
    }

    /// A replay in bulk has changed.
    pub(super) const fn replay(account: u32, number: u32) -> Self {
        Self::new(Kind::BulkReplay, account, number as i64)
    }

    fn of_entry(entry: &Entry) -> Self {
        match entry {
            Entry::Account(account) => Self::new(Kind::Account, account.number, account.number.into()),
            Entry::AccountGone(number) => Self::new(Kind::AccountGone, *number, (*number).into()),
            Entry::Webhook(webhook) => Self::new(Kind::Webhook, webhook.account, webhook.number.into()),
            Entry::WebhookGone { number, account, id, cancelling } => Self {
                text: Some(format!("{} {id}", cancelling.map_or(-1, |at| at.0))),
                ..Self::new(Kind::WebhookGone, *account, (*number).into())
            },
            Entry::AllCancelled(number) => Self::new(Kind::AllCancelled, 0, (*number).into()),
            Entry::Key(key) => Self::named(Kind::Key, key.id.as_str()),
            Entry::KeyGone(id) => Self::named(Kind::KeyGone, id.as_str()),
            Entry::Session(session) => Self::named(Kind::Session, session.id.as_str()),
            Entry::SessionGone(id) => Self::named(Kind::SessionGone, id.as_str()),
        }
    }

    fn delivery(&self) -> Option<(u32, DeliveryId)> {
        let webhook = self.text.as_ref()?.parse().ok()?;
        Some((webhook, DeliveryId { event: EventId(self.number as u64), place: self.place as u16 }))
    }
}

/// How far this node has read.
#[derive(Debug, Default)]
pub(super) struct Feed {
    /// Everything of transactions before this one is known.
    horizon: u64,
    /// What is known of later ones.
    seen: HashSet<(u64, i32)>,
    polled_at: Option<Instant>,
}

impl Engine {
    /// What others are to be told of the present transaction.
    pub(super) fn take_told(&mut self) -> Vec<Told> {
        let entries = self.staged.directory.iter().map(Told::of_entry);
        entries.chain(std::mem::take(&mut self.staged.told)).collect()
    }

    /// Reads the whole directory, and remembers up to where changes are in it. The facts are for a dispatcher that knows
    /// nothing yet: every webhook, and the replays that go on.
    pub(super) async fn load_directory(&mut self) -> Result<Vec<Fact>, Fault> {
        let link = self.link()?;
        link.batch("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
        let loaded = self.load_in_snapshot(&link).await;
        link.batch("COMMIT").await?;
        loaded
    }

    async fn load_in_snapshot(&mut self, link: &Link) -> Result<Vec<Fact>, Fault> {
        let horizon = link.row("SELECT pg_snapshot_xmin(pg_current_snapshot())::text", &[]).await?;
        let horizon: String = horizon.map(|row| row.get(0)).unwrap_or_default();
        *self.shared.types_mut() = event_types::load(link).await?;
        directory::load(link, &self.shared).await?;
        self.shared.set_nameless_keys(idempotency::has_nameless(link).await?);
        self.feed = Feed { horizon: number(&horizon)?, seen: HashSet::new(), polled_at: Some(Instant::now()) };
        let mut webhooks: Vec<_> = self.shared.directory.read().webhooks().cloned().collect();
        webhooks.sort_by_key(|webhook| webhook.number);
        let mut facts: Vec<_> = webhooks.into_iter().map(Fact::Webhook).collect();
        for row in replays::unfinished(link).await? {
            facts.push(Fact::BulkReplay(Arc::new(row.replay)));
        }
        Ok(facts)
    }

    /// Reads what others have changed; the facts that follow. Outside of a transaction.
    pub(super) async fn poll(&mut self) -> Result<Vec<Fact>, Fault> {
        let link = self.link()?;
        if self.feed.polled_at.is_none_or(|at| at.elapsed() > KEPT / 2) {
            return self.load_directory().await;
        }
        link.batch("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
        let read = self.poll_in_snapshot(&link).await;
        link.batch("COMMIT").await?;
        read
    }

    async fn poll_in_snapshot(&mut self, link: &Link) -> Result<Vec<Fact>, Fault> {
        let rows = link
            .rows(
                "SELECT s.xmin, c.tx::text, c.ordinal, c.node, c.kind, c.account, c.number, c.place, c.text
                 FROM (SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS xmin) AS s
                 LEFT JOIN changes AS c ON c.tx >= $1::text::xid8 ORDER BY c.tx, c.ordinal",
                &[&self.feed.horizon.to_string()],
            )
            .await?;
        let Some(first) = rows.first() else { return Ok(Vec::new()) };
        let horizon = number(first.get(0))?;
        let mut others = Vec::new();
        for row in &rows {
            let Some(tx) = row.get::<_, Option<&str>>(1) else { continue };
            let place = (number(tx)?, row.get(2));
            if !self.feed.seen.insert(place) || row.get::<_, i64>(3) == self.node {
                continue;
            }
            // What a later release tells, and this one does not know, is no reason to stop.
            let Some(kind) = Kind::read(row.get(4)) else { continue };
            let account = row.get::<_, i32>(5) as u32;
            others.push(Told { kind, account, number: row.get(6), place: row.get(7), text: row.get(8) });
        }
        self.feed.horizon = horizon;
        self.feed.seen.retain(|(tx, _)| *tx >= horizon);
        self.feed.polled_at = Some(Instant::now());
        if others.is_empty() { Ok(Vec::new()) } else { self.learn(link, others).await }
    }

    /// Reads again what others have changed.
    async fn learn(&mut self, link: &Link, others: Vec<Told>) -> Result<Vec<Fact>, Fault> {
        let numbers = |kind: Kind| -> Vec<i32> {
            others.iter().filter(|told| told.kind == kind).map(|told| told.number as i32).collect()
        };
        let texts = |kind: Kind| -> Vec<String> {
            others.iter().filter(|told| told.kind == kind).filter_map(|told| told.text.clone()).collect()
        };
        // The platform's own part has changed with each account that has come or gone.
        let accounts: Vec<i32> = others.iter().map(|told| told.account as i32).chain([0]).collect();
        let mut entries = Vec::new();
        let changed = numbers(Kind::Account);
        if !changed.is_empty() {
            entries.extend(accounts::load(link, Some(&changed)).await?.into_iter().map(Entry::Account));
        }
        self.shared.enter(std::mem::take(&mut entries));
        let changed = others.iter().filter(|told| told.kind == Kind::Webhook);
        let changed: BTreeSet<_> = changed.map(|told| (told.account, told.number as u32)).collect();
        let mut facts = Vec::new();
        if !changed.is_empty() {
            let shared = Arc::clone(&self.shared);
            let found = webhooks::load_some(link, &shared.vault, &changed, |number| shared.account_id(number)).await?;
            for webhook in found {
                entries.push(Entry::Webhook(Arc::clone(&webhook)));
                facts.push(Fact::Webhook(webhook));
            }
        }
        let (changed, opened) = (texts(Kind::Key), texts(Kind::Session));
        if !changed.is_empty() {
            entries.extend(keys::load(link, Some(&changed)).await?.into_iter().map(Entry::Key));
        }
        if !opened.is_empty() {
            entries.extend(sessions::load(link, Some(&opened)).await?.into_iter().map(Entry::Session));
        }
        for told in others {
            self.learn_one(link, told, &mut entries, &mut facts).await?;
        }
        self.shared.enter(entries);
        let versions = directory::versions_of(link, &accounts).await?;
        for account in accounts {
            self.shared.set_version(account as u32, versions.get(&(account as u32)).copied());
        }
        facts.iter().for_each(|fact| self.memory.follow(fact));
        Ok(facts)
    }

    async fn learn_one(
        &self,
        link: &Link,
        told: Told,
        entries: &mut Vec<Entry>,
        facts: &mut Vec<Fact>,
    ) -> Result<(), Fault> {
        let number = told.number as u32;
        match told.kind {
            Kind::Account | Kind::Webhook | Kind::Key | Kind::Session => {}
            Kind::AccountGone => {
                let gone: Vec<_> = self.shared.directory.read().webhooks_of(number).map(|it| it.number).collect();
                facts.extend(gone.into_iter().map(|webhook| Fact::WebhookDeleted { webhook }));
                entries.push(Entry::AccountGone(number));
            }
            Kind::WebhookGone => {
                let parsed: Option<(i64, WebhookId)> = told.text.as_ref().and_then(|text| {
                    let (at, id) = text.split_once(' ')?;
                    Some((at.parse().ok()?, id.parse().ok()?))
                });
                if let Some((at, id)) = parsed {
                    let cancelling = (at >= 0).then_some(domain::time::Timestamp(at));
                    entries.push(Entry::WebhookGone { number, account: told.account, id, cancelling });
                }
                facts.push(Fact::WebhookDeleted { webhook: number });
            }
            Kind::KeyGone => entries.extend(parsed(&told).map(Entry::KeyGone)),
            Kind::SessionGone => entries.extend(parsed(&told).map(Entry::SessionGone)),
            Kind::AllCancelled => entries.push(Entry::AllCancelled(number)),
            Kind::Resumed => {
                facts.push(Fact::Resumed { webhook: number, rate: u32::try_from(told.place).ok() });
            }
            Kind::Cancelled => {
                facts.extend(told.delivery().map(|(webhook, delivery)| Fact::Cancelled { delivery, webhook }));
            }
            Kind::Replayed => {
                if let Some((webhook, id)) = told.delivery() {
                    let mut keys = hot::Keys::default();
                    keys.push(told.account, webhook, id);
                    // It may have been sent already, or cancelled.
                    facts.extend(hot::get_all(link, &keys).await?.iter().map(|it| Fact::Replayed(it.due())));
                }
            }
            Kind::BulkReplay => {
                let found = replays::get(link, (told.account, number)).await?;
                facts.extend(found.map(|row| Fact::BulkReplay(Arc::new(row.replay))));
            }
        }
        Ok(())
    }
}

/// Writes what a node tells the others.
pub(super) async fn write(link: &Link, node: i64, told: &[Told]) -> Result<(), Fault> {
    if told.is_empty() {
        return Ok(());
    }
    let ordinals: Vec<i32> = (0..).take(told.len()).collect();
    let kinds: Vec<i16> = told.iter().map(|told| told.kind as i16).collect();
    let accounts: Vec<i32> = told.iter().map(|told| told.account as i32).collect();
    let numbers: Vec<i64> = told.iter().map(|told| told.number).collect();
    let places: Vec<i32> = told.iter().map(|told| told.place).collect();
    let texts: Vec<_> = told.iter().map(|told| told.text.as_deref()).collect();
    link.run(
        "INSERT INTO changes (ordinal, node, kind, account, number, place, text)
         SELECT k.ordinal, $7, k.kind, k.account, k.number, k.place, k.text
         FROM unnest($1::integer[], $2::smallint[], $3::integer[], $4::bigint[], $5::integer[], $6::text[])
             AS k (ordinal, kind, account, number, place, text)",
        &[&ordinals, &kinds, &accounts, &numbers, &places, &texts, &node],
    )
    .await?;
    Ok(())
}

fn parsed<T: std::str::FromStr>(told: &Told) -> Option<T> {
    told.text.as_ref()?.parse().ok()
}

fn number(text: &str) -> Result<u64, Fault> {
    text.parse().map_err(|error| Fault::damaged("number of a transaction", error))
}

/// Whether an event with one of these keys has been replayed since that microsecond of the database's clock, or a little before:
/// what is told of a transaction has the time of its beginning.
pub(super) async fn was_replayed(link: &Link, since: i64, keys: Range<i64>) -> Result<bool, Fault> {
    let sql =
        "SELECT EXISTS (SELECT FROM changes WHERE at >= to_timestamp($1::bigint / 1000000.0) - interval '1 minute'
                              AND kind = $2 AND number >= $3 AND number < $4)";
    let kind = Kind::Replayed as i16;
    Ok(link.row(sql, &[&since, &kind, &keys.start, &keys.end]).await?.is_none_or(|row| row.get(0)))
}

/// Forgets what was told long ago.
pub(super) async fn prune(link: &Link, budget: i64) -> Result<u64, Fault> {
    link.run(
        "DELETE FROM changes WHERE (tx, ordinal) IN
             (SELECT tx, ordinal FROM changes WHERE at < now() - interval '1 hour' ORDER BY at LIMIT $1)",
        &[&budget],
    )
    .await
}
