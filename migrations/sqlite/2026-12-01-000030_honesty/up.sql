-- The headline for customers: of the incident, and of one notice.
ALTER TABLE incidents ADD COLUMN headline TEXT;
ALTER TABLE notices ADD COLUMN headline TEXT;
-- The time until which a notice promises the next update.
ALTER TABLE notices ADD COLUMN next_update_due_at BIGINT;

CREATE INDEX notices_promised ON notices (next_update_due_at) WHERE next_update_due_at IS NOT NULL;

-- The promises that passed without a later notice.
CREATE TABLE missed_updates (
    notice_id   TEXT NOT NULL PRIMARY KEY REFERENCES notices (id),
    incident_id TEXT NOT NULL REFERENCES incidents (id),
    due_at      BIGINT NOT NULL,
    missed_at   BIGINT NOT NULL
);

-- The values of one's own for each recipient of a draft, as JSON. The frozen recipients of a notice that was sent contain them.
CREATE TABLE notice_values (
    notice_id TEXT NOT NULL REFERENCES notices (id),
    person_id TEXT NOT NULL,
    given     TEXT NOT NULL,
    PRIMARY KEY (notice_id, person_id)
);

CREATE TRIGGER notices_words_frozen BEFORE UPDATE OF headline, next_update_due_at ON notices
WHEN OLD.digest IS NOT NULL
  AND (NEW.headline IS NOT OLD.headline OR NEW.next_update_due_at IS NOT OLD.next_update_due_at)
BEGIN SELECT RAISE(ABORT, 'a queued notice is frozen'); END;
CREATE TRIGGER missed_updates_no_update BEFORE UPDATE ON missed_updates
BEGIN SELECT RAISE(ABORT, 'missed_updates is append-only'); END;
CREATE TRIGGER missed_updates_no_delete BEFORE DELETE ON missed_updates
BEGIN SELECT RAISE(ABORT, 'missed_updates is append-only'); END;
CREATE TRIGGER missed_updates_no_replace BEFORE INSERT ON missed_updates
WHEN EXISTS (SELECT 1 FROM missed_updates WHERE notice_id = NEW.notice_id)
  OR (NEW.rowid > 0 AND EXISTS (SELECT 1 FROM missed_updates WHERE rowid = NEW.rowid))
BEGIN SELECT RAISE(ABORT, 'missed_updates is append-only'); END;
