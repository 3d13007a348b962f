-- The catalog of fleetprof's store in SQLite. The same tables as in ../postgres; only the types' names differ.
-- Times are Unix nanoseconds, ends of spans are exclusive.

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
    service TEXT,
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
    spans BLOB NOT NULL,
    -- 1: its samples are in the next level, too.
    rolled BIGINT NOT NULL,
    created BIGINT NOT NULL,
    damaged TEXT,
    -- When it was replaced or expired; null = live.
    retired BIGINT
);
CREATE INDEX files_live ON files (level, bucket) WHERE retired IS NULL;
CREATE INDEX files_live_end ON files (level, range_end) WHERE retired IS NULL;
CREATE INDEX files_damaged ON files (id) WHERE damaged IS NOT NULL AND retired IS NULL;
CREATE INDEX files_retired ON files (retired) WHERE retired IS NOT NULL;

CREATE TABLE file_services (
    file BIGINT NOT NULL REFERENCES files (id) ON DELETE CASCADE,
    service TEXT NOT NULL,
    -- Of the file: so that a query for a service looks at its own rows only.
    level BIGINT NOT NULL,
    bucket BIGINT NOT NULL,
    samples BIGINT NOT NULL,
    nanos BIGINT NOT NULL,
    PRIMARY KEY (file, service)
);
CREATE INDEX file_services_bucket ON file_services (service, level, bucket, file);

CREATE TABLE instances (
    id BLOB NOT NULL PRIMARY KEY,
    -- Sequences of the batches taken over; empty = none.
    runs BLOB NOT NULL DEFAULT x'',
    samples BIGINT NOT NULL DEFAULT 0,
    batches BIGINT NOT NULL DEFAULT 0,
    host TEXT NOT NULL DEFAULT '',
    agent_version TEXT NOT NULL DEFAULT '',
    window_start BIGINT NOT NULL DEFAULT 0,
    window_end BIGINT NOT NULL DEFAULT 0,
    accounting BLOB NOT NULL DEFAULT x''
);
CREATE INDEX instances_window ON instances (window_end);

CREATE TABLE leases (
    name TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    expires BIGINT NOT NULL
);
