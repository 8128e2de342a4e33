-- What the process that appends may call (role journal_ingest).
--
-- One advisory lock orders appends against the two things that end a day: its close and its fence. Appends hold it
-- shared for their transaction, close_day and raise_fence take it exclusively: once they return, no append into the
-- day is under way and every later one sees the new limit. Locks are always taken in the order: this one, then heads
-- by (tenant, category).

-- 7304680770881318763, in every function that needs it: a constant costs less than a call.

CREATE FUNCTION journal.leaf_name(category_id smallint, day date) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
  RETURN format('entry_%s_%s', category_id, to_char(day, 'YYYYMMDD'));

-- Heads by (tenant, category), in the order asked; a chain that is not there is left out.
CREATE FUNCTION journal.read_heads(tenants text[], categories text[])
  RETURNS TABLE (tenant text, category text, size bigint, chain_hash bytea, recorded_at timestamptz,
                 kept_from bigint, retention_days smallint)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT h.tenant, h.category, h.size, h.chain_hash, h.recorded_at, h.kept_from, c.retention_days
    FROM unnest(tenants, categories) WITH ORDINALITY AS asked (tenant, category, place)
    JOIN journal.head AS h ON h.tenant = asked.tenant AND h.category = asked.category
    JOIN journal.category AS c ON c.code = h.category
   ORDER BY asked.place
$$;

-- The same, held until the transaction ends: the way through a contended chain.
CREATE FUNCTION journal.lock_heads(tenants text[], categories text[])
  RETURNS TABLE (tenant text, category text, size bigint, chain_hash bytea, recorded_at timestamptz,
                 kept_from bigint, retention_days smallint)
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  PERFORM pg_advisory_xact_lock_shared(7304680770881318763);
  PERFORM FROM (
    SELECT h.tenant, h.category
      FROM unnest(tenants, categories) AS asked (tenant, category)
      JOIN journal.head AS h ON h.tenant = asked.tenant AND h.category = asked.category
     ORDER BY h.tenant, h.category
       FOR NO KEY UPDATE OF h) AS held;
  RETURN QUERY SELECT * FROM journal.read_heads(tenants, categories);
END
$$;

-- Which entries of a batch are already recorded: in their chain's day (`on_the_day`), or between `since` and the day
-- before. Straight in each day's partition, one index probe an entry: through the parent it costs a hundred times more.
CREATE FUNCTION journal.find_known(
    chain_tenant text[], chain_category text[], chain_recorded_at timestamptz[],
    entry_chain integer[], entry_key bytea[], entry_since date[], on_the_day boolean)
  RETURNS TABLE (outcome text, "position" integer, size bigint, chain_hash bytea, recorded_at timestamptz,
                 leaf_hash bytea, day date, sealed bytea)
  LANGUAGE plpgsql STABLE SECURITY DEFINER
  -- No sequential scan, however small the planner believes a leaf to be: it is planned now and may be full tonight.
  SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
  leaf record;
BEGIN
  FOR leaf IN
    SELECT k.code, d.day::date AS day, journal.leaf_name(k.id, d.day::date) AS name
      FROM (SELECT c.category, min(CASE WHEN on_the_day THEN journal.day_of(c.at) ELSE e.since END) AS first_day,
                   max(CASE WHEN on_the_day THEN journal.day_of(c.at) ELSE journal.day_of(c.at) - 1 END) AS last_day
              FROM unnest(chain_category, chain_recorded_at) WITH ORDINALITY AS c (category, at, place)
              JOIN unnest(entry_chain, entry_since) AS e (chain, since) ON e.chain = c.place
             GROUP BY c.category) AS span
      JOIN journal.category AS k ON k.code = span.category,
           generate_series(greatest(span.first_day, k.first_day)::timestamp, span.last_day::timestamp,
                           interval '1 day') AS d (day)
     ORDER BY k.code, d.day
  LOOP
    -- Skipping it would record an event twice.
    IF to_regclass('journal.' || leaf.name) IS NULL THEN
      RAISE EXCEPTION USING ERRCODE = 'OJ004', MESSAGE = format('there is no partition %s', leaf.name);
    END IF;
    RETURN QUERY EXECUTE format($dynamic$
      SELECT 'known', asked.place::integer, e.index, e.chain_hash, NULL::timestamptz, e.leaf_hash, e.day, e.sealed
        FROM unnest($1, $2, $3) WITH ORDINALITY AS c (tenant, category, at, place)
        JOIN unnest($4, $5, $6) WITH ORDINALITY AS asked (chain, event_key, since, place) ON asked.chain = c.place
       CROSS JOIN LATERAL (SELECT e.* FROM journal.%I AS e
                            WHERE e.tenant = c.tenant AND e.event_key = asked.event_key LIMIT 1) AS e
       WHERE c.category = $7 AND asked.since <= $8 AND (journal.day_of(c.at) = $8) = $9
      $dynamic$, leaf.name)
      USING chain_tenant, chain_category, chain_recorded_at, entry_chain, entry_key, entry_since,
            leaf.code, leaf.day, on_the_day;
  END LOOP;
END
$$;

-- Append a batch over many chains, whole or not at all. See journal/store/ingest.py for the arrays and the outcomes.
CREATE FUNCTION journal.append(
    chain_tenant text[], chain_category text[], chain_size bigint[], chain_head bytea[],
    next_size bigint[], next_head bytea[], chain_recorded_at timestamptz[],
    entry_chain integer[], entry_index bigint[], entry_key bytea[], entry_leaf bytea[], entry_head bytea[],
    entry_sealed bytea[], entry_since date[],
    activity_chain integer[], activity_action text[], activity_count bigint[],
    span_chain integer[], span_source bytea[], span_low bigint[], span_high bigint[], span_count bigint[])
  RETURNS TABLE (outcome text, "position" integer, size bigint, chain_hash bytea, recorded_at timestamptz,
                 leaf_hash bytea, day date, sealed bytea)
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER
  -- No sequential scan: an empty leaf's statistics would let the planner choose one for a full leaf.
  -- No sequential scan of heads: a plan made when they were few is kept when they are many.
  -- Memory for the arrays of the largest batch (16 MiB), which would go through a file otherwise.
  SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off SET work_mem = '64MB'
AS $$
#variable_conflict use_column
DECLARE
  chains CONSTANT integer := cardinality(chain_tenant);
  moment timestamptz;
  earliest timestamptz;
  latest timestamptz;
  closed date;
  found_count bigint;
  moved_count bigint;
  leaf record;
  affected bigint;
BEGIN
  -- In another isolation level the limits below would be read in an old snapshot.
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ002', MESSAGE = 'append needs the isolation level read committed';
  END IF;
  -- Somebody may have lowered it for this role, database or session since the service looked.
  IF current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ002', MESSAGE = 'append needs synchronous_commit = on';
  END IF;
  PERFORM pg_advisory_xact_lock_shared(7304680770881318763);

  moment := journal.now();
  SELECT min(t.at), max(t.at) INTO earliest, latest FROM unnest(chain_recorded_at) AS t (at);
  IF earliest < moment - interval '2 seconds' OR latest > moment + interval '2 seconds' THEN
    RETURN QUERY SELECT 'clock', NULL::integer, NULL::bigint, NULL::bytea, moment, NULL::bytea, NULL::date, NULL::bytea;
    RETURN;
  END IF;

  SELECT s.closed_day INTO STRICT closed FROM journal.service AS s;
  IF journal.day_of(earliest) <= closed THEN
    RETURN QUERY
      SELECT 'closed', c.place::integer, NULL::bigint, NULL::bytea, NULL::timestamptz, NULL::bytea, closed, NULL::bytea
        FROM unnest(chain_recorded_at) WITH ORDINALITY AS c (at, place)
       WHERE journal.day_of(c.at) <= closed;
    RETURN;
  END IF;

  -- An entry whose earlier copy might be in a destroyed day cannot be told from a new one.
  RETURN QUERY
    SELECT DISTINCT 'fenced', e.chain, NULL::bigint, NULL::bytea, NULL::timestamptz, NULL::bytea, k.fence, NULL::bytea
      FROM unnest(entry_chain, entry_since) AS e (chain, since)
      JOIN unnest(chain_category) WITH ORDINALITY AS c (category, place) ON c.place = e.chain
      JOIN journal.category AS k ON k.code = c.category
     WHERE e.since <= k.fence;
  IF FOUND THEN
    RETURN;
  END IF;

  -- Heads, in one order everywhere so that two batches cannot wait for each other; then compared.
  SELECT count(*), count(*) FILTER (WHERE held.moved) INTO found_count, moved_count
    FROM (SELECT h.size <> c.size OR h.chain_hash <> c.head OR h.recorded_at > c.at AS moved
            FROM unnest(chain_tenant, chain_category, chain_size, chain_head, chain_recorded_at)
                   AS c (tenant, category, size, head, at)
            JOIN journal.head AS h ON h.tenant = c.tenant AND h.category = c.category
           ORDER BY h.tenant, h.category
             FOR NO KEY UPDATE OF h) AS held;
  IF found_count < chains
     OR EXISTS (SELECT FROM journal.tenant AS t WHERE t.closed_at IS NOT NULL AND t.code = ANY (chain_tenant)) THEN
    RETURN QUERY
      SELECT 'absent', c.place::integer, NULL::bigint, NULL::bytea, NULL::timestamptz, NULL::bytea, NULL::date, NULL::bytea
        FROM unnest(chain_tenant, chain_category) WITH ORDINALITY AS c (tenant, category, place)
        LEFT JOIN journal.head AS h ON h.tenant = c.tenant AND h.category = c.category
        LEFT JOIN journal.tenant AS t ON t.code = c.tenant
       WHERE h.tenant IS NULL OR t.closed_at IS NOT NULL;
    RETURN;
  END IF;
  IF moved_count > 0 THEN
    RETURN QUERY
      SELECT 'conflict', c.place::integer, h.size, h.chain_hash, h.recorded_at, NULL::bytea, NULL::date, NULL::bytea
        FROM unnest(chain_tenant, chain_category, chain_size, chain_head, chain_recorded_at)
               WITH ORDINALITY AS c (tenant, category, size, head, at, place)
        JOIN journal.head AS h ON h.tenant = c.tenant AND h.category = c.category
       WHERE h.size <> c.size OR h.chain_hash <> c.head OR h.recorded_at > c.at;
    RETURN;
  END IF;

  -- A caller's mistake here would break a chain for ever.
  IF EXISTS (
      SELECT FROM unnest(chain_size, next_size, next_head) WITH ORDINALITY AS c (size, next_size, next_head, place)
        LEFT JOIN (SELECT e.chain, count(*), min(e.index) AS low, max(e.index) AS high
                     FROM unnest(entry_chain, entry_index) AS e (chain, index) GROUP BY e.chain) AS e ON e.chain = c.place
       WHERE e.count IS DISTINCT FROM c.next_size - c.size OR e.low <> c.size OR e.high <> c.next_size - 1)
     OR (SELECT max(e.chain) FROM unnest(entry_chain) AS e (chain)) > chains
     OR cardinality(entry_since) <> cardinality(entry_chain) THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ003', MESSAGE = 'append: entries do not lead from the heads to the next heads';
  END IF;

  -- An earlier copy in a day before: only events from around midnight, and late ones, can have one.
  IF EXISTS (SELECT FROM unnest(entry_chain, entry_since) AS e (chain, since)
               JOIN unnest(chain_recorded_at) WITH ORDINALITY AS c (at, place) ON c.place = e.chain
              WHERE e.since < journal.day_of(c.at)) THEN
    RETURN QUERY SELECT * FROM journal.find_known(
      chain_tenant, chain_category, chain_recorded_at, entry_chain, entry_key, entry_since, false);
    IF FOUND THEN
      RETURN QUERY SELECT * FROM journal.find_known(
        chain_tenant, chain_category, chain_recorded_at, entry_chain, entry_key, entry_since, true);
      RETURN;
    END IF;
  END IF;

  BEGIN
    FOR leaf IN
      SELECT k.code, span.day, journal.leaf_name(k.id, span.day) AS name
        FROM (SELECT DISTINCT c.category, journal.day_of(c.at) AS day
                FROM unnest(chain_category, chain_recorded_at) AS c (category, at)) AS span
        JOIN journal.category AS k ON k.code = span.category
       ORDER BY k.code, span.day
    LOOP
      IF to_regclass('journal.' || leaf.name) IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'OJ004', MESSAGE = format('there is no partition %s', leaf.name);
      END IF;
      EXECUTE format($dynamic$
        INSERT INTO journal.%I (index, day, tenant, category, event_key, leaf_hash, chain_hash, sealed)
        SELECT e.index, $11, c.tenant, c.category, e.event_key, e.leaf_hash, e.chain_hash, e.sealed
          FROM unnest($1, $2, $3) WITH ORDINALITY AS c (tenant, category, at, place)
          JOIN unnest($4, $5, $6, $7, $8, $9) AS e (chain, index, event_key, leaf_hash, chain_hash, sealed)
            ON e.chain = c.place
         WHERE c.category = $10 AND journal.day_of(c.at) = $11
        $dynamic$, leaf.name)
        USING chain_tenant, chain_category, chain_recorded_at,
              entry_chain, entry_index, entry_key, entry_leaf, entry_head, entry_sealed, leaf.code, leaf.day;
    END LOOP;
  EXCEPTION WHEN unique_violation THEN
    -- The leaf's own index found an earlier copy of today, at no cost to the batches that hold none. Nothing of
    -- this block remains; the answer is which entries are known. If none is, the batch repeats itself: an error.
    RETURN QUERY SELECT * FROM journal.find_known(
      chain_tenant, chain_category, chain_recorded_at, entry_chain, entry_key, entry_since, true);
    IF NOT FOUND THEN
      RAISE EXCEPTION USING ERRCODE = 'OJ003', MESSAGE = 'append: an event or an index is in the batch twice';
    END IF;
    RETURN;
  END;

  UPDATE journal.head AS h SET size = c.size, chain_hash = c.head, recorded_at = c.at
    FROM unnest(chain_tenant, chain_category, next_size, next_head, chain_recorded_at) AS c (tenant, category, size, head, at)
   WHERE h.tenant = c.tenant AND h.category = c.category;
  GET DIAGNOSTICS affected = ROW_COUNT;
  IF affected <> chains THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ003', MESSAGE = 'append: a chain is named twice';
  END IF;

  INSERT INTO journal.activity AS a (tenant, category, day, action, count)
  SELECT c.tenant, c.category, journal.day_of(c.at), n.action, sum(n.count)
    FROM unnest(chain_tenant, chain_category, chain_recorded_at) WITH ORDINALITY AS c (tenant, category, at, place)
    JOIN unnest(activity_chain, activity_action, activity_count) AS n (chain, action, count) ON n.chain = c.place
   GROUP BY 1, 2, 3, 4
  ON CONFLICT (tenant, category, day, action) DO UPDATE SET count = a.count + excluded.count;

  INSERT INTO journal.source_span AS s (tenant, category, day, source_key, low, high, count)
  SELECT c.tenant, c.category, journal.day_of(c.at), n.source_key, min(n.low), max(n.high), sum(n.count)
    FROM unnest(chain_tenant, chain_category, chain_recorded_at) WITH ORDINALITY AS c (tenant, category, at, place)
    JOIN unnest(span_chain, span_source, span_low, span_high, span_count) AS n (chain, source_key, low, high, count)
      ON n.chain = c.place
   GROUP BY 1, 2, 3, 4
  ON CONFLICT (tenant, category, day, source_key)
  DO UPDATE SET low = least(s.low, excluded.low), high = greatest(s.high, excluded.high), count = s.count + excluded.count;

  RETURN QUERY
    SELECT 'appended', NULL::integer, NULL::bigint, NULL::bytea, NULL::timestamptz, NULL::bytea, NULL::date, NULL::bytea;
END
$$;

CREATE FUNCTION journal.read_credentials()
  RETURNS TABLE (id text, secret_hash bytea, role text, tenant text, categories text[], source_prefix text, label text,
                 created_at timestamptz, expires_at timestamptz, revoked_at timestamptz)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.id, c.secret_hash, c.role, c.tenant, c.categories, c.source_prefix, c.label,
         c.created_at, c.expires_at, c.revoked_at
    FROM journal.credential AS c
   ORDER BY c.created_at, c.id
$$;

CREATE FUNCTION journal.directory_version() RETURNS bigint
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT s.directory_version FROM journal.service AS s
$$;

CREATE FUNCTION journal.read_categories()
  RETURNS TABLE (code text, id smallint, label text, regime text, retention_days smallint, needs_authorisation boolean,
                 first_day date, fence date)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.code, c.id, c.label, c.regime, c.retention_days, c.needs_authorisation, c.first_day, c.fence
    FROM journal.category AS c
   ORDER BY c.id
$$;

CREATE FUNCTION journal.read_tenants() RETURNS TABLE (code text, name text, closed boolean)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT t.code, t.name, t.closed_at IS NOT NULL FROM journal.tenant AS t ORDER BY t.code
$$;

-- No row until the service is created.
CREATE FUNCTION journal.read_service() RETURNS TABLE (name text, created_at timestamptz, first_day date, closed_day date)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT s.name, s.created_at, s.first_day, s.closed_day FROM journal.service AS s
$$;
