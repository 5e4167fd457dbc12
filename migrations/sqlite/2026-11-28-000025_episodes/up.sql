-- An incident that is reopened begins another episode: who was notified is counted per episode.
ALTER TABLE incidents ADD COLUMN episode BIGINT NOT NULL DEFAULT 1;
-- The episode in which a notice was drafted; once it is sent, the episode in which it was sent.
ALTER TABLE notices ADD COLUMN episode BIGINT NOT NULL DEFAULT 1;
-- People for whom a sent notice was meant and who had no usable address then.
ALTER TABLE notices ADD COLUMN unreachable BIGINT NOT NULL DEFAULT 0;

-- The episodes after the first one: when each began, and when the one before had ended.
CREATE TABLE incident_episodes (
    incident_id     TEXT NOT NULL REFERENCES incidents (id),
    episode         BIGINT NOT NULL,
    reopened_at     BIGINT NOT NULL,
    resolved_before BIGINT NOT NULL,
    PRIMARY KEY (incident_id, episode)
);

-- A policy decides once about each episode.
CREATE TABLE automation_runs_of_episodes (
    incident_id TEXT NOT NULL REFERENCES incidents (id),
    policy_id   TEXT NOT NULL,
    policy_name TEXT NOT NULL,
    action      TEXT NOT NULL,
    state       TEXT NOT NULL,
    outcome     TEXT,
    reason      TEXT,
    notice_id   TEXT REFERENCES notices (id),
    opened_at   BIGINT NOT NULL,
    due_at      BIGINT NOT NULL,
    attempts    BIGINT NOT NULL,
    decided_at  BIGINT,
    episode     BIGINT NOT NULL DEFAULT 1,
    PRIMARY KEY (incident_id, episode)
);
INSERT INTO automation_runs_of_episodes
    (incident_id, policy_id, policy_name, action, state, outcome, reason, notice_id, opened_at, due_at, attempts, decided_at)
    SELECT incident_id, policy_id, policy_name, action, state, outcome, reason, notice_id, opened_at, due_at, attempts, decided_at
    FROM automation_runs;
DROP TABLE automation_runs;
ALTER TABLE automation_runs_of_episodes RENAME TO automation_runs;
CREATE INDEX automation_runs_waiting ON automation_runs (due_at, incident_id) WHERE state = 'waiting';

CREATE TABLE automation_told_in_episodes (
    account_id  TEXT NOT NULL,
    incident_id TEXT NOT NULL,
    at          BIGINT NOT NULL,
    episode     BIGINT NOT NULL DEFAULT 1,
    PRIMARY KEY (account_id, incident_id, episode)
);
INSERT INTO automation_told_in_episodes (account_id, incident_id, at) SELECT account_id, incident_id, at FROM automation_told;
DROP TABLE automation_told;
ALTER TABLE automation_told_in_episodes RENAME TO automation_told;
CREATE INDEX automation_told_at ON automation_told (at);

-- When the last event was: the times of the trail stay in order where a clock is set back.
ALTER TABLE audit_head ADD COLUMN at BIGINT NOT NULL DEFAULT 0;
