-- A claim writes a row anew, and on the same page costs half of what it costs on another: there every index gets an entry
-- too. A worker claims all of a page at a time, so a page needs as much room as it has rows. Pages from now on.
ALTER TABLE deliveries SET (fillfactor = 50);
