-- Values of labels that hourly files do not keep: where there are thousands of fine files, finding them there takes
-- minutes. By day, of each service, and with an empty name of all services together.
CREATE TABLE label_values (
    service TEXT NOT NULL,
    name TEXT NOT NULL,
    -- Its start, Unix nanoseconds.
    day BIGINT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (service, name, day, value)
);
CREATE INDEX label_values_day ON label_values (day);
-- Whether all such values of a fine file are in there: 0 not yet, 1 yes, 2 no, there are too many.
ALTER TABLE files ADD COLUMN labelled BIGINT NOT NULL DEFAULT 0;
CREATE INDEX files_unlabelled ON files (level, bucket, labelled)
    WHERE retired IS NULL AND labelled <> 1;
