-- The parts of the product that the status page shows. `selector` is JSON: the resources that belong to the component.
CREATE TABLE status_components (
    id         TEXT NOT NULL PRIMARY KEY,
    name       TEXT NOT NULL,
    group_name TEXT,
    position   BIGINT NOT NULL,
    selector   TEXT,
    gone_at    BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

-- What the public reads about an incident. `components` is JSON: the states of components by their IDs. `translations` is JSON: titles and
-- messages by language.
CREATE TABLE public_posts (
    id           TEXT NOT NULL PRIMARY KEY,
    incident_id  TEXT NOT NULL REFERENCES incidents (id),
    status       TEXT NOT NULL,
    title        TEXT,
    message      TEXT NOT NULL,
    components   TEXT NOT NULL,
    translations TEXT NOT NULL,
    at           BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL
);
CREATE INDEX public_posts_of_incident ON public_posts (incident_id, at);
