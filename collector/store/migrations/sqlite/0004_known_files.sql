-- Queries ask first whether the files that they know are still the same: all that this takes is in the indices, for
-- SQLite with the columns that they are limited by.
DROP INDEX files_live;
CREATE INDEX files_live ON files (level, bucket, retired, id, rolled, functions) WHERE retired IS NULL;
CREATE INDEX files_unmerged ON files (level, bucket, retired, id, rolled, service, functions)
    WHERE retired IS NULL AND rolled = 0;
CREATE INDEX files_of_service ON files (service, level, bucket, retired, id, rolled, functions)
    WHERE retired IS NULL AND service IS NOT NULL;
