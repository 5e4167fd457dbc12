-- An alert that comes again changes its row. With room on the page the new version is no work for the indexes.
ALTER TABLE alerts SET (fillfactor = 70);
