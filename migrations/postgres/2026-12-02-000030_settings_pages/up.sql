-- When a token stops working, and when it was last used. The last use is written at most once per minute.
ALTER TABLE api_tokens ADD COLUMN expires_at BIGINT;
ALTER TABLE api_tokens ADD COLUMN last_used_at BIGINT;

-- The list of all alerts is read by its newest rows.
CREATE INDEX alerts_of_integration ON alerts (integration_id, id);
CREATE INDEX alerts_firing_newest ON alerts (id) WHERE status = 'firing';

-- What was saved for each phase, in order. A row with builtin is a return to the built-in template.
CREATE TABLE template_versions (
    phase       TEXT NOT NULL,
    number      BIGINT NOT NULL,
    template_id TEXT NOT NULL REFERENCES templates (id),
    builtin     BOOLEAN NOT NULL,
    saved_by    TEXT,
    saved_at    BIGINT NOT NULL,
    PRIMARY KEY (phase, number)
);
INSERT INTO template_versions (phase, number, template_id, builtin, saved_by, saved_at)
SELECT c.phase, 1, c.template_id, FALSE, NULL, t.created_at
FROM current_templates c JOIN templates t ON t.id = c.template_id;

CREATE TRIGGER template_versions_no_update BEFORE UPDATE ON template_versions
FOR EACH ROW EXECUTE FUNCTION candor_refuse('template_versions is append-only');
CREATE TRIGGER template_versions_no_delete BEFORE DELETE ON template_versions
FOR EACH ROW EXECUTE FUNCTION candor_refuse('template_versions is append-only');
CREATE TRIGGER template_versions_no_truncate BEFORE TRUNCATE ON template_versions
FOR EACH STATEMENT EXECUTE FUNCTION candor_refuse('template_versions is append-only');
