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
WHEN NEW.notice_id <> OLD.notice_id OR NEW.ends <> OLD.ends OR NEW.pause IS NOT OLD.pause OR NEW.wave < OLD.wave OR NEW.upto < OLD.upto
BEGIN SELECT RAISE(ABORT, 'the waves of a notice are frozen'); END;
CREATE TRIGGER notice_waves_no_delete BEFORE DELETE ON notice_waves
BEGIN SELECT RAISE(ABORT, 'the waves of a notice are frozen'); END;
CREATE TRIGGER notice_waves_no_replace BEFORE INSERT ON notice_waves
WHEN EXISTS (SELECT 1 FROM notice_waves WHERE notice_id = NEW.notice_id)
  OR (NEW.rowid > 0 AND EXISTS (SELECT 1 FROM notice_waves WHERE rowid = NEW.rowid))
BEGIN SELECT RAISE(ABORT, 'the waves of a notice are frozen'); END;

-- No delivery is created after the end of the current wave, and a notice with a further wave is not finished. An older binary that
-- knows no waves is refused here too.
CREATE TRIGGER notices_keep_wave BEFORE UPDATE OF expand_cursor, state ON notices
WHEN NEW.state IN ('queued', 'sending', 'sent') AND EXISTS (SELECT 1 FROM notice_waves w WHERE w.notice_id = NEW.id
    AND (NEW.expand_cursor > w.upto OR (NEW.state = 'sent' AND w.upto < NEW.recipients + NEW.endpoints)))
BEGIN SELECT RAISE(ABORT, 'a further wave has not begun'); END;

-- Stopped notices whose list contains recipients without a delivery. Those get a stopped delivery, so that the list of who was
-- not notified is complete.
CREATE INDEX notices_unlisted ON notices (id) WHERE state = 'stopped' AND expand_cursor < recipients + endpoints;
