-- Layout 2.

-- Where an event came from in the producer's traces: trace, span and flags of its `traceparent`, 25 bytes.
ALTER TABLE events ADD COLUMN trace BLOB;

-- Accounts that are closed, and whose events are being erased.
CREATE TABLE erasures (
    account INTEGER PRIMARY KEY,
    crc INTEGER NOT NULL
) STRICT;
