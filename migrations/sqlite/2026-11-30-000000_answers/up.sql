-- What customers answered: by the links in an email, by a reply, or through an operator. Nothing is changed or removed. Of each
-- person the entry with the latest `at` counts. An answer from a shared mailbox is one row for each of its people.
CREATE TABLE answers (
    id           INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    incident_id  TEXT NOT NULL REFERENCES incidents (id),
    person_id    TEXT NOT NULL,
    -- Where the email went. Empty where an operator recorded the answer.
    address      TEXT NOT NULL,
    notice_id    TEXT REFERENCES notices (id),
    delivery_id  BIGINT REFERENCES deliveries (id),
    -- works, broken or help. NULL: a reply by email, which contains no choice.
    answer       TEXT,
    text         TEXT NOT NULL,
    at           BIGINT NOT NULL,
    received_at  BIGINT NOT NULL,
    -- link, reply or token
    source       TEXT NOT NULL,
    -- The name of the token with which an operator recorded it.
    recorded_by  TEXT,
    feedback_id  BIGINT REFERENCES feedback (id)
);
CREATE INDEX answers_person ON answers (incident_id, person_id, at, id);
CREATE INDEX answers_delivery ON answers (delivery_id, id) WHERE delivery_id IS NOT NULL;
CREATE INDEX answers_urgent ON answers (received_at) WHERE answer IN ('broken', 'help');

-- The notices that are only for those who were asked for an answer and have not given one.
CREATE TABLE answer_reminders (
    notice_id  TEXT NOT NULL PRIMARY KEY REFERENCES notices (id),
    created_at BIGINT NOT NULL
);

CREATE TRIGGER answers_no_update BEFORE UPDATE ON answers
BEGIN SELECT RAISE(ABORT, 'answers is append-only'); END;
CREATE TRIGGER answers_no_delete BEFORE DELETE ON answers
BEGIN SELECT RAISE(ABORT, 'answers is append-only'); END;
CREATE TRIGGER answer_reminders_no_update BEFORE UPDATE ON answer_reminders
BEGIN SELECT RAISE(ABORT, 'answer_reminders is append-only'); END;
CREATE TRIGGER answer_reminders_no_delete BEFORE DELETE ON answer_reminders
BEGIN SELECT RAISE(ABORT, 'answer_reminders is append-only'); END;
CREATE TRIGGER answers_no_replace BEFORE INSERT ON answers
WHEN NEW.id > 0 AND EXISTS (SELECT 1 FROM answers WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'answers is append-only'); END;
CREATE TRIGGER answer_reminders_no_replace BEFORE INSERT ON answer_reminders
WHEN EXISTS (SELECT 1 FROM answer_reminders WHERE notice_id = NEW.notice_id)
  OR (NEW.rowid > 0 AND EXISTS (SELECT 1 FROM answer_reminders WHERE rowid = NEW.rowid))
BEGIN SELECT RAISE(ABORT, 'answer_reminders is append-only'); END;

-- Operators who hear of everything hear of answers too.
UPDATE operators SET events = substr(events, 1, length(events) - 1) || ',"answered"]'
WHERE events LIKE '%"opened"%' AND events LIKE '%"overdue"%' AND events LIKE '%"sent"%' AND events LIKE '%"unreached"%';
