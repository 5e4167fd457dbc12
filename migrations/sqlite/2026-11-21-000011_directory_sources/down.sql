DROP TABLE alert_chains;
DROP TABLE directory_lookups;
DROP TABLE directory_origins;
DROP TABLE directory_staged;
DROP TABLE directory_runs;
DROP TABLE directory_sources;
