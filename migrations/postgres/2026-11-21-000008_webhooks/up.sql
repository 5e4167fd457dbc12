-- Where an account's own systems hear what its people are mailed.
-- secret signs what is sent there, and is forgotten when the endpoint is deleted.
CREATE TABLE endpoints (
    id              TEXT NOT NULL PRIMARY KEY,
    account_key     BIGINT NOT NULL REFERENCES accounts (key),
    channel         TEXT NOT NULL,
    url             TEXT NOT NULL,
    secret          TEXT,
    disabled_at     BIGINT,
    disabled_reason TEXT,
    gone_at         BIGINT,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL
);
CREATE INDEX endpoints_account ON endpoints (account_key, id);
-- One notice has one delivery for each channel and address: two endpoints must differ.
CREATE UNIQUE INDEX endpoints_url ON endpoints (channel, url) WHERE gone_at IS NULL;

-- recipients counts people's mails; endpoints counts what goes out beside them, with the ordinals that follow.
ALTER TABLE notices ADD COLUMN endpoints BIGINT NOT NULL DEFAULT 0;

-- Where the channel is not email, person_id is the id of the endpoint and name is its account's.
ALTER TABLE notice_recipients ADD COLUMN channel TEXT NOT NULL DEFAULT 'email';
CREATE INDEX notice_recipients_endpoints ON notice_recipients (notice_id, channel) WHERE channel <> 'email';

-- Counted for a notice without walking over its mails.
CREATE INDEX deliveries_endpoints_notice ON deliveries (notice_id, channel, state) WHERE channel <> 'email';
