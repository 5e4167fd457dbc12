-- The drafts that somebody discarded. The notice itself is deleted, with who wrote it and who approved it. The audit trail keeps what
-- was done. An ID that is here is never used again.
CREATE TABLE discarded_notices (
    notice_id   TEXT NOT NULL PRIMARY KEY,
    incident_id TEXT NOT NULL REFERENCES incidents (id),
    at          BIGINT NOT NULL
);

CREATE TRIGGER discarded_notices_only_drafts BEFORE INSERT ON discarded_notices
WHEN EXISTS (SELECT 1 FROM notices WHERE id = NEW.notice_id AND (digest IS NOT NULL OR state <> 'draft'))
BEGIN SELECT RAISE(ABORT, 'only a draft can be discarded'); END;
CREATE TRIGGER discarded_notices_no_update BEFORE UPDATE ON discarded_notices
BEGIN SELECT RAISE(ABORT, 'discarded_notices is append-only'); END;
CREATE TRIGGER discarded_notices_no_delete BEFORE DELETE ON discarded_notices
BEGIN SELECT RAISE(ABORT, 'discarded_notices is append-only'); END;
CREATE TRIGGER discarded_notices_no_replace BEFORE INSERT ON discarded_notices
WHEN EXISTS (SELECT 1 FROM discarded_notices WHERE notice_id = NEW.notice_id)
  OR (NEW.rowid > 0 AND EXISTS (SELECT 1 FROM discarded_notices WHERE rowid = NEW.rowid))
BEGIN SELECT RAISE(ABORT, 'discarded_notices is append-only'); END;
CREATE TRIGGER notices_not_discarded BEFORE INSERT ON notices
WHEN EXISTS (SELECT 1 FROM discarded_notices WHERE notice_id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'the notice was discarded'); END;
CREATE TRIGGER notices_not_queued_discarded BEFORE UPDATE OF state ON notices
WHEN NEW.state <> 'draft' AND EXISTS (SELECT 1 FROM discarded_notices WHERE notice_id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'the notice was discarded'); END;

-- Only the rows of a discarded draft can be deleted.
DROP TRIGGER notice_authors_no_delete;
CREATE TRIGGER notice_authors_no_delete BEFORE DELETE ON notice_authors
WHEN NOT EXISTS (SELECT 1 FROM discarded_notices WHERE notice_id = OLD.notice_id)
BEGIN SELECT RAISE(ABORT, 'notice_authors is append-only'); END;
DROP TRIGGER notice_approvals_no_delete;
CREATE TRIGGER notice_approvals_no_delete BEFORE DELETE ON notice_approvals
WHEN NOT EXISTS (SELECT 1 FROM discarded_notices WHERE notice_id = OLD.notice_id)
BEGIN SELECT RAISE(ABORT, 'notice_approvals is append-only'); END;
DROP TRIGGER notice_corrections_no_delete;
CREATE TRIGGER notice_corrections_no_delete BEFORE DELETE ON notice_corrections
WHEN NOT EXISTS (SELECT 1 FROM discarded_notices WHERE notice_id = OLD.notice_id)
BEGIN SELECT RAISE(ABORT, 'notice_corrections is append-only'); END;
DROP TRIGGER answer_reminders_no_delete;
CREATE TRIGGER answer_reminders_no_delete BEFORE DELETE ON answer_reminders
WHEN NOT EXISTS (SELECT 1 FROM discarded_notices WHERE notice_id = OLD.notice_id)
BEGIN SELECT RAISE(ABORT, 'answer_reminders is append-only'); END;
