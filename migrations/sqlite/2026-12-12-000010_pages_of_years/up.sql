-- The page "Now" reads the newest of the resolved incidents. With the number, the index alone gives their order, also if many were
-- resolved at the same time.
DROP INDEX incidents_resolved;
CREATE INDEX incidents_resolved ON incidents (resolved_at, number) WHERE resolved_at IS NOT NULL;
-- The length of the queue is asked for often. Of the counts of all notices ever sent, only a few have something pending.
CREATE INDEX delivery_counts_pending ON delivery_counts (notice_id) WHERE state = 'pending' AND count > 0;
