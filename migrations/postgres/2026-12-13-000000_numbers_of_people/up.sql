-- An endpoint belongs to an account or to a person. That of a person is a phone number, which stands in the column secret, and consent
-- says how the person agreed to it.
ALTER TABLE endpoints ALTER COLUMN account_key DROP NOT NULL;
ALTER TABLE endpoints ADD COLUMN person_key BIGINT REFERENCES people (key);
ALTER TABLE endpoints ADD COLUMN consent TEXT;
ALTER TABLE endpoints ADD CHECK ((account_key IS NULL) <> (person_key IS NULL));
CREATE INDEX endpoints_person ON endpoints (person_key, id) WHERE person_key IS NOT NULL;
