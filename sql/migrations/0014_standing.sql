-- What readiness and the metrics say of seals and retention: a row or a few of facts, in one question each.
--
-- Nothing here reads an entry: days come from the catalog, sizes from the heads. No tenant leaves either function.

-- When the last day that is wholly purged was. A trigger sees it whatever moves `purged_day`, now and later.
ALTER TABLE journal.category ADD COLUMN purged_at timestamptz;

CREATE FUNCTION journal.note_purged_at() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  NEW.purged_at := journal.now();
  RETURN NEW;
END
$$;
CREATE TRIGGER category_purged BEFORE UPDATE OF purged_day ON journal.category
  FOR EACH ROW WHEN (NEW.purged_day IS DISTINCT FROM OLD.purged_day) EXECUTE FUNCTION journal.note_purged_at();

-- How far seals, time-stamps and hand-over are behind: one row.
CREATE FUNCTION journal.read_standing()
  RETURNS TABLE (at timestamptz, first_day date, close_day date, number bigint, sealed_at timestamptz,
                 unsealed_heads bigint, unsealed_since timestamptz, unstamped_seals bigint, unstamped_since timestamptz,
                 stamping_failed_since timestamptz, handover_faults bigint, handover_failed_since timestamptz)
  -- One probe a chain, whatever the planner believes of a table that was small when it looked.
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
AS $$
  SELECT journal.now(), s.first_day, (SELECT max(c.day) FROM journal.seal AS c), latest.number, latest.sealed_at,
         moved.count, moved.since, stamps.count, stamps.since, s.stamping_failed_since, faults.count, faults.since
    FROM journal.service AS s
    LEFT JOIN LATERAL (SELECT l.number, l.sealed_at FROM journal.seal AS l ORDER BY l.number DESC LIMIT 1) AS latest ON true
   CROSS JOIN LATERAL (
      SELECT count(*) AS count, min(coalesce(h.recorded_at, journal.now())) AS since
        FROM journal.head AS h
        LEFT JOIN LATERAL (SELECT p.size FROM journal.seal_head AS p
                            WHERE p.tenant = h.tenant AND p.category = h.category
                            ORDER BY p.number DESC LIMIT 1) AS sealed ON true
       WHERE sealed.size IS DISTINCT FROM h.size) AS moved
   CROSS JOIN LATERAL (SELECT count(*) AS count, min(u.sealed_at) AS since FROM journal.unstamped_seals() AS u) AS stamps
   CROSS JOIN LATERAL (SELECT count(*) AS count, min(f.since) AS since FROM journal.handover_fault AS f) AS faults
$$;

-- What is kept of each category asked about, and what of it waits for its hand-over up to a day: the days on disk, in
-- order; the first of them that holds anything (a leaf that holds nothing has no page); what went last, and when.
CREATE FUNCTION journal.read_retention(of_category text[], of_day date[])
  RETURNS TABLE (category text, days date[], oldest_day date, purged_day date, purged_at timestamptz,
                 handover_days bigint, handover_lapses bigint)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  WITH leaf AS MATERIALIZED (
    SELECT p.part[1]::smallint AS id, to_date(p.part[2], 'YYYYMMDD') AS day, pg_relation_size(r.oid) > 0 AS is_used
      FROM pg_class AS r
     CROSS JOIN LATERAL regexp_match(r.relname, '^entry_([0-9]+)_([0-9]{8})$') AS p (part)
     WHERE r.relnamespace = 'journal'::regnamespace AND r.relkind = 'r' AND p.part IS NOT NULL)
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

REVOKE ALL ON FUNCTION journal.note_purged_at(), journal.read_standing(), journal.read_retention(text[], date[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION journal.read_standing(), journal.read_retention(text[], date[]) TO journal_read;
