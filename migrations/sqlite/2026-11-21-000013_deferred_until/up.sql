-- When a delivery that was tried before is due again has a column of its own, which a claim leaves alone. PostgreSQL looks
-- at the columns of every index, whatever its condition: with the end of a claim in one of them, each claim wrote them all.
DROP INDEX deliveries_due;
DROP INDEX deliveries_deferred;
ALTER TABLE deliveries ADD COLUMN deferred_until BIGINT;
UPDATE deliveries SET deferred_until = next_attempt_at WHERE state = 'pending' AND deferred;
ALTER TABLE deliveries DROP COLUMN deferred;
CREATE INDEX deliveries_due ON deliveries (channel, domain, id) WHERE state = 'pending' AND deferred_until IS NULL;
CREATE INDEX deliveries_deferred ON deliveries (channel, deferred_until, id, domain) WHERE state = 'pending' AND deferred_until IS NOT NULL;
