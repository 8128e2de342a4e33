-- A large day in slices, so that what its purge gives back to the file system at once stays small.
--
-- Whoever unlinks a file keeps every fsync of its file system waiting, for the longer the larger it is: on ext4 with
-- discard about 0.11 ms for every MB, 80 ms for a day of a million entries. So a category that writes much gets its days
-- as several tables each, by tenant, which are dropped one after the other with a rest in between. One that writes
-- little has a table a day, as before: a thousand tables more would be its price for nothing.

-- What of a day is on disk: its own relation, and its slices, one that somebody detached too. By name: the catalog's
-- index finds them.
CREATE FUNCTION journal.day_relations(leaf text) RETURNS TABLE (id oid, name text, kind "char")
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT r.oid, r.relname::text, r.relkind
    FROM pg_class AS r
   WHERE r.relnamespace = 'journal'::regnamespace AND r.relkind IN ('r', 'p')
     AND r.relname BETWEEN leaf::name AND (leaf || '_z')::name AND r.relname ~ ('^' || leaf || '(_[0-9]+)?$')
$$;

-- One slice for every 128 MiB of the largest day that is kept: what was written tells what will be.
CREATE FUNCTION journal.slices_needed(category_id smallint) RETURNS integer
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT least(32, greatest(1, ceil(max(day.bytes) / (128 * 1024 * 1024))))::integer
    FROM (SELECT sum(pg_total_relation_size(r.oid)) AS bytes
            FROM pg_class AS r
           CROSS JOIN LATERAL regexp_match(r.relname, '^entry_([0-9]+)_([0-9]{8})(?:_[0-9]+)?$') AS p (part)
           WHERE r.relnamespace = 'journal'::regnamespace AND r.relkind = 'r' AND p.part[1]::smallint = category_id
           GROUP BY p.part[2]) AS day
$$;

-- Make missing partitions from each category's first kept day to `days_ahead` days from now, ten at most, and return
-- their names: to be called until there is none. A day of 32 slices takes some 260 of the 6,400 locks there are.
-- Made alone, then attached: attaching does not stop reads and appends, as creating in place would.
CREATE OR REPLACE FUNCTION journal.ensure_partitions(days_ahead integer) RETURNS SETOF text
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '150ms'
AS $$
DECLARE
  missing record;
  slices integer;
  slice text;
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
     LIMIT 10
  LOOP
    slices := journal.slices_needed(missing.id);
    EXECUTE format('CREATE TABLE journal.%I (LIKE journal.entry INCLUDING CONSTRAINTS INCLUDING STORAGE, '
                   -- The key first: it settles nearly every comparison, and its tree is the widest.
                   'PRIMARY KEY (tenant, index), UNIQUE (event_key, tenant)) %s',
                   missing.name, CASE WHEN slices > 1 THEN 'PARTITION BY HASH (tenant)' END);
    IF slices > 1 THEN
      FOR number IN 0 .. slices - 1 LOOP
        slice := missing.name || '_' || number;
        EXECUTE format('CREATE TABLE journal.%I PARTITION OF journal.%I FOR VALUES WITH (MODULUS %s, REMAINDER %s)',
                       slice, missing.name, slices, number);
        EXECUTE format('CREATE TRIGGER entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journal.%I '
                       'FOR EACH STATEMENT EXECUTE FUNCTION journal.refuse_change()', slice);
      END LOOP;
    END IF;
    EXECUTE format('ALTER TABLE journal.%I ATTACH PARTITION journal.%I FOR VALUES FROM (%L) TO (%L)',
                   'entry_' || missing.id, missing.name, missing.day, missing.day + 1);
    EXECUTE format('CREATE TRIGGER entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journal.%I '
                   'FOR EACH STATEMENT EXECUTE FUNCTION journal.refuse_change()', missing.name);
    RETURN NEXT missing.name;
  END LOOP;
END
$$;

-- The days as the catalog has them, which is what is on disk: detached ones too, by their name, and slices that are
-- left of one.
CREATE OR REPLACE FUNCTION journal.partitions() RETURNS TABLE (category text, day date, attached boolean)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.code, to_date(p.part[2], 'YYYYMMDD'),
         bool_and(EXISTS (SELECT FROM pg_inherits AS i WHERE i.inhrelid = r.oid AND NOT i.inhdetachpending))
    FROM pg_class AS r
   CROSS JOIN LATERAL regexp_match(r.relname, '^entry_([0-9]+)_([0-9]{8})(?:_[0-9]+)?$') AS p (part)
    JOIN journal.category AS c ON c.id = p.part[1]::smallint
   WHERE r.relnamespace = 'journal'::regnamespace AND r.relkind IN ('r', 'p') AND p.part IS NOT NULL
   GROUP BY c.code, p.part[2]
   ORDER BY c.code, 2
$$;

-- How much of a category's day is on disk, at no more than two index probes a chain: a chain's rows of a day have
-- consecutive indexes. Zero of everything where there is no partition.
CREATE OR REPLACE FUNCTION journal.day_figures(
    of_category text, of_day date, OUT count bigint, OUT chains bigint, OUT disk_bytes bigint)
  LANGUAGE plpgsql STABLE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
AS $$
DECLARE
  leaf text;
BEGIN
  SELECT journal.leaf_name(c.id, of_day) INTO leaf FROM journal.category AS c WHERE c.code = of_category;
  count := 0;
  chains := 0;
  SELECT coalesce(sum(pg_total_relation_size(r.id)), 0) INTO disk_bytes FROM journal.day_relations(leaf) AS r;
  IF to_regclass('journal.' || leaf) IS NULL THEN
    RETURN;
  END IF;
  EXECUTE format($dynamic$
    SELECT coalesce(sum(last.index - first.index + 1), 0)::bigint, count(*)
      FROM journal.head AS h
     CROSS JOIN LATERAL (SELECT e.index FROM journal.%1$I AS e WHERE e.tenant = h.tenant ORDER BY e.index LIMIT 1) AS first
     CROSS JOIN LATERAL (SELECT e.index FROM journal.%1$I AS e WHERE e.tenant = h.tenant ORDER BY e.index DESC LIMIT 1) AS last
     WHERE h.category = $1
    $dynamic$, leaf)
    INTO count, chains USING of_category;
END
$$;

-- Drop a table of a fenced and sealed day, and its counters; true once nothing is left of the day, also where it is
-- older than the category: to be called until then, with a rest in between.
--
-- What takes time comes before the lock: under it there is nothing but the change of the catalog and the commit, and
-- PostgreSQL unlinks the files after it has let go of it. The table is locked first: its parent, which the appends of
-- every day may look at, is not held while a page of an extract is waited for. Of a day in slices that parent is the
-- day's own, and nobody's any more.
--
-- Detaching the leaf first holds the parent no less long (measured: 3.5 ms for 3.6). Detaching it concurrently does not
-- hold it, takes twice as long, cannot be done by a function, and is left pending by a kill: not worth 4 ms a night.
DROP FUNCTION journal.drop_day(text, date);
CREATE FUNCTION journal.drop_day(of_category text, of_day date) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '150ms'
AS $$
DECLARE
  kept record;
  leaf text;
  dropped text;
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
  IF of_day < kept.first_day THEN
    RETURN true;
  END IF;
  IF NOT EXISTS (SELECT FROM journal.seal AS s WHERE s.day = of_day) THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ007', MESSAGE = format('the day %s has no close seal yet', of_day);
  END IF;
  DELETE FROM journal.activity AS a WHERE a.category = of_category AND a.day <= of_day;
  DELETE FROM journal.source_span AS s WHERE s.category = of_category AND s.day <= of_day;
  leaf := journal.leaf_name(kept.id, of_day);
  -- Slices, whose names are longer, before the day that holds them together.
  SELECT r.name INTO dropped FROM journal.day_relations(leaf) AS r ORDER BY length(r.name) DESC, r.name DESC LIMIT 1;
  IF FOUND THEN
    EXECUTE format('LOCK TABLE journal.%I IN ACCESS EXCLUSIVE MODE', dropped);
    EXECUTE format('DROP TABLE journal.%I', dropped);
  END IF;
  RETURN dropped IS NULL OR dropped = leaf;
END
$$;

-- What is kept of each category asked about, and what of it waits for its hand-over up to a day: the days on disk, in
-- order; the first of them that holds anything (a leaf that holds nothing has no page); what went last, and when.
CREATE OR REPLACE FUNCTION journal.read_retention(of_category text[], of_day date[])
  RETURNS TABLE (category text, days date[], oldest_day date, purged_day date, purged_at timestamptz,
                 handover_days bigint, handover_lapses bigint)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  WITH leaf AS MATERIALIZED (
    SELECT p.part[1]::smallint AS id, to_date(p.part[2], 'YYYYMMDD') AS day, bool_or(pg_relation_size(r.oid) > 0) AS is_used
      FROM pg_class AS r
     CROSS JOIN LATERAL regexp_match(r.relname, '^entry_([0-9]+)_([0-9]{8})(?:_[0-9]+)?$') AS p (part)
     WHERE r.relnamespace = 'journal'::regnamespace AND r.relkind IN ('r', 'p') AND p.part IS NOT NULL
     GROUP BY p.part[1], p.part[2])
  SELECT c.code, kept.days, kept.oldest_day, c.purged_day, c.purged_at, waiting.count, lapsed.count
    FROM unnest(of_category, of_day) AS asked (category, day)
    JOIN journal.category AS c ON c.code = asked.category
   CROSS JOIN LATERAL (
      SELECT coalesce(array_agg(l.day ORDER BY l.day), '{}') AS days, min(l.day) FILTER (WHERE l.is_used) AS oldest_day
        FROM leaf AS l WHERE l.id = c.id) AS kept
   CROSS JOIN LATERAL (
      SELECT count(*) AS count
        FROM leaf AS l,
             (SELECT bool_or(d.done_day IS NULL) AS from_the_first, min(d.done_day) AS done_day
                FROM journal.handover_due(c.code, asked.day) AS d) AS due
       WHERE l.id = c.id AND l.is_used AND l.day <= asked.day AND (due.from_the_first OR l.day > due.done_day)) AS waiting
   CROSS JOIN LATERAL (SELECT count(*) AS count FROM journal.handover_lapse AS p WHERE p.category = c.code) AS lapsed
   ORDER BY c.code
$$;

-- Two triggers stand before an entry: this one lets no statement remove any, but for `remove_entries`; the next one
-- then looks at every row.
CREATE OR REPLACE FUNCTION journal.refuse_change() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF TG_OP = 'DELETE' AND TG_TABLE_NAME ~ '^entry_[0-9]+_[0-9]{8}(_[0-9]+)?$'
     AND current_setting('journal.removing', true) = 'on' THEN
    RETURN NULL;
  END IF;
  RAISE EXCEPTION USING ERRCODE = 'OJ001',
    MESSAGE = format('%s of journal.%s refused: it is append-only', TG_OP, TG_TABLE_NAME);
END
$$;

-- Remove some entries of a destroyed tenant from one day, a slice that somebody detached too; return how many, 0 once
-- none is left. Few at a time: each is its own short transaction, and appends of others go on meanwhile.
CREATE OR REPLACE FUNCTION journal.remove_entries(of_tenant text, of_category text, of_day date, max_rows integer)
  RETURNS bigint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
AS $$
DECLARE
  holding text;
  removed bigint;
  total bigint := 0;
BEGIN
  PERFORM journal.check_destroyed(of_tenant);
  PERFORM set_config('journal.removing', 'on', true);
  FOR holding IN
    SELECT r.name
      FROM journal.category AS c CROSS JOIN LATERAL journal.day_relations(journal.leaf_name(c.id, of_day)) AS r
     WHERE c.code = of_category AND r.kind = 'r' ORDER BY r.name
  LOOP
    EXECUTE format($dynamic$
      DELETE FROM journal.%1$I AS e
       WHERE e.tenant = $1
         AND e.index = ANY (ARRAY(SELECT k.index FROM journal.%1$I AS k WHERE k.tenant = $1 ORDER BY k.index LIMIT $2))
      $dynamic$, holding)
      USING of_tenant, max_rows - total;
    GET DIAGNOSTICS removed = ROW_COUNT;
    total := total + removed;
    EXIT WHEN total >= max_rows;
  END LOOP;
  PERFORM set_config('journal.removing', 'off', true);
  RETURN total;
END
$$;

-- Say in every head of a destroyed tenant that nothing is kept; returns how many moved. Refused while a row is there:
-- the seals would attest what is not so.
CREATE OR REPLACE FUNCTION journal.empty_heads(of_tenant text) RETURNS bigint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
AS $$
DECLARE
  holding record;
  found_row boolean;
  moved bigint;
BEGIN
  PERFORM journal.check_destroyed(of_tenant);
  FOR holding IN
    SELECT p.category, p.day, r.name
      FROM journal.partitions() AS p
      JOIN journal.category AS c ON c.code = p.category
     CROSS JOIN LATERAL journal.day_relations(journal.leaf_name(c.id, p.day)) AS r
     WHERE r.kind = 'r'
  LOOP
    EXECUTE format('SELECT EXISTS (SELECT FROM journal.%I AS e WHERE e.tenant = $1)', holding.name)
      INTO found_row USING of_tenant;
    IF found_row THEN
      RAISE EXCEPTION USING ERRCODE = 'OJ009',
        MESSAGE = format('entries of %s are still kept: %s %s', of_tenant, holding.category, holding.day);
    END IF;
  END LOOP;
  -- A close seal still to be made, of a day before its last entry, would state a beginning past its end.
  IF EXISTS (SELECT FROM journal.head AS h, journal.service AS s
              WHERE h.tenant = of_tenant AND journal.day_of(h.recorded_at) > s.first_day
                AND NOT EXISTS (SELECT FROM journal.seal AS c WHERE c.day = journal.day_of(h.recorded_at) - 1)) THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ009', MESSAGE = format('a day before the last entry of %s has no close seal', of_tenant);
  END IF;
  PERFORM FROM (SELECT h.tenant FROM journal.head AS h WHERE h.tenant = of_tenant
                 ORDER BY h.tenant, h.category FOR NO KEY UPDATE) AS held;
  UPDATE journal.head AS h SET kept_from = h.size WHERE h.tenant = of_tenant AND h.kept_from < h.size;
  GET DIAGNOSTICS moved = ROW_COUNT;
  RETURN moved;
END
$$;

REVOKE ALL ON FUNCTION journal.day_relations(text), journal.slices_needed(smallint), journal.drop_day(text, date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION journal.drop_day(text, date) TO journal_purge;
