-- The keys with which a product's backend signs the tokens of its users for the feed.
CREATE TABLE feed_keys (
    id         TEXT NOT NULL PRIMARY KEY,
    name       TEXT NOT NULL,
    -- Sealed, if a key for stored secrets is set.
    secret     TEXT NOT NULL,
    -- A JSON list of the origins whose pages may read the feed in a browser.
    origins    TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);

-- Up to which time a person has read their notices in the feed. It only grows.
CREATE TABLE feed_reads (
    person_key BIGINT NOT NULL PRIMARY KEY REFERENCES people (key),
    read_up_to BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- What a person chose themselves. It takes precedence over the directory, and no import or sync changes it.
CREATE TABLE person_choices (
    person_key BIGINT NOT NULL PRIMARY KEY REFERENCES people (key),
    locale     TEXT,
    time_zone  TEXT,
    updated_at BIGINT NOT NULL
);
