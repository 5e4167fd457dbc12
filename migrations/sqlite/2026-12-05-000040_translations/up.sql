-- The texts of a notice in other languages, as JSON by language. NULL: there are none. A version before this one sends a notice only in
-- its own language, so notices are translated only after all processes are upgraded.
ALTER TABLE notices ADD COLUMN translations TEXT;
CREATE TRIGGER notices_translations_frozen BEFORE UPDATE OF translations ON notices
WHEN OLD.digest IS NOT NULL AND NEW.translations IS NOT OLD.translations
BEGIN SELECT RAISE(ABORT, 'a queued notice is frozen'); END;
