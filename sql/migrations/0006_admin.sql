-- What the operator's commands may call (role journal_admin): the process that serves requests cannot.

-- The installation, once. Its first day is today.
CREATE FUNCTION journal.create_service(of_name text) RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  moment CONSTANT timestamptz := journal.now();
BEGIN
  INSERT INTO journal.service (name, created_at, first_day, closed_day)
  VALUES (of_name, moment, journal.day_of(moment), journal.day_of(moment) - 1);
END
$$;

-- Make the chains of one new tenant or category. Holding the service's row keeps two additions from missing each
-- other's chains.
CREATE FUNCTION journal.add_tenant(of_code text, of_name text, chain_category text[], chain_genesis bytea[]) RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM FROM journal.service FOR UPDATE;
  -- The reserved tenant records what concerns no tenant: the service's own category is all it has.
  IF EXISTS (SELECT FROM unnest(chain_category) AS g (code)
               FULL JOIN (SELECT c.code FROM journal.category AS c WHERE of_code <> '_service' OR c.code = 'journal') AS c
                 ON c.code = g.code
              WHERE g.code IS NULL OR c.code IS NULL) THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ008', MESSAGE = 'the categories have changed meanwhile: read them again';
  END IF;
  INSERT INTO journal.tenant (code, name, created_at) VALUES (of_code, of_name, journal.now());
  INSERT INTO journal.chain (tenant, category, genesis)
  SELECT of_code, g.category, g.genesis FROM unnest(chain_category, chain_genesis) AS g (category, genesis);
  INSERT INTO journal.head (tenant, category, size, chain_hash, kept_from)
  SELECT of_code, g.category, 0, g.genesis, 0 FROM unnest(chain_category, chain_genesis) AS g (category, genesis);
  UPDATE journal.service SET directory_version = directory_version + 1;
END
$$;

CREATE FUNCTION journal.add_category(
    of_code text, of_label text, of_regime text, of_retention_days smallint, of_needs_authorisation boolean,
    chain_tenant text[], chain_genesis bytea[]) RETURNS smallint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  moment CONSTANT timestamptz := journal.now();
  new_id smallint;
BEGIN
  PERFORM FROM journal.service FOR UPDATE;
  IF EXISTS (SELECT FROM unnest(chain_tenant) AS g (code)
               FULL JOIN (SELECT t.code FROM journal.tenant AS t
                           WHERE t.closed_at IS NULL AND (t.code <> '_service' OR of_code = 'journal')) AS t
                 ON t.code = g.code
              WHERE g.code IS NULL OR t.code IS NULL) THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ008', MESSAGE = 'the tenants have changed meanwhile: read them again';
  END IF;
  SELECT coalesce(max(c.id), 0) + 1 INTO new_id FROM journal.category AS c;
  INSERT INTO journal.category (code, id, label, regime, retention_days, needs_authorisation, created_at, first_day)
  VALUES (of_code, new_id, of_label, of_regime, of_retention_days, of_needs_authorisation, moment, journal.day_of(moment));
  INSERT INTO journal.chain (tenant, category, genesis)
  SELECT g.tenant, of_code, g.genesis FROM unnest(chain_tenant, chain_genesis) AS g (tenant, genesis);
  INSERT INTO journal.head (tenant, category, size, chain_hash, kept_from)
  SELECT g.tenant, of_code, 0, g.genesis, 0 FROM unnest(chain_tenant, chain_genesis) AS g (tenant, genesis);
  EXECUTE format('CREATE TABLE journal.%I (LIKE journal.entry INCLUDING CONSTRAINTS INCLUDING STORAGE) PARTITION BY RANGE (day)',
                 'entry_' || new_id);
  EXECUTE format('ALTER TABLE journal.entry ATTACH PARTITION journal.%I FOR VALUES IN (%L)', 'entry_' || new_id, of_code);
  EXECUTE format('CREATE TRIGGER entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journal.%I '
                 'FOR EACH STATEMENT EXECUTE FUNCTION journal.refuse_change()', 'entry_' || new_id);
  UPDATE journal.service SET directory_version = directory_version + 1;
  RETURN new_id;
END
$$;

CREATE FUNCTION journal.close_tenant(of_code text) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- Waits for the appends under way; later ones find it closed.
  PERFORM pg_advisory_xact_lock(7304680770881318763);
  UPDATE journal.tenant AS t SET closed_at = journal.now() WHERE t.code = of_code AND t.closed_at IS NULL;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  UPDATE journal.service SET directory_version = directory_version + 1;
  RETURN true;
END
$$;

CREATE FUNCTION journal.add_credential(
    of_id text, of_secret_hash bytea, of_role text, of_tenant text, of_categories text[], of_source_prefix text,
    of_label text, of_expires_at timestamptz) RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF EXISTS (SELECT FROM unnest(of_categories) AS g (code) WHERE NOT EXISTS (SELECT FROM journal.category AS c WHERE c.code = g.code)) THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ004', MESSAGE = 'there is no such category';
  END IF;
  INSERT INTO journal.credential (id, secret_hash, role, tenant, categories, source_prefix, label, created_at, expires_at)
  VALUES (of_id, of_secret_hash, of_role, of_tenant, of_categories, of_source_prefix, of_label, journal.now(), of_expires_at);
  UPDATE journal.service SET directory_version = directory_version + 1;
END
$$;

-- False if there is none of that name, or it is already revoked.
CREATE FUNCTION journal.revoke_credential(of_id text) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  UPDATE journal.credential AS c SET revoked_at = journal.now() WHERE c.id = of_id AND c.revoked_at IS NULL;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  UPDATE journal.service SET directory_version = directory_version + 1;
  RETURN true;
END
$$;
