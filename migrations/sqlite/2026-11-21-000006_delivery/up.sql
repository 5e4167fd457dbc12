-- Deliveries at speed: domains to be fair between, why a delivery failed, attempts of which nobody knows, and
-- receipts that other workers can read.
ALTER TABLE notice_recipients ADD COLUMN domain TEXT NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN domain TEXT NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN reason TEXT;
ALTER TABLE deliveries ADD COLUMN ambiguous BIGINT NOT NULL DEFAULT 0;
DROP INDEX deliveries_due;
CREATE INDEX deliveries_due ON deliveries (channel, next_attempt_at, id, domain) WHERE state = 'pending';
CREATE INDEX deliveries_ambiguous ON deliveries (notice_id, ambiguous) WHERE ambiguous > 0;

-- What a worker's deliveries came to, until it is stored with them. An embedded database has a file for this.
CREATE TABLE delivery_receipts (
    lease TEXT NOT NULL,
    seq   BIGINT NOT NULL,
    body  TEXT NOT NULL,
    PRIMARY KEY (lease, seq)
);
