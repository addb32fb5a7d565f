//! What became of a webhook's deliveries: counted in the index, without reading rows.

use domain::id::EventId;
use domain::store::Counts;
use domain::time::Timestamp;
use rusqlite::{Connection, params};

use super::deliveries::{self, State, columns};
use super::fault::Fault;
use super::reader::Reader;
use super::view::timestamp;

/// How far a timestamp may lie after its key's microsecond, generously: see `stamps`.
const LEAD_MAX: std::time::Duration = std::time::Duration::from_secs(1);

/// Counts a webhook's deliveries of events accepted since `since`, tests left out.
pub(super) fn of_webhook(reader: &Reader, webhook: u32, since: Timestamp) -> Result<Counts, Fault> {
    let fresh = reader.shared.fresh();
    let unstored: Vec<_> = if fresh.len_of(webhook) == 0 {
        Vec::new()
    } else {
        let wanted = fresh.iter().filter(|(_, delivery)| delivery.webhook == webhook && !delivery.test);
        wanted.filter(|(id, delivery)| timestamp(&delivery.row(*id)) >= since).map(|(id, _)| id).collect()
    };
    drop(fresh);
    let snapshot = reader.snapshot()?;
    let mut counts = Counts::default();
    for id in unstored {
        // What got its row since memory was read is counted by its row.
        if deliveries::get(&snapshot, id)?.is_none() {
            counts.unfinished += 1;
        }
    }
    let key = |at: Timestamp| EventId::first_at(at.0.max(0)).0 as i64;
    count_from(&snapshot, webhook, key(since), &mut counts)?;
    // Events whose key is a little older may have a timestamp that is not.
    let border = deliveries::each(
        &snapshot,
        concat!(
            "SELECT ",
            columns!(),
            " FROM deliveries INDEXED BY deliveries_of_webhook
             WHERE webhook = ?1 AND event >= ?2 AND event < ?3 AND test = 0"
        ),
        &[&webhook, &key(since.minus(LEAD_MAX)), &key(since)],
    )?;
    for row in border.iter().filter(|row| timestamp(row) >= since) {
        add(&mut counts, row.state as i64, row.retries_made > 0, 1);
    }
    Ok(counts)
}

fn count_from(conn: &Connection, webhook: u32, from: i64, counts: &mut Counts) -> Result<(), Fault> {
    let mut statement = conn.prepare_cached(
        "SELECT state, retries_made > 0, count(*) FROM deliveries INDEXED BY deliveries_of_webhook
         WHERE webhook = ?1 AND event >= ?2 AND test = 0 GROUP BY 1, 2",
    )?;
    let mut rows = statement.query(params![webhook, from])?;
    while let Some(row) = rows.next()? {
        add(counts, row.get(0)?, row.get(1)?, row.get::<_, i64>(2)? as u64);
    }
    Ok(())
}

fn add(counts: &mut Counts, state: i64, retried: bool, number: u64) {
    const DELIVERED: i64 = State::Delivered as i64;
    const FAILED: i64 = State::Failed as i64;
    const CANCELLED: i64 = State::Cancelled as i64;
    match state {
        DELIVERED => {
            counts.delivered += number;
            counts.delivered_after_retry += if retried { number } else { 0 };
        }
        FAILED => counts.failed += number,
        CANCELLED => counts.cancelled += number,
        _ => counts.unfinished += number,
    }
}
