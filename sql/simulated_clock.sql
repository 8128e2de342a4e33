-- A clock that tests and the demonstration move: never a migration, never on a service that counts.
-- Run by the owner. `UPDATE journal.simulated_clock SET ahead = …` moves it.
CREATE TABLE journal.simulated_clock (
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  ahead interval NOT NULL
);
INSERT INTO journal.simulated_clock (ahead) VALUES (interval '0');

CREATE OR REPLACE FUNCTION journal.now() RETURNS timestamptz
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT clock_timestamp() + c.ahead FROM journal.simulated_clock AS c
$$;
