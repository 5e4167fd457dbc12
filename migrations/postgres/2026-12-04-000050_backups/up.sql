-- The backups that were asked for or that the schedule wanted. `active` is 1 while a backup is queued or being made, and null
-- afterwards, so that there is never more than one. `due_at` is the time of the schedule, so that several processes make one backup for
-- it. `check_state` is about the restore drill.
CREATE TABLE backups (
    id           TEXT NOT NULL PRIMARY KEY,
    state        TEXT NOT NULL,
    cause        TEXT NOT NULL,
    active       BIGINT UNIQUE,
    due_at       BIGINT UNIQUE,
    requested_by TEXT NOT NULL,
    requested_at BIGINT NOT NULL,
    started_at   BIGINT,
    finished_at  BIGINT,
    file         TEXT,
    bytes        BIGINT,
    events       BIGINT,
    error        TEXT,
    removed_at   BIGINT,
    check_state  TEXT NOT NULL,
    checked_at   BIGINT,
    check_error  TEXT,
    lease        TEXT,
    lease_until  BIGINT NOT NULL
);
CREATE INDEX backups_check ON backups (check_state) WHERE check_state IN ('queued', 'running');
CREATE INDEX backups_finished ON backups (finished_at);

-- The state of the encrypted copy of the contacts: one row for each file that some process refreshes.
CREATE TABLE contacts_copies (
    file      TEXT NOT NULL PRIMARY KEY,
    made_at   BIGINT,
    bytes     BIGINT,
    accounts  BIGINT,
    people    BIGINT,
    failed_at BIGINT,
    error     TEXT
);

-- Messages that were sent from the copy of the contacts while the database was away, and imported from their record afterwards.
-- `lines` and `head` say how much of the record was imported.
CREATE TABLE emergency_notices (
    id           TEXT NOT NULL PRIMARY KEY,
    incident_id  TEXT NOT NULL REFERENCES incidents (id),
    subject      TEXT NOT NULL,
    message      TEXT NOT NULL,
    digest       TEXT NOT NULL,
    began_at     BIGINT NOT NULL,
    ended_at     BIGINT NOT NULL,
    lines        BIGINT NOT NULL,
    head         TEXT NOT NULL,
    imported_by  TEXT NOT NULL,
    imported_at  BIGINT NOT NULL
);
CREATE INDEX emergency_notices_incident ON emergency_notices (incident_id, began_at);

-- Who was told, without an address.
CREATE TABLE emergency_recipients (
    notice_id TEXT NOT NULL REFERENCES emergency_notices (id),
    person_id TEXT NOT NULL,
    accounts  TEXT NOT NULL,
    state     TEXT NOT NULL,
    at        BIGINT NOT NULL,
    PRIMARY KEY (notice_id, person_id)
);
CREATE INDEX emergency_recipients_person ON emergency_recipients (person_id);
