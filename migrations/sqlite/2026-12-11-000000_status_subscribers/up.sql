-- Who asked for an email for each post on the status page. A row exists from the request on and until the subscription ends.
CREATE TABLE status_subscribers (
    -- A random number, because links and Message-IDs contain it: a sequence would say how many subscribers there are.
    id           BIGINT NOT NULL PRIMARY KEY,
    -- The email address in its normal form.
    address      TEXT NOT NULL UNIQUE,
    language     TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    -- When the address was last asked to confirm.
    asked_at     BIGINT NOT NULL,
    -- How often the address was asked since it was created or confirmed.
    questions    BIGINT NOT NULL,
    -- NULL: the address was not confirmed, and gets no posts.
    confirmed_at BIGINT
);
CREATE INDEX status_subscribers_unconfirmed ON status_subscribers (created_at) WHERE confirmed_at IS NULL;
CREATE INDEX status_subscribers_in_order ON status_subscribers (created_at, id);

-- The emails to subscribers. They outlive the subscription, without anything about the person.
CREATE TABLE status_mails (
    id              INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    subscriber_id   BIGINT NOT NULL,
    -- The post that the email is about. NULL: it asks to confirm the subscription.
    post_id         TEXT,
    -- pending, sent, failed, uncertain or stopped.
    state           TEXT NOT NULL,
    attempts        BIGINT NOT NULL,
    lease           TEXT,
    next_attempt_at BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    finished_at     BIGINT,
    reply           TEXT
);
CREATE UNIQUE INDEX status_mails_once ON status_mails (subscriber_id, post_id);
CREATE INDEX status_mails_due ON status_mails (next_attempt_at, id) WHERE state = 'pending';
CREATE INDEX status_mails_questions ON status_mails (next_attempt_at, id) WHERE state = 'pending' AND post_id IS NULL;
CREATE INDEX status_mails_of_post ON status_mails (post_id, state);
CREATE INDEX status_mails_finished ON status_mails (finished_at) WHERE finished_at IS NOT NULL;
