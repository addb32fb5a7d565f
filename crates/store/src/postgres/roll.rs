//! Hours of figures: summed up from their minutes once they are well over, by one node, and again if that was cut short.

use std::collections::BTreeMap;

use domain::stats::{Figures, HOURS_KEPT, MINUTES_KEPT, minute};
use domain::time::Timestamp;

use super::connection::Link;
use super::fault::Fault;
use super::figures::{Key, WHOLE_ACCOUNT, add_up, hour_row, read_minute};
use super::marks;
use super::stats::ROLLED;

/// How many minutes after its end an hour is summed up: longer than clocks differ, and than a writer is late.
const LATE: i64 = 15;

/// Sums up the oldest hour that is over and was not; says whether there may be more.
pub(super) async fn roll(link: &Link, now: Timestamp) -> Result<bool, Fault> {
    let over = (minute(now) - LATE).div_euclid(60);
    let rolled = marks::number(link, ROLLED).await?.unwrap_or(i64::MIN);
    let sql = "SELECT start FROM stats_minutes WHERE start >= $1 ORDER BY start LIMIT 1";
    let first = link.row(sql, &[&rolled.saturating_mul(60)]).await?.map(|row| row.get::<_, i64>(0).div_euclid(60));
    let Some(hour) = first.filter(|hour| *hour < over) else {
        if rolled < over {
            marks::set(link, ROLLED, &over.to_le_bytes()).await?;
        }
        return Ok(false);
    };
    let rows = link
        .rows(
            "SELECT account, webhook, start, writer, crc, figures FROM stats_minutes
             WHERE start >= $1 AND start < $2 ORDER BY start",
            &[&(hour * 60), &(hour * 60 + 60)],
        )
        .await?;
    let mut of_minutes: BTreeMap<Key, Vec<Figures>> = BTreeMap::new();
    for (key, figures) in rows.iter().map(read_minute) {
        of_minutes.entry(key).or_default().push(figures);
    }
    let mut hours: BTreeMap<(u32, u32), Figures> = BTreeMap::new();
    for (key, figures) in of_minutes {
        let sum = add_up(figures);
        hours.entry((key.account, key.webhook)).or_default().add(&sum);
        hours.entry((key.account, WHOLE_ACCOUNT)).or_default().add(&sum);
    }
    let (mut accounts, mut webhooks, mut sums, mut written) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for ((account, webhook), figures) in hours {
        let (crc, bytes) = hour_row((account, webhook, hour), &figures)?;
        accounts.push(account as i32);
        webhooks.push(webhook as i32);
        sums.push(crc);
        written.push(bytes);
    }
    link.run(
        "INSERT INTO stats_hours (account, webhook, start, crc, figures)
         SELECT k.account, k.webhook, $5, k.crc, k.figures
         FROM unnest($1::integer[], $2::integer[], $3::bigint[], $4::bytea[]) AS k (account, webhook, crc, figures)
         ON CONFLICT (account, webhook, start) DO UPDATE SET crc = excluded.crc, figures = excluded.figures",
        &[&accounts, &webhooks, &sums, &written, &hour],
    )
    .await?;
    marks::set(link, ROLLED, &(hour + 1).to_le_bytes()).await?;
    Ok(true)
}

/// Deletes what was kept long enough: a bounded number of rows.
pub(super) async fn prune(link: &Link, now: Timestamp) -> Result<(), Fault> {
    let minutes = minute(now.minus(MINUTES_KEPT));
    let hours = minute(now.minus(HOURS_KEPT)).div_euclid(60);
    for (sql, before) in [
        (
            "DELETE FROM stats_minutes WHERE (account, start, webhook, writer) IN
                 (SELECT account, start, webhook, writer FROM stats_minutes WHERE start < $1 ORDER BY start LIMIT 5000)",
            minutes,
        ),
        (
            "DELETE FROM stats_hours WHERE (account, webhook, start) IN
                 (SELECT account, webhook, start FROM stats_hours WHERE start < $1 ORDER BY start LIMIT 5000)",
            hours,
        ),
    ] {
        link.run(sql, &[&before]).await?;
    }
    Ok(())
}
