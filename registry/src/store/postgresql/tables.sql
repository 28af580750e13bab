-- Version 1 of the tables in PostgreSQL. A table that exists is never edited here: the next version is a file of its own.
-- COLLATE "C" compares bytes, whatever the database's own order.
CREATE TABLE store (one INT PRIMARY KEY CHECK (one = 1), epoch TEXT NOT NULL);
-- Where each context stands.
CREATE TABLE contexts (
    context TEXT COLLATE "C" PRIMARY KEY,
    revision BIGINT NOT NULL,
    attempt TEXT NOT NULL,
    next_id BIGINT NOT NULL,
    listed BOOLEAN,
    listed_revision BIGINT NOT NULL DEFAULT 0
);
-- Who made which revision, for the last ones.
CREATE TABLE commits (
    context TEXT COLLATE "C" NOT NULL, revision BIGINT NOT NULL, attempt TEXT NOT NULL,
    PRIMARY KEY (context, revision)
);
-- In all that follow, `revision` is the commit that wrote the row, and a row with `gone` says that there is none.
CREATE TABLE schema_rows (
    context TEXT COLLATE "C" NOT NULL,
    id BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    gone BOOLEAN NOT NULL,
    type TEXT NOT NULL,
    guid TEXT NOT NULL,
    identity BYTEA NOT NULL,
    refs TEXT NOT NULL,
    PRIMARY KEY (context, id)
);
CREATE INDEX schema_rows_by_revision ON schema_rows (context, revision);
CREATE TABLE schema_texts (
    context TEXT COLLATE "C" NOT NULL,
    id BIGINT NOT NULL,
    canonical TEXT NOT NULL,
    submitted TEXT,
    metadata TEXT,
    rule_set TEXT,
    PRIMARY KEY (context, id)
);
CREATE TABLE versions (
    context TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    version INT NOT NULL,
    revision BIGINT NOT NULL,
    gone BOOLEAN NOT NULL,
    id BIGINT NOT NULL,
    deleted BOOLEAN NOT NULL,
    time_ms BIGINT NOT NULL,
    PRIMARY KEY (context, subject, version)
);
CREATE INDEX versions_by_revision ON versions (context, revision);
CREATE TABLE configs (
    context TEXT COLLATE "C" NOT NULL, subject TEXT COLLATE "C" NOT NULL, revision BIGINT NOT NULL, config TEXT,
    PRIMARY KEY (context, subject)
);
CREATE TABLE modes (
    context TEXT COLLATE "C" NOT NULL, subject TEXT COLLATE "C" NOT NULL, revision BIGINT NOT NULL, mode TEXT,
    PRIMARY KEY (context, subject)
);
-- For people.
CREATE VIEW schemas AS
    SELECT v.context, v.subject, v.version, v.id, s.type, v.deleted, t.canonical AS text
    FROM versions v
    JOIN schema_rows s ON s.context = v.context AND s.id = v.id
    JOIN schema_texts t ON t.context = v.context AND t.id = v.id
    WHERE NOT v.gone;
INSERT INTO store (one, epoch) VALUES (1, gen_random_uuid()::text);
