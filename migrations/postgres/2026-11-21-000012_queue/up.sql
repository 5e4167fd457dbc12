-- The queue at less cost: what is due is found by domain, a row has fewer indexes, and those grow at their end. One mail per notice and address is held where
-- the list is frozen: a recipient has one delivery, and one recipient has the address.
CREATE UNIQUE INDEX notice_recipients_address ON notice_recipients (notice_id, channel, address);
ALTER TABLE deliveries DROP CONSTRAINT deliveries_notice_id_channel_address_key;
CREATE UNIQUE INDEX deliveries_ordinal ON deliveries (notice_id, ordinal);

-- deferred: tried before, due at next_attempt_at. The rest is due at once; by domain, so that what waits for a slow one
-- can be passed over.
ALTER TABLE deliveries ADD COLUMN deferred BOOLEAN NOT NULL DEFAULT FALSE;
UPDATE deliveries SET deferred = TRUE WHERE state = 'pending' AND attempt > 0;
DROP INDEX deliveries_due;
-- Compared byte by byte, as in the program and in SQLite.
ALTER TABLE deliveries ALTER COLUMN domain TYPE TEXT COLLATE "C";
CREATE INDEX deliveries_due ON deliveries (channel, domain, id) WHERE state = 'pending' AND NOT deferred;
CREATE INDEX deliveries_deferred ON deliveries (channel, next_attempt_at, id, domain) WHERE state = 'pending' AND deferred;

-- What is looked for among the deliveries of a notice is what few of them are.
DROP INDEX deliveries_notice;
CREATE INDEX deliveries_exceptions ON deliveries (notice_id, state, ordinal) WHERE state NOT IN ('pending', 'sent');
ALTER TABLE deliveries SET (fillfactor = 60);

-- Both are written from rows that the same transaction holds locked, and never deleted: the check of each row cost as
-- much as the row.
ALTER TABLE deliveries DROP CONSTRAINT deliveries_notice_id_fkey;
ALTER TABLE delivery_attempts DROP CONSTRAINT delivery_attempts_delivery_id_fkey;

-- How many deliveries of a notice are in each state: a page that shows it must not count a million.
CREATE TABLE delivery_counts (
    notice_id TEXT NOT NULL REFERENCES notices (id),
    channel   TEXT NOT NULL,
    state     TEXT NOT NULL,
    count     BIGINT NOT NULL,
    PRIMARY KEY (notice_id, channel, state)
);
INSERT INTO delivery_counts (notice_id, channel, state, count)
SELECT notice_id, channel, state, COUNT(*) FROM deliveries GROUP BY notice_id, channel, state;
DROP INDEX deliveries_endpoints_notice;
