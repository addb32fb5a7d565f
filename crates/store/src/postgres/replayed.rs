//! Rows of deliveries that a replay in bulk has handed over: which attempts are its own, and what came of them.

use std::collections::HashMap;

use domain::attempt::{Attempt, LoggedAttempt};
use domain::id::{DeliveryId, EventId};
use tokio_postgres::Row;

use super::connection::Link as Connection;
use super::deliveries::Ids;
use super::fault::Fault;
use super::replays;
use crate::rows::delivery::{error_code, error_number};
pub(super) use crate::rows::replayed::Link;
use crate::rows::replayed::{part_of, standing, standing_number};

/// Writes rows, each of this account, in place of those of the same delivery and replay.
pub(super) async fn put(link: &Connection, all: &[(u32, Link)]) -> Result<(), Fault> {
    if all.is_empty() {
        return Ok(());
    }
    let mut ids = Ids::default();
    let (mut numbers, mut before, mut standings, mut errors) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (account, one) in all {
        ids.push(*account, one.delivery);
        numbers.push(one.replay as i32);
        before.push(i32::from(one.before));
        standings.push(standing_number(one.standing) as i16);
        errors.push(one.error.map(|error| error_number(error) as i16));
    }
    link.run(
        "INSERT INTO replayed (account, event, place, replay, before, standing, error)
         SELECT * FROM unnest($1::integer[], $2::bigint[], $3::smallint[], $4::integer[], $5::integer[], $6::smallint[],
                              $7::smallint[])
         ON CONFLICT (account, event, place, replay) DO UPDATE
         SET before = excluded.before, standing = excluded.standing, error = excluded.error",
        &[&ids.accounts, &ids.events, &ids.places, &numbers, &before, &standings, &errors],
    )
    .await?;
    Ok(())
}

/// The last replay that has handed each of these deliveries over.
pub(super) async fn last(link: &Connection, ids: &Ids) -> Result<HashMap<DeliveryId, Link>, Fault> {
    let rows = link
        .rows(
            "SELECT DISTINCT ON (r.event, r.place) r.event, r.place, r.replay, r.before, r.standing, r.error
             FROM unnest($1::integer[], $2::bigint[], $3::smallint[]) AS k (account, event, place)
             JOIN replayed AS r ON r.account = k.account AND r.event = k.event AND r.place = k.place
             ORDER BY r.event, r.place, r.replay DESC",
            &[&ids.accounts, &ids.events, &ids.places],
        )
        .await?;
    let read = |row: &Row| read(row).map(|one| (one.delivery, one));
    rows.iter().map(read).collect()
}

/// The attempts of a delivery, each with the replay that it is part of.
pub(super) async fn logged(
    link: &Connection,
    account: u32,
    id: DeliveryId,
    made: Vec<Attempt>,
) -> Result<Vec<LoggedAttempt>, Fault> {
    let rows = link
        .rows(
            "SELECT event, place, replay, before, standing, error FROM replayed
             WHERE account = $1 AND event = $2 AND place = $3 ORDER BY replay",
            &[&(account as i32), &(id.event.0 as i64), &(id.place as i16)],
        )
        .await?;
    let links = rows.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let numbers: Vec<i32> = links.iter().map(|one| one.replay as i32).collect();
    let ids = if numbers.is_empty() { Vec::new() } else { replays::ids_of(link, account, &numbers).await? };
    Ok(part_of(id, made, &links, &ids.into_iter().collect()))
}

fn read(row: &Row) -> Result<Link, Fault> {
    let delivery = DeliveryId { event: EventId(row.get::<_, i64>(0) as u64), place: row.get::<_, i16>(1) as u16 };
    let damaged = || Fault::Damaged(format!("replay of delivery {delivery}"));
    Ok(Link {
        delivery,
        replay: row.get::<_, i32>(2) as u32,
        before: row.get::<_, i32>(3) as u16,
        standing: standing(row.get::<_, i16>(4).into()).ok_or_else(damaged)?,
        error: row.get::<_, Option<i16>>(5).map(|number| error_code(number.into()).ok_or_else(damaged)).transpose()?,
    })
}
