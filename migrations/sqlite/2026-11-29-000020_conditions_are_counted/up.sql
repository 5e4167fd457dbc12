-- Counts the changes of alert rules, silences and maintenance windows. Intake matches their conditions before its
-- transaction, and compares this number inside it. Triggers count, so that a change by an older binary counts too.
INSERT INTO counters (name, value) VALUES ('alert_conditions', 1);
CREATE TRIGGER alert_rules_counted_insert AFTER INSERT ON alert_rules
BEGIN
    INSERT INTO counters (name, value) VALUES ('alert_conditions', 1)
    ON CONFLICT (name) DO UPDATE SET value = counters.value + 1;
END;
CREATE TRIGGER alert_rules_counted_update AFTER UPDATE ON alert_rules
BEGIN
    INSERT INTO counters (name, value) VALUES ('alert_conditions', 1)
    ON CONFLICT (name) DO UPDATE SET value = counters.value + 1;
END;
CREATE TRIGGER alert_rules_counted_delete AFTER DELETE ON alert_rules
BEGIN
    INSERT INTO counters (name, value) VALUES ('alert_conditions', 1)
    ON CONFLICT (name) DO UPDATE SET value = counters.value + 1;
END;
CREATE TRIGGER quiet_periods_counted_insert AFTER INSERT ON quiet_periods
BEGIN
    INSERT INTO counters (name, value) VALUES ('alert_conditions', 1)
    ON CONFLICT (name) DO UPDATE SET value = counters.value + 1;
END;
CREATE TRIGGER quiet_periods_counted_update AFTER UPDATE ON quiet_periods
BEGIN
    INSERT INTO counters (name, value) VALUES ('alert_conditions', 1)
    ON CONFLICT (name) DO UPDATE SET value = counters.value + 1;
END;
CREATE TRIGGER quiet_periods_counted_delete AFTER DELETE ON quiet_periods
BEGIN
    INSERT INTO counters (name, value) VALUES ('alert_conditions', 1)
    ON CONFLICT (name) DO UPDATE SET value = counters.value + 1;
END;
