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

-- Accounts that are closed, and whose events are being erased.
CREATE TABLE erasures (
    account INTEGER PRIMARY KEY,
    crc INTEGER NOT NULL
) STRICT;
