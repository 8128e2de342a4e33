-- Time-stamps of close seals: tokens of an authority that is not ours, kept as they came, for ever.

CREATE TABLE journal.seal_timestamp (
  number bigint PRIMARY KEY REFERENCES journal.seal,
  stamped_at timestamptz NOT NULL, -- by the authority's clock
  token bytea NOT NULL CHECK (octet_length(token) BETWEEN 1 AND 65536)
);
-- DER does not compress.
ALTER TABLE journal.seal_timestamp ALTER COLUMN token SET STORAGE EXTERNAL;
CREATE TRIGGER seal_timestamp_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journal.seal_timestamp
  FOR EACH STATEMENT EXECUTE FUNCTION journal.refuse_change();

-- Since when no time-stamp could be had, null once one was: for readiness, in every process and across restarts.
ALTER TABLE journal.service ADD COLUMN stamping_failed_since timestamptz;

-- Close seals that wait for a time-stamp, oldest first. Extracts list none from before the longest retention, of which
-- 60 days are the limit: an authority that is named after years is not asked about them.
CREATE FUNCTION journal.unstamped_seals()
  RETURNS TABLE (number bigint, day date, sealed_at timestamptz, text bytea, signature bytea)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT s.number, s.day, s.sealed_at, s.text, s.signature
    FROM journal.seal AS s
   WHERE s.day >= journal.day_of(journal.now()) - 61
     AND NOT EXISTS (SELECT FROM journal.seal_timestamp AS t WHERE t.number = s.number)
   ORDER BY s.day
$$;

-- Keep a close seal's first time-stamp; false, and nothing kept, if it has one.
CREATE FUNCTION journal.put_timestamp(of_number bigint, at timestamptz, seal_token bytea) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  stored boolean;
BEGIN
  IF NOT EXISTS (SELECT FROM journal.seal AS s WHERE s.number = of_number AND s.day IS NOT NULL) THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ006', MESSAGE = format('seal %s is not a close seal: it bears no time-stamp', of_number);
  END IF;
  INSERT INTO journal.seal_timestamp (number, stamped_at, token) VALUES (of_number, at, seal_token)
  ON CONFLICT (number) DO NOTHING;
  stored := FOUND;
  UPDATE journal.service SET stamping_failed_since = NULL WHERE stamping_failed_since IS NOT NULL;
  RETURN stored;
END
$$;

CREATE FUNCTION journal.note_stamping_failure() RETURNS void
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  UPDATE journal.service SET stamping_failed_since = journal.now() WHERE stamping_failed_since IS NULL
$$;

CREATE FUNCTION journal.stamping_failed_since() RETURNS timestamptz
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT s.stamping_failed_since FROM journal.service AS s
$$;

-- A seal's time-stamp, null where it has none.
CREATE FUNCTION journal.read_timestamp(of_number bigint) RETURNS bytea
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT t.token FROM journal.seal_timestamp AS t WHERE t.number = of_number
$$;

REVOKE ALL ON TABLE journal.seal_timestamp FROM PUBLIC;
REVOKE ALL ON FUNCTION journal.unstamped_seals(), journal.put_timestamp(bigint, timestamptz, bytea),
  journal.note_stamping_failure(), journal.stamping_failed_since(), journal.read_timestamp(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION journal.unstamped_seals(), journal.put_timestamp(bigint, timestamptz, bytea),
  journal.note_stamping_failure(), journal.stamping_failed_since() TO journal_seal;
GRANT EXECUTE ON FUNCTION journal.read_timestamp(bigint) TO journal_read;
