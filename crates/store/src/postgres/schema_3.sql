-- Layout 3: the keys of what is of an account begin with it, so that all of one account can lie in one part of a distributed
-- database. What is the platform's own has account 0 there: numbers of accounts begin at 1.

ALTER TABLE webhooks DROP CONSTRAINT webhooks_pkey, DROP CONSTRAINT webhooks_id_key;
ALTER TABLE webhooks ADD CONSTRAINT webhooks_pkey PRIMARY KEY (account, number),
    ADD CONSTRAINT webhooks_account_id_key UNIQUE (account, id);
DROP INDEX webhooks_of_account;
-- Ids are unique over all accounts all the same: whoever makes a webhook looks here, and lets no other do so meanwhile.
CREATE INDEX webhooks_by_id ON webhooks (id);

ALTER TABLE webhooks_gone DROP CONSTRAINT webhooks_gone_pkey;
ALTER TABLE webhooks_gone ADD CONSTRAINT webhooks_gone_pkey PRIMARY KEY (account, number);
DROP INDEX webhooks_gone_of_account;

ALTER TABLE cancellings DROP CONSTRAINT cancellings_pkey;
ALTER TABLE cancellings ADD CONSTRAINT cancellings_pkey PRIMARY KEY (account, webhook);

ALTER TABLE replays DROP CONSTRAINT replays_pkey, DROP CONSTRAINT replays_id_key;
ALTER TABLE replays ADD CONSTRAINT replays_pkey PRIMARY KEY (account, number),
    ADD CONSTRAINT replays_account_id_key UNIQUE (account, id);
DROP INDEX replays_of_account;
-- For retention, which goes through all accounts' from the oldest on.
CREATE INDEX replays_ended ON replays (number) WHERE state >= 3;

ALTER TABLE replay_pages ADD COLUMN account integer;
UPDATE replay_pages AS p SET account = r.account FROM replays AS r WHERE r.number = p.replay;
-- A list of no replay is of nobody.
DELETE FROM replay_pages WHERE account IS NULL;
ALTER TABLE replay_pages ALTER COLUMN account SET NOT NULL, DROP CONSTRAINT replay_pages_pkey;
ALTER TABLE replay_pages ADD CONSTRAINT replay_pages_pkey PRIMARY KEY (account, replay, page);

UPDATE audit SET account = 0 WHERE account IS NULL;
ALTER TABLE audit ALTER COLUMN account SET NOT NULL, DROP CONSTRAINT audit_pkey;
ALTER TABLE audit ADD CONSTRAINT audit_pkey PRIMARY KEY (account, key);
DROP INDEX audit_of_account;
-- For lists over all accounts, and for retention.
CREATE INDEX audit_by_key ON audit (key);

-- Whose a key is that came before, only its hash knows: account -1 stands for that. Nobody writes such rows any more but a move
-- from an embedded store, and they go within a day.
ALTER TABLE idempotency ADD COLUMN account integer NOT NULL DEFAULT -1, DROP CONSTRAINT idempotency_pkey;
ALTER TABLE idempotency ALTER COLUMN account DROP DEFAULT;
ALTER TABLE idempotency ADD CONSTRAINT idempotency_pkey PRIMARY KEY (account, key);
