-- Secrets beside the first one, any of which is as good; and how a kept body was sent, so that it can be taken in again.
ALTER TABLE integrations ADD COLUMN secrets TEXT NOT NULL DEFAULT '[]';
ALTER TABLE hook_requests ADD COLUMN method TEXT NOT NULL DEFAULT 'POST';
ALTER TABLE hook_requests ADD COLUMN query TEXT NOT NULL DEFAULT '';
ALTER TABLE hook_requests ADD COLUMN headers TEXT NOT NULL DEFAULT '{}';
