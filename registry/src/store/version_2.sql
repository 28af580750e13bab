-- Version 2: people see the id that clients know, also where several texts share it.
DROP VIEW schemas;
CREATE VIEW schemas AS
    SELECT v.context, v.subject, v.version, v.id & 4294967295 AS id, s.type, v.deleted, t.canonical AS text
    FROM versions v
    JOIN schema_rows s ON s.context = v.context AND s.id = v.id
    JOIN schema_texts t ON t.context = v.context AND t.id = v.id
    WHERE NOT v.gone;
