-- The catalog of fleetprof's store in PostgreSQL. The same tables as in ../sqlite; only the types' names differ.
-- Times are Unix nanoseconds, ends of spans are exclusive. Text is ordered by its bytes, as in SQLite.

CREATE TABLE meta (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
-- The format of the blobs below and of the files that rows name.
INSERT INTO meta (name, value) VALUES ('format', '1');

CREATE TABLE files (
    id BIGINT NOT NULL PRIMARY KEY,
    level BIGINT NOT NULL,
    bucket BIGINT NOT NULL,
    range_start BIGINT NOT NULL,
    range_end BIGINT NOT NULL,
    -- Set when it holds one service by design.
    service TEXT COLLATE "C",
    samples_path TEXT NOT NULL,
    samples_bytes BIGINT NOT NULL,
    samples_crc BIGINT NOT NULL,
    stacks_path TEXT NOT NULL,
    stacks_bytes BIGINT NOT NULL,
    stacks_crc BIGINT NOT NULL,
    row_count BIGINT NOT NULL,
    batches BIGINT NOT NULL,
    -- Sums of what is in file_services and of both sizes.
    samples BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    spans BYTEA NOT NULL,
    -- 1: its samples are in the next level, too.
    rolled BIGINT NOT NULL,
    created BIGINT NOT NULL,
    damaged TEXT,
    -- The functions file that holds its sums; null = none.
    functions BIGINT,
    -- When it was replaced or expired; null = live.
    retired BIGINT
);
CREATE INDEX files_live ON files (level, bucket) WHERE retired IS NULL;
CREATE INDEX files_live_end ON files (level, range_end) WHERE retired IS NULL;
CREATE INDEX files_damaged ON files (id) WHERE damaged IS NOT NULL AND retired IS NULL;
CREATE INDEX files_functions ON files (functions) WHERE functions IS NOT NULL;
-- Those of which sums are to be made.
CREATE INDEX files_without_functions ON files (level, bucket)
    WHERE functions IS NULL AND retired IS NULL AND damaged IS NULL AND service IS NOT NULL AND level > 0;
CREATE INDEX files_retired ON files (retired) WHERE retired IS NOT NULL;

-- Sums by function, derived from pairs of files.
CREATE TABLE function_files (
    id BIGINT NOT NULL PRIMARY KEY,
    level BIGINT NOT NULL,
    bucket BIGINT NOT NULL,
    path TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    crc BIGINT NOT NULL,
    -- Length of the end that is read first.
    end_bytes BIGINT NOT NULL,
    -- How many pairs it was made from.
    covers BIGINT NOT NULL,
    -- Objects that had no names yet, one a line.
    missing TEXT NOT NULL,
    created BIGINT NOT NULL,
    -- When it was last looked for names that were missing.
    checked BIGINT NOT NULL,
    -- When no live pair named it any more; null = live.
    retired BIGINT
);
CREATE INDEX function_files_late ON function_files (checked) WHERE retired IS NULL AND missing <> '';
CREATE INDEX function_files_retired ON function_files (retired) WHERE retired IS NOT NULL;

CREATE TABLE file_services (
    file BIGINT NOT NULL REFERENCES files (id) ON DELETE CASCADE,
    service TEXT COLLATE "C" NOT NULL,
    -- Of the file: so that a query for a service looks at its own rows only.
    level BIGINT NOT NULL,
    bucket BIGINT NOT NULL,
    samples BIGINT NOT NULL,
    nanos BIGINT NOT NULL,
    PRIMARY KEY (file, service)
);
CREATE INDEX file_services_bucket ON file_services (service, level, bucket, file);

CREATE TABLE instances (
    id BYTEA NOT NULL PRIMARY KEY,
    -- Sequences of the batches taken over; empty = none.
    runs BYTEA NOT NULL DEFAULT '',
    samples BIGINT NOT NULL DEFAULT 0,
    batches BIGINT NOT NULL DEFAULT 0,
    host TEXT NOT NULL DEFAULT '',
    agent_version TEXT NOT NULL DEFAULT '',
    window_start BIGINT NOT NULL DEFAULT 0,
    window_end BIGINT NOT NULL DEFAULT 0,
    accounting BYTEA NOT NULL DEFAULT ''
);
CREATE INDEX instances_window ON instances (window_end);

CREATE TABLE leases (
    name TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    expires BIGINT NOT NULL
);
