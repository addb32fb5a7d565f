-- Layout 1. Numbers that name accounts, webhooks and types are never used again. `crc` is the row's checksum.
-- Times are microseconds since 1970.

CREATE TABLE marks (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL,
    crc INTEGER NOT NULL
) WITHOUT ROWID, STRICT;

CREATE TABLE accounts (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    version INTEGER NOT NULL,
    crc INTEGER NOT NULL
) STRICT;

-- `profile` is JSON: all that is no secret. `secret`, `previous_secret` and `headers` are sealed.
CREATE TABLE webhooks (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    account INTEGER NOT NULL,
    version INTEGER NOT NULL,
    failing_since INTEGER,
    profile TEXT NOT NULL,
    secret_version INTEGER NOT NULL,
    secret BLOB NOT NULL,
    previous_secret BLOB,
    headers BLOB NOT NULL,
    crc INTEGER NOT NULL
) STRICT;

-- Deleted webhooks whose log is kept: it names them by these ids.
CREATE TABLE webhooks_gone (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    account INTEGER NOT NULL,
    crc INTEGER NOT NULL
) STRICT;

CREATE TABLE keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    account INTEGER,
    scopes TEXT NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    hint TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    crc INTEGER NOT NULL
) WITHOUT ROWID, STRICT;

CREATE TABLE event_types (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    crc INTEGER NOT NULL
) STRICT;

-- `key` is the number in the event's id: its microsecond and a residue. `lead` is how far the event's timestamp lies
-- after that microsecond. `targets` lists the webhooks that the event goes to.
CREATE TABLE events (
    key INTEGER PRIMARY KEY,
    account INTEGER NOT NULL,
    type INTEGER NOT NULL,
    lead INTEGER NOT NULL,
    marked INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    targets BLOB NOT NULL,
    data BLOB NOT NULL
) STRICT;
CREATE INDEX events_of_account ON events (account);

-- A delivery has a row once its first attempt has ended, or when it must wait on disk. `record` is that attempt.
-- state: 0 waiting, 1 delivered, 2 failed, 3 cancelled. `due_at` only while waiting, `ended_at` only after it.
CREATE TABLE deliveries (
    event INTEGER NOT NULL,
    place INTEGER NOT NULL,
    account INTEGER NOT NULL,
    webhook INTEGER NOT NULL,
    type INTEGER NOT NULL,
    lead INTEGER NOT NULL,
    state INTEGER NOT NULL,
    test INTEGER NOT NULL,
    attempts_made INTEGER NOT NULL,
    retries_made INTEGER NOT NULL,
    code INTEGER,
    error INTEGER,
    duration INTEGER,
    due_at INTEGER,
    ended_at INTEGER,
    crc INTEGER NOT NULL,
    record BLOB,
    PRIMARY KEY (event, place)
) WITHOUT ROWID, STRICT;
CREATE INDEX deliveries_of_webhook ON deliveries (webhook, event, place, state, retries_made, test);
CREATE INDEX deliveries_undelivered ON deliveries (account, state, event, place, webhook) WHERE state <> 1;

-- Attempts after the first.
CREATE TABLE attempts (
    event INTEGER NOT NULL,
    place INTEGER NOT NULL,
    number INTEGER NOT NULL,
    record BLOB NOT NULL,
    PRIMARY KEY (event, place, number)
) WITHOUT ROWID, STRICT;

-- One row for each delivery whose row says that it waits.
CREATE TABLE due (
    webhook INTEGER NOT NULL,
    event INTEGER NOT NULL,
    place INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    attempts_made INTEGER NOT NULL,
    retries_made INTEGER NOT NULL,
    reason INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (webhook, event, place)
) WITHOUT ROWID, STRICT;
CREATE INDEX due_by_time ON due (due_at, event, place);

-- What an idempotency key was answered: with an event, or with sealed bytes.
CREATE TABLE idempotency (
    key BLOB PRIMARY KEY,
    request BLOB NOT NULL,
    at INTEGER NOT NULL,
    event INTEGER,
    lead INTEGER,
    deliveries INTEGER,
    answer BLOB,
    crc INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
CREATE INDEX idempotency_by_time ON idempotency (at);
