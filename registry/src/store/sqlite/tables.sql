-- Version 1 of the tables in SQLite. A table that exists is never edited here: the next version is a file of its own.
CREATE TABLE store (one INTEGER PRIMARY KEY CHECK (one = 1), epoch TEXT NOT NULL) STRICT;
-- Where each context stands.
CREATE TABLE contexts (
    context TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    attempt TEXT NOT NULL,
    next_id INTEGER NOT NULL,
    listed INTEGER,
    listed_revision INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
-- Who made which revision, for the last ones.
CREATE TABLE commits (
    context TEXT NOT NULL, revision INTEGER NOT NULL, attempt TEXT NOT NULL,
    PRIMARY KEY (context, revision)
) STRICT, WITHOUT ROWID;
-- In all that follow, `revision` is the commit that wrote the row, and a row with `gone` says that there is none.
CREATE TABLE schema_rows (
    context TEXT NOT NULL,
    id INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    gone INTEGER NOT NULL DEFAULT 0,
    type TEXT NOT NULL,
    guid TEXT NOT NULL,
    identity BLOB NOT NULL,
    refs TEXT NOT NULL,
    PRIMARY KEY (context, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX schema_rows_by_revision ON schema_rows (context, revision);
CREATE TABLE schema_texts (
    context TEXT NOT NULL, id INTEGER NOT NULL, canonical TEXT NOT NULL, submitted TEXT, metadata TEXT, rule_set TEXT,
    PRIMARY KEY (context, id)
) STRICT;
CREATE TABLE versions (
    context TEXT NOT NULL,
    subject TEXT NOT NULL,
    version INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    gone INTEGER NOT NULL DEFAULT 0,
    id INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    time_ms INTEGER NOT NULL,
    PRIMARY KEY (context, subject, version)
) STRICT, WITHOUT ROWID;
CREATE INDEX versions_by_revision ON versions (context, revision);
CREATE TABLE configs (
    context TEXT NOT NULL, subject TEXT NOT NULL, revision INTEGER NOT NULL, config TEXT,
    PRIMARY KEY (context, subject)
) STRICT, WITHOUT ROWID;
CREATE TABLE modes (
    context TEXT NOT NULL, subject TEXT NOT NULL, revision INTEGER NOT NULL, mode TEXT,
    PRIMARY KEY (context, subject)
) STRICT, WITHOUT ROWID;
-- For people.
CREATE VIEW schemas AS
    SELECT v.context, v.subject, v.version, v.id, s.type, v.deleted, t.canonical AS text
    FROM versions v
    JOIN schema_rows s ON s.context = v.context AND s.id = v.id
    JOIN schema_texts t ON t.context = v.context AND t.id = v.id
    WHERE NOT v.gone;
INSERT INTO store (one, epoch) VALUES (1, lower(hex(randomblob(16))));
