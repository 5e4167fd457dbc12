ALTER TABLE directory_staged DROP COLUMN reason;
ALTER TABLE directory_staged DROP COLUMN left_out;
ALTER TABLE directory_sources DROP COLUMN max_left_out_percent;
