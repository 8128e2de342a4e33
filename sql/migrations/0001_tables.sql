-- Tables, and the triggers that keep them append-only.
--
-- The owner and a superuser can disable a trigger or drop a table: against them stand the chains, the seals and
-- their copies elsewhere, not the database. The triggers stop mistakes, and whatever a definer function might be
-- made to do.
--
-- Nothing here is personal in clear: `sealed` is ciphertext, keys of events and sources are keyed hashes.

REVOKE ALL ON SCHEMA journal FROM PUBLIC;
REVOKE ALL ON TABLE journal.migration FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON TYPES FROM PUBLIC;
GRANT USAGE ON SCHEMA journal TO journal_ingest, journal_read, journal_seal, journal_purge, journal_admin;

CREATE DOMAIN journal.slug AS text CHECK (VALUE ~ '^[a-z0-9][a-z0-9-]{0,62}$');
CREATE DOMAIN journal.hash AS bytea CHECK (octet_length(VALUE) = 32);

-- The database's clock, everywhere. Tests and the demonstration replace it (simulated_clock.sql).
CREATE FUNCTION journal.now() RETURNS timestamptz
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  RETURN clock_timestamp();

-- True where simulated_clock.sql replaced the clock: never on a service that counts.
CREATE FUNCTION journal.clock_is_simulated() RETURNS boolean
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  RETURN to_regclass('journal.simulated_clock') IS NOT NULL;

-- No SET here: it would keep the planner from inlining it, and this body's names are bound when it is made.
CREATE FUNCTION journal.day_of(moment timestamptz) RETURNS date
  LANGUAGE sql IMMUTABLE
  RETURN (moment AT TIME ZONE 'UTC')::date;

CREATE FUNCTION journal.refuse_change() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RAISE EXCEPTION USING ERRCODE = 'OJ001',
    MESSAGE = format('%s of journal.%s refused: it is append-only', TG_OP, TG_TABLE_NAME);
END
$$;

CREATE TABLE journal.service (
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  name text NOT NULL CHECK (name ~ '^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$'),
  created_at timestamptz NOT NULL,
  first_day date NOT NULL, -- the first that is ever closed
  closed_day date NOT NULL, -- the last that can receive nothing more; its close seal may still be missing
  directory_version bigint NOT NULL DEFAULT 0, -- moves with tenants, categories, fences and credentials
  pruned_before bigint NOT NULL DEFAULT 0 -- heads of seals below this number are no longer kept
);

CREATE TABLE journal.tenant (
  code text PRIMARY KEY CHECK (code = '_service' OR code ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  name text NOT NULL,
  created_at timestamptz NOT NULL,
  closed_at timestamptz
);
-- The append asks on every batch whether a tenant is closed: this index is nearly empty.
CREATE INDEX tenant_closed ON journal.tenant (code) WHERE closed_at IS NOT NULL;

CREATE TABLE journal.category (
  code journal.slug PRIMARY KEY,
  id smallint NOT NULL UNIQUE CHECK (id > 0), -- names the partitions
  label text NOT NULL,
  regime text NOT NULL CHECK (regime IN ('LED', 'GDPR')),
  retention_days smallint NOT NULL CHECK (retention_days BETWEEN 2 AND 60),
  needs_authorisation boolean NOT NULL,
  created_at timestamptz NOT NULL,
  first_day date NOT NULL, -- has partitions from here on
  fence date -- the last destroyed day
);

-- What never changes of a chain.
CREATE TABLE journal.chain (
  tenant text NOT NULL REFERENCES journal.tenant,
  category text NOT NULL REFERENCES journal.category,
  genesis journal.hash NOT NULL, -- the chain hash of the empty chain
  PRIMARY KEY (tenant, category)
);

-- What moves with every append. Half-empty pages and no other index: every update is heap-only.
CREATE TABLE journal.head (
  size bigint NOT NULL CHECK (size >= 0),
  kept_from bigint NOT NULL CHECK (kept_from BETWEEN 0 AND size),
  recorded_at timestamptz,
  tenant text NOT NULL,
  category text NOT NULL,
  chain_hash bytea NOT NULL CHECK (octet_length(chain_hash) = 32),
  PRIMARY KEY (tenant, category),
  FOREIGN KEY (tenant, category) REFERENCES journal.chain,
  CHECK ((size = 0) = (recorded_at IS NULL))
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);

-- One leaf per category and day, made in `ensure_partitions`. There is no default partition: a missing leaf is an
-- error, not a place where entries hide from the purge.
CREATE TABLE journal.entry (
  index bigint NOT NULL CHECK (index >= 0),
  day date NOT NULL,
  tenant text NOT NULL,
  category text NOT NULL,
  event_key bytea NOT NULL CHECK (octet_length(event_key) = 16),
  leaf_hash bytea NOT NULL CHECK (octet_length(leaf_hash) = 32),
  chain_hash bytea NOT NULL CHECK (octet_length(chain_hash) = 32), -- at size index + 1
  sealed bytea NOT NULL
) PARTITION BY LIST (category);
-- Ciphertext does not compress: do not try.
ALTER TABLE journal.entry ALTER COLUMN sealed SET STORAGE EXTERNAL;

-- Plain counters for the status page; never per agent. They go with their day.
CREATE TABLE journal.activity (
  count bigint NOT NULL CHECK (count > 0),
  day date NOT NULL,
  tenant text NOT NULL,
  category text NOT NULL,
  action text NOT NULL,
  PRIMARY KEY (tenant, category, day, action)
) WITH (fillfactor = 50);

-- Which sequence numbers a source used on a day: what it numbered and did not send shows as a gap.
CREATE TABLE journal.source_span (
  low bigint NOT NULL,
  high bigint NOT NULL CHECK (high >= low),
  count bigint NOT NULL CHECK (count > 0),
  day date NOT NULL,
  tenant text NOT NULL,
  category text NOT NULL,
  source_key bytea NOT NULL,
  PRIMARY KEY (tenant, category, day, source_key)
) WITH (fillfactor = 50);

CREATE TABLE journal.seal (
  number bigint PRIMARY KEY CHECK (number > 0),
  day date UNIQUE, -- null: an open seal
  sealed_at timestamptz NOT NULL,
  text bytea NOT NULL,
  signature bytea NOT NULL
);

-- The heads that moved in a seal; a chain's head at seal n is its latest row at or before n.
CREATE TABLE journal.seal_head (
  -- No foreign key: its check would read this whole table for every seal that is thinned. Only functions write here.
  number bigint NOT NULL,
  size bigint NOT NULL CHECK (size >= 0),
  kept_from bigint NOT NULL CHECK (kept_from BETWEEN 0 AND size),
  retention_days smallint NOT NULL,
  tenant text NOT NULL,
  category text NOT NULL,
  chain_hash bytea NOT NULL CHECK (octet_length(chain_hash) = 32),
  PRIMARY KEY (tenant, category, number),
  FOREIGN KEY (tenant, category) REFERENCES journal.chain
);
-- Thinning looks for the rows of a range of seals. Numbers arrive in order, so a block range index costs nothing.
CREATE INDEX seal_head_number ON journal.seal_head USING brin (number) WITH (pages_per_range = 16, autosummarize = on);

CREATE TABLE journal.credential (
  id text PRIMARY KEY,
  secret_hash bytea NOT NULL CHECK (octet_length(secret_hash) = 32),
  role text NOT NULL CHECK (role IN ('module', 'client', 'auditor', 'operator')),
  tenant text NOT NULL REFERENCES journal.tenant,
  categories text[] NOT NULL,
  source_prefix text,
  label text NOT NULL,
  created_at timestamptz NOT NULL,
  expires_at timestamptz,
  revoked_at timestamptz
);

CREATE TRIGGER entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journal.entry
  FOR EACH STATEMENT EXECUTE FUNCTION journal.refuse_change();
CREATE TRIGGER migration_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journal.migration
  FOR EACH STATEMENT EXECUTE FUNCTION journal.refuse_change();
CREATE TRIGGER chain_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journal.chain
  FOR EACH STATEMENT EXECUTE FUNCTION journal.refuse_change();
CREATE TRIGGER seal_append_only BEFORE UPDATE OR TRUNCATE ON journal.seal
  FOR EACH STATEMENT EXECUTE FUNCTION journal.refuse_change();
CREATE TRIGGER seal_head_kept BEFORE TRUNCATE ON journal.seal_head
  FOR EACH STATEMENT EXECUTE FUNCTION journal.refuse_change();
CREATE TRIGGER head_kept BEFORE DELETE OR TRUNCATE ON journal.head
  FOR EACH STATEMENT EXECUTE FUNCTION journal.refuse_change();
CREATE TRIGGER tenant_kept BEFORE DELETE OR TRUNCATE ON journal.tenant
  FOR EACH STATEMENT EXECUTE FUNCTION journal.refuse_change();
CREATE TRIGGER category_kept BEFORE DELETE OR TRUNCATE ON journal.category
  FOR EACH STATEMENT EXECUTE FUNCTION journal.refuse_change();
CREATE TRIGGER service_kept BEFORE DELETE OR TRUNCATE ON journal.service
  FOR EACH STATEMENT EXECUTE FUNCTION journal.refuse_change();
CREATE TRIGGER credential_kept BEFORE DELETE OR TRUNCATE ON journal.credential
  FOR EACH STATEMENT EXECUTE FUNCTION journal.refuse_change();

-- Only open seals more than a week old are ever thinned, whoever asks.
CREATE FUNCTION journal.refuse_seal_removal() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF OLD.day IS NOT NULL OR OLD.sealed_at > journal.now() - interval '7 days' THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ001',
      MESSAGE = format('DELETE of seal %s refused: only open seals older than a week are thinned', OLD.number);
  END IF;
  RETURN OLD;
END
$$;
CREATE TRIGGER seal_kept BEFORE DELETE ON journal.seal
  FOR EACH ROW EXECUTE FUNCTION journal.refuse_seal_removal();
