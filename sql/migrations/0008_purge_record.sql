-- What a purge must not forget: which days are wholly done, and what went that no `purge` entry says yet.

-- The last day for which everything is done; where the fence is past it, a purge was cut short.
ALTER TABLE journal.category ADD COLUMN purged_day date;

-- What went of each chain, until it is recorded as an entry of the tenant's `journal` category.
CREATE TABLE journal.purge_span (
  first_index bigint NOT NULL CHECK (first_index >= 0),
  end_index bigint NOT NULL CHECK (end_index >= first_index), -- one past the last
  seal_number bigint NOT NULL, -- the close seal of the day
  moved_at timestamptz NOT NULL,
  day date NOT NULL,
  retention_days smallint NOT NULL,
  tenant text NOT NULL,
  category text NOT NULL,
  PRIMARY KEY (tenant, category, day)
);

-- Say in every head of a category that what came up to this day is gone; returns how many heads moved.
-- Refused while a row of those days exists: the seals would attest what is not so.
CREATE OR REPLACE FUNCTION journal.move_kept_from(of_category text, of_day date) RETURNS bigint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  close_number bigint;
  rule_days smallint;
  moved bigint;
BEGIN
  SELECT s.number INTO close_number FROM journal.seal AS s WHERE s.day = of_day;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ007', MESSAGE = format('the day %s has no close seal yet', of_day);
  END IF;
  IF EXISTS (SELECT FROM journal.partitions() AS p WHERE p.category = of_category AND p.day <= of_day) THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ007', MESSAGE = format('entries of %s up to %s are still kept', of_category, of_day);
  END IF;
  UPDATE journal.category AS c SET purged_day = greatest(c.purged_day, of_day)
   WHERE c.code = of_category RETURNING c.retention_days INTO rule_days;
  PERFORM FROM (SELECT h.tenant FROM journal.head AS h WHERE h.category = of_category
                 ORDER BY h.tenant, h.category FOR NO KEY UPDATE) AS held;
  WITH at_close AS (
      SELECT s.tenant, s.size FROM journal.read_seal_heads(close_number) AS s WHERE s.category = of_category),
    gone AS (
      INSERT INTO journal.purge_span (tenant, category, day, first_index, end_index, seal_number, moved_at, retention_days)
      SELECT h.tenant, h.category, of_day, h.kept_from, a.size, close_number, journal.now(), rule_days
        FROM journal.head AS h JOIN at_close AS a ON a.tenant = h.tenant
       WHERE h.category = of_category AND a.size > h.kept_from)
  UPDATE journal.head AS h SET kept_from = a.size
    FROM at_close AS a
   WHERE h.category = of_category AND h.tenant = a.tenant AND a.size > h.kept_from;
  GET DIAGNOSTICS moved = ROW_COUNT;
  RETURN moved;
END
$$;

-- Days whose purge was begun and not finished: from the day after the last one done, to the fence.
CREATE FUNCTION journal.unfinished_purges() RETURNS TABLE (category text, first_day date, last_day date)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.code, coalesce(c.purged_day + 1, c.first_day), c.fence
    FROM journal.category AS c
   WHERE c.fence IS NOT NULL AND c.fence IS DISTINCT FROM c.purged_day
$$;

-- What went and is not recorded yet, by tenant, category, day.
CREATE FUNCTION journal.read_purge_spans()
  RETURNS TABLE (tenant text, category text, day date, first_index bigint, end_index bigint, seal_number bigint,
                 moved_at timestamptz, retention_days smallint)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT s.tenant, s.category, s.day, s.first_index, s.end_index, s.seal_number, s.moved_at, s.retention_days
    FROM journal.purge_span AS s
   ORDER BY s.tenant, s.category, s.day
$$;

-- The tenant's entry is written: forget what it says.
CREATE FUNCTION journal.forget_purge_spans(of_tenant text, before timestamptz) RETURNS bigint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  removed bigint;
BEGIN
  DELETE FROM journal.purge_span AS s WHERE s.tenant = of_tenant AND s.moved_at <= before;
  GET DIAGNOSTICS removed = ROW_COUNT;
  RETURN removed;
END
$$;

-- A page of everything in one leaf, whatever its rows say they are: for the check of the whole store.
CREATE FUNCTION journal.scan_entries(of_category text, of_day date, after_tenant text, after_index bigint, page_rows integer)
  RETURNS TABLE (tenant text, category text, day date, index bigint, event_key bytea, leaf_hash bytea, chain_hash bytea,
                 sealed bytea)
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
  leaf text;
BEGIN
  SELECT journal.leaf_name(c.id, of_day) INTO STRICT leaf FROM journal.category AS c WHERE c.code = of_category;
  RETURN QUERY EXECUTE format($dynamic$
    SELECT e.tenant, e.category, e.day, e.index, e.event_key, e.leaf_hash, e.chain_hash, e.sealed
      FROM journal.%I AS e
     WHERE (e.tenant, e.index) > ($1, $2)
     ORDER BY e.tenant, e.index LIMIT $3
    $dynamic$, leaf)
    USING after_tenant, after_index, page_rows;
END
$$;

REVOKE ALL ON FUNCTION journal.unfinished_purges(), journal.read_purge_spans(),
  journal.forget_purge_spans(text, timestamptz), journal.scan_entries(text, date, text, bigint, integer) FROM PUBLIC;
REVOKE ALL ON TABLE journal.purge_span FROM PUBLIC;
GRANT EXECUTE ON FUNCTION journal.unfinished_purges(), journal.read_purge_spans(),
  journal.forget_purge_spans(text, timestamptz) TO journal_purge;
GRANT EXECUTE ON FUNCTION journal.scan_entries(text, date, text, bigint, integer) TO journal_read;
