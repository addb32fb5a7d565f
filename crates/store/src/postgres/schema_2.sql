-- Layout 2: what happens in accounts that somebody follows live, and requests that are carried to whoever listens.

-- Accounts that somebody follows, on whichever node. Whoever commits something in one of them before `until` writes it down.
CREATE TABLE followed (
    account integer PRIMARY KEY,
    until timestamptz NOT NULL
);

-- What was committed in them, a row for each transaction and account; kept for some minutes. `items`: see `chronicle.rs`.
CREATE TABLE chronicle (
    account integer NOT NULL,
    tx xid8 NOT NULL DEFAULT pg_current_xact_id(),
    at timestamptz NOT NULL DEFAULT now(),
    crc bigint NOT NULL,
    items bytea NOT NULL,
    PRIMARY KEY (account, tx)
);
CREATE INDEX chronicle_by_time ON chronicle (at);
