-- Sessions of the admin pages. Signing out, revoking the token and the end of its time each end one here, whoever has copied
-- its cookie. The cookie's secret is stored as a hash alone.
CREATE TABLE admin_sessions (
    id         TEXT NOT NULL PRIMARY KEY,
    token_id   TEXT NOT NULL REFERENCES api_tokens (id),
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX admin_sessions_token ON admin_sessions (token_id);
CREATE INDEX admin_sessions_end ON admin_sessions (expires_at);

-- INSERT OR REPLACE deletes the row that is in its way, and no trigger for DELETE hears of it unless the connection says so.
-- So a row that is there is refused before it is inserted again.
CREATE TRIGGER audit_events_no_replace BEFORE INSERT ON audit_events
WHEN EXISTS (SELECT 1 FROM audit_events WHERE seq = NEW.seq)
BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END;
CREATE TRIGGER audit_head_no_replace BEFORE INSERT ON audit_head
WHEN EXISTS (SELECT 1 FROM audit_head)
BEGIN SELECT RAISE(ABORT, 'audit_head is kept'); END;
CREATE TRIGGER notice_recipients_no_replace BEFORE INSERT ON notice_recipients
WHEN EXISTS (SELECT 1 FROM notice_recipients WHERE notice_id = NEW.notice_id AND ordinal = NEW.ordinal)
  OR EXISTS (SELECT 1 FROM notice_recipients WHERE notice_id = NEW.notice_id AND channel = NEW.channel AND address = NEW.address)
BEGIN SELECT RAISE(ABORT, 'notice_recipients is append-only'); END;
CREATE TRIGGER delivery_attempts_no_replace BEFORE INSERT ON delivery_attempts
WHEN EXISTS (SELECT 1 FROM delivery_attempts WHERE delivery_id = NEW.delivery_id AND attempt = NEW.attempt)
BEGIN SELECT RAISE(ABORT, 'delivery_attempts is append-only'); END;
CREATE TRIGGER feedback_no_replace BEFORE INSERT ON feedback
WHEN EXISTS (SELECT 1 FROM feedback WHERE dedup_key = NEW.dedup_key) OR EXISTS (SELECT 1 FROM feedback WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'feedback is append-only'); END;
-- A version that is stored already may be named again; then nothing is inserted.
CREATE TRIGGER templates_no_replace BEFORE INSERT ON templates
WHEN EXISTS (SELECT 1 FROM templates WHERE id = NEW.id AND
    (phase <> NEW.phase OR subject <> NEW.subject OR body_text <> NEW.body_text OR body_html <> NEW.body_html))
BEGIN SELECT RAISE(ABORT, 'templates are immutable'); END;
CREATE TRIGGER templates_no_delete BEFORE DELETE ON templates
BEGIN SELECT RAISE(ABORT, 'templates are immutable'); END;

-- What a queued notice says is frozen.
CREATE TRIGGER notices_frozen BEFORE UPDATE OF id, incident_id, phase, digest, template_id, frozen ON notices
WHEN OLD.digest IS NOT NULL AND (NEW.id <> OLD.id OR NEW.incident_id <> OLD.incident_id OR NEW.phase <> OLD.phase
    OR NEW.digest IS NOT OLD.digest OR NEW.template_id IS NOT OLD.template_id OR NEW.frozen IS NOT OLD.frozen)
BEGIN SELECT RAISE(ABORT, 'a queued notice is frozen'); END;
CREATE TRIGGER notices_no_delete BEFORE DELETE ON notices WHEN OLD.digest IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a queued notice is frozen'); END;
CREATE TRIGGER notices_no_replace BEFORE INSERT ON notices
WHEN EXISTS (SELECT 1 FROM notices WHERE id = NEW.id AND digest IS NOT NULL)
BEGIN SELECT RAISE(ABORT, 'a queued notice is frozen'); END;
