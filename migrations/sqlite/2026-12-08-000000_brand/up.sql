-- The files of logos, by their SHA-256. A file is kept after another logo took its place, because emails that were sent show it. The fields of
-- the brand and the current logo are documents among the settings.
CREATE TABLE brand_logos (
    sha256     TEXT NOT NULL PRIMARY KEY,
    media      TEXT NOT NULL,
    content    BLOB NOT NULL,
    created_at BIGINT NOT NULL
);
