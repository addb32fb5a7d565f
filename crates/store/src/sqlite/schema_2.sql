-- Layout 2.

-- What was changed, and by whom: written with the change, never changed. `key` is the number in the entry's id: its
-- microsecond and a residue. `account` is null for what is the platform's own. `detail` is JSON.
CREATE TABLE audit (
    key INTEGER PRIMARY KEY,
    account INTEGER,
    action TEXT NOT NULL,
    actor TEXT NOT NULL,
    actor_id TEXT,
    actor_name TEXT NOT NULL,
    target TEXT NOT NULL,
    target_name TEXT,
    request TEXT,
    address TEXT,
    detail TEXT NOT NULL,
    crc INTEGER NOT NULL
) STRICT;
CREATE INDEX audit_of_account ON audit (account, key);

-- Where an event came from in the producer's traces: trace, span and flags of its `traceparent`, 25 bytes.
ALTER TABLE events ADD COLUMN trace BLOB;

-- Accounts that are closed, and whose rows are being erased. step: 0 events, 1 zeros are being laid over pages that deleted
-- rows have left, 2 the zeros go again.
CREATE TABLE erasures (
    account INTEGER PRIMARY KEY,
    step INTEGER NOT NULL,
    crc INTEGER NOT NULL
) STRICT;

-- Accounts: all that they say beyond their name, as JSON.
ALTER TABLE accounts ADD COLUMN profile TEXT NOT NULL DEFAULT '{}';

-- Lists: each index ends with the key, so that any of them can be entered at any time and merged with others, and holds what
-- the filter asks for. The partial ones cost nothing where deliveries succeed at once.
DROP INDEX deliveries_undelivered;
CREATE INDEX deliveries_of_state ON deliveries (account, state, event, place, webhook, type, code, error)
    WHERE state <> 1;
CREATE INDEX deliveries_of_webhook_state ON deliveries (webhook, state, event, place, type, code, error)
    WHERE state <> 1;
CREATE INDEX deliveries_of_type_state ON deliveries (account, type, state, event, place, webhook, code, error)
    WHERE state <> 1;
CREATE INDEX deliveries_of_outcome ON deliveries (account, ifnull(code, -error), event, place, webhook, type, state)
    WHERE ifnull(code, -error) <> 200;

-- Sessions, and the one-time links that are spent for them. kind: 0 link, 1 browser, 2 embed. `key` is the hash of the key
-- that a session comes from, `hash` that of its own token.
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    kind INTEGER NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    key BLOB NOT NULL,
    account INTEGER,
    portal INTEGER NOT NULL,
    scopes TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    opens_for INTEGER NOT NULL,
    spent INTEGER NOT NULL,
    crc INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
CREATE INDEX sessions_by_end ON sessions (expires_at);

-- Figures, summed up. `start` counts minutes, or hours, since 1970; `figures` is as `figures.rs` writes it. In
-- `stats_hours`, webhook 0 is the account as a whole. The mark `stats_rolled` says which minutes the hours contain.
CREATE TABLE stats_minutes (
    start INTEGER NOT NULL,
    account INTEGER NOT NULL,
    webhook INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    figures BLOB NOT NULL,
    PRIMARY KEY (start, account, webhook)
) WITHOUT ROWID, STRICT;
CREATE TABLE stats_hours (
    start INTEGER NOT NULL,
    account INTEGER NOT NULL,
    webhook INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    figures BLOB NOT NULL,
    PRIMARY KEY (start, account, webhook)
) WITHOUT ROWID, STRICT;

-- When a key was last used, written about once a minute.
ALTER TABLE keys ADD COLUMN last_used_at INTEGER;

-- The oldest of one webhook's, where most of what is due is held.
CREATE INDEX due_of_webhook ON due (webhook, due_at);

-- Zeros, over pages that deleted rows have left.
CREATE TABLE zeros (
    filler BLOB NOT NULL
) STRICT;

-- Replays in bulk. state: 0 preparing, 1 running, 2 paused, 3 stopped, 4 done. `record` is JSON: filter, counts, state.
-- (`page`, `skip`) is how far it has come in its list.
CREATE TABLE replays (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    account INTEGER NOT NULL,
    state INTEGER NOT NULL,
    page INTEGER NOT NULL,
    skip INTEGER NOT NULL,
    record TEXT NOT NULL,
    crc INTEGER NOT NULL
) STRICT;
CREATE INDEX replays_of_account ON replays (account, number);
CREATE INDEX replays_unfinished ON replays (account, number) WHERE state < 3;

-- What a replay is still to hand over, oldest first. `key` is the replay's number << 32 and the page, `ids` ten bytes for
-- each delivery.
CREATE TABLE replay_pages (
    key INTEGER PRIMARY KEY,
    ids BLOB NOT NULL,
    crc INTEGER NOT NULL
) STRICT;

-- Deliveries that were handed over by a replay, and what they have come to in it.
-- standing: 0 waiting, 1 delivered, 2 retrying, 3 failed, 4 cancelled. `before` counts the attempts that came before it.
CREATE TABLE replayed (
    event INTEGER NOT NULL,
    place INTEGER NOT NULL,
    replay INTEGER NOT NULL,
    before INTEGER NOT NULL,
    standing INTEGER NOT NULL,
    error INTEGER,
    crc INTEGER NOT NULL,
    PRIMARY KEY (event, place, replay)
) WITHOUT ROWID, STRICT;

-- Deleted webhooks of which something is left to be cancelled, as of `at`.
CREATE TABLE cancellings (
    webhook INTEGER PRIMARY KEY,
    account INTEGER NOT NULL,
    at INTEGER NOT NULL,
    crc INTEGER NOT NULL
) STRICT;

-- Key pairs of ed25519, sealed: that of a webhook which signs with one, and the one before it while a rotation overlaps.
ALTER TABLE webhooks ADD COLUMN key_pair BLOB;
ALTER TABLE webhooks ADD COLUMN previous_key_pair BLOB;

-- What was counted and is not in `stats_minutes` and `stats_hours` yet: a row for each transaction that counted something.
-- `counted` is as `journal.rs` writes it.
CREATE TABLE stats_journal (
    number INTEGER PRIMARY KEY,
    crc INTEGER NOT NULL,
    counted BLOB NOT NULL
) STRICT;

-- Events by type, and deliveries by webhook. The newest are in the `young` tables, in their own order; from there they go
-- over to the sorted ones, many at a time. Rows here only repeat what events and deliveries say.
DROP INDEX deliveries_of_webhook;
CREATE TABLE events_young (
    key INTEGER PRIMARY KEY,
    account INTEGER NOT NULL,
    type INTEGER NOT NULL
) STRICT;
CREATE TABLE events_by_type (
    account INTEGER NOT NULL,
    type INTEGER NOT NULL,
    key INTEGER NOT NULL,
    PRIMARY KEY (account, type, key)
) WITHOUT ROWID, STRICT;
CREATE TABLE deliveries_young (
    event INTEGER NOT NULL,
    place INTEGER NOT NULL,
    webhook INTEGER NOT NULL,
    PRIMARY KEY (event, place)
) WITHOUT ROWID, STRICT;
CREATE TABLE deliveries_by_webhook (
    webhook INTEGER NOT NULL,
    event INTEGER NOT NULL,
    place INTEGER NOT NULL,
    PRIMARY KEY (webhook, event, place)
) WITHOUT ROWID, STRICT;
INSERT INTO events_by_type SELECT account, type, key FROM events ORDER BY account, type, key;
INSERT INTO deliveries_by_webhook SELECT webhook, event, place FROM deliveries ORDER BY webhook, event, place;
