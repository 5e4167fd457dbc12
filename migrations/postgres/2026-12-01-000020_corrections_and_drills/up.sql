-- The notices that correct another one: they tell people that the incident does not affect them. The phase of a correction is
-- 'correction', which versions before this one do not know, so corrections are sent only after all processes are upgraded.
CREATE TABLE notice_corrections (
    notice_id  TEXT NOT NULL PRIMARY KEY REFERENCES notices (id),
    corrects   TEXT NOT NULL REFERENCES notices (id),
    created_at BIGINT NOT NULL
);
CREATE INDEX notice_corrections_corrects ON notice_corrections (corrects);

-- A drill sends emails only to the addresses of CANDOR_DRILL_TO.
ALTER TABLE incidents ADD COLUMN drill BOOLEAN NOT NULL DEFAULT FALSE;

-- The addresses that a notice of a drill may be sent to. They are stored before the notice is queued.
CREATE TABLE drill_addresses (
    notice_id TEXT NOT NULL REFERENCES notices (id),
    address   TEXT NOT NULL,
    PRIMARY KEY (notice_id, address)
);

CREATE TRIGGER notice_corrections_no_update BEFORE UPDATE ON notice_corrections
FOR EACH ROW EXECUTE FUNCTION candor_refuse('notice_corrections is append-only');
CREATE TRIGGER notice_corrections_no_delete BEFORE DELETE ON notice_corrections
FOR EACH ROW EXECUTE FUNCTION candor_refuse('notice_corrections is append-only');
CREATE TRIGGER notice_corrections_no_truncate BEFORE TRUNCATE ON notice_corrections
FOR EACH STATEMENT EXECUTE FUNCTION candor_refuse('notice_corrections is append-only');

CREATE TRIGGER drill_addresses_no_update BEFORE UPDATE ON drill_addresses
FOR EACH ROW EXECUTE FUNCTION candor_refuse('drill_addresses is append-only');
CREATE TRIGGER drill_addresses_no_delete BEFORE DELETE ON drill_addresses
FOR EACH ROW EXECUTE FUNCTION candor_refuse('drill_addresses is append-only');
CREATE TRIGGER drill_addresses_no_truncate BEFORE TRUNCATE ON drill_addresses
FOR EACH STATEMENT EXECUTE FUNCTION candor_refuse('drill_addresses is append-only');

-- A drill stays one, and a real incident does not become one.
CREATE TRIGGER incidents_drill_fixed BEFORE UPDATE OF drill ON incidents
FOR EACH ROW WHEN (NEW.drill <> OLD.drill)
EXECUTE FUNCTION candor_refuse('a drill stays a drill');

-- A notice of a drill is never queued for another address. This also stops an older version, which does not know drills.
CREATE OR REPLACE FUNCTION candor_drill_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM incidents i WHERE i.id = NEW.incident_id AND i.drill)
       AND EXISTS (SELECT 1 FROM notice_recipients r WHERE r.notice_id = NEW.id
           AND NOT EXISTS (SELECT 1 FROM drill_addresses a WHERE a.notice_id = NEW.id AND a.address = r.address)) THEN
        RAISE EXCEPTION 'a notice of a drill goes only to the addresses for drills';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER notices_drill_only BEFORE UPDATE OF state ON notices
FOR EACH ROW WHEN (OLD.state = 'draft' AND NEW.state <> 'draft')
EXECUTE FUNCTION candor_drill_only();
