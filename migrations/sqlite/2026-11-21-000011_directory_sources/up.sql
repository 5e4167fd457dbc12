-- Where the directory comes from. The URL may hold a password, and the secret signs call-outs: both go with the source.
CREATE TABLE directory_sources (
    id               TEXT NOT NULL PRIMARY KEY,
    name             TEXT NOT NULL,
    kind             TEXT NOT NULL,
    url              TEXT,
    secret           TEXT,
    queries          TEXT NOT NULL,
    schedule         TEXT,
    max_gone_percent BIGINT NOT NULL,
    stale_after      BIGINT NOT NULL,
    next_run_at      BIGINT,
    last_success_at  BIGINT,
    gone_at          BIGINT,
    created_at       BIGINT NOT NULL,
    updated_at       BIGINT NOT NULL
);
CREATE UNIQUE INDEX directory_sources_name ON directory_sources (name) WHERE gone_at IS NULL;

-- Each time that a source was read. A run is held by a lease, which the process that works on it renews.
CREATE TABLE directory_runs (
    id           TEXT NOT NULL PRIMARY KEY,
    source_id    TEXT NOT NULL REFERENCES directory_sources (id),
    state        TEXT NOT NULL,
    cause        TEXT NOT NULL,
    requested_by TEXT NOT NULL,
    confirmed_by TEXT,
    done         BIGINT NOT NULL,
    total        BIGINT NOT NULL,
    changes      TEXT,
    errors       TEXT,
    lease        TEXT,
    lease_until  BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    started_at   BIGINT,
    finished_at  BIGINT
);
CREATE INDEX directory_runs_source ON directory_runs (source_id, id);
-- One run of a source at a time.
CREATE UNIQUE INDEX directory_runs_active ON directory_runs (source_id)
    WHERE state IN ('queued', 'reading', 'comparing', 'applying');

-- What a run has read and not yet applied; emptied when it ends.
CREATE TABLE directory_staged (
    run_id TEXT NOT NULL REFERENCES directory_runs (id),
    kind   BIGINT NOT NULL,
    key    TEXT NOT NULL,
    parent TEXT,
    level  BIGINT,
    seq    BIGINT NOT NULL,
    change TEXT,
    line   TEXT NOT NULL,
    PRIMARY KEY (run_id, kind, key)
);
CREATE INDEX directory_staged_parent ON directory_staged (run_id, parent) WHERE parent IS NOT NULL;
CREATE INDEX directory_staged_change ON directory_staged (run_id, kind, level, key) WHERE change IS NOT NULL;

-- Which source brought a row of the directory last: no other may mark it as gone.
CREATE TABLE directory_origins (
    kind      BIGINT NOT NULL,
    key       TEXT NOT NULL,
    source_id TEXT NOT NULL REFERENCES directory_sources (id),
    PRIMARY KEY (kind, key)
);
CREATE INDEX directory_origins_source ON directory_origins (source_id, kind, key);

-- What a call-out said of a reference, and until when that is not asked again.
CREATE TABLE directory_lookups (
    resource_type TEXT NOT NULL,
    resource_id   TEXT NOT NULL,
    state         TEXT NOT NULL,
    reason        TEXT,
    attempts      BIGINT NOT NULL,
    asked_at      BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL,
    PRIMARY KEY (resource_type, resource_id)
);

-- The references of an alert as its rules found them, outermost first: kept while one of them is not known.
CREATE TABLE alert_chains (
    alert_id TEXT NOT NULL PRIMARY KEY REFERENCES alerts (id),
    chains   TEXT NOT NULL
);
