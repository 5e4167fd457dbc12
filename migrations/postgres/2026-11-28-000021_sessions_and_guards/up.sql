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

-- What could still be done to an append-only table. PostgreSQL has no INSERT OR REPLACE, and ON CONFLICT DO UPDATE meets the
-- triggers for UPDATE.
CREATE TRIGGER audit_head_no_truncate BEFORE TRUNCATE ON audit_head
FOR EACH STATEMENT EXECUTE FUNCTION candor_refuse('audit_head is kept');
CREATE TRIGGER templates_no_delete BEFORE DELETE ON templates
FOR EACH ROW EXECUTE FUNCTION candor_refuse('templates are immutable');
CREATE TRIGGER templates_no_truncate BEFORE TRUNCATE ON templates
FOR EACH STATEMENT EXECUTE FUNCTION candor_refuse('templates are immutable');

-- What a queued notice says is frozen.
CREATE TRIGGER notices_frozen BEFORE UPDATE OF id, incident_id, phase, digest, template_id, frozen ON notices
FOR EACH ROW WHEN (OLD.digest IS NOT NULL AND (NEW.id <> OLD.id OR NEW.incident_id <> OLD.incident_id OR NEW.phase <> OLD.phase
    OR NEW.digest IS DISTINCT FROM OLD.digest OR NEW.template_id IS DISTINCT FROM OLD.template_id
    OR NEW.frozen IS DISTINCT FROM OLD.frozen))
EXECUTE FUNCTION candor_refuse('a queued notice is frozen');
CREATE TRIGGER notices_no_delete BEFORE DELETE ON notices
FOR EACH ROW WHEN (OLD.digest IS NOT NULL) EXECUTE FUNCTION candor_refuse('a queued notice is frozen');
CREATE TRIGGER notices_no_truncate BEFORE TRUNCATE ON notices
FOR EACH STATEMENT EXECUTE FUNCTION candor_refuse('a queued notice is frozen');
