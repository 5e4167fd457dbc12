-- The texts of a notice in other languages, as JSON by language. NULL: there are none. A version before this one sends a notice only in
-- its own language, so notices are translated only after all processes are upgraded.
ALTER TABLE notices ADD COLUMN translations TEXT;
CREATE TRIGGER notices_translations_frozen BEFORE UPDATE OF translations ON notices
FOR EACH ROW WHEN (OLD.digest IS NOT NULL AND NEW.translations IS DISTINCT FROM OLD.translations)
EXECUTE FUNCTION candor_refuse('a queued notice is frozen');
