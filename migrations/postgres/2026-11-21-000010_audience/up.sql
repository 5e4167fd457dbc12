-- How surely something is affected, and which roles a notice is for; null: owners and all collaborators.
ALTER TABLE incident_resources ADD COLUMN relevance TEXT NOT NULL DEFAULT 'impaired';
ALTER TABLE notices ADD COLUMN audience TEXT;

-- What the directory said before: a row for each state that has ended, valid from one time on and before another.
-- What holds now is in the table itself, since the last of these ended, or since it was created. Triggers write it,
-- so that no way of changing the directory can leave it out, and a change that changes nothing costs nothing.
CREATE TABLE account_history (
    account_key  BIGINT NOT NULL REFERENCES accounts (key),
    gone         BOOLEAN NOT NULL,
    valid_from   BIGINT NOT NULL,
    valid_to     BIGINT NOT NULL,
    PRIMARY KEY (account_key, valid_from)
);
CREATE TABLE person_history (
    person_key   BIGINT NOT NULL REFERENCES people (key),
    gone         BOOLEAN NOT NULL,
    valid_from   BIGINT NOT NULL,
    valid_to     BIGINT NOT NULL,
    PRIMARY KEY (person_key, valid_from)
);
CREATE TABLE resource_history (
    resource_key BIGINT NOT NULL REFERENCES resources (key),
    account_key  BIGINT,
    parent_key   BIGINT,
    gone         BOOLEAN NOT NULL,
    valid_from   BIGINT NOT NULL,
    valid_to     BIGINT NOT NULL,
    PRIMARY KEY (resource_key, valid_from)
);
CREATE TABLE member_history (
    account_key  BIGINT NOT NULL REFERENCES accounts (key),
    person_key   BIGINT NOT NULL REFERENCES people (key),
    role         TEXT NOT NULL,
    gone         BOOLEAN NOT NULL,
    valid_from   BIGINT NOT NULL,
    valid_to     BIGINT NOT NULL,
    PRIMARY KEY (account_key, person_key, valid_from)
);
CREATE TABLE collaborator_history (
    resource_key BIGINT NOT NULL REFERENCES resources (key),
    person_key   BIGINT NOT NULL REFERENCES people (key),
    role         TEXT NOT NULL,
    gone         BOOLEAN NOT NULL,
    valid_from   BIGINT NOT NULL,
    valid_to     BIGINT NOT NULL,
    PRIMARY KEY (resource_key, person_key, valid_from)
);

-- Of what had ended before this was kept, at least that it was there.
INSERT INTO account_history (account_key, gone, valid_from, valid_to)
SELECT key, FALSE, created_at, gone_at FROM accounts WHERE gone_at > created_at;
INSERT INTO person_history (person_key, gone, valid_from, valid_to)
SELECT key, FALSE, created_at, gone_at FROM people WHERE gone_at > created_at;
INSERT INTO resource_history (resource_key, account_key, parent_key, gone, valid_from, valid_to)
SELECT key, account_key, parent_key, FALSE, created_at, gone_at FROM resources WHERE gone_at > created_at;
INSERT INTO member_history (account_key, person_key, role, gone, valid_from, valid_to)
SELECT account_key, person_key, role, FALSE, created_at, gone_at FROM members WHERE gone_at > created_at;
INSERT INTO collaborator_history (resource_key, person_key, role, gone, valid_from, valid_to)
SELECT resource_key, person_key, role, FALSE, created_at, gone_at FROM collaborators WHERE gone_at > created_at;

CREATE OR REPLACE FUNCTION candor_account_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO account_history (account_key, gone, valid_from, valid_to)
    SELECT OLD.key, OLD.gone_at IS NOT NULL, f.at, t.at
    FROM (SELECT COALESCE((SELECT MAX(valid_to) FROM account_history WHERE account_key = OLD.key), OLD.created_at) AS at) f,
         (SELECT CASE WHEN OLD.gone_at IS NULL AND NEW.gone_at IS NOT NULL THEN NEW.gone_at ELSE NEW.updated_at END AS at) t
    WHERE f.at < t.at;
    RETURN NULL;
END $$;
CREATE TRIGGER accounts_history AFTER UPDATE OF gone_at ON accounts
FOR EACH ROW WHEN ((OLD.gone_at IS NULL) <> (NEW.gone_at IS NULL))
EXECUTE FUNCTION candor_account_history();
CREATE OR REPLACE FUNCTION candor_person_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO person_history (person_key, gone, valid_from, valid_to)
    SELECT OLD.key, OLD.gone_at IS NOT NULL, f.at, t.at
    FROM (SELECT COALESCE((SELECT MAX(valid_to) FROM person_history WHERE person_key = OLD.key), OLD.created_at) AS at) f,
         (SELECT CASE WHEN OLD.gone_at IS NULL AND NEW.gone_at IS NOT NULL THEN NEW.gone_at ELSE NEW.updated_at END AS at) t
    WHERE f.at < t.at;
    RETURN NULL;
END $$;
CREATE TRIGGER people_history AFTER UPDATE OF gone_at ON people
FOR EACH ROW WHEN ((OLD.gone_at IS NULL) <> (NEW.gone_at IS NULL))
EXECUTE FUNCTION candor_person_history();
CREATE OR REPLACE FUNCTION candor_resource_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO resource_history (resource_key, account_key, parent_key, gone, valid_from, valid_to)
    SELECT OLD.key, OLD.account_key, OLD.parent_key, OLD.gone_at IS NOT NULL, f.at, t.at
    FROM (SELECT COALESCE((SELECT MAX(valid_to) FROM resource_history WHERE resource_key = OLD.key), OLD.created_at) AS at) f,
         (SELECT CASE WHEN OLD.gone_at IS NULL AND NEW.gone_at IS NOT NULL THEN NEW.gone_at ELSE NEW.updated_at END AS at) t
    WHERE f.at < t.at;
    RETURN NULL;
END $$;
CREATE TRIGGER resources_history AFTER UPDATE OF account_key, parent_key, gone_at ON resources
FOR EACH ROW WHEN (OLD.account_key IS DISTINCT FROM NEW.account_key OR OLD.parent_key IS DISTINCT FROM NEW.parent_key OR (OLD.gone_at IS NULL) <> (NEW.gone_at IS NULL))
EXECUTE FUNCTION candor_resource_history();
CREATE OR REPLACE FUNCTION candor_member_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO member_history (account_key, person_key, role, gone, valid_from, valid_to)
    SELECT OLD.account_key, OLD.person_key, OLD.role, OLD.gone_at IS NOT NULL, f.at, t.at
    FROM (SELECT COALESCE((SELECT MAX(valid_to) FROM member_history WHERE account_key = OLD.account_key AND person_key = OLD.person_key), OLD.created_at) AS at) f,
         (SELECT CASE WHEN OLD.gone_at IS NULL AND NEW.gone_at IS NOT NULL THEN NEW.gone_at ELSE NEW.updated_at END AS at) t
    WHERE f.at < t.at;
    RETURN NULL;
END $$;
CREATE TRIGGER members_history AFTER UPDATE OF role, gone_at ON members
FOR EACH ROW WHEN (OLD.role IS DISTINCT FROM NEW.role OR (OLD.gone_at IS NULL) <> (NEW.gone_at IS NULL))
EXECUTE FUNCTION candor_member_history();
CREATE OR REPLACE FUNCTION candor_collaborator_history() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO collaborator_history (resource_key, person_key, role, gone, valid_from, valid_to)
    SELECT OLD.resource_key, OLD.person_key, OLD.role, OLD.gone_at IS NOT NULL, f.at, t.at
    FROM (SELECT COALESCE((SELECT MAX(valid_to) FROM collaborator_history WHERE resource_key = OLD.resource_key AND person_key = OLD.person_key), OLD.created_at) AS at) f,
         (SELECT CASE WHEN OLD.gone_at IS NULL AND NEW.gone_at IS NOT NULL THEN NEW.gone_at ELSE NEW.updated_at END AS at) t
    WHERE f.at < t.at;
    RETURN NULL;
END $$;
CREATE TRIGGER collaborators_history AFTER UPDATE OF role, gone_at ON collaborators
FOR EACH ROW WHEN (OLD.role IS DISTINCT FROM NEW.role OR (OLD.gone_at IS NULL) <> (NEW.gone_at IS NULL))
EXECUTE FUNCTION candor_collaborator_history();
