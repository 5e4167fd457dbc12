-- What each operator chose for the pages. The key is equal for all tokens of one person.
CREATE TABLE preferences (
    person     TEXT NOT NULL PRIMARY KEY,
    time_zone  TEXT,
    updated_at BIGINT NOT NULL
);

-- The search by a part of a name is fast with trigrams. A role that may not install the extension, or a server without it,
-- gets no index, and the search then reads the rows with a time limit.
DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
    CREATE INDEX people_search ON people USING gin (lower(name || ' ' || email || ' ' || id) gin_trgm_ops);
    CREATE INDEX accounts_search ON accounts USING gin (lower(name || ' ' || id) gin_trgm_ops);
    CREATE INDEX resources_search ON resources USING gin (lower(COALESCE(name, '') || ' ' || id) gin_trgm_ops);
EXCEPTION WHEN OTHERS THEN
    RAISE NOTICE 'no trigram indexes: %', SQLERRM;
END
$$;
