-- What the emails of a process are written with, without any secret: who sends them, the public URL, the partials of the templates and
-- the look of the signatures. `digest` is the SHA-256 of `body`.
CREATE TABLE sending_settings (
    digest     TEXT NOT NULL PRIMARY KEY,
    body       TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- The settings and the checkpoint of the audit trail that emails were sent with. A row exists before the first email with it is sent.
CREATE TABLE sending_contexts (
    id         INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    settings   TEXT NOT NULL REFERENCES sending_settings (digest),
    checkpoint TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TRIGGER sending_settings_no_update BEFORE UPDATE ON sending_settings
BEGIN SELECT RAISE(ABORT, 'sending_settings is append-only'); END;
CREATE TRIGGER sending_settings_no_delete BEFORE DELETE ON sending_settings
BEGIN SELECT RAISE(ABORT, 'sending_settings is append-only'); END;
CREATE TRIGGER sending_settings_no_replace BEFORE INSERT ON sending_settings
WHEN EXISTS (SELECT 1 FROM sending_settings WHERE digest = NEW.digest)
  OR (NEW.rowid > 0 AND EXISTS (SELECT 1 FROM sending_settings WHERE rowid = NEW.rowid))
BEGIN SELECT RAISE(ABORT, 'sending_settings is append-only'); END;
CREATE TRIGGER sending_contexts_no_update BEFORE UPDATE ON sending_contexts
BEGIN SELECT RAISE(ABORT, 'sending_contexts is append-only'); END;
CREATE TRIGGER sending_contexts_no_delete BEFORE DELETE ON sending_contexts
BEGIN SELECT RAISE(ABORT, 'sending_contexts is append-only'); END;
CREATE TRIGGER sending_contexts_no_replace BEFORE INSERT ON sending_contexts
WHEN NEW.id > 0 AND EXISTS (SELECT 1 FROM sending_contexts WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'sending_contexts is append-only'); END;

-- What it takes to write the email of an attempt again, byte for byte: the SHA-256 of its bytes, its context and date, and the
-- signatures of its links and of DKIM. NULL: the attempt handed over no email, or a version of Candor made it that stored nothing.
ALTER TABLE delivery_attempts ADD COLUMN mail_hash BLOB;
ALTER TABLE delivery_attempts ADD COLUMN mail_context BIGINT;
ALTER TABLE delivery_attempts ADD COLUMN mail_date BIGINT;
ALTER TABLE delivery_attempts ADD COLUMN mail_signatures BLOB;
