-- What the sealer may call (role journal_seal).
--
-- Closing a day takes two steps, so that a crash between them is resumed: `close_day` ends appends into it, and the
-- close seal over its heads follows. While a day is closed and unsealed no open seal is taken, so every seal before
-- a close seal covers nothing after its day.

-- Every chain as it stands.
CREATE FUNCTION journal.live_heads()
  RETURNS TABLE (tenant text, category text, size bigint, chain_hash bytea, recorded_at timestamptz,
                 kept_from bigint, retention_days smallint)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT h.tenant, h.category, h.size, h.chain_hash, h.recorded_at, h.kept_from, c.retention_days
    FROM journal.head AS h
    JOIN journal.category AS c ON c.code = h.category
   ORDER BY h.tenant, h.category
$$;

-- End appends into a day, for ever. Waits for those under way; harmless when it is already ended.
CREATE FUNCTION journal.close_day(of_day date) RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  closed date;
BEGIN
  PERFORM pg_advisory_xact_lock(7304680770881318763);
  SELECT s.closed_day INTO STRICT closed FROM journal.service AS s FOR UPDATE;
  IF of_day = closed THEN
    RETURN;
  END IF;
  IF of_day <> closed + 1 THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ006', MESSAGE = format('the next day to close is %s, not %s', closed + 1, of_day);
  END IF;
  -- The day before it must have its seal: one day at a time is closed and unsealed.
  IF EXISTS (SELECT FROM journal.service AS s WHERE closed >= s.first_day)
     AND NOT EXISTS (SELECT FROM journal.seal AS s WHERE s.day = closed) THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ006', MESSAGE = format('the day %s is closed but not yet sealed', closed);
  END IF;
  -- Appends may run 2 seconds ahead or behind; 5 leave no doubt.
  IF journal.now() < ((of_day + 1)::timestamp AT TIME ZONE 'UTC') + interval '5 seconds' THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ006', MESSAGE = format('the day %s is not over', of_day);
  END IF;
  UPDATE journal.service SET closed_day = of_day;
END
$$;

-- Every chain as it stood at the end of the closed day that awaits its seal; appends go on meanwhile.
CREATE FUNCTION journal.closed_heads(of_day date)
  RETURNS TABLE (tenant text, category text, size bigint, chain_hash bytea, recorded_at timestamptz,
                 kept_from bigint, retention_days smallint)
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
  kind record;
  leaf text;
BEGIN
  IF NOT EXISTS (SELECT FROM journal.service AS s WHERE s.closed_day = of_day)
     OR EXISTS (SELECT FROM journal.seal AS s WHERE s.day >= of_day) THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ006', MESSAGE = format('the day %s does not await its seal', of_day);
  END IF;
  FOR kind IN SELECT c.id, c.code, c.first_day, c.fence, c.retention_days FROM journal.category AS c ORDER BY c.id LOOP
    leaf := journal.leaf_name(kind.id, of_day);
    IF to_regclass('journal.' || leaf) IS NULL THEN
      IF of_day >= kind.first_day AND (kind.fence IS NULL OR of_day > kind.fence) THEN
        RAISE EXCEPTION USING ERRCODE = 'OJ004', MESSAGE = format('there is no partition %s', leaf);
      END IF;
      -- The category is younger than the day, or the day was fenced before it came to this database (an old backup
      -- restored beside a newer key store): the parent, where the day is not found either, says "no entry".
      leaf := 'entry';
    END IF;
    -- A head not moved since the day's end is the answer; otherwise the day's last entry; otherwise the chain stood
    -- where the latest seal saw it (every seal so far was before the day's end); otherwise at its beginning.
    RETURN QUERY EXECUTE format($dynamic$
      SELECT h.tenant, h.category,
             CASE WHEN still.it THEN h.size ELSE coalesce(e.index + 1, s.size, 0) END,
             CASE WHEN still.it THEN h.chain_hash ELSE coalesce(e.chain_hash, s.chain_hash, c.genesis) END,
             CASE WHEN still.it THEN h.recorded_at END, h.kept_from, $3
        FROM journal.head AS h
        JOIN journal.chain AS c ON c.tenant = h.tenant AND c.category = h.category
       CROSS JOIN LATERAL (SELECT h.recorded_at IS NULL OR journal.day_of(h.recorded_at) <= $2 AS it) AS still
        LEFT JOIN LATERAL (SELECT e.index, e.chain_hash FROM journal.%I AS e
                            WHERE NOT still.it AND e.tenant = h.tenant AND e.category = $1 AND e.day = $2
                            ORDER BY e.index DESC LIMIT 1) AS e ON true
        LEFT JOIN LATERAL (SELECT s.size, s.chain_hash FROM journal.seal_head AS s
                            WHERE NOT still.it AND s.tenant = h.tenant AND s.category = h.category
                            ORDER BY s.number DESC LIMIT 1) AS s ON true
       WHERE h.category = $1
       ORDER BY h.tenant
      $dynamic$, leaf)
      USING kind.code, of_day, kind.retention_days;
  END LOOP;
END
$$;

-- Store a seal if its number is the next one; false, and nothing stored, if another sealer was faster.
CREATE FUNCTION journal.put_seal(
    of_number bigint, of_day date, at timestamptz, seal_text bytea, seal_signature bytea,
    head_tenant text[], head_category text[], head_size bigint[], head_hash bytea[], head_kept_from bigint[],
    head_retention_days smallint[]) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  service record;
  sealed_day date;
BEGIN
  -- One sealer at a time from here on; the loser then sees the winner's number.
  SELECT s.first_day, s.closed_day INTO STRICT service FROM journal.service AS s FOR UPDATE;
  IF of_number <> (SELECT coalesce(max(s.number), 0) + 1 FROM journal.seal AS s) THEN
    RETURN false;
  END IF;
  SELECT coalesce(max(s.day), service.first_day - 1) INTO sealed_day FROM journal.seal AS s;
  IF of_day IS NOT NULL THEN
    IF of_day <> service.closed_day OR of_day <> sealed_day + 1 THEN
      RAISE EXCEPTION USING ERRCODE = 'OJ006', MESSAGE = format('the day %s does not await its seal', of_day);
    END IF;
  ELSIF service.closed_day <> sealed_day OR service.closed_day < journal.day_of(journal.now()) - 1 THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ006', MESSAGE = 'an open seal must wait for the close seal of the day before';
  END IF;
  INSERT INTO journal.seal (number, day, sealed_at, text, signature)
  VALUES (of_number, of_day, at, seal_text, seal_signature);
  INSERT INTO journal.seal_head (number, tenant, category, size, chain_hash, kept_from, retention_days)
  SELECT of_number, h.tenant, h.category, h.size, h.hash, h.kept_from, h.retention_days
    FROM unnest(head_tenant, head_category, head_size, head_hash, head_kept_from, head_retention_days)
           AS h (tenant, category, size, hash, kept_from, retention_days);
  RETURN true;
END
$$;

-- Remove open seals made before a moment at least a week ago, and give the heads they saw to the next seal that
-- stays: what every kept seal covers does not change. The latest seal always stays.
CREATE FUNCTION journal.thin_seals(before timestamptz) RETURNS bigint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  gone bigint[];
  removed bigint;
BEGIN
  PERFORM FROM journal.service FOR UPDATE;
  SELECT array_agg(s.number) INTO gone
    FROM journal.seal AS s
   WHERE s.day IS NULL AND s.sealed_at < before AND s.number < (SELECT max(l.number) FROM journal.seal AS l);
  IF gone IS NULL THEN
    RETURN 0;
  END IF;
  -- Of the heads that one kept seal would inherit, only the latest counts, and none where it has its own.
  WITH heir AS (
      SELECT g.number, (SELECT min(k.number) FROM journal.seal AS k
                         WHERE k.number > g.number AND k.number <> ALL (gone)) AS kept
        FROM unnest(gone) AS g (number)),
    inherited AS (
      SELECT h.tenant, h.category, h.number, heir.kept,
             row_number() OVER (PARTITION BY h.tenant, h.category, heir.kept ORDER BY h.number DESC) AS place
        FROM heir JOIN journal.seal_head AS h ON h.number = heir.number),
    stale AS (
      SELECT i.tenant, i.category, i.number
        FROM inherited AS i
       WHERE i.place > 1
          OR EXISTS (SELECT FROM journal.seal_head AS own
                      WHERE own.tenant = i.tenant AND own.category = i.category AND own.number = i.kept)),
    removal AS (
      DELETE FROM journal.seal_head AS h USING stale
       WHERE h.tenant = stale.tenant AND h.category = stale.category AND h.number = stale.number)
  UPDATE journal.seal_head AS h SET number = i.kept
    FROM inherited AS i
   WHERE h.tenant = i.tenant AND h.category = i.category AND h.number = i.number
     AND NOT EXISTS (SELECT FROM stale
                      WHERE stale.tenant = i.tenant AND stale.category = i.category AND stale.number = i.number);
  DELETE FROM journal.seal AS s WHERE s.number = ANY (gone);
  GET DIAGNOSTICS removed = ROW_COUNT;
  RETURN removed;
END
$$;

-- Forget the heads that no chain's base can be among any more: those before the close seal of the day at which the
-- slowest category's fence stands. Texts and signatures of close seals stay for ever.
CREATE FUNCTION journal.prune_seal_heads() RETURNS bigint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  horizon bigint;
  removed bigint;
BEGIN
  PERFORM FROM journal.service FOR UPDATE;
  -- No row in category, or one that never purged: min over a null would skip it.
  IF EXISTS (SELECT FROM journal.category AS c WHERE c.fence IS NULL) THEN
    RETURN 0;
  END IF;
  SELECT max(s.number) INTO horizon
    FROM journal.seal AS s
   WHERE s.day <= (SELECT min(c.fence) FROM journal.category AS c);
  IF horizon IS NULL THEN
    RETURN 0;
  END IF;
  UPDATE journal.service SET pruned_before = greatest(pruned_before, horizon);
  DELETE FROM journal.seal_head AS h
   WHERE h.number < horizon
     AND EXISTS (SELECT FROM journal.seal_head AS later
                  WHERE later.tenant = h.tenant AND later.category = h.category
                    AND later.number > h.number AND later.number <= horizon);
  GET DIAGNOSTICS removed = ROW_COUNT;
  RETURN removed;
END
$$;
