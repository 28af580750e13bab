-- Version 1 of the tables in MariaDB and MySQL. A table that exists is never edited here: the next version is a file of its own.
-- Every statement may be run again, because the server cannot make several of them true together.
-- {collation} compares code points and does not ignore spaces at the end; its name depends on the server.
CREATE TABLE IF NOT EXISTS store (one INT PRIMARY KEY, epoch VARCHAR(36) NOT NULL)
    ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {collation};
-- Where each context stands.
CREATE TABLE IF NOT EXISTS contexts (
    context VARCHAR(128) PRIMARY KEY,
    revision BIGINT NOT NULL,
    attempt VARCHAR(36) NOT NULL,
    next_id BIGINT NOT NULL,
    listed BOOLEAN,
    listed_revision BIGINT NOT NULL DEFAULT 0
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {collation};
-- Who made which revision, for the last ones.
CREATE TABLE IF NOT EXISTS commits (
    context VARCHAR(128) NOT NULL, revision BIGINT NOT NULL, attempt VARCHAR(36) NOT NULL,
    PRIMARY KEY (context, revision)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {collation};
-- In all that follow, `revision` is the commit that wrote the row, and a row with `gone` says that there is none.
CREATE TABLE IF NOT EXISTS schema_rows (
    context VARCHAR(128) NOT NULL,
    id BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    gone BOOLEAN NOT NULL,
    type VARCHAR(16) NOT NULL,
    guid VARCHAR(36) NOT NULL,
    identity VARBINARY(16) NOT NULL,
    refs MEDIUMTEXT NOT NULL,
    PRIMARY KEY (context, id),
    KEY schema_rows_by_revision (context, revision)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {collation};
CREATE TABLE IF NOT EXISTS schema_texts (
    context VARCHAR(128) NOT NULL,
    id BIGINT NOT NULL,
    canonical LONGTEXT NOT NULL,
    submitted LONGTEXT,
    metadata MEDIUMTEXT,
    rule_set MEDIUMTEXT,
    PRIMARY KEY (context, id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {collation};
CREATE TABLE IF NOT EXISTS versions (
    context VARCHAR(128) NOT NULL,
    subject VARCHAR(630) NOT NULL,
    version INT NOT NULL,
    revision BIGINT NOT NULL,
    gone BOOLEAN NOT NULL,
    id BIGINT NOT NULL,
    deleted BOOLEAN NOT NULL,
    time_ms BIGINT NOT NULL,
    PRIMARY KEY (context, subject, version),
    KEY versions_by_revision (context, revision)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {collation};
CREATE TABLE IF NOT EXISTS configs (
    context VARCHAR(128) NOT NULL, subject VARCHAR(630) NOT NULL, revision BIGINT NOT NULL, config MEDIUMTEXT,
    PRIMARY KEY (context, subject)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {collation};
CREATE TABLE IF NOT EXISTS modes (
    context VARCHAR(128) NOT NULL, subject VARCHAR(630) NOT NULL, revision BIGINT NOT NULL, mode VARCHAR(32),
    PRIMARY KEY (context, subject)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE {collation};
-- For people. The word means something else here too: SELECT * FROM `schemas`, or with the database's name before it.
CREATE OR REPLACE VIEW `schemas` AS
    SELECT v.context, v.subject, v.version, v.id, s.type, v.deleted, t.canonical AS text
    FROM versions v
    JOIN schema_rows s ON s.context = v.context AND s.id = v.id
    JOIN schema_texts t ON t.context = v.context AND t.id = v.id
    WHERE NOT v.gone;
INSERT IGNORE INTO store (one, epoch) VALUES (1, UUID());
