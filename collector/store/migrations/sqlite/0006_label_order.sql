-- Which values there are on some days is asked for months, and one value mostly is there on each of their days. With
-- the values before the days they are found in their order, each once.
CREATE TABLE ordered_label_values (
    service TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    -- Its start, Unix nanoseconds.
    day BIGINT NOT NULL,
    PRIMARY KEY (service, name, value, day)
) WITHOUT ROWID;
INSERT INTO ordered_label_values (service, name, value, day)
    SELECT service, name, value, day FROM label_values;
DROP TABLE label_values;
ALTER TABLE ordered_label_values RENAME TO label_values;
CREATE INDEX label_values_day ON label_values (day);
