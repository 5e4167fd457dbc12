-- The waves of a notice that is not sent to everybody at once. `ends` are the last positions of the waves in the frozen list, as a
-- JSON array.
CREATE TABLE notice_waves (
    notice_id    TEXT NOT NULL PRIMARY KEY REFERENCES notices (id),
    ends         TEXT NOT NULL,
    -- The pause between two waves, in microseconds. NULL: a person begins each wave.
    pause        BIGINT,
    -- The current wave, from 1, and its last position.
    wave         BIGINT NOT NULL,
    upto         BIGINT NOT NULL,
    -- When each delivery of the current wave had been tried.
    ended_at     BIGINT,
    -- When the next wave begins by itself.
    next_at      BIGINT,
    -- Why the next wave does not begin by itself.
    held_because TEXT
);
CREATE TRIGGER notice_waves_frozen BEFORE UPDATE OF notice_id, ends, pause, wave, upto ON notice_waves
FOR EACH ROW WHEN (NEW.notice_id <> OLD.notice_id OR NEW.ends <> OLD.ends OR NEW.pause IS DISTINCT FROM OLD.pause
    OR NEW.wave < OLD.wave OR NEW.upto < OLD.upto)
EXECUTE FUNCTION candor_refuse('the waves of a notice are frozen');
CREATE TRIGGER notice_waves_no_delete BEFORE DELETE ON notice_waves
FOR EACH ROW EXECUTE FUNCTION candor_refuse('the waves of a notice are frozen');
CREATE TRIGGER notice_waves_no_truncate BEFORE TRUNCATE ON notice_waves
FOR EACH STATEMENT EXECUTE FUNCTION candor_refuse('the waves of a notice are frozen');

-- No delivery is created after the end of the current wave, and a notice with a further wave is not finished. An older binary that
-- knows no waves is refused here too.
CREATE OR REPLACE FUNCTION candor_keep_wave() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM notice_waves w WHERE w.notice_id = NEW.id
        AND (NEW.expand_cursor > w.upto OR (NEW.state = 'sent' AND w.upto < NEW.recipients + NEW.endpoints))) THEN
        RAISE EXCEPTION 'a further wave has not begun';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER notices_keep_wave BEFORE UPDATE OF expand_cursor, state ON notices
FOR EACH ROW WHEN (NEW.state IN ('queued', 'sending', 'sent')) EXECUTE FUNCTION candor_keep_wave();

-- Stopped notices whose list contains recipients without a delivery. Those get a stopped delivery, so that the list of who was
-- not notified is complete.
CREATE INDEX notices_unlisted ON notices (id) WHERE state = 'stopped' AND expand_cursor < recipients + endpoints;
