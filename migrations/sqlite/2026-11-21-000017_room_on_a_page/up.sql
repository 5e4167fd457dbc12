-- SQLite changes a row where it is; the migration of this name is about PostgreSQL's pages.
SELECT 1;
