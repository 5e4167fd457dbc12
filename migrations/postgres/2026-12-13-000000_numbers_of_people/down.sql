-- Candor's migrations only go forward: a schema is expanded first and contracted in a later
-- release, so an older binary keeps working beside a newer one. To go back, restore a backup.
SELECT 1;
