//! What is carried from which table of the embedded store, and as which columns of the database's.

use domain::shard::Shard;

use super::super::fault::Fault;
use crate::rows::carried::{
    ACCOUNTS, ATTEMPTS, AUDIT, CANCELLINGS, DELIVERIES, EVENT_TYPES, EVENTS, HOT, IDEMPOTENCY, KEYS, REPLAY_PAGES,
    REPLAYED, REPLAYS, SESSIONS, STATS_HOURS, STATS_MINUTES, Table, Value, WEBHOOKS, WEBHOOKS_GONE,
};
use crate::rows::checksum::Checksum;

/// Rows that are carried together.
pub(super) struct Part {
    /// What they are called.
    pub(super) said: &'static str,
    /// The table that they go to.
    pub(super) table: &'static Table,
    pub(super) rows: Rows,
    pub(super) complete: Option<Complete>,
}

/// Fills in what is no column of the store.
type Complete = fn(&mut [Value]) -> Result<(), Fault>;

/// Where rows come from.
pub(super) enum Rows {
    /// From tables, in the order of their keys.
    Stored { columns: &'static str, from: &'static str, filter: &'static str, keys: &'static [&'static str] },
    /// From memory: deliveries that have no row.
    Fresh,
}

const fn stored(
    (said, table): (&'static str, &'static Table),
    columns: &'static str,
    from: &'static str,
    filter: &'static str,
    keys: &'static [&'static str],
) -> Part {
    Part { said, table, rows: Rows::Stored { columns, from, filter, keys }, complete: None }
}

/// Whose accounts are there: what is left of one that was closed is erased here.
const OPEN: &str = "account IN (SELECT number FROM accounts)";
const ALL: &str = "true";

/// Everything that is carried, in its order. A test over the tables keeps it whole.
pub(super) static PARTS: [Part; 20] = [
    stored(
        ("accounts", &ACCOUNTS),
        "number, id, name, created_at, updated_at, version, profile, crc",
        "accounts",
        ALL,
        &["number"],
    ),
    stored(
        ("webhooks", &WEBHOOKS),
        "number, id, account, version, failing_since, profile, secret_version, secret, previous_secret, headers, key_pair,
         previous_key_pair, crc",
        "webhooks",
        OPEN,
        &["number"],
    ),
    stored(("deleted webhooks", &WEBHOOKS_GONE), "number, id, account, crc", "webhooks_gone", OPEN, &["number"]),
    stored(
        ("webhooks being cancelled", &CANCELLINGS),
        "webhook, account, at, crc",
        "cancellings",
        OPEN,
        &["webhook"],
    ),
    stored(
        ("keys", &KEYS),
        "id, name, account, scopes, hash, hint, created_at, expires_at, last_used_at, crc",
        "keys",
        ALL,
        &["id"],
    ),
    stored(
        ("sessions", &SESSIONS),
        "id, kind, hash, key, account, portal, scopes, name, created_at, expires_at, opens_for, spent, crc",
        "sessions",
        ALL,
        &["id"],
    ),
    stored(("event types", &EVENT_TYPES), "number, name, crc", "event_types", ALL, &["number"]),
    stored(
        ("events", &EVENTS),
        "account, key, type, lead, marked, crc, targets, data, trace",
        "events",
        OPEN,
        &["key"],
    ),
    stored(
        ("deliveries that have ended", &DELIVERIES),
        "account, event, place, webhook, type, lead, state, test, attempts_made, retries_made, code, error, duration,
         ended_at, CASE WHEN attempts_made = 1 THEN record END",
        "deliveries",
        "state <> 0 AND account IN (SELECT number FROM accounts)",
        &["event", "place"],
    ),
    Part {
        complete: Some(fill_in_shard),
        ..stored(
            ("deliveries that wait", &HOT),
            "NULL, d.webhook, d.event, d.place, d.account, d.type, d.lead, w.due_at, d.attempts_made, d.retries_made,
             w.reason, d.test, d.code, d.error, d.duration",
            "due AS w CROSS JOIN deliveries AS d",
            "d.event = w.event AND d.place = w.place AND d.account IN (SELECT number FROM accounts)",
            &["w.webhook", "w.event", "w.place"],
        )
    },
    Part { said: "deliveries not tried yet", table: &HOT, rows: Rows::Fresh, complete: None },
    stored(
        ("first attempts", &ATTEMPTS),
        "account, event, place, 1, record",
        "deliveries",
        "record IS NOT NULL AND (state = 0 OR attempts_made <> 1) AND account IN (SELECT number FROM accounts)",
        &["event", "place"],
    ),
    stored(
        ("further attempts", &ATTEMPTS),
        "d.account, a.event, a.place, a.number, a.record",
        "attempts AS a CROSS JOIN deliveries AS d",
        "d.event = a.event AND d.place = a.place AND d.account IN (SELECT number FROM accounts)",
        &["a.event", "a.place", "a.number"],
    ),
    stored(
        ("replays", &REPLAYS),
        "number, id, account, state, page, skip, record, crc",
        "replays",
        OPEN,
        &["number"],
    ),
    stored(
        ("lists of replays", &REPLAY_PAGES),
        "r.account, r.number, p.key & 4294967295, p.ids, p.crc",
        "replay_pages AS p CROSS JOIN replays AS r",
        "r.number = p.key >> 32 AND r.account IN (SELECT number FROM accounts)",
        &["p.key"],
    ),
    stored(
        ("replayed deliveries", &REPLAYED),
        "d.account, r.event, r.place, r.replay, r.before, r.standing, r.error",
        "replayed AS r CROSS JOIN deliveries AS d",
        "d.event = r.event AND d.place = r.place AND d.account IN (SELECT number FROM accounts)",
        &["r.event", "r.place", "r.replay"],
    ),
    // Only its hash knows whose a key is. The database has account -1 for that, and looks for keys of it until they are gone.
    stored(
        ("idempotency keys", &IDEMPOTENCY),
        "-1, key, request, at, event, lead, deliveries, answer, crc",
        "idempotency",
        ALL,
        &["key"],
    ),
    stored(
        ("audit entries", &AUDIT),
        "key, coalesce(account, 0), action, actor, actor_id, actor_name, target, target_name, request, address, detail, crc",
        "audit",
        ALL,
        &["key"],
    ),
    Part {
        complete: Some(fill_in_sum),
        ..stored(
            ("figures by the minute", &STATS_MINUTES),
            "account, webhook, start, 0, NULL, figures",
            "stats_minutes",
            OPEN,
            &["start", "account", "webhook"],
        )
    },
    // Those of an hour that is not in here in whole are summed up from its minutes again, in place of these.
    stored(
        ("figures by the hour", &STATS_HOURS),
        "account, webhook, start, crc, figures",
        "stats_hours",
        OPEN,
        &["start", "account", "webhook"],
    ),
];

/// The shard of a webhook, as rows have it.
pub(super) fn shard(account: u32, webhook: u32) -> i64 {
    Shard::of(account, webhook).0.into()
}

fn fill_in_shard(row: &mut [Value]) -> Result<(), Fault> {
    match row {
        [shard_of, Value::Number(webhook), _, _, Value::Number(account), ..] => {
            *shard_of = Value::Number(shard(*account as u32, *webhook as u32));
            Ok(())
        }
        _ => Err(Fault::damaged("waiting delivery", "it has no webhook")),
    }
}

/// In the database each writer has rows of its own, and their checksums cover it.
fn fill_in_sum(row: &mut [Value]) -> Result<(), Fault> {
    match row {
        [
            Value::Number(account),
            Value::Number(webhook),
            Value::Number(start),
            Value::Number(writer),
            sum,
            Value::Bytes(bytes),
        ] => {
            let sum_of = Checksum::of("stats_minutes").numbers([*start, *account, *webhook, *writer]).bytes(bytes);
            *sum = Value::Number(sum_of.sum());
            Ok(())
        }
        _ => Err(Fault::damaged("figures by the minute", "they are not whole")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::carried::TABLES;
    use crate::sqlite::schema::tests::{columns, empty};

    /// What is not carried: what the other tables say again in another order, what a database has no use for, and what
    /// [`super::super::Source`] gives by itself.
    const NOT_CARRIED: [&str; 8] = [
        "marks",
        "erasures",
        "zeros",
        "stats_journal",
        "events_young",
        "events_by_type",
        "deliveries_young",
        "deliveries_by_webhook",
    ];

    fn froms() -> String {
        let from = |part: &Part| match part.rows {
            Rows::Stored { from, .. } => from,
            Rows::Fresh => "",
        };
        PARTS.iter().map(from).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn every_table_is_carried_or_is_known_not_to_be() {
        let froms = froms();
        let named = |table: &str| froms.split([' ', '|']).any(|word| word == table);
        for column in columns(&empty()) {
            let table = &*column.table;
            assert!(
                named(table) != NOT_CARRIED.contains(&table),
                "{table}: its rows are carried by a part, or listed here"
            );
        }
        for table in TABLES {
            assert!(PARTS.iter().any(|part| part.table == *table), "{} gets rows from a part", table.name);
        }
    }

    #[test]
    fn every_statement_fits_the_tables() {
        let conn = empty();
        for part in &PARTS {
            let Rows::Stored { columns, from, filter, keys } = part.rows else { continue };
            let keys = keys.join(", ");
            let sql = format!("SELECT {columns}, {keys} FROM {from} WHERE {filter} ORDER BY {keys}");
            let statement = conn.prepare(&sql).unwrap_or_else(|error| panic!("{}: {error}", part.said));
            assert_eq!(statement.column_count(), part.table.columns.len() + keys.split(',').count(), "{}", part.said);
        }
    }
}
