-- The person who uses a token. Tokens with the same person are one person. NULL: the token is its own person.
ALTER TABLE api_tokens ADD COLUMN person TEXT;

-- Who approved a notice, and for which list and text. Nothing is changed or removed: an approval stops counting when it
-- expires, when the list or the text changes, when its token is revoked, or when a later row of the kind `void` says that
-- the notice was changed.
CREATE TABLE notice_approvals (
    id         INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    notice_id  TEXT NOT NULL REFERENCES notices (id),
    -- approval, break_glass or void
    kind       TEXT NOT NULL,
    -- The digest that was approved. NULL for `void`.
    digest     TEXT,
    token_id   TEXT NOT NULL,
    token_name TEXT NOT NULL,
    person     TEXT NOT NULL,
    -- NULL for `void`.
    role       TEXT,
    -- Why an admin used break glass.
    reason     TEXT,
    at         BIGINT NOT NULL,
    -- NULL for `void`.
    expires_at BIGINT
);
CREATE INDEX notice_approvals_notice ON notice_approvals (notice_id, id);
CREATE INDEX notice_approvals_kind ON notice_approvals (kind, id);

-- The notices that were sent with an approval. They do not count against the limits of later notices.
CREATE TABLE approved_notices (
    notice_id TEXT NOT NULL PRIMARY KEY REFERENCES notices (id),
    -- approval or break_glass
    kind      TEXT NOT NULL,
    at        BIGINT NOT NULL
);
INSERT INTO approved_notices (notice_id, kind, at)
    SELECT id, 'approval', COALESCE(queued_at, updated_at) FROM notices
    WHERE state <> 'draft' AND approved_by IS NOT NULL AND approved_digest = digest;

CREATE INDEX notices_queued_at ON notices (queued_at);

CREATE TRIGGER notice_approvals_no_update BEFORE UPDATE ON notice_approvals
BEGIN SELECT RAISE(ABORT, 'notice_approvals is append-only'); END;
CREATE TRIGGER notice_approvals_no_delete BEFORE DELETE ON notice_approvals
BEGIN SELECT RAISE(ABORT, 'notice_approvals is append-only'); END;
CREATE TRIGGER approved_notices_no_update BEFORE UPDATE ON approved_notices
BEGIN SELECT RAISE(ABORT, 'approved_notices is append-only'); END;
CREATE TRIGGER approved_notices_no_delete BEFORE DELETE ON approved_notices
BEGIN SELECT RAISE(ABORT, 'approved_notices is append-only'); END;
CREATE TRIGGER notice_approvals_no_replace BEFORE INSERT ON notice_approvals
WHEN NEW.id > 0 AND EXISTS (SELECT 1 FROM notice_approvals WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'notice_approvals is append-only'); END;
CREATE TRIGGER approved_notices_no_replace BEFORE INSERT ON approved_notices
WHEN EXISTS (SELECT 1 FROM approved_notices WHERE notice_id = NEW.notice_id)
  OR (NEW.rowid > 0 AND EXISTS (SELECT 1 FROM approved_notices WHERE rowid = NEW.rowid))
BEGIN SELECT RAISE(ABORT, 'approved_notices is append-only'); END;

-- Operators who hear of everything hear of break glass too.
UPDATE operators SET events = substr(events, 1, length(events) - 1) || ',"break_glass"]'
WHERE events LIKE '%"opened"%' AND events LIKE '%"overdue"%' AND events LIKE '%"sent"%' AND events LIKE '%"unreached"%';
