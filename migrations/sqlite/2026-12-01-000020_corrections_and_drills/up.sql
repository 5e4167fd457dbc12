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
BEGIN SELECT RAISE(ABORT, 'notice_corrections is append-only'); END;
CREATE TRIGGER notice_corrections_no_delete BEFORE DELETE ON notice_corrections
BEGIN SELECT RAISE(ABORT, 'notice_corrections is append-only'); END;
CREATE TRIGGER notice_corrections_no_replace BEFORE INSERT ON notice_corrections
WHEN EXISTS (SELECT 1 FROM notice_corrections WHERE notice_id = NEW.notice_id)
  OR (NEW.rowid > 0 AND EXISTS (SELECT 1 FROM notice_corrections WHERE rowid = NEW.rowid))
BEGIN SELECT RAISE(ABORT, 'notice_corrections is append-only'); END;

CREATE TRIGGER drill_addresses_no_update BEFORE UPDATE ON drill_addresses
BEGIN SELECT RAISE(ABORT, 'drill_addresses is append-only'); END;
CREATE TRIGGER drill_addresses_no_delete BEFORE DELETE ON drill_addresses
BEGIN SELECT RAISE(ABORT, 'drill_addresses is append-only'); END;
CREATE TRIGGER drill_addresses_no_replace BEFORE INSERT ON drill_addresses
WHEN EXISTS (SELECT 1 FROM drill_addresses WHERE notice_id = NEW.notice_id AND address = NEW.address)
  OR (NEW.rowid > 0 AND EXISTS (SELECT 1 FROM drill_addresses WHERE rowid = NEW.rowid))
BEGIN SELECT RAISE(ABORT, 'drill_addresses is append-only'); END;

-- A drill stays one, and a real incident does not become one.
CREATE TRIGGER incidents_drill_fixed BEFORE UPDATE OF drill ON incidents
WHEN NEW.drill <> OLD.drill
BEGIN SELECT RAISE(ABORT, 'a drill stays a drill'); END;

-- A notice of a drill is never queued for another address. This also stops an older version, which does not know drills.
CREATE TRIGGER notices_drill_only BEFORE UPDATE OF state ON notices
WHEN OLD.state = 'draft' AND NEW.state <> 'draft'
  AND EXISTS (SELECT 1 FROM incidents i WHERE i.id = NEW.incident_id AND i.drill)
  AND EXISTS (SELECT 1 FROM notice_recipients r WHERE r.notice_id = NEW.id
      AND NOT EXISTS (SELECT 1 FROM drill_addresses a WHERE a.notice_id = NEW.id AND a.address = r.address))
BEGIN SELECT RAISE(ABORT, 'a notice of a drill goes only to the addresses for drills'); END;
