-- A category's rule can be changed. The seals must never state a rule that what is kept, or gone, contradicts.
--
-- Shorter: the new rule is pending. The purge and reads obey it at once; seals state the old one until every day that
-- is past the new limit is destroyed, and then, in one transaction, the new rule and where the chains now begin.
-- Longer: nothing comes back. The rule that seals state grows by a day a day from where the chains begin to the new
-- one: on day T, with days up to X destroyed, it is T − X + 1 at most. Whoever sees but a few of the seals, one of them
-- today's, can then tell that what is gone could go; had today's stated the new rule at once, it would look like an
-- early deletion.

ALTER TABLE journal.category
  ADD COLUMN next_retention_days smallint CHECK (next_retention_days BETWEEN 2 AND 60), -- null: nothing is pending
  ADD COLUMN next_since date, -- the day it was asked for
  ADD CHECK ((next_retention_days IS NULL) = (next_since IS NULL));

-- What was changed of a category, until it is recorded as `setting` entries. Null: left as it was.
CREATE TABLE journal.category_change (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  changed_at timestamptz NOT NULL,
  retention_days smallint,
  retention_days_before smallint,
  needs_authorisation boolean,
  category text NOT NULL REFERENCES journal.category,
  label text
);

-- The rule that a seal made on `today` states.
CREATE FUNCTION journal.stated_days(days smallint, next_days smallint, fence date, today date) RETURNS smallint
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
  RETURN (CASE WHEN next_days > days THEN greatest(days, least(next_days, coalesce(today - fence + 1, next_days)))
               ELSE days END)::smallint;

-- `retention_days` is what the purge and reads obey; `stated_days` what seals state: more while a shorter rule is pending.
DROP FUNCTION journal.read_categories();
CREATE FUNCTION journal.read_categories()
  RETURNS TABLE (code text, id smallint, label text, regime text, retention_days smallint, stated_days smallint,
                 next_retention_days smallint, next_since date, needs_authorisation boolean, first_day date, fence date)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.code, c.id, c.label, c.regime, least(s.days, c.next_retention_days), s.days, c.next_retention_days, c.next_since,
         c.needs_authorisation, c.first_day, c.fence
    FROM journal.category AS c
   CROSS JOIN LATERAL (SELECT journal.stated_days(c.retention_days, c.next_retention_days, c.fence,
                                                  journal.day_of(journal.now())) AS days) AS s
   ORDER BY c.id
$$;

CREATE OR REPLACE FUNCTION journal.read_heads(tenants text[], categories text[])
  RETURNS TABLE (tenant text, category text, size bigint, chain_hash bytea, recorded_at timestamptz,
                 kept_from bigint, retention_days smallint)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT h.tenant, h.category, h.size, h.chain_hash, h.recorded_at, h.kept_from,
         journal.stated_days(c.retention_days, c.next_retention_days, c.fence, journal.day_of(journal.now()))
    FROM unnest(tenants, categories) WITH ORDINALITY AS asked (tenant, category, place)
    JOIN journal.head AS h ON h.tenant = asked.tenant AND h.category = asked.category
    JOIN journal.category AS c ON c.code = h.category
   ORDER BY asked.place
$$;

CREATE OR REPLACE FUNCTION journal.live_heads()
  RETURNS TABLE (tenant text, category text, size bigint, chain_hash bytea, recorded_at timestamptz,
                 kept_from bigint, retention_days smallint)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT h.tenant, h.category, h.size, h.chain_hash, h.recorded_at, h.kept_from, c.days
    FROM journal.head AS h
    JOIN (SELECT k.code, journal.stated_days(k.retention_days, k.next_retention_days, k.fence,
                                             journal.day_of(journal.now())) AS days
            FROM journal.category AS k) AS c ON c.code = h.category
   ORDER BY h.tenant, h.category
$$;

-- As before, but for the rule stated.
CREATE OR REPLACE FUNCTION journal.closed_heads(of_day date)
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
  FOR kind IN
    SELECT c.id, c.code, c.first_day, c.fence,
           journal.stated_days(c.retention_days, c.next_retention_days, c.fence, journal.day_of(journal.now())) AS retention_days
      FROM journal.category AS c ORDER BY c.id
  LOOP
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

-- A page of a chain's day, straight in its partition, in the order of indexes. Not one of a day past its limit, whatever
-- clock the reader goes by: until it is purged it is there, and nobody's any more.
CREATE OR REPLACE FUNCTION journal.read_entries(of_tenant text, of_category text, of_day date, first_index bigint, page_size integer)
  RETURNS TABLE (index bigint, event_key bytea, leaf_hash bytea, chain_hash bytea, sealed bytea)
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
AS $$
DECLARE
  today CONSTANT date := journal.day_of(journal.now());
  kept record;
  leaf text;
BEGIN
  SELECT c.id, c.first_day, c.fence, journal.stated_days(c.retention_days, c.next_retention_days, c.fence, today) AS days
    INTO kept FROM journal.category AS c WHERE c.code = of_category;
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
  IF of_day <= today - kept.days THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ005', MESSAGE = format('the day %s is past its limit of %s days', of_day, kept.days);
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

-- Change a category; null leaves a value as it is. A rule asked for is pending until it is settled. False, and nothing
-- done, if all is so already.
CREATE FUNCTION journal.set_category(of_code text, of_label text, of_retention_days smallint, of_needs_authorisation boolean)
  RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  today CONSTANT date := journal.day_of(journal.now());
  kind record;
  stated smallint;
  asked smallint; -- the rule asked for last
  said record;
BEGIN
  SELECT c.label, c.retention_days, c.next_retention_days, c.needs_authorisation, c.fence, c.purged_day INTO kind
    FROM journal.category AS c WHERE c.code = of_code FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ004', MESSAGE = 'there is no such category';
  END IF;
  stated := journal.stated_days(kind.retention_days, kind.next_retention_days, kind.fence, today);
  asked := coalesce(kind.next_retention_days, kind.retention_days);
  -- What is destroyed already under a shorter rule is lawful under that one alone: it must have been stated.
  IF of_retention_days > asked AND asked < stated AND kind.fence > coalesce(kind.purged_day, kind.fence - 1) THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ007',
      MESSAGE = format('%s of %s is destroyed already under the rule of %s days asked for before: run openepm-journal purge, '
                       'then set the longer rule', kind.fence, of_code, asked);
  END IF;
  SELECT nullif(of_label, kind.label) AS label, nullif(of_retention_days, asked) AS retention_days,
         nullif(of_needs_authorisation, kind.needs_authorisation) AS needs_authorisation
    INTO said;
  IF said.label IS NULL AND said.retention_days IS NULL AND said.needs_authorisation IS NULL THEN
    RETURN false;
  END IF;
  IF said.retention_days IS NOT NULL THEN
    UPDATE journal.category AS c
       SET retention_days = stated, next_retention_days = nullif(said.retention_days, stated),
           next_since = CASE WHEN said.retention_days <> stated THEN today END
     WHERE c.code = of_code;
  END IF;
  UPDATE journal.category AS c
     SET label = coalesce(said.label, c.label), needs_authorisation = coalesce(said.needs_authorisation, c.needs_authorisation)
   WHERE c.code = of_code;
  INSERT INTO journal.category_change (changed_at, category, retention_days, retention_days_before, needs_authorisation, label)
  VALUES (journal.now(), of_code, said.retention_days, CASE WHEN said.retention_days IS NOT NULL THEN asked END,
          said.needs_authorisation, said.label);
  UPDATE journal.service SET directory_version = directory_version + 1;
  RETURN true;
END
$$;

CREATE FUNCTION journal.read_category_changes()
  RETURNS TABLE (number bigint, changed_at timestamptz, category text, retention_days smallint, retention_days_before smallint,
                 needs_authorisation boolean, label text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT g.number, g.changed_at, g.category, g.retention_days, g.retention_days_before, g.needs_authorisation, g.label
    FROM journal.category_change AS g ORDER BY g.number
$$;

-- Its entries are written.
CREATE FUNCTION journal.forget_category_change(of_number bigint) RETURNS void
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  DELETE FROM journal.category_change AS g WHERE g.number = of_number
$$;

-- Say in every head of a category that what came up to this day is gone, under which rule; returns how many moved.
-- Refused while a row of those days exists: the seals would attest what is not so.
CREATE FUNCTION journal.advance_kept_from(of_category text, of_day date, rule_days smallint) RETURNS bigint
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
  UPDATE journal.category AS c SET purged_day = greatest(c.purged_day, of_day) WHERE c.code = of_category;
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

-- The same under the rule that seals state. A day that only a pending shorter rule lets go is left to `settle_rule`,
-- which states both at once: 0, and nothing done.
CREATE OR REPLACE FUNCTION journal.move_kept_from(of_category text, of_day date) RETURNS bigint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  today CONSTANT date := journal.day_of(journal.now());
  kind record;
BEGIN
  SELECT c.retention_days, c.next_retention_days, c.fence INTO kind
    FROM journal.category AS c WHERE c.code = of_category FOR UPDATE;
  IF kind.next_retention_days < kind.retention_days AND of_day > today - (kind.retention_days - 1) THEN
    RETURN 0;
  END IF;
  RETURN journal.advance_kept_from(of_category, of_day,
    journal.stated_days(kind.retention_days, kind.next_retention_days, kind.fence, today));
END
$$;

-- Let seals state the rule that is pending, as far as they may by now; true once nothing is pending any more.
CREATE FUNCTION journal.settle_rule(of_category text) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  today CONSTANT date := journal.day_of(journal.now());
  kind record;
  stated smallint;
  last_day date;
BEGIN
  SELECT c.retention_days, c.next_retention_days, c.first_day, c.fence, c.purged_day INTO kind
    FROM journal.category AS c WHERE c.code = of_category FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ004', MESSAGE = 'there is no such category';
  END IF;
  IF kind.next_retention_days IS NULL THEN
    RETURN true;
  END IF;
  stated := journal.stated_days(kind.retention_days, kind.next_retention_days, kind.fence, today);
  IF kind.next_retention_days < kind.retention_days THEN
    -- A day past the new limit is still there, or one that is fenced.
    IF EXISTS (SELECT FROM journal.partitions() AS p
                WHERE p.category = of_category AND p.day <= greatest(today - kind.next_retention_days, kind.fence)) THEN
      RETURN false;
    END IF;
    IF kind.fence IS DISTINCT FROM kind.purged_day THEN
      IF kind.fence > today - (kind.next_retention_days - 1) THEN
        RAISE EXCEPTION USING ERRCODE = 'OJ007',
          MESSAGE = format('%s of %s is destroyed, and under %s days could not be: was the clock set back?',
                           kind.fence, of_category, kind.next_retention_days);
      END IF;
      -- A day at a time: purge entries say of each what went with it.
      FOR last_day IN
        SELECT d.day::date FROM generate_series(greatest(kind.purged_day + 1, kind.first_day)::timestamp,
                                                kind.fence::timestamp, interval '1 day') AS d (day)
      LOOP
        PERFORM journal.advance_kept_from(of_category, last_day, kind.next_retention_days);
      END LOOP;
    END IF;
    stated := kind.next_retention_days;
  END IF;
  IF stated = kind.retention_days THEN
    RETURN false;
  END IF;
  UPDATE journal.category AS c
     SET retention_days = stated, next_retention_days = nullif(c.next_retention_days, stated),
         next_since = CASE WHEN c.next_retention_days <> stated THEN c.next_since END
   WHERE c.code = of_category;
  UPDATE journal.service SET directory_version = directory_version + 1;
  RETURN stated = kind.next_retention_days;
END
$$;

-- As before, but by the last day wholly purged: between a fence and the move of the chains' beginnings, the heads of the
-- days between are still needed.
CREATE OR REPLACE FUNCTION journal.prune_seal_heads() RETURNS bigint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  horizon bigint;
  removed bigint;
BEGIN
  PERFORM FROM journal.service FOR UPDATE;
  -- No row in category, or one that never purged: min over a null would skip it.
  IF EXISTS (SELECT FROM journal.category AS c WHERE c.purged_day IS NULL) THEN
    RETURN 0;
  END IF;
  SELECT max(s.number) INTO horizon
    FROM journal.seal AS s
   WHERE s.day <= (SELECT min(c.purged_day) FROM journal.category AS c);
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

REVOKE ALL ON TABLE journal.category_change FROM PUBLIC;
REVOKE ALL ON FUNCTION
  journal.stated_days(smallint, smallint, date, date),
  journal.read_categories(),
  journal.set_category(text, text, smallint, boolean),
  journal.read_category_changes(),
  journal.forget_category_change(bigint),
  journal.advance_kept_from(text, date, smallint),
  journal.settle_rule(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION journal.read_categories()
  TO journal_ingest, journal_read, journal_seal, journal_purge, journal_admin;
GRANT EXECUTE ON FUNCTION journal.set_category(text, text, smallint, boolean) TO journal_admin;
GRANT EXECUTE ON FUNCTION
  journal.read_category_changes(),
  journal.forget_category_change(bigint),
  journal.settle_rule(text)
TO journal_purge;
