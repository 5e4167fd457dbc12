-- INSERT OR REPLACE also deletes the row that has the same rowid, whatever its other columns are. So a statement that names a
-- rowid (or _rowid_, or oid) is refused where a row has it. NEW.rowid is -1 where the statement names none.
DROP TRIGGER audit_events_no_replace;
CREATE TRIGGER audit_events_no_replace BEFORE INSERT ON audit_events
WHEN EXISTS (SELECT 1 FROM audit_events WHERE seq = NEW.seq)
  OR (NEW.rowid > 0 AND EXISTS (SELECT 1 FROM audit_events WHERE rowid = NEW.rowid))
BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END;
DROP TRIGGER notice_recipients_no_replace;
CREATE TRIGGER notice_recipients_no_replace BEFORE INSERT ON notice_recipients
WHEN EXISTS (SELECT 1 FROM notice_recipients WHERE notice_id = NEW.notice_id AND ordinal = NEW.ordinal)
  OR EXISTS (SELECT 1 FROM notice_recipients WHERE notice_id = NEW.notice_id AND channel = NEW.channel AND address = NEW.address)
  OR (NEW.rowid > 0 AND EXISTS (SELECT 1 FROM notice_recipients WHERE rowid = NEW.rowid))
BEGIN SELECT RAISE(ABORT, 'notice_recipients is append-only'); END;
DROP TRIGGER delivery_attempts_no_replace;
CREATE TRIGGER delivery_attempts_no_replace BEFORE INSERT ON delivery_attempts
WHEN EXISTS (SELECT 1 FROM delivery_attempts WHERE delivery_id = NEW.delivery_id AND attempt = NEW.attempt)
  OR (NEW.rowid > 0 AND EXISTS (SELECT 1 FROM delivery_attempts WHERE rowid = NEW.rowid))
BEGIN SELECT RAISE(ABORT, 'delivery_attempts is append-only'); END;
-- The id of feedback is its rowid.
DROP TRIGGER feedback_no_replace;
CREATE TRIGGER feedback_no_replace BEFORE INSERT ON feedback
WHEN EXISTS (SELECT 1 FROM feedback WHERE dedup_key = NEW.dedup_key)
  OR (NEW.id > 0 AND EXISTS (SELECT 1 FROM feedback WHERE id = NEW.id))
BEGIN SELECT RAISE(ABORT, 'feedback is append-only'); END;
-- The application looks first whether it has stored a version, so no insert meets an id that is there.
DROP TRIGGER templates_no_replace;
CREATE TRIGGER templates_no_replace BEFORE INSERT ON templates
WHEN EXISTS (SELECT 1 FROM templates WHERE id = NEW.id)
  OR (NEW.rowid > 0 AND EXISTS (SELECT 1 FROM templates WHERE rowid = NEW.rowid))
BEGIN SELECT RAISE(ABORT, 'templates are immutable'); END;
DROP TRIGGER notices_no_replace;
CREATE TRIGGER notices_no_replace BEFORE INSERT ON notices
WHEN EXISTS (SELECT 1 FROM notices WHERE id = NEW.id AND digest IS NOT NULL)
  OR (NEW.rowid > 0 AND EXISTS (SELECT 1 FROM notices WHERE rowid = NEW.rowid AND digest IS NOT NULL))
BEGIN SELECT RAISE(ABORT, 'a queued notice is frozen'); END;
-- UPDATE OR REPLACE deletes the row whose key another row takes.
CREATE TRIGGER notices_no_move BEFORE UPDATE ON notices WHEN NEW.id <> OLD.id OR NEW.rowid <> OLD.rowid
BEGIN SELECT RAISE(ABORT, 'a queued notice is frozen'); END;

-- What a queued notice says, who wrote and approved it, and how many it is for. Its state goes on, and never back to a draft.
DROP TRIGGER notices_frozen;
CREATE TRIGGER notices_frozen BEFORE UPDATE OF id, incident_id, phase, digest, template_id, frozen, subject, message,
    customer_action, audience, catch_up_of, drafted_by, approved_by, approved_digest, recipients, endpoints, unreachable, episode,
    created_at, queued_at, state ON notices
WHEN OLD.digest IS NOT NULL AND (NEW.id <> OLD.id OR NEW.incident_id <> OLD.incident_id OR NEW.phase <> OLD.phase
    OR NEW.digest IS NOT OLD.digest OR NEW.template_id IS NOT OLD.template_id OR NEW.frozen IS NOT OLD.frozen
    OR NEW.subject IS NOT OLD.subject OR NEW.message <> OLD.message OR NEW.customer_action IS NOT OLD.customer_action
    OR NEW.audience IS NOT OLD.audience OR NEW.catch_up_of IS NOT OLD.catch_up_of OR NEW.drafted_by <> OLD.drafted_by
    OR NEW.approved_by IS NOT OLD.approved_by OR NEW.approved_digest IS NOT OLD.approved_digest
    OR NEW.recipients <> OLD.recipients OR NEW.endpoints <> OLD.endpoints OR NEW.unreachable <> OLD.unreachable
    OR NEW.episode <> OLD.episode OR NEW.created_at <> OLD.created_at OR NEW.queued_at IS NOT OLD.queued_at
    OR NEW.state = 'draft')
BEGIN SELECT RAISE(ABORT, 'a queued notice is frozen'); END;

-- Who wrote a part of a notice decides who may approve it.
CREATE TRIGGER notice_authors_no_update BEFORE UPDATE ON notice_authors
BEGIN SELECT RAISE(ABORT, 'notice_authors is append-only'); END;
CREATE TRIGGER notice_authors_no_delete BEFORE DELETE ON notice_authors
BEGIN SELECT RAISE(ABORT, 'notice_authors is append-only'); END;
CREATE TRIGGER notice_authors_no_replace BEFORE INSERT ON notice_authors
WHEN EXISTS (SELECT 1 FROM notice_authors WHERE notice_id = NEW.notice_id AND actor_id = NEW.actor_id)
  OR (NEW.rowid > 0 AND EXISTS (SELECT 1 FROM notice_authors WHERE rowid = NEW.rowid))
BEGIN SELECT RAISE(ABORT, 'notice_authors is append-only'); END;

-- A delivery changes its state, and neither ends nor goes to somebody else. SQLite compares the names that a statement sets, so
-- the other names of the id are listed as well.
CREATE TRIGGER deliveries_frozen BEFORE UPDATE OF id, rowid, _rowid_, oid, notice_id, ordinal, channel, address, message_id ON deliveries
WHEN NEW.id <> OLD.id OR NEW.notice_id <> OLD.notice_id OR NEW.ordinal <> OLD.ordinal OR NEW.channel <> OLD.channel
  OR NEW.address <> OLD.address OR NEW.message_id <> OLD.message_id
BEGIN SELECT RAISE(ABORT, 'a delivery is frozen'); END;
CREATE TRIGGER deliveries_no_delete BEFORE DELETE ON deliveries
BEGIN SELECT RAISE(ABORT, 'a delivery is frozen'); END;
CREATE TRIGGER deliveries_no_replace BEFORE INSERT ON deliveries
WHEN EXISTS (SELECT 1 FROM deliveries WHERE notice_id = NEW.notice_id AND ordinal = NEW.ordinal)
  OR (NEW.id > 0 AND EXISTS (SELECT 1 FROM deliveries WHERE id = NEW.id))
BEGIN SELECT RAISE(ABORT, 'a delivery is frozen'); END;
