-- What was erased of people. Candor never changes a recorded row otherwise.
CREATE TABLE erasures (
    id          TEXT NOT NULL PRIMARY KEY,
    -- request: somebody asked for it. retention: a setting did.
    kind        TEXT NOT NULL,
    at          BIGINT NOT NULL,
    erased_by   TEXT NOT NULL,
    reason      TEXT NOT NULL,
    -- The ID that stands in the directory instead of the person. NULL: it is about no single person.
    placeholder TEXT,
    -- How many rows were changed or deleted, by kind of row, as JSON.
    counts      TEXT NOT NULL,
    -- When the freed space of the database and the files beside it contained nothing of the person any more.
    cleaned_at  BIGINT,
    -- When an operator allowed the person again.
    allowed_at  BIGINT,
    allowed_by  TEXT
);
CREATE INDEX erasures_open ON erasures (at) WHERE cleaned_at IS NULL;

-- Keyed hashes of the ID and the addresses of an erased person. With them, a source cannot bring the person back, and a suppressed
-- address stays suppressed.
CREATE TABLE erasure_marks (
    erasure_id    TEXT NOT NULL REFERENCES erasures (id),
    mark          TEXT NOT NULL,
    -- person or address
    kind          TEXT NOT NULL,
    -- Why the address was suppressed. NULL: it was not.
    suppression   TEXT,
    suppressed_at BIGINT,
    PRIMARY KEY (erasure_id, mark)
);
CREATE INDEX erasure_marks_mark ON erasure_marks (mark);

-- The rows of protected tables that an erasure may change, each once. A trigger of the protected table sets `applied`.
CREATE TABLE erased_rows (
    -- recipient, attempt, feedback, answer or event
    kind       TEXT NOT NULL,
    key        TEXT NOT NULL,
    erasure_id TEXT NOT NULL REFERENCES erasures (id),
    applied    BOOLEAN NOT NULL,
    PRIMARY KEY (kind, key, erasure_id)
);

-- Commitments to what stood in a frozen recipient: SHA-256 of the salt and the text, in hexadecimal. Whoever knows the address can
-- check that it was this one.
CREATE TABLE erased_recipients (
    notice_id          TEXT NOT NULL REFERENCES notices (id),
    ordinal            BIGINT NOT NULL,
    erasure_id         TEXT NOT NULL REFERENCES erasures (id),
    person_salt        TEXT NOT NULL,
    person_commitment  TEXT NOT NULL,
    address_salt       TEXT NOT NULL,
    address_commitment TEXT NOT NULL,
    PRIMARY KEY (notice_id, ordinal, erasure_id)
);
CREATE INDEX erased_recipients_erasure ON erased_recipients (erasure_id, notice_id, ordinal);

CREATE TRIGGER erasures_frozen BEFORE UPDATE ON erasures
FOR EACH ROW WHEN (NEW.id <> OLD.id OR NEW.kind <> OLD.kind OR NEW.at <> OLD.at OR NEW.erased_by <> OLD.erased_by
    OR NEW.reason <> OLD.reason OR NEW.placeholder IS DISTINCT FROM OLD.placeholder OR NEW.counts <> OLD.counts)
EXECUTE FUNCTION candor_refuse('erasures is append-only');
CREATE TRIGGER erasures_no_delete BEFORE DELETE ON erasures
FOR EACH ROW EXECUTE FUNCTION candor_refuse('erasures is append-only');
CREATE TRIGGER erasures_no_truncate BEFORE TRUNCATE ON erasures
FOR EACH STATEMENT EXECUTE FUNCTION candor_refuse('erasures is append-only');
CREATE TRIGGER erased_rows_frozen BEFORE UPDATE ON erased_rows
FOR EACH ROW WHEN (NEW.kind <> OLD.kind OR NEW.key <> OLD.key OR NEW.erasure_id <> OLD.erasure_id OR OLD.applied OR NOT NEW.applied)
EXECUTE FUNCTION candor_refuse('erased_rows is append-only');
CREATE TRIGGER erased_rows_no_delete BEFORE DELETE ON erased_rows
FOR EACH ROW EXECUTE FUNCTION candor_refuse('erased_rows is append-only');
CREATE TRIGGER erased_rows_no_truncate BEFORE TRUNCATE ON erased_rows
FOR EACH STATEMENT EXECUTE FUNCTION candor_refuse('erased_rows is append-only');
CREATE TRIGGER erased_recipients_no_update BEFORE UPDATE ON erased_recipients
FOR EACH ROW EXECUTE FUNCTION candor_refuse('erased_recipients is append-only');
CREATE TRIGGER erased_recipients_no_delete BEFORE DELETE ON erased_recipients
FOR EACH ROW EXECUTE FUNCTION candor_refuse('erased_recipients is append-only');
CREATE TRIGGER erased_recipients_no_truncate BEFORE TRUNCATE ON erased_recipients
FOR EACH STATEMENT EXECUTE FUNCTION candor_refuse('erased_recipients is append-only');

-- Uses up the permission of an erasure to change one row. A restore leaves functions in the database, so they can exist already.
CREATE OR REPLACE FUNCTION candor_erase_once(of_kind TEXT, of_key TEXT, refusal TEXT) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE erased_rows SET applied = TRUE WHERE kind = of_kind AND key = of_key AND NOT applied;
    IF NOT FOUND THEN
        RAISE EXCEPTION '%', refusal;
    END IF;
END
$$;

-- A frozen recipient changes only if an erasure names it, only once for each erasure, and only to placeholders.
CREATE OR REPLACE FUNCTION candor_erase_recipient() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.notice_id <> OLD.notice_id OR NEW.ordinal <> OLD.ordinal OR NEW.optional <> OLD.optional OR NEW.channel <> OLD.channel
        OR OLD.channel <> 'email'
        OR (NEW.person_id <> OLD.person_id AND (OLD.person_id LIKE 'erased-%' OR NEW.person_id NOT LIKE 'erased-%'))
        OR (NEW.address <> OLD.address AND (OLD.address LIKE 'erased-%' AND position('@' IN OLD.address) = 0
            OR NEW.address NOT LIKE 'erased-%' OR position('@' IN NEW.address) > 0))
        OR (NEW.domain <> OLD.domain AND NEW.domain <> '')
        OR length(NEW.name) > length(OLD.name) THEN
        RAISE EXCEPTION 'notice_recipients is append-only';
    END IF;
    PERFORM candor_erase_once('recipient', OLD.notice_id || '/' || OLD.ordinal, 'notice_recipients is append-only');
    RETURN NEW;
END
$$;
CREATE OR REPLACE FUNCTION candor_erase_delivery() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM notice_recipients r
        JOIN erased_rows e ON e.kind = 'recipient' AND e.key = r.notice_id || '/' || r.ordinal AND e.applied
        WHERE r.notice_id = NEW.notice_id AND r.ordinal = NEW.ordinal AND r.address = NEW.address AND r.address LIKE 'erased-%') THEN
        RAISE EXCEPTION 'a delivery is frozen';
    END IF;
    RETURN NEW;
END
$$;
CREATE OR REPLACE FUNCTION candor_erase_attempt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.delivery_id <> OLD.delivery_id OR NEW.attempt <> OLD.attempt OR NEW.at <> OLD.at OR NEW.outcome <> OLD.outcome
        OR NEW.batch <> OLD.batch OR (NEW.mail_hash, NEW.mail_context, NEW.mail_date)
            IS DISTINCT FROM (OLD.mail_hash, OLD.mail_context, OLD.mail_date)
        OR (NEW.mail_signatures IS DISTINCT FROM OLD.mail_signatures AND NEW.mail_signatures IS NOT NULL) THEN
        RAISE EXCEPTION 'delivery_attempts is append-only';
    END IF;
    PERFORM candor_erase_once('attempt', OLD.delivery_id || '/' || OLD.attempt, 'delivery_attempts is append-only');
    RETURN NEW;
END
$$;
CREATE OR REPLACE FUNCTION candor_erase_feedback() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.id, NEW.dedup_key, NEW.received_at, NEW.at, NEW.source, NEW.integration_id, NEW.kind, NEW.delivery_id, NEW.attempt,
            NEW.matched_by, NEW.effect, NEW.status)
        IS DISTINCT FROM (OLD.id, OLD.dedup_key, OLD.received_at, OLD.at, OLD.source, OLD.integration_id, OLD.kind, OLD.delivery_id,
            OLD.attempt, OLD.matched_by, OLD.effect, OLD.status) THEN
        RAISE EXCEPTION 'feedback is append-only';
    END IF;
    PERFORM candor_erase_once('feedback', CAST(OLD.id AS TEXT), 'feedback is append-only');
    RETURN NEW;
END
$$;
CREATE OR REPLACE FUNCTION candor_erase_answer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.id, NEW.incident_id, NEW.notice_id, NEW.delivery_id, NEW.answer, NEW.at, NEW.received_at, NEW.source, NEW.recorded_by,
            NEW.feedback_id)
        IS DISTINCT FROM (OLD.id, OLD.incident_id, OLD.notice_id, OLD.delivery_id, OLD.answer, OLD.at, OLD.received_at, OLD.source,
            OLD.recorded_by, OLD.feedback_id)
        OR (NEW.person_id <> OLD.person_id AND (OLD.person_id LIKE 'erased-%' OR NEW.person_id NOT LIKE 'erased-%')) THEN
        RAISE EXCEPTION 'answers is append-only';
    END IF;
    PERFORM candor_erase_once('answer', CAST(OLD.id AS TEXT), 'answers is append-only');
    RETURN NEW;
END
$$;
-- The hash of an event, and so the chain, never changes.
CREATE OR REPLACE FUNCTION candor_erase_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.seq, NEW.at, NEW.actor_kind, NEW.actor_id, NEW.actor_name, NEW.action, NEW.subject_type, NEW.incident_id, NEW.prev_hash,
            NEW.hash)
        IS DISTINCT FROM (OLD.seq, OLD.at, OLD.actor_kind, OLD.actor_id, OLD.actor_name, OLD.action, OLD.subject_type, OLD.incident_id,
            OLD.prev_hash, OLD.hash) THEN
        RAISE EXCEPTION 'audit_events is append-only';
    END IF;
    PERFORM candor_erase_once('event', CAST(OLD.seq AS TEXT), 'audit_events is append-only');
    RETURN NEW;
END
$$;

DROP TRIGGER notice_recipients_no_update ON notice_recipients;
CREATE TRIGGER notice_recipients_no_update BEFORE UPDATE ON notice_recipients FOR EACH ROW EXECUTE FUNCTION candor_erase_recipient();
DROP TRIGGER deliveries_frozen ON deliveries;
CREATE TRIGGER deliveries_frozen BEFORE UPDATE OF id, notice_id, ordinal, channel, message_id ON deliveries
FOR EACH ROW WHEN (NEW.id <> OLD.id OR NEW.notice_id <> OLD.notice_id OR NEW.ordinal <> OLD.ordinal OR NEW.channel <> OLD.channel
    OR NEW.message_id <> OLD.message_id)
EXECUTE FUNCTION candor_refuse('a delivery is frozen');
CREATE TRIGGER deliveries_address_frozen BEFORE UPDATE OF address ON deliveries
FOR EACH ROW WHEN (NEW.address <> OLD.address) EXECUTE FUNCTION candor_erase_delivery();
DROP TRIGGER delivery_attempts_no_update ON delivery_attempts;
CREATE TRIGGER delivery_attempts_no_update BEFORE UPDATE ON delivery_attempts FOR EACH ROW EXECUTE FUNCTION candor_erase_attempt();
DROP TRIGGER feedback_no_update ON feedback;
CREATE TRIGGER feedback_no_update BEFORE UPDATE ON feedback FOR EACH ROW EXECUTE FUNCTION candor_erase_feedback();
DROP TRIGGER answers_no_update ON answers;
CREATE TRIGGER answers_no_update BEFORE UPDATE ON answers FOR EACH ROW EXECUTE FUNCTION candor_erase_answer();
DROP TRIGGER audit_events_no_update ON audit_events;
CREATE TRIGGER audit_events_no_update BEFORE UPDATE ON audit_events FOR EACH ROW EXECUTE FUNCTION candor_erase_event();
