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
CREATE OR REPLACE FUNCTION candor_erase_attempt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.delivery_id <> OLD.delivery_id OR NEW.attempt <> OLD.attempt OR NEW.at <> OLD.at OR NEW.outcome <> OLD.outcome
        OR NEW.batch <> OLD.batch OR (NEW.mail_hash, NEW.mail_context, NEW.mail_date, NEW.relay)
            IS DISTINCT FROM (OLD.mail_hash, OLD.mail_context, OLD.mail_date, OLD.relay)
        OR (NEW.mail_signatures IS DISTINCT FROM OLD.mail_signatures AND NEW.mail_signatures IS NOT NULL) THEN
        RAISE EXCEPTION 'delivery_attempts is append-only';
    END IF;
    PERFORM candor_erase_once('attempt', OLD.delivery_id || '/' || OLD.attempt, 'delivery_attempts is append-only');
    RETURN NEW;
END
$$;
