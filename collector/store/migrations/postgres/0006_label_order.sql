-- Which values there are on some days is asked for months, and one value mostly is there on each of their days. With
-- the values before the days they are found in their order, each once.
ALTER TABLE label_values DROP CONSTRAINT label_values_pkey;
ALTER TABLE label_values ADD PRIMARY KEY (service, name, value, day);
