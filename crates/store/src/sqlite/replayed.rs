//! Rows of deliveries that a replay in bulk has handed over: which attempts are its own, and what came of them.

use domain::attempt::{Attempt, LoggedAttempt, Reason};
use domain::id::{DeliveryId, EventId};
use rusqlite::{CachedStatement, Connection, Row, params};

use super::deliveries::{error_code, error_number};
use super::fault::Fault;
use super::replays;
pub(super) use crate::rows::replayed::Link;
use crate::rows::replayed::{part_of, standing, standing_number};

/// What [`read`] reads after the delivery's id, in its order.
macro_rules! columns {
    () => {
        "replay, before, standing, error, crc"
    };
}

/// The statement for [`put`].
pub(super) fn prepare_put(conn: &Connection) -> Result<CachedStatement<'_>, Fault> {
    let sql =
        concat!("INSERT OR REPLACE INTO replayed (event, place, ", columns!(), ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)");
    Ok(conn.prepare_cached(sql)?)
}

/// Writes a row, in place of the one of the same delivery and replay.
pub(super) fn put(statement: &mut CachedStatement<'_>, link: &Link) -> Result<(), Fault> {
    statement.execute(params![
        link.delivery.event.0 as i64,
        link.delivery.place,
        link.replay,
        link.before,
        standing_number(link.standing),
        link.error.map(error_number),
        link.sum().sum(),
    ])?;
    Ok(())
}

/// The last replay that has handed a delivery over.
pub(super) fn last(conn: &Connection, id: DeliveryId) -> Result<Option<Link>, Fault> {
    let mut statement = conn.prepare_cached(concat!(
        "SELECT ",
        columns!(),
        " FROM replayed WHERE event = ?1 AND place = ?2 ORDER BY replay DESC LIMIT 1"
    ))?;
    let mut rows = statement.query(params![id.event.0 as i64, id.place])?;
    rows.next()?.map(|row| read(id, row)).transpose()
}

/// The attempts of a delivery, each with the replay that it is part of: the first replay's attempt after a replay has
/// handed it over, and the retries that follow.
pub(super) fn logged(conn: &Connection, id: DeliveryId, made: Vec<Attempt>) -> Result<Vec<LoggedAttempt>, Fault> {
    let mut statement = conn.prepare_cached(concat!(
        "SELECT ",
        columns!(),
        " FROM replayed WHERE event = ?1 AND place = ?2 ORDER BY replay"
    ))?;
    let mut rows = statement.query(params![id.event.0 as i64, id.place])?;
    let mut links = Vec::new();
    while let Some(row) = rows.next()? {
        links.push(read(id, row)?);
    }
    let mut ids = std::collections::HashMap::new();
    for link in &links {
        ids.extend(replays::id_of(conn, link.replay)?.map(|id| (link.replay, id)));
    }
    let logged = part_of(id, made, &links, &ids);
    if logged.iter().any(|one| one.attempt.reason == Reason::Replay && one.replay.is_none()) {
        verify_beside(conn, id)?;
    }
    Ok(logged)
}

/// Looks at the rows before and after the place where a row of this delivery would be: a row whose own key is damaged is not found,
/// but stands beside where it was.
///
/// # Errors
/// [`Fault::Damaged`], and what the database says.
fn verify_beside(conn: &Connection, id: DeliveryId) -> Result<(), Fault> {
    for sql in [
        concat!(
            "SELECT ",
            columns!(),
            ", event, place FROM replayed WHERE (event, place) < (?1, ?2) ORDER BY event DESC, place DESC, replay DESC LIMIT 1"
        ),
        concat!(
            "SELECT ",
            columns!(),
            ", event, place FROM replayed WHERE (event, place) > (?1, ?2) ORDER BY event, place, replay LIMIT 1"
        ),
    ] {
        let mut statement = conn.prepare_cached(sql)?;
        let mut rows = statement.query(params![id.event.0 as i64, id.place])?;
        if let Some(row) = rows.next()? {
            read(key(row)?, row)?;
        }
    }
    Ok(())
}

/// The delivery of a row whose key comes after its columns.
fn key(row: &Row<'_>) -> Result<DeliveryId, Fault> {
    Ok(DeliveryId { event: EventId(row.get::<_, i64>(5)? as u64), place: row.get(6)? })
}

/// Compares the checksum of every row.
pub(super) fn verify(conn: &Connection) -> Result<u64, Fault> {
    let mut statement = conn.prepare(concat!("SELECT ", columns!(), ", event, place FROM replayed"))?;
    let mut rows = statement.query([])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        read(key(row)?, row)?;
        count += 1;
    }
    Ok(count)
}

/// Forgets the deliveries of an event.
pub(super) fn delete_of_event(conn: &Connection, event: i64) -> Result<(), Fault> {
    conn.prepare_cached("DELETE FROM replayed WHERE event = ?1")?.execute([event])?;
    Ok(())
}

fn read(delivery: DeliveryId, row: &Row<'_>) -> Result<Link, Fault> {
    let damaged = || Fault::Damaged(format!("replay of delivery {delivery}"));
    let link = Link {
        delivery,
        replay: row.get(0)?,
        before: row.get(1)?,
        standing: standing(row.get(2)?).ok_or_else(damaged)?,
        error: row.get::<_, Option<i64>>(3)?.map(|number| error_code(number).ok_or_else(damaged)).transpose()?,
    };
    link.sum().verify(row.get(4)?, || format!("replay of delivery {delivery}"))?;
    Ok(link)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use domain::replay::Standing;
    use domain::signature::SentRequest;
    use domain::time::Timestamp;

    use super::*;

    fn attempt(number: u16, reason: Reason) -> Attempt {
        let request = SentRequest {
            url: String::new(),
            prefix: String::new(),
            user_agent: String::new(),
            signed_at: 0,
            signature: [0; 32],
            standard: Vec::new(),
            ed25519: Vec::new(),
            custom: Vec::new(),
        };
        Attempt {
            number,
            reason,
            started_at: Timestamp(0),
            duration: Duration::ZERO,
            timing: domain::attempt::Timing::default(),
            request,
            answer: None,
            failure: None,
            remote_address: None,
        }
    }

    /// Whatever bit of a row it is, also in its key: then the row is not found.
    #[test]
    fn a_damaged_row_is_not_taken_for_none() {
        let file = std::env::temp_dir().join(format!("posthaste-replayed-{}", std::process::id()));
        drop(std::fs::File::create_new(&file).expect("a new file"));
        let conn = super::super::schema::open(&file, false).expect("a new database");
        let delivery = |event: u64| DeliveryId { event: EventId(event << 11), place: 0 };
        for event in 1..=3 {
            let link =
                Link { delivery: delivery(event), replay: 1, before: 1, standing: Standing::Failed, error: None };
            put(&mut prepare_put(&conn).expect("a statement"), &link).expect("it is written");
        }
        let made = || vec![attempt(1, Reason::First), attempt(2, Reason::Replay)];
        let shown = || logged(&conn, delivery(2), made());
        assert!(shown().is_ok());
        for flip in
            ["event = event + 1", "event = event - 8", "place = place + 1", "replay = 3", "before = 0", "standing = 1"]
        {
            conn.execute_batch("BEGIN").expect("it begins");
            let sql = format!("UPDATE replayed SET {flip} WHERE event = ?1");
            assert_eq!(conn.execute(&sql, [delivery(2).event.0 as i64]).expect("a row"), 1);
            assert!(matches!(shown(), Err(Fault::Damaged(_))), "{flip}");
            conn.execute_batch("ROLLBACK").expect("it is undone");
        }
        drop(conn);
        std::fs::remove_file(&file).expect("it is ours");
    }
}
