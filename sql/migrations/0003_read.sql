-- What the process that builds extracts and answers heads may call (role journal_read).

-- A page of a chain's day, straight in its partition, in the order of indexes.
CREATE FUNCTION journal.read_entries(of_tenant text, of_category text, of_day date, first_index bigint, page_size integer)
  RETURNS TABLE (index bigint, event_key bytea, leaf_hash bytea, chain_hash bytea, sealed bytea)
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
AS $$
DECLARE
  kept record;
  leaf text;
BEGIN
  SELECT c.id, c.first_day, c.fence INTO kept FROM journal.category AS c WHERE c.code = of_category;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ004', MESSAGE = 'there is no such category';
  END IF;
  -- Between the fence and the drop the rows are still there, and are nobody's any more.
  IF of_day <= kept.fence THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ005', MESSAGE = format('the day %s is purged', of_day);
  END IF;
  IF of_day < kept.first_day THEN
    RETURN;
  END IF;
  leaf := journal.leaf_name(kept.id, of_day);
  IF to_regclass('journal.' || leaf) IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ004', MESSAGE = format('there is no partition %s', leaf);
  END IF;
  RETURN QUERY EXECUTE format(
    'SELECT e.index, e.event_key, e.leaf_hash, e.chain_hash, e.sealed FROM journal.%I AS e '
    'WHERE e.tenant = $1 AND e.index >= $2 ORDER BY e.index LIMIT $3', leaf)
    USING of_tenant, first_index, page_size;
END
$$;

CREATE FUNCTION journal.read_seal(of_number bigint)
  RETURNS TABLE (number bigint, day date, sealed_at timestamptz, text bytea, signature bytea)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT s.number, s.day, s.sealed_at, s.text, s.signature FROM journal.seal AS s WHERE s.number = of_number
$$;

CREATE FUNCTION journal.latest_seal()
  RETURNS TABLE (number bigint, day date, sealed_at timestamptz, text bytea, signature bytea)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT s.number, s.day, s.sealed_at, s.text, s.signature FROM journal.seal AS s ORDER BY s.number DESC LIMIT 1
$$;

CREATE FUNCTION journal.latest_close_seal()
  RETURNS TABLE (number bigint, day date, sealed_at timestamptz, text bytea, signature bytea)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT s.number, s.day, s.sealed_at, s.text, s.signature
    FROM journal.seal AS s WHERE s.day IS NOT NULL ORDER BY s.day DESC LIMIT 1
$$;

-- In order of number; thinned open seals are simply not there.
CREATE FUNCTION journal.read_seals(after_number bigint, page_size integer)
  RETURNS TABLE (number bigint, day date, sealed_at timestamptz, text bytea, signature bytea)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT s.number, s.day, s.sealed_at, s.text, s.signature
    FROM journal.seal AS s WHERE s.number > after_number ORDER BY s.number LIMIT page_size
$$;

CREATE FUNCTION journal.read_close_seals(first_day date, last_day date)
  RETURNS TABLE (number bigint, day date, sealed_at timestamptz, text bytea, signature bytea)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT s.number, s.day, s.sealed_at, s.text, s.signature
    FROM journal.seal AS s WHERE s.day BETWEEN first_day AND last_day ORDER BY s.day
$$;

-- Every chain as it stood at a seal: its latest row at or before it. Asked per chain, so that each is one index probe.
CREATE FUNCTION journal.read_seal_heads(of_number bigint)
  RETURNS TABLE (tenant text, category text, size bigint, chain_hash bytea, kept_from bigint, retention_days smallint)
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_column
BEGIN
  IF EXISTS (SELECT FROM journal.service AS s WHERE of_number < s.pruned_before) THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ005', MESSAGE = format('the heads of seal %s are no longer kept', of_number);
  END IF;
  RETURN QUERY
    SELECT c.tenant, c.category, h.size, h.chain_hash, h.kept_from, h.retention_days
      FROM journal.chain AS c
     CROSS JOIN LATERAL (SELECT h.size, h.chain_hash, h.kept_from, h.retention_days
                           FROM journal.seal_head AS h
                          WHERE h.tenant = c.tenant AND h.category = c.category AND h.number <= of_number
                          ORDER BY h.number DESC LIMIT 1) AS h
     ORDER BY c.tenant, c.category;
END
$$;

CREATE FUNCTION journal.read_activity(of_tenant text)
  RETURNS TABLE (category text, day date, action text, count bigint)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT a.category, a.day, a.action, a.count
    FROM journal.activity AS a WHERE a.tenant = of_tenant ORDER BY a.category, a.day, a.action
$$;

-- Per category: how many sources numbered events that never came, and how many such numbers.
CREATE FUNCTION journal.read_gaps(of_tenant text) RETURNS TABLE (category text, sources bigint, missing bigint)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT g.category, count(*), sum(g.missing)::bigint
    FROM (SELECT s.category, max(s.high) - min(s.low) + 1 - sum(s.count) AS missing
            FROM journal.source_span AS s WHERE s.tenant = of_tenant
           GROUP BY s.category, s.source_key) AS g
   WHERE g.missing > 0
   GROUP BY g.category
   ORDER BY g.category
$$;
