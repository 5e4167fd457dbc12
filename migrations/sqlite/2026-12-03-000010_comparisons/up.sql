-- A comparison of two listings: what should be there (expected) and what is there (observed). The definition is JSON: the formats,
-- the columns, and how a row names a resource or a person.
CREATE TABLE comparisons (
    id               TEXT NOT NULL PRIMARY KEY,
    incident_id      TEXT NOT NULL REFERENCES incidents (id),
    name             TEXT NOT NULL,
    definition       TEXT NOT NULL,
    expected_listing BIGINT,
    observed_listing BIGINT,
    created_by       TEXT NOT NULL,
    created_at       BIGINT NOT NULL,
    discarded_at     BIGINT
);
CREATE INDEX comparisons_incident ON comparisons (incident_id, id);

-- Each upload of a listing. Only a listing whose state is `ready` is compared. `staged` says whether its rows are still stored.
CREATE TABLE comparison_listings (
    id            INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    comparison_id TEXT NOT NULL REFERENCES comparisons (id),
    side          TEXT NOT NULL,
    state         TEXT NOT NULL,
    staged        BOOLEAN NOT NULL,
    row_count     BIGINT NOT NULL,
    rejected      BIGINT NOT NULL,
    errors        TEXT NOT NULL,
    bytes         BIGINT NOT NULL,
    sha256        TEXT,
    sorted_runs   BIGINT NOT NULL,
    uploaded_by   TEXT NOT NULL,
    observed_at   BIGINT NOT NULL,
    began_at      BIGINT NOT NULL,
    touched_at    BIGINT NOT NULL,
    completed_at  BIGINT
);
CREATE INDEX comparison_listings_comparison ON comparison_listings (comparison_id);

-- The rows of a listing, packed into blocks. Within a sorted run the rows are in the order of their keys.
CREATE TABLE comparison_blocks (
    listing_id BIGINT NOT NULL REFERENCES comparison_listings (id),
    sorted_run BIGINT NOT NULL,
    seq        BIGINT NOT NULL,
    last_key   BLOB NOT NULL,
    content    BLOB NOT NULL,
    PRIMARY KEY (listing_id, sorted_run, seq)
);

-- Each run, with its inputs and its result. `cursor_key` is the last key whose findings are stored.
CREATE TABLE comparison_runs (
    id               INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    comparison_id    TEXT NOT NULL REFERENCES comparisons (id),
    number           BIGINT NOT NULL,
    state            TEXT NOT NULL,
    expected_listing BIGINT NOT NULL REFERENCES comparison_listings (id),
    observed_listing BIGINT NOT NULL REFERENCES comparison_listings (id),
    requested_by     TEXT NOT NULL,
    requested_at     BIGINT NOT NULL,
    started_at       BIGINT,
    finished_at      BIGINT,
    cursor_key       BLOB,
    settled_after    BIGINT NOT NULL,
    done             BIGINT NOT NULL,
    counts           TEXT NOT NULL,
    lease            TEXT,
    lease_until      BIGINT NOT NULL,
    UNIQUE (comparison_id, number)
);
CREATE INDEX comparison_runs_active ON comparison_runs (lease_until) WHERE finished_at IS NULL;

CREATE TABLE comparison_findings (
    run_id          BIGINT NOT NULL REFERENCES comparison_runs (id),
    seq             BIGINT NOT NULL,
    kind            TEXT NOT NULL,
    key             TEXT NOT NULL,
    reference       TEXT,
    compared_column TEXT,
    expected        TEXT,
    observed        TEXT,
    expected_values TEXT,
    written_at      BIGINT,
    PRIMARY KEY (run_id, seq)
);
CREATE INDEX comparison_findings_kind ON comparison_findings (run_id, kind, seq);

-- What became affected through a comparison: the key of a listing, the key of the resource or person, and the finding that was the
-- reason. `fits` is what a later run found: true if the observed listing fits what was expected, null if that run says nothing
-- about it. The keys are in the order of their bytes, as in a merge.
CREATE TABLE comparison_applied (
    comparison_id TEXT NOT NULL REFERENCES comparisons (id),
    listing_key   TEXT NOT NULL,
    target_key    BIGINT NOT NULL,
    kind          TEXT NOT NULL,
    run_id        BIGINT NOT NULL REFERENCES comparison_runs (id),
    seq           BIGINT NOT NULL,
    seen_run      BIGINT,
    fits          BOOLEAN,
    observed      TEXT,
    PRIMARY KEY (comparison_id, listing_key, target_key)
);
CREATE INDEX comparison_applied_target ON comparison_applied (comparison_id, target_key);
