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
ALTER TABLE automation_runs ADD COLUMN episode BIGINT NOT NULL DEFAULT 1;
ALTER TABLE automation_runs DROP CONSTRAINT automation_runs_pkey;
ALTER TABLE automation_runs ADD PRIMARY KEY (incident_id, episode);

ALTER TABLE automation_told ADD COLUMN episode BIGINT NOT NULL DEFAULT 1;
ALTER TABLE automation_told DROP CONSTRAINT automation_told_pkey;
ALTER TABLE automation_told ADD PRIMARY KEY (account_id, incident_id, episode);

-- When the last event was: the times of the trail stay in order where a clock is set back.
ALTER TABLE audit_head ADD COLUMN at BIGINT NOT NULL DEFAULT 0;
