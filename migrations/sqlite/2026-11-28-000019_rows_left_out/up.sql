-- A row of a source that cannot be used is left out, and the rest is stored.

-- The share of rows that may be left out, in percent, before a run stops.
ALTER TABLE directory_sources ADD COLUMN max_left_out_percent BIGINT NOT NULL DEFAULT 10;

-- Why a staged row is left out; null: it is used.
-- wrong: its values cannot be used; unknown: it refers to what nobody knows; archived: it refers to an archived entry;
-- follows: it refers to a row that is left out.
ALTER TABLE directory_staged ADD COLUMN left_out TEXT;
-- What is wrong with it, as JSON; never a value of the row.
ALTER TABLE directory_staged ADD COLUMN reason TEXT;
