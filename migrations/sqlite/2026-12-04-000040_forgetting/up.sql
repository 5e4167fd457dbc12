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
WHEN NEW.id <> OLD.id OR NEW.kind <> OLD.kind OR NEW.at <> OLD.at OR NEW.erased_by <> OLD.erased_by OR NEW.reason <> OLD.reason
  OR NEW.placeholder IS NOT OLD.placeholder OR NEW.counts <> OLD.counts OR NEW.rowid <> OLD.rowid
BEGIN SELECT RAISE(ABORT, 'erasures is append-only'); END;
CREATE TRIGGER erasures_no_delete BEFORE DELETE ON erasures
BEGIN SELECT RAISE(ABORT, 'erasures is append-only'); END;
CREATE TRIGGER erasures_no_replace BEFORE INSERT ON erasures
WHEN EXISTS (SELECT 1 FROM erasures WHERE id = NEW.id)
  OR (NEW.rowid > 0 AND EXISTS (SELECT 1 FROM erasures WHERE rowid = NEW.rowid))
BEGIN SELECT RAISE(ABORT, 'erasures is append-only'); END;
CREATE TRIGGER erased_rows_frozen BEFORE UPDATE ON erased_rows
WHEN NEW.kind <> OLD.kind OR NEW.key <> OLD.key OR NEW.erasure_id <> OLD.erasure_id OR NEW.rowid <> OLD.rowid OR OLD.applied OR NOT NEW.applied
BEGIN SELECT RAISE(ABORT, 'erased_rows is append-only'); END;
CREATE TRIGGER erased_rows_no_delete BEFORE DELETE ON erased_rows
BEGIN SELECT RAISE(ABORT, 'erased_rows is append-only'); END;
CREATE TRIGGER erased_rows_no_replace BEFORE INSERT ON erased_rows
WHEN EXISTS (SELECT 1 FROM erased_rows WHERE kind = NEW.kind AND key = NEW.key AND erasure_id = NEW.erasure_id)
  OR (NEW.rowid > 0 AND EXISTS (SELECT 1 FROM erased_rows WHERE rowid = NEW.rowid))
BEGIN SELECT RAISE(ABORT, 'erased_rows is append-only'); END;
CREATE TRIGGER erased_recipients_no_update BEFORE UPDATE ON erased_recipients
BEGIN SELECT RAISE(ABORT, 'erased_recipients is append-only'); END;
CREATE TRIGGER erased_recipients_no_delete BEFORE DELETE ON erased_recipients
BEGIN SELECT RAISE(ABORT, 'erased_recipients is append-only'); END;
CREATE TRIGGER erased_recipients_no_replace BEFORE INSERT ON erased_recipients
WHEN EXISTS (SELECT 1 FROM erased_recipients WHERE notice_id = NEW.notice_id AND ordinal = NEW.ordinal AND erasure_id = NEW.erasure_id)
  OR (NEW.rowid > 0 AND EXISTS (SELECT 1 FROM erased_recipients WHERE rowid = NEW.rowid))
BEGIN SELECT RAISE(ABORT, 'erased_recipients is append-only'); END;

-- A frozen recipient changes only if an erasure names it, only once for each erasure, and only to placeholders.
DROP TRIGGER notice_recipients_no_update;
CREATE TRIGGER notice_recipients_no_update BEFORE UPDATE ON notice_recipients
WHEN NEW.notice_id <> OLD.notice_id OR NEW.ordinal <> OLD.ordinal OR NEW.optional <> OLD.optional OR NEW.channel <> OLD.channel
  OR NEW.rowid <> OLD.rowid OR OLD.channel <> 'email'
  OR (NEW.person_id <> OLD.person_id AND (OLD.person_id GLOB 'erased-*' OR NEW.person_id NOT GLOB 'erased-*'))
  OR (NEW.address <> OLD.address AND (OLD.address GLOB 'erased-*' AND instr(OLD.address, '@') = 0
      OR NEW.address NOT GLOB 'erased-*' OR instr(NEW.address, '@') > 0))
  OR (NEW.domain <> OLD.domain AND NEW.domain <> '')
  OR length(NEW.name) > length(OLD.name)
  OR NOT EXISTS (SELECT 1 FROM erased_rows e WHERE e.kind = 'recipient' AND e.key = OLD.notice_id || '/' || OLD.ordinal AND NOT e.applied)
BEGIN SELECT RAISE(ABORT, 'notice_recipients is append-only'); END;
CREATE TRIGGER notice_recipients_erased AFTER UPDATE ON notice_recipients
BEGIN UPDATE erased_rows SET applied = TRUE WHERE kind = 'recipient' AND key = OLD.notice_id || '/' || OLD.ordinal AND NOT applied; END;

-- A delivery gets the placeholder of its erased recipient.
DROP TRIGGER deliveries_frozen;
CREATE TRIGGER deliveries_frozen BEFORE UPDATE OF id, rowid, _rowid_, oid, notice_id, ordinal, channel, address, message_id ON deliveries
WHEN NEW.id <> OLD.id OR NEW.notice_id <> OLD.notice_id OR NEW.ordinal <> OLD.ordinal OR NEW.channel <> OLD.channel
  OR NEW.message_id <> OLD.message_id
  OR (NEW.address <> OLD.address AND NOT EXISTS (
      SELECT 1 FROM notice_recipients r
      JOIN erased_rows e ON e.kind = 'recipient' AND e.key = r.notice_id || '/' || r.ordinal AND e.applied
      WHERE r.notice_id = NEW.notice_id AND r.ordinal = NEW.ordinal AND r.address = NEW.address AND r.address GLOB 'erased-*'))
BEGIN SELECT RAISE(ABORT, 'a delivery is frozen'); END;

DROP TRIGGER delivery_attempts_no_update;
CREATE TRIGGER delivery_attempts_no_update BEFORE UPDATE ON delivery_attempts
WHEN NEW.delivery_id <> OLD.delivery_id OR NEW.attempt <> OLD.attempt OR NEW.at <> OLD.at OR NEW.outcome <> OLD.outcome
  OR NEW.batch <> OLD.batch OR NEW.rowid <> OLD.rowid
  OR NEW.mail_hash IS NOT OLD.mail_hash OR NEW.mail_context IS NOT OLD.mail_context OR NEW.mail_date IS NOT OLD.mail_date
  OR (NEW.mail_signatures IS NOT OLD.mail_signatures AND NEW.mail_signatures IS NOT NULL)
  OR NOT EXISTS (SELECT 1 FROM erased_rows e WHERE e.kind = 'attempt' AND e.key = OLD.delivery_id || '/' || OLD.attempt AND NOT e.applied)
BEGIN SELECT RAISE(ABORT, 'delivery_attempts is append-only'); END;
CREATE TRIGGER delivery_attempts_erased AFTER UPDATE ON delivery_attempts
BEGIN UPDATE erased_rows SET applied = TRUE WHERE kind = 'attempt' AND key = OLD.delivery_id || '/' || OLD.attempt AND NOT applied; END;

DROP TRIGGER feedback_no_update;
CREATE TRIGGER feedback_no_update BEFORE UPDATE ON feedback
WHEN NEW.id <> OLD.id OR NEW.dedup_key <> OLD.dedup_key OR NEW.received_at <> OLD.received_at OR NEW.at <> OLD.at OR NEW.source <> OLD.source
  OR NEW.integration_id IS NOT OLD.integration_id OR NEW.kind <> OLD.kind OR NEW.delivery_id IS NOT OLD.delivery_id
  OR NEW.attempt IS NOT OLD.attempt OR NEW.matched_by IS NOT OLD.matched_by OR NEW.effect <> OLD.effect OR NEW.status IS NOT OLD.status
  OR NOT EXISTS (SELECT 1 FROM erased_rows e WHERE e.kind = 'feedback' AND e.key = CAST(OLD.id AS TEXT) AND NOT e.applied)
BEGIN SELECT RAISE(ABORT, 'feedback is append-only'); END;
CREATE TRIGGER feedback_erased AFTER UPDATE ON feedback
BEGIN UPDATE erased_rows SET applied = TRUE WHERE kind = 'feedback' AND key = CAST(OLD.id AS TEXT) AND NOT applied; END;

DROP TRIGGER answers_no_update;
CREATE TRIGGER answers_no_update BEFORE UPDATE ON answers
WHEN NEW.id <> OLD.id OR NEW.incident_id <> OLD.incident_id OR NEW.notice_id IS NOT OLD.notice_id OR NEW.delivery_id IS NOT OLD.delivery_id
  OR NEW.answer IS NOT OLD.answer OR NEW.at <> OLD.at OR NEW.received_at <> OLD.received_at OR NEW.source <> OLD.source
  OR NEW.recorded_by IS NOT OLD.recorded_by OR NEW.feedback_id IS NOT OLD.feedback_id
  OR (NEW.person_id <> OLD.person_id AND (OLD.person_id GLOB 'erased-*' OR NEW.person_id NOT GLOB 'erased-*'))
  OR NOT EXISTS (SELECT 1 FROM erased_rows e WHERE e.kind = 'answer' AND e.key = CAST(OLD.id AS TEXT) AND NOT e.applied)
BEGIN SELECT RAISE(ABORT, 'answers is append-only'); END;
CREATE TRIGGER answers_erased AFTER UPDATE ON answers
BEGIN UPDATE erased_rows SET applied = TRUE WHERE kind = 'answer' AND key = CAST(OLD.id AS TEXT) AND NOT applied; END;

-- The hash of an event, and so the chain, never changes.
DROP TRIGGER audit_events_no_update;
CREATE TRIGGER audit_events_no_update BEFORE UPDATE ON audit_events
WHEN NEW.seq <> OLD.seq OR NEW.at <> OLD.at OR NEW.actor_kind <> OLD.actor_kind OR NEW.actor_id <> OLD.actor_id
  OR NEW.actor_name <> OLD.actor_name OR NEW.action <> OLD.action OR NEW.subject_type <> OLD.subject_type
  OR NEW.incident_id IS NOT OLD.incident_id OR NEW.prev_hash <> OLD.prev_hash OR NEW.hash <> OLD.hash OR NEW.rowid <> OLD.rowid
  OR NOT EXISTS (SELECT 1 FROM erased_rows e WHERE e.kind = 'event' AND e.key = CAST(OLD.seq AS TEXT) AND NOT e.applied)
BEGIN SELECT RAISE(ABORT, 'audit_events is append-only'); END;
CREATE TRIGGER audit_events_erased AFTER UPDATE ON audit_events
BEGIN UPDATE erased_rows SET applied = TRUE WHERE kind = 'event' AND key = CAST(OLD.seq AS TEXT) AND NOT applied; END;
