-- Who was the user of the events of an alert. Users of one alert are told apart by a keyed hash; the row whose mark is
-- empty counts the events that name none. Those whom the directory does not know are looked for again by their marks.
CREATE TABLE alert_people (
    alert_id      TEXT NOT NULL REFERENCES alerts (id),
    mark          TEXT NOT NULL,
    id_mark       TEXT,
    email_mark    TEXT,
    person_key    BIGINT REFERENCES people (key),
    matched_by    TEXT,
    events        BIGINT NOT NULL,
    first_seen_at BIGINT NOT NULL,
    last_seen_at  BIGINT NOT NULL,
    PRIMARY KEY (alert_id, mark)
);
CREATE INDEX alert_people_person ON alert_people (person_key) WHERE person_key IS NOT NULL;
CREATE INDEX alert_people_unidentified ON alert_people (alert_id) WHERE person_key IS NULL AND mark <> '';
CREATE INDEX people_address ON people (LOWER(email));

-- Where somebody said since when customers feel it: no event moves that.
CREATE TABLE incident_starts (
    incident_id TEXT NOT NULL PRIMARY KEY REFERENCES incidents (id),
    set_at      BIGINT NOT NULL
);

-- What is asked over HTTP whether it works. due_at: when it is asked next; whoever moves it on asks.
CREATE TABLE checks (
    id            TEXT NOT NULL PRIMARY KEY,
    name          TEXT NOT NULL,
    target        TEXT NOT NULL,
    headers       TEXT NOT NULL,
    every_seconds BIGINT NOT NULL,
    severity      TEXT NOT NULL,
    resources     TEXT NOT NULL,
    paused        BOOLEAN NOT NULL,
    state         TEXT NOT NULL,
    failures      BIGINT NOT NULL,
    successes     BIGINT NOT NULL,
    failing_since BIGINT,
    changed_at    BIGINT,
    told_at       BIGINT,
    result        TEXT,
    due_at        BIGINT NOT NULL,
    version       BIGINT NOT NULL,
    gone_at       BIGINT,
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL
);
CREATE INDEX checks_due ON checks (due_at) WHERE gone_at IS NULL AND NOT paused;

-- What must say that it is alive. deadline_at: when its silence becomes an alert; nothing before the first beat.
CREATE TABLE heartbeats (
    id            TEXT NOT NULL PRIMARY KEY,
    name          TEXT NOT NULL,
    token_hash    TEXT NOT NULL UNIQUE,
    every_seconds BIGINT NOT NULL,
    grace_seconds BIGINT NOT NULL,
    severity      TEXT NOT NULL,
    resources     TEXT NOT NULL,
    state         TEXT NOT NULL,
    beats         BIGINT NOT NULL,
    last_beat_at  BIGINT,
    deadline_at   BIGINT,
    changed_at    BIGINT,
    told_at       BIGINT,
    gone_at       BIGINT,
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL
);
CREATE INDEX heartbeats_deadline ON heartbeats (deadline_at) WHERE gone_at IS NULL AND deadline_at IS NOT NULL;
