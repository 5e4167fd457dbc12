-- The mail server that the email of an attempt was given to: its host and port. NULL: the delivery was no email, the email was written
-- to a file, or a version of Candor made the attempt that stored nothing.
ALTER TABLE delivery_attempts ADD COLUMN relay TEXT;

-- The mail servers of the settings, if there are two, and which of them gets no emails because it fails. Written when this changes, and
-- never for an email.
CREATE TABLE mail_servers (
    -- Host and port.
    address       TEXT NOT NULL PRIMARY KEY,
    -- The place in the settings, from 1.
    position      BIGINT NOT NULL,
    -- Since when it gets no emails. NULL: it gets them.
    failing_since BIGINT,
    -- The mail server that gets its emails. NULL: none, because the other one fails too.
    taken_over_by TEXT,
    changed_at    BIGINT NOT NULL
);

-- An erasure does not change the mail server of an attempt.
DROP TRIGGER delivery_attempts_no_update;
CREATE TRIGGER delivery_attempts_no_update BEFORE UPDATE ON delivery_attempts
WHEN NEW.delivery_id <> OLD.delivery_id OR NEW.attempt <> OLD.attempt OR NEW.at <> OLD.at OR NEW.outcome <> OLD.outcome
  OR NEW.batch <> OLD.batch OR NEW.rowid <> OLD.rowid OR NEW.relay IS NOT OLD.relay
  OR NEW.mail_hash IS NOT OLD.mail_hash OR NEW.mail_context IS NOT OLD.mail_context OR NEW.mail_date IS NOT OLD.mail_date
  OR (NEW.mail_signatures IS NOT OLD.mail_signatures AND NEW.mail_signatures IS NOT NULL)
  OR NOT EXISTS (SELECT 1 FROM erased_rows e WHERE e.kind = 'attempt' AND e.key = OLD.delivery_id || '/' || OLD.attempt AND NOT e.applied)
BEGIN SELECT RAISE(ABORT, 'delivery_attempts is append-only'); END;
