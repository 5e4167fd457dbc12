-- The drafts that somebody discarded. The notice itself is deleted, with who wrote it and who approved it. The audit trail keeps what
-- was done. An ID that is here is never used again.
CREATE TABLE discarded_notices (
    notice_id   TEXT NOT NULL PRIMARY KEY,
    incident_id TEXT NOT NULL REFERENCES incidents (id),
    at          BIGINT NOT NULL
);

-- A restore leaves functions in the database, so they can exist already.
CREATE OR REPLACE FUNCTION candor_refuse_unless_draft() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM notices n WHERE n.id = NEW.notice_id AND (n.digest IS NOT NULL OR n.state <> 'draft')) THEN
        RAISE EXCEPTION 'only a draft can be discarded';
    END IF;
    RETURN NEW;
END
$$;
CREATE OR REPLACE FUNCTION candor_refuse_if_discarded() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM discarded_notices d WHERE d.notice_id = NEW.id) THEN
        RAISE EXCEPTION 'the notice was discarded';
    END IF;
    RETURN NEW;
END
$$;
CREATE OR REPLACE FUNCTION candor_refuse_unless_discarded() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM discarded_notices d WHERE d.notice_id = OLD.notice_id) THEN
        RAISE EXCEPTION '%', TG_ARGV[0];
    END IF;
    RETURN OLD;
END
$$;

CREATE TRIGGER discarded_notices_only_drafts BEFORE INSERT ON discarded_notices
FOR EACH ROW EXECUTE FUNCTION candor_refuse_unless_draft();
CREATE TRIGGER discarded_notices_no_update BEFORE UPDATE ON discarded_notices
FOR EACH ROW EXECUTE FUNCTION candor_refuse('discarded_notices is append-only');
CREATE TRIGGER discarded_notices_no_delete BEFORE DELETE ON discarded_notices
FOR EACH ROW EXECUTE FUNCTION candor_refuse('discarded_notices is append-only');
CREATE TRIGGER discarded_notices_no_truncate BEFORE TRUNCATE ON discarded_notices
FOR EACH STATEMENT EXECUTE FUNCTION candor_refuse('discarded_notices is append-only');
CREATE TRIGGER notices_not_discarded BEFORE INSERT ON notices
FOR EACH ROW EXECUTE FUNCTION candor_refuse_if_discarded();
CREATE TRIGGER notices_not_queued_discarded BEFORE UPDATE OF state ON notices
FOR EACH ROW WHEN (NEW.state <> 'draft' AND OLD.state = 'draft') EXECUTE FUNCTION candor_refuse_if_discarded();

-- Only the rows of a discarded draft can be deleted.
DROP TRIGGER notice_authors_no_delete ON notice_authors;
CREATE TRIGGER notice_authors_no_delete BEFORE DELETE ON notice_authors
FOR EACH ROW EXECUTE FUNCTION candor_refuse_unless_discarded('notice_authors is append-only');
DROP TRIGGER notice_approvals_no_delete ON notice_approvals;
CREATE TRIGGER notice_approvals_no_delete BEFORE DELETE ON notice_approvals
FOR EACH ROW EXECUTE FUNCTION candor_refuse_unless_discarded('notice_approvals is append-only');
DROP TRIGGER notice_corrections_no_delete ON notice_corrections;
CREATE TRIGGER notice_corrections_no_delete BEFORE DELETE ON notice_corrections
FOR EACH ROW EXECUTE FUNCTION candor_refuse_unless_discarded('notice_corrections is append-only');
DROP TRIGGER answer_reminders_no_delete ON answer_reminders;
CREATE TRIGGER answer_reminders_no_delete BEFORE DELETE ON answer_reminders
FOR EACH ROW EXECUTE FUNCTION candor_refuse_unless_discarded('answer_reminders is append-only');
