-- What the purge may call (role journal_purge): partitions are made and dropped here, and nowhere else.

-- Make every missing partition from each category's first kept day to `days_ahead` days from now; return their names.
-- Made alone, then attached: attaching does not stop reads and appends, as creating in place would.
CREATE FUNCTION journal.ensure_partitions(days_ahead integer) RETURNS SETOF text
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '150ms'
AS $$
DECLARE
  missing record;
  parent text;
BEGIN
  -- Two maintainers at once would both make the same one.
  PERFORM pg_advisory_xact_lock(7304680770881318764);
  FOR missing IN
    SELECT c.id, c.code, d.day::date AS day, journal.leaf_name(c.id, d.day::date) AS name
      FROM journal.category AS c,
           generate_series(greatest(c.first_day, c.fence + 1)::timestamp,
                           (journal.day_of(journal.now()) + days_ahead)::timestamp, interval '1 day') AS d (day)
     WHERE to_regclass('journal.' || journal.leaf_name(c.id, d.day::date)) IS NULL
     ORDER BY d.day, c.id
  LOOP
    parent := format('entry_%s', missing.id);
    EXECUTE format('CREATE TABLE journal.%I (LIKE journal.entry INCLUDING CONSTRAINTS INCLUDING STORAGE, '
                   -- The key first: it settles nearly every comparison, and its tree is the widest.
                   'PRIMARY KEY (tenant, index), UNIQUE (event_key, tenant))', missing.name);
    EXECUTE format('ALTER TABLE journal.%I ATTACH PARTITION journal.%I FOR VALUES FROM (%L) TO (%L)',
                   parent, missing.name, missing.day, missing.day + 1);
    EXECUTE format('CREATE TRIGGER entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journal.%I '
                   'FOR EACH STATEMENT EXECUTE FUNCTION journal.refuse_change()', missing.name);
    RETURN NEXT missing.name;
  END LOOP;
END
$$;

-- The partitions as the catalog has them, which is what is on disk: detached ones too, by their name.
CREATE FUNCTION journal.partitions() RETURNS TABLE (category text, day date, attached boolean)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.code, to_date(p.part[2], 'YYYYMMDD'),
         EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhrelid = r.oid AND NOT i.inhdetachpending)
    FROM pg_class AS r
   CROSS JOIN LATERAL regexp_match(r.relname, '^entry_([0-9]+)_([0-9]{8})$') AS p (part)
    JOIN journal.category AS c ON c.id = p.part[1]::smallint
   WHERE r.relnamespace = 'journal'::regnamespace AND r.relkind = 'r' AND p.part IS NOT NULL
   ORDER BY c.code, 2
$$;

-- Nothing at or before this day is written or read any more. Never goes back; says where it now stands.
CREATE FUNCTION journal.raise_fence(of_category text, of_day date) RETURNS date
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  stands date;
BEGIN
  PERFORM pg_advisory_xact_lock(7304680770881318763);
  UPDATE journal.category AS c SET fence = greatest(c.fence, of_day) WHERE c.code = of_category RETURNING c.fence INTO stands;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ004', MESSAGE = 'there is no such category';
  END IF;
  UPDATE journal.service SET directory_version = directory_version + 1;
  RETURN stands;
END
$$;

-- Drop a fenced and sealed day, its counters too. Zero of everything if it is already gone, or is older than the
-- category.
CREATE FUNCTION journal.drop_day(of_category text, of_day date, OUT count bigint, OUT chains bigint)
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '150ms'
AS $$
DECLARE
  kept record;
  leaf text;
BEGIN
  -- One purger at a time: the other would look for a table that the first is dropping.
  PERFORM pg_advisory_xact_lock(7304680770881318764);
  SELECT c.id, c.fence, c.first_day INTO kept FROM journal.category AS c WHERE c.code = of_category;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ004', MESSAGE = 'there is no such category';
  END IF;
  IF kept.fence IS NULL OR kept.fence < of_day THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ007', MESSAGE = format('the fence of %s is not at %s yet', of_category, of_day);
  END IF;
  count := 0;
  chains := 0;
  IF of_day < kept.first_day THEN
    RETURN;
  END IF;
  IF NOT EXISTS (SELECT FROM journal.seal AS s WHERE s.day = of_day) THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ007', MESSAGE = format('the day %s has no close seal yet', of_day);
  END IF;
  leaf := journal.leaf_name(kept.id, of_day);
  IF to_regclass('journal.' || leaf) IS NOT NULL THEN
    EXECUTE format('SELECT count(*), count(DISTINCT e.tenant) FROM journal.%I AS e', leaf) INTO count, chains;
    EXECUTE format('DROP TABLE journal.%I', leaf);
  END IF;
  DELETE FROM journal.activity AS a WHERE a.category = of_category AND a.day <= of_day;
  DELETE FROM journal.source_span AS s WHERE s.category = of_category AND s.day <= of_day;
END
$$;

-- Say in every head of a category that what came up to this day is gone; returns how many heads moved.
-- Refused while a row of those days exists: the seals would attest what is not so.
CREATE FUNCTION journal.move_kept_from(of_category text, of_day date) RETURNS bigint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  close_number bigint;
  moved bigint;
BEGIN
  SELECT s.number INTO close_number FROM journal.seal AS s WHERE s.day = of_day;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ007', MESSAGE = format('the day %s has no close seal yet', of_day);
  END IF;
  IF EXISTS (SELECT FROM journal.partitions() AS p WHERE p.category = of_category AND p.day <= of_day) THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ007', MESSAGE = format('entries of %s up to %s are still kept', of_category, of_day);
  END IF;
  PERFORM FROM (SELECT h.tenant FROM journal.head AS h WHERE h.category = of_category
                 ORDER BY h.tenant, h.category FOR NO KEY UPDATE) AS held;
  UPDATE journal.head AS h SET kept_from = s.size
    FROM journal.read_seal_heads(close_number) AS s
   WHERE h.category = of_category AND s.category = of_category AND s.tenant = h.tenant AND s.size > h.kept_from;
  GET DIAGNOSTICS moved = ROW_COUNT;
  RETURN moved;
END
$$;
