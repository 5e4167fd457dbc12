-- Counts the changes of alert rules, silences and maintenance windows. Intake matches their conditions before its
-- transaction, and compares this number inside it. Triggers count, so that a change by an older binary counts too.
INSERT INTO counters (name, value) VALUES ('alert_conditions', 1);
CREATE OR REPLACE FUNCTION candor_conditions_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO counters (name, value) VALUES ('alert_conditions', 1)
    ON CONFLICT (name) DO UPDATE SET value = counters.value + 1;
    RETURN NULL;
END $$;
CREATE TRIGGER alert_rules_counted AFTER INSERT OR UPDATE OR DELETE ON alert_rules
FOR EACH STATEMENT EXECUTE FUNCTION candor_conditions_changed();
CREATE TRIGGER quiet_periods_counted AFTER INSERT OR UPDATE OR DELETE ON quiet_periods
FOR EACH STATEMENT EXECUTE FUNCTION candor_conditions_changed();
