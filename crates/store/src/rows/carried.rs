//! Rows on their way from the embedded store into a database: as plain columns, since both keep a row's bytes and its
//! checksum alike; and a sum of rows that both can make, by which it is known that all came.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::damaged::Damaged;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Small,
    Int,
    Big,
    Bool,
    Text,
    Bytes,
}

/// A value of a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Value {
    Null,
    Number(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Value {
    /// About how much room it takes.
    pub(crate) const fn size(&self) -> usize {
        8 + match self {
            Self::Null | Self::Number(_) => 0,
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }
}

/// A table of the database that rows are carried into.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) columns: &'static [(&'static str, Kind)],
}

impl Table {
    /// The place of a column.
    pub(crate) fn place(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|(name, _)| *name == column)
    }

    /// A row as this table will have it: numbers that are kept in fewer bytes than they were, and have no sign, go round.
    pub(crate) fn fit(&self, row: &mut [Value]) -> Result<(), Damaged> {
        let odd = |name: &str| Damaged(format!("{} of a row for {}", name, self.name));
        if row.len() != self.columns.len() {
            return Err(odd("number of columns"));
        }
        for (value, (name, kind)) in row.iter_mut().zip(self.columns) {
            match (&mut *value, kind) {
                (Value::Null, _)
                | (Value::Number(_), Kind::Big)
                | (Value::Text(_), Kind::Text)
                | (Value::Bytes(_), Kind::Bytes) => {}
                (Value::Number(number), Kind::Bool) => *number = i64::from(*number != 0),
                (Value::Number(number), Kind::Small) if (i16::MIN.into()..=u16::MAX.into()).contains(number) => {
                    *number = (*number as i16).into();
                }
                (Value::Number(number), Kind::Int) if (i32::MIN.into()..=u32::MAX.into()).contains(number) => {
                    *number = (*number as i32).into();
                }
                (Value::Number(_) | Value::Text(_) | Value::Bytes(_), _) => return Err(odd(name)),
            }
        }
        Ok(())
    }
}

/// How many rows, and a sum over the hash of each, whatever their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) rows: u64,
    pub(crate) hashes: u128,
}

impl Sum {
    /// Adds a row.
    pub(crate) fn add(&mut self, row: &[Value]) {
        let mut hash = Sha256::new();
        for (place, value) in row.iter().enumerate() {
            if place > 0 {
                hash.update("|");
            }
            match value {
                Value::Null => hash.update("~"),
                Value::Number(number) => hash.update(number.to_string()),
                Value::Text(text) => hash.update(text),
                Value::Bytes(bytes) => bytes.chunks(512).for_each(|bytes| hash.update(hex(bytes))),
            }
        }
        let bytes = hash.finalize();
        let first = bytes.iter().take(4).fold(0, |number, byte| number << 8 | u128::from(*byte));
        self.rows += 1;
        self.hashes += first;
    }
}

/// The statement by which PostgreSQL makes the [`Sum`] of a table: the number of rows, and the sum of hashes as a text.
pub(crate) fn sum_in_database(table: &Table) -> String {
    let text = |(name, kind): &(&str, Kind)| match kind {
        Kind::Small | Kind::Int | Kind::Big => format!("coalesce({name}::text, '~')"),
        Kind::Bool => format!("coalesce({name}::integer::text, '~')"),
        Kind::Text => format!("coalesce({name}, '~')"),
        Kind::Bytes => format!("coalesce(encode({name}, 'hex'), '~')"),
    };
    let columns = table.columns.iter().map(text).collect::<Vec<_>>().join(", ");
    format!(
        "SELECT count(*), coalesce(sum(('x' || encode(substring(sha256(convert_to(concat_ws('|', {columns}), 'UTF8'))
                                                               FROM 1 FOR 4), 'hex'))::bit(32)::bigint), 0)::text
         FROM {}",
        table.name
    )
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |number: u8| char::from(DIGITS.get(usize::from(number)).copied().unwrap_or_default());
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

use Kind::{Big, Bool, Bytes, Int, Small, Text};

macro_rules! tables {
    ($($table:ident $name:literal: $($column:literal $kind:ident),+;)+) => {
        $(pub(crate) static $table: Table = Table { name: $name, columns: &[$(($column, $kind)),+] };)+
        /// Every table that rows are carried into, in an order in which nothing is named before it is there.
        pub(crate) static TABLES: &[&Table] = &[$(&$table),+];
    };
}

tables! {
    ACCOUNTS "accounts": "number" Int, "id" Text, "name" Text, "created_at" Big, "updated_at" Big, "version" Big,
        "profile" Text, "crc" Big;
    WEBHOOKS "webhooks": "number" Int, "id" Text, "account" Int, "version" Big, "failing_since" Big, "profile" Text,
        "secret_version" Big, "secret" Bytes, "previous_secret" Bytes, "headers" Bytes, "key_pair" Bytes,
        "previous_key_pair" Bytes, "crc" Big;
    WEBHOOKS_GONE "webhooks_gone": "number" Int, "id" Text, "account" Int, "crc" Big;
    CANCELLINGS "cancellings": "webhook" Int, "account" Int, "at" Big, "crc" Big;
    KEYS "keys": "id" Text, "name" Text, "account" Int, "scopes" Text, "hash" Bytes, "hint" Text, "created_at" Big,
        "expires_at" Big, "last_used_at" Big, "crc" Big;
    SESSIONS "sessions": "id" Text, "kind" Small, "hash" Bytes, "key" Bytes, "account" Int, "portal" Bool, "scopes" Text,
        "name" Text, "created_at" Big, "expires_at" Big, "opens_for" Big, "spent" Bool, "crc" Big;
    EVENT_TYPES "event_types": "number" Int, "name" Text, "crc" Big;
    EVENTS "events": "account" Int, "key" Big, "type" Int, "lead" Int, "marked" Small, "crc" Big, "targets" Bytes,
        "data" Bytes, "trace" Bytes;
    DELIVERIES "deliveries": "account" Int, "event" Big, "place" Small, "webhook" Int, "type" Int, "lead" Int,
        "state" Small, "test" Bool, "attempts_made" Int, "retries_made" Int, "code" Int, "error" Small, "duration" Big,
        "ended_at" Big, "record" Bytes;
    HOT "hot": "shard" Small, "webhook" Int, "event" Big, "place" Small, "account" Int, "type" Int, "lead" Int,
        "due_at" Big, "attempts_made" Int, "retries_made" Int, "reason" Small, "test" Bool, "code" Int, "error" Small,
        "duration" Big;
    ATTEMPTS "attempts": "account" Int, "event" Big, "place" Small, "number" Int, "record" Bytes;
    REPLAYS "replays": "number" Int, "id" Text, "account" Int, "state" Small, "page" Int, "skip" Int, "record" Text,
        "crc" Big;
    REPLAY_PAGES "replay_pages": "account" Int, "replay" Int, "page" Int, "ids" Bytes, "crc" Big;
    REPLAYED "replayed": "account" Int, "event" Big, "place" Small, "replay" Int, "before" Int, "standing" Small,
        "error" Small;
    IDEMPOTENCY "idempotency": "account" Int, "key" Bytes, "request" Bytes, "at" Big, "event" Big, "lead" Big,
        "deliveries" Big, "answer" Bytes, "crc" Big;
    AUDIT "audit": "key" Big, "account" Int, "action" Text, "actor" Text, "actor_id" Text, "actor_name" Text,
        "target" Text, "target_name" Text, "request" Text, "address" Text, "detail" Text, "crc" Big;
    STATS_MINUTES "stats_minutes": "account" Int, "webhook" Int, "start" Big, "writer" Big, "crc" Big, "figures" Bytes;
    STATS_HOURS "stats_hours": "account" Int, "webhook" Int, "start" Big, "crc" Big, "figures" Bytes;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_and_its_place_count_but_not_the_order_of_rows() {
        let row = |a: Value, b: Value| [a, b];
        let text = |text: &str| Value::Text(text.to_owned());
        let sum = |rows: &[[Value; 2]]| {
            let mut sum = Sum::default();
            rows.iter().for_each(|row| sum.add(row));
            sum
        };
        let (one, two) = (row(text("a"), Value::Number(1)), row(Value::Null, Value::Bytes(vec![0, 255])));
        assert_eq!(sum(&[one.clone(), two.clone()]), sum(&[two.clone(), one.clone()]));
        assert_ne!(sum(std::slice::from_ref(&one)), sum(&[row(Value::Number(1), text("a"))]));
        assert_ne!(sum(std::slice::from_ref(&two)), sum(&[row(Value::Null, Value::Bytes(vec![0, 254]))]));
        assert_eq!(hex(&[0, 0x1f, 255]), "001fff");
    }

    #[test]
    fn numbers_without_a_sign_go_round_and_others_that_do_not_fit_are_refused() {
        let fit = |small: i64, int: i64| {
            let table = Table { name: "t", columns: &[("a", Small), ("b", Int)] };
            let mut row = [Value::Number(small), Value::Number(int)];
            table.fit(&mut row).map(|()| row).ok()
        };
        assert_eq!(fit(65_535, 4_294_967_295), Some([Value::Number(-1), Value::Number(-1)]));
        assert_eq!(fit(7, -7), Some([Value::Number(7), Value::Number(-7)]));
        assert_eq!((fit(65_536, 0), fit(0, 4_294_967_296)), (None, None));
        assert!(WEBHOOKS_GONE.fit(&mut [Value::Null]).is_err());
    }
}
