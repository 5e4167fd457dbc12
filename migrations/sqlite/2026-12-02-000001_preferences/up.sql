-- What each operator chose for the pages. The key is equal for all tokens of one person.
CREATE TABLE preferences (
    person     TEXT NOT NULL PRIMARY KEY,
    time_zone  TEXT,
    updated_at BIGINT NOT NULL
);
