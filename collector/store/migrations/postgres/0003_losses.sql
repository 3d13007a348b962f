-- What an instance says it lost, summed up: every query asks for those that lost something, and of many there are few.
-- Of rows of earlier versions it is not known until their next batch.
ALTER TABLE instances ADD COLUMN lost BIGINT NOT NULL DEFAULT 1;
CREATE INDEX instances_lost ON instances (window_end) WHERE lost > 0;
