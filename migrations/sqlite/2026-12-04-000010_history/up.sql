-- What somebody was told is looked up by person and by address, the newest notice first. The indexes contain all that is needed
-- to find a page, so that the frozen lists of old notices are not read.
DROP INDEX notice_recipients_person;
CREATE INDEX notice_recipients_person ON notice_recipients (person_id, notice_id, ordinal, channel);
CREATE INDEX notice_recipients_mailbox ON notice_recipients (LOWER(address), notice_id, ordinal, channel);

-- person_id of a recipient is the first of the people with the address. These are the others. It only helps to find rows: who
-- was told is in the frozen list itself.
CREATE TABLE shared_recipients (
    person_id TEXT NOT NULL,
    notice_id TEXT NOT NULL REFERENCES notices (id),
    ordinal   BIGINT NOT NULL,
    PRIMARY KEY (person_id, notice_id, ordinal)
);
INSERT INTO shared_recipients (person_id, notice_id, ordinal)
SELECT DISTINCT p.value, nr.notice_id, nr.ordinal FROM notice_recipients nr, json_each(nr.context, '$.people') p
WHERE nr.channel = 'email' AND p.key > 0 AND p.value <> nr.person_id;

-- Labels as of a time. since: when the label got this value; 0: before this was kept. A row of the history is a value that has
-- ended. Triggers write it, so that no way of changing the directory can leave it out.
ALTER TABLE resource_labels ADD COLUMN since BIGINT NOT NULL DEFAULT 0;
CREATE TABLE resource_label_history (
    resource_key BIGINT NOT NULL REFERENCES resources (key),
    name         TEXT NOT NULL,
    value        TEXT NOT NULL,
    valid_from   BIGINT NOT NULL,
    valid_to     BIGINT NOT NULL,
    PRIMARY KEY (resource_key, name, valid_from)
);
CREATE INDEX resource_label_history_value ON resource_label_history (name, value, resource_key);
-- The resource was written before its labels are, in the same transaction, so updated_at is when the label ended.
CREATE TRIGGER resource_labels_ended AFTER DELETE ON resource_labels
BEGIN
    INSERT INTO resource_label_history (resource_key, name, value, valid_from, valid_to)
    SELECT OLD.resource_key, OLD.name, OLD.value, OLD.since, r.updated_at
    FROM resources r WHERE r.key = OLD.resource_key AND OLD.since < r.updated_at;
END;
CREATE TRIGGER resource_labels_changed AFTER UPDATE OF value ON resource_labels
WHEN OLD.value <> NEW.value AND OLD.since < NEW.since
BEGIN
    INSERT INTO resource_label_history (resource_key, name, value, valid_from, valid_to)
    VALUES (OLD.resource_key, OLD.name, OLD.value, OLD.since, NEW.since);
END;

CREATE TABLE account_label_history (
    account_key BIGINT NOT NULL REFERENCES accounts (key),
    labels      TEXT NOT NULL,
    valid_from  BIGINT NOT NULL,
    valid_to    BIGINT NOT NULL,
    PRIMARY KEY (account_key, valid_from)
);
CREATE TRIGGER accounts_label_history AFTER UPDATE OF labels ON accounts
WHEN OLD.labels <> NEW.labels
BEGIN
    INSERT INTO account_label_history (account_key, labels, valid_from, valid_to)
    SELECT OLD.key, OLD.labels, f.at, NEW.updated_at
    FROM (SELECT COALESCE((SELECT MAX(valid_to) FROM account_label_history WHERE account_key = OLD.key), OLD.created_at) AS at) f
    WHERE f.at < NEW.updated_at;
END;

-- Resources as of a time are found by what they were part of and whom they belonged to.
CREATE INDEX resource_history_parent ON resource_history (parent_key) WHERE parent_key IS NOT NULL;
CREATE INDEX resource_history_account ON resource_history (account_key) WHERE account_key IS NOT NULL;

-- From when on the labels are known. 0: the directory was empty, so all of its labels are.
INSERT INTO counters (name, value)
SELECT 'labels_known_from', CASE WHEN EXISTS (SELECT 1 FROM resources) OR EXISTS (SELECT 1 FROM accounts)
    THEN CAST((julianday('now') - 2440587.5) * 86400000000.0 AS INTEGER) ELSE 0 END;

-- As of which time a selector found it. NULL: as of the time of its use, or no selector found it.
ALTER TABLE incident_resources ADD COLUMN as_of BIGINT;
ALTER TABLE incident_people ADD COLUMN as_of BIGINT;
