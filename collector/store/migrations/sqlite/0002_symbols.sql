-- Symbol tables that all collectors share. A row is live until another table of its object takes its place, or
-- until no profile refers to the object any more.

CREATE TABLE symbol_tables (
    -- Of this table, not of its object: files are never written over.
    id BIGINT NOT NULL PRIMARY KEY,
    object TEXT NOT NULL,
    -- 0: a table. 1: the listing of a kernel's symbols. 2: there can be none.
    kind BIGINT NOT NULL,
    -- Of the file; empty where there is none.
    path TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    crc BIGINT NOT NULL,
    -- Why there can be none.
    why TEXT NOT NULL,
    -- How much it says, compared with other tables of the same object.
    merit BIGINT NOT NULL,
    -- How much the files said that it was made of, compared with what agents offer.
    level BIGINT NOT NULL,
    -- Version of the converter.
    converter BIGINT NOT NULL,
    published BIGINT NOT NULL,
    -- The last day of which a profile has code of the object, in days since 1970.
    used BIGINT NOT NULL,
    -- Grows with each change: whoever knows all up to a number reads those above.
    change BIGINT NOT NULL,
    retired BIGINT
);
CREATE UNIQUE INDEX symbol_tables_live ON symbol_tables (object) WHERE retired IS NULL;
CREATE INDEX symbol_tables_change ON symbol_tables (change, id);
CREATE INDEX symbol_tables_used ON symbol_tables (used) WHERE retired IS NULL;
CREATE INDEX symbol_tables_retired ON symbol_tables (retired) WHERE retired IS NOT NULL;
-- The last number of a change. Changes are made one after the other, as each locks this row: a number is
-- never seen before a smaller one.
INSERT INTO meta (name, value) VALUES ('symbol_changes', '0');
