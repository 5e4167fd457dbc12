-- The parts of a template for the readers of single languages, as JSON by language. NULL: the template has none.
ALTER TABLE templates ADD COLUMN languages TEXT;
