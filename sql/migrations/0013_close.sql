-- The end of a contract: what a commune is given, then what is destroyed, and the one function that removes a
-- tenant's rows.
--
-- In this order, each step safe to repeat: `end_contract` (no append after it) → `note_export` or `waive_export` →
-- `begin_destruction`, from when on the triggers let its rows go → its key shredded, outside the database →
-- `remove_entries` until nothing is left, `remove_traces` → `empty_heads`, which the next seal shows →
-- `finish_destruction`. Heads, chains and seals stay for ever.

ALTER TABLE journal.tenant ADD COLUMN destroyed_at timestamptz,
  ADD CONSTRAINT tenant_destroyed_check CHECK (destroyed_at IS NULL OR closed_at IS NOT NULL);

-- How far the end of a tenant's contract has come.
CREATE TABLE journal.ending (
  request_index bigint CHECK (request_index >= 0), -- the entry of its `journal` that announced the export; null: none
  seal_before bigint, -- the last that states its entries as kept
  seal_after bigint, -- the first known to state that none is
  exported_at timestamptz,
  waived_at timestamptz, -- the commune wants no export, or no other
  finished_at timestamptz CHECK (finished_at IS NULL OR (seal_before IS NOT NULL AND seal_after IS NOT NULL)),
  tenant text PRIMARY KEY REFERENCES journal.tenant CHECK (tenant <> '_service'),
  request_leaf journal.hash,
  certificate bytea, -- DER: whom the export was announced to
  export_sha256 journal.hash, -- of its manifest
  seal_before_sha256 journal.hash, -- of their texts: open seals are thinned
  seal_after_sha256 journal.hash,
  CHECK ((request_index IS NULL) = (request_leaf IS NULL) AND (request_index IS NULL) = (certificate IS NULL))
);

-- What a destroyed tenant's chains were: the seals of that time forget it with their heads.
CREATE TABLE journal.ended_chain (
  kept_from bigint NOT NULL CHECK (kept_from BETWEEN 0 AND size),
  size bigint NOT NULL,
  tenant text NOT NULL,
  category text NOT NULL,
  chain_hash journal.hash NOT NULL,
  PRIMARY KEY (tenant, category),
  FOREIGN KEY (tenant, category) REFERENCES journal.chain
);

CREATE TRIGGER ending_kept BEFORE DELETE OR TRUNCATE ON journal.ending
  FOR EACH STATEMENT EXECUTE FUNCTION journal.refuse_change();
CREATE TRIGGER ended_chain_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journal.ended_chain
  FOR EACH STATEMENT EXECUTE FUNCTION journal.refuse_change();

-- Two triggers stand before an entry: this one lets no statement remove any, but for `remove_entries`; the next one
-- then looks at every row.
CREATE OR REPLACE FUNCTION journal.refuse_change() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF TG_OP = 'DELETE' AND TG_TABLE_NAME ~ '^entry_[0-9]+_[0-9]{8}$' AND current_setting('journal.removing', true) = 'on' THEN
    RETURN NULL;
  END IF;
  RAISE EXCEPTION USING ERRCODE = 'OJ001',
    MESSAGE = format('%s of journal.%s refused: it is append-only', TG_OP, TG_TABLE_NAME);
END
$$;

CREATE FUNCTION journal.refuse_entry_removal() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM journal.tenant AS t WHERE t.code = OLD.tenant AND t.destroyed_at IS NOT NULL) THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ001',
      MESSAGE = format('DELETE of an entry of %s refused: it is append-only', OLD.tenant);
  END IF;
  RETURN OLD;
END
$$;
-- On the parent: every partition has it, those that are attached later too.
CREATE TRIGGER entry_kept BEFORE DELETE ON journal.entry
  FOR EACH ROW EXECUTE FUNCTION journal.refuse_entry_removal();

-- Its rows differ from those of before: nobody reads a destroyed tenant's key.
DROP FUNCTION journal.read_tenants();
CREATE FUNCTION journal.read_tenants() RETURNS TABLE (code text, name text, closed boolean, destroyed boolean)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT t.code, t.name, t.closed_at IS NOT NULL, t.destroyed_at IS NOT NULL FROM journal.tenant AS t ORDER BY t.code
$$;

-- Close a tenant whose export was announced by an entry of its `journal` category, or, with nulls, that wants none.
-- False if there is none of that code or it is closed.
CREATE FUNCTION journal.end_contract(
    of_tenant text, of_certificate bytea, of_request_index bigint, of_request_leaf bytea) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT journal.close_tenant(of_tenant) THEN
    RETURN false;
  END IF;
  INSERT INTO journal.ending (tenant, certificate, request_index, request_leaf, waived_at)
  VALUES (of_tenant, of_certificate, of_request_index, of_request_leaf,
          CASE WHEN of_certificate IS NULL THEN journal.now() END);
  -- Nothing is handed over any more: nobody waits for it, and nothing is wrong with it.
  DELETE FROM journal.recipient AS r WHERE r.tenant = of_tenant;
  DELETE FROM journal.handover_fault AS f WHERE f.tenant = of_tenant;
  RETURN true;
END
$$;

-- Of open tenants alone: a run of the hand-over that a close overtook may still note that it failed, and nobody would
-- ever clear that.
CREATE OR REPLACE FUNCTION journal.read_handover_faults()
  RETURNS TABLE (tenant text, since timestamptz, reason text, detail text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT f.tenant, f.since, f.reason, f.detail
    FROM journal.handover_fault AS f
    JOIN journal.tenant AS t ON t.code = f.tenant AND t.closed_at IS NULL
   ORDER BY f.since, f.tenant
$$;

-- The export is whole where the commune fetches it; false if none was announced, or the tenant is destroyed.
CREATE FUNCTION journal.note_export(of_tenant text, of_sha256 bytea) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  UPDATE journal.ending AS e SET exported_at = journal.now(), export_sha256 = of_sha256
   WHERE e.tenant = of_tenant AND e.request_index IS NOT NULL
     AND EXISTS (SELECT FROM journal.tenant AS t WHERE t.code = of_tenant AND t.destroyed_at IS NULL);
  RETURN FOUND;
END
$$;

-- The commune wants no export of a closed tenant; false if it has one, or said so before.
CREATE FUNCTION journal.waive_export(of_tenant text) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  INSERT INTO journal.ending AS e (tenant, waived_at)
  SELECT t.code, journal.now() FROM journal.tenant AS t
   WHERE t.code = of_tenant AND t.closed_at IS NOT NULL AND t.destroyed_at IS NULL
  ON CONFLICT (tenant) DO UPDATE SET waived_at = excluded.waived_at
   WHERE e.exported_at IS NULL AND e.waived_at IS NULL;
  RETURN FOUND;
END
$$;

-- From now on its rows may go, for ever: the tenant is closed, its export made or not wanted, its last entry sealed.
-- False if that was said before.
CREATE FUNCTION journal.begin_destruction(of_tenant text, of_seal_number bigint, of_seal_sha256 bytea) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF EXISTS (SELECT FROM journal.tenant AS t WHERE t.code = of_tenant AND t.destroyed_at IS NOT NULL) THEN
    RETURN false;
  END IF;
  UPDATE journal.tenant AS t SET destroyed_at = journal.now()
    FROM journal.ending AS e
   WHERE t.code = of_tenant AND t.closed_at IS NOT NULL AND e.tenant = t.code
     AND (e.exported_at IS NOT NULL OR e.waived_at IS NOT NULL);
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ009',
      MESSAGE = format('%s is not closed, or its export is neither made nor waived', of_tenant);
  END IF;
  IF NOT EXISTS (SELECT FROM journal.seal AS s WHERE s.number = of_seal_number) THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ009', MESSAGE = format('there is no seal %s', of_seal_number);
  END IF;
  UPDATE journal.ending AS e SET seal_before = of_seal_number, seal_before_sha256 = of_seal_sha256 WHERE e.tenant = of_tenant;
  INSERT INTO journal.ended_chain (tenant, category, kept_from, size, chain_hash)
  SELECT h.tenant, h.category, h.kept_from, h.size, h.chain_hash FROM journal.head AS h WHERE h.tenant = of_tenant;
  UPDATE journal.service SET directory_version = directory_version + 1;
  RETURN true;
END
$$;

-- Raises unless the tenant's destruction was begun: what every function that removes something of it asks first.
CREATE FUNCTION journal.check_destroyed(of_tenant text) RETURNS void
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM journal.tenant AS t WHERE t.code = of_tenant AND t.destroyed_at IS NOT NULL) THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ009', MESSAGE = format('%s is not destroyed: nothing of it is removed', of_tenant);
  END IF;
END
$$;

-- Remove some entries of a destroyed tenant from one leaf; return how many, 0 once none is left. Few at a time: each
-- is its own short transaction, and appends of others go on meanwhile.
CREATE FUNCTION journal.remove_entries(of_tenant text, of_category text, of_day date, max_rows integer) RETURNS bigint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
AS $$
DECLARE
  leaf text;
  removed bigint;
BEGIN
  PERFORM journal.check_destroyed(of_tenant);
  SELECT journal.leaf_name(c.id, of_day) INTO leaf FROM journal.category AS c WHERE c.code = of_category;
  IF leaf IS NULL OR to_regclass('journal.' || leaf) IS NULL THEN
    RETURN 0;
  END IF;
  PERFORM set_config('journal.removing', 'on', true);
  EXECUTE format($dynamic$
    DELETE FROM journal.%I AS e
     WHERE e.tenant = $1
       AND e.index = ANY (ARRAY(SELECT k.index FROM journal.%I AS k WHERE k.tenant = $1 ORDER BY k.index LIMIT $2))
    $dynamic$, leaf, leaf)
    USING of_tenant, max_rows;
  GET DIAGNOSTICS removed = ROW_COUNT;
  PERFORM set_config('journal.removing', 'off', true);
  RETURN removed;
END
$$;

-- Remove what else there is of a destroyed tenant: counters, what was noted of its hand-overs, and all of its
-- credentials but their ids, which no other will have. What the journal of the service is still to say of it stays
-- until it is said.
CREATE FUNCTION journal.remove_traces(of_tenant text) RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM journal.check_destroyed(of_tenant);
  DELETE FROM journal.activity AS a WHERE a.tenant = of_tenant;
  DELETE FROM journal.source_span AS s WHERE s.tenant = of_tenant;
  DELETE FROM journal.recipient AS r WHERE r.tenant = of_tenant;
  DELETE FROM journal.handover AS o WHERE o.tenant = of_tenant;
  DELETE FROM journal.handover_lapse AS p WHERE p.tenant = of_tenant;
  DELETE FROM journal.handover_fault AS f WHERE f.tenant = of_tenant;
  UPDATE journal.credential AS c
     SET secret_hash = decode(repeat('00', 32), 'hex'), categories = '{}', source_prefix = NULL, label = '',
         revoked_at = coalesce(c.revoked_at, journal.now())
   WHERE c.tenant = of_tenant AND c.secret_hash <> decode(repeat('00', 32), 'hex');
END
$$;

-- Say in every head of a destroyed tenant that nothing is kept; returns how many moved. Refused while a row is there:
-- the seals would attest what is not so.
CREATE FUNCTION journal.empty_heads(of_tenant text) RETURNS bigint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
AS $$
DECLARE
  leaf record;
  found_row boolean;
  moved bigint;
BEGIN
  PERFORM journal.check_destroyed(of_tenant);
  FOR leaf IN
    SELECT p.category, p.day, journal.leaf_name(c.id, p.day) AS name
      FROM journal.partitions() AS p JOIN journal.category AS c ON c.code = p.category
  LOOP
    EXECUTE format('SELECT EXISTS (SELECT FROM journal.%I AS e WHERE e.tenant = $1)', leaf.name)
      INTO found_row USING of_tenant;
    IF found_row THEN
      RAISE EXCEPTION USING ERRCODE = 'OJ009',
        MESSAGE = format('entries of %s are still kept: %s %s', of_tenant, leaf.category, leaf.day);
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

-- A seal states that nothing is kept: the destruction is done. False if that was said before.
CREATE FUNCTION journal.finish_destruction(of_tenant text, of_seal_number bigint, of_seal_sha256 bytea) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM journal.check_destroyed(of_tenant);
  IF EXISTS (SELECT FROM journal.read_seal_heads(of_seal_number) AS s WHERE s.tenant = of_tenant AND s.kept_from < s.size) THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ009', MESSAGE = format('seal %s does not say that nothing of %s is kept', of_seal_number, of_tenant);
  END IF;
  UPDATE journal.ending AS e
     SET seal_after = of_seal_number, seal_after_sha256 = of_seal_sha256, finished_at = journal.now()
   WHERE e.tenant = of_tenant AND e.finished_at IS NULL;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  -- Every process forgets whatever it read meanwhile.
  UPDATE journal.service SET directory_version = directory_version + 1;
  RETURN true;
END
$$;

-- How far the end of a tenant's contract has come; no row where it was closed by an earlier version.
CREATE FUNCTION journal.read_ending(of_tenant text)
  RETURNS TABLE (tenant text, closed_at timestamptz, certificate bytea, request_index bigint, request_leaf bytea,
                 exported_at timestamptz, export_sha256 bytea, waived_at timestamptz, destroyed_at timestamptz,
                 seal_before bigint, seal_before_sha256 bytea, seal_after bigint, seal_after_sha256 bytea,
                 finished_at timestamptz)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT e.tenant, t.closed_at, e.certificate, e.request_index, e.request_leaf, e.exported_at, e.export_sha256,
         e.waived_at, t.destroyed_at, e.seal_before, e.seal_before_sha256, e.seal_after, e.seal_after_sha256,
         e.finished_at
    FROM journal.ending AS e JOIN journal.tenant AS t ON t.code = e.tenant
   WHERE e.tenant = of_tenant
$$;

-- What a destroyed tenant's chains were when that began, by category.
CREATE FUNCTION journal.read_ended_chains(of_tenant text)
  RETURNS TABLE (category text, kept_from bigint, size bigint, chain_hash bytea)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.category, c.kept_from, c.size, c.chain_hash FROM journal.ended_chain AS c WHERE c.tenant = of_tenant ORDER BY c.category
$$;

-- `end_contract` alone closes.
REVOKE ALL ON FUNCTION journal.close_tenant(text) FROM journal_admin;
REVOKE ALL ON TABLE journal.ending, journal.ended_chain FROM PUBLIC;
REVOKE ALL ON FUNCTION
  journal.refuse_entry_removal(),
  journal.read_tenants(),
  journal.end_contract(text, bytea, bigint, bytea),
  journal.note_export(text, bytea),
  journal.waive_export(text),
  journal.begin_destruction(text, bigint, bytea),
  journal.check_destroyed(text),
  journal.remove_entries(text, text, date, integer),
  journal.remove_traces(text),
  journal.empty_heads(text),
  journal.finish_destruction(text, bigint, bytea),
  journal.read_ending(text),
  journal.read_ended_chains(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION journal.read_tenants() TO journal_ingest, journal_read, journal_admin;
-- To say that a contract has ended is the operator's: the process that serves requests removes nothing by itself.
GRANT EXECUTE ON FUNCTION
  journal.end_contract(text, bytea, bigint, bytea),
  journal.note_export(text, bytea),
  journal.waive_export(text),
  journal.begin_destruction(text, bigint, bytea),
  journal.finish_destruction(text, bigint, bytea),
  journal.read_ending(text),
  journal.read_ended_chains(text)
TO journal_admin;
GRANT EXECUTE ON FUNCTION
  journal.remove_entries(text, text, date, integer),
  journal.remove_traces(text),
  journal.empty_heads(text)
TO journal_purge;
