-- Who owns what. The caller's own ids are text; inside, integer keys join.
-- gone_at marks a row as deleted; history keeps it, and putting it again revives it.
CREATE TABLE accounts (
    key        INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    locale     TEXT,
    time_zone  TEXT,
    labels     TEXT NOT NULL,
    gone_at    BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE people (
    key        INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    email      TEXT NOT NULL,
    locale     TEXT,
    time_zone  TEXT,
    gone_at    BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE resources (
    key         INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    type        TEXT NOT NULL,
    id          TEXT NOT NULL,
    name        TEXT,
    account_key BIGINT REFERENCES accounts (key),
    parent_key  BIGINT REFERENCES resources (key),
    gone_at     BIGINT,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    UNIQUE (type, id)
);
CREATE INDEX resources_parent ON resources (parent_key) WHERE parent_key IS NOT NULL;
CREATE INDEX resources_account ON resources (account_key) WHERE account_key IS NOT NULL;

CREATE TABLE resource_labels (
    resource_key BIGINT NOT NULL REFERENCES resources (key),
    name         TEXT NOT NULL,
    value        TEXT NOT NULL,
    PRIMARY KEY (resource_key, name)
);
CREATE INDEX resource_labels_value ON resource_labels (name, value, resource_key);

CREATE TABLE members (
    account_key BIGINT NOT NULL REFERENCES accounts (key),
    person_key  BIGINT NOT NULL REFERENCES people (key),
    role        TEXT NOT NULL,
    gone_at     BIGINT,
    created_at  BIGINT NOT NULL,
    updated_at  BIGINT NOT NULL,
    PRIMARY KEY (account_key, person_key)
);
CREATE INDEX members_person ON members (person_key);

CREATE TABLE collaborators (
    resource_key BIGINT NOT NULL REFERENCES resources (key),
    person_key   BIGINT NOT NULL REFERENCES people (key),
    role         TEXT NOT NULL,
    gone_at      BIGINT,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL,
    PRIMARY KEY (resource_key, person_key)
);
CREATE INDEX collaborators_person ON collaborators (person_key);
