-- An endpoint belongs to an account or to a person. That of a person is a phone number, which stands in the column secret, and consent
-- says how the person agreed to it. SQLite cannot take NOT NULL from a column, so the table is written again.
CREATE TABLE endpoints_new (
    id              TEXT NOT NULL PRIMARY KEY,
    account_key     BIGINT REFERENCES accounts (key),
    person_key      BIGINT REFERENCES people (key),
    channel         TEXT NOT NULL,
    url             TEXT NOT NULL,
    secret          TEXT,
    consent         TEXT,
    disabled_at     BIGINT,
    disabled_reason TEXT,
    gone_at         BIGINT,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    CHECK ((account_key IS NULL) <> (person_key IS NULL))
);
INSERT INTO endpoints_new (id, account_key, channel, url, secret, disabled_at, disabled_reason, gone_at, created_at, updated_at)
    SELECT id, account_key, channel, url, secret, disabled_at, disabled_reason, gone_at, created_at, updated_at FROM endpoints;
DROP TABLE endpoints;
ALTER TABLE endpoints_new RENAME TO endpoints;
CREATE INDEX endpoints_account ON endpoints (account_key, id);
CREATE INDEX endpoints_person ON endpoints (person_key, id) WHERE person_key IS NOT NULL;
-- One notice has one delivery for each channel and address: two endpoints must differ.
CREATE UNIQUE INDEX endpoints_url ON endpoints (channel, url) WHERE gone_at IS NULL;
