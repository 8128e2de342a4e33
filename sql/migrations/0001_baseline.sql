-- The database as it is: its tables, then its functions, each written once.
--
-- Every process connects as one of five roles, which own nothing and have no privilege on any table: they may
-- call functions, and each role's section ends with the exact list of those. The functions run as the
-- database's owner. The schema itself and the table `journal.migration` are there before this file:
-- migrate.sql makes them.
--
-- Nothing here is personal in clear: `ciphertext` is encrypted, keys of events and sources are keyed hashes.
--
-- Three advisory locks (migrate.sql has a fourth), written as constants, because a constant costs less than a call:
--   7304680770881318763  orders appends against what ends a day (its close, its fence) or a tenant. Appends
--                        hold it shared for their transaction, the others take it exclusively: once they
--                        return, no append into the day is under way, and every later one sees the new limit.
--                        Locks are always taken in the order: this one, then heads by (tenant, category).
--   7304680770881318764  one process at a time makes or drops partitions.
--   7304680770881318765  one process at a time changes what commands: tenants, categories, credentials,
--                        recipients, endings. Taken before any other.
--
-- Errors of our own, which journal/database/pools.py translates:
--   OJ001  append-only              OJ004  no such category, or no partition    OJ007  too early in a purge
--   OJ002  unsafe setting           OJ005  no longer kept                       OJ008  read again, then retry
--   OJ003  malformed batch          OJ006  out of the order of seals            OJ009  too early in an ending

REVOKE ALL ON SCHEMA journal FROM PUBLIC;
GRANT USAGE ON SCHEMA journal TO journal_ingest, journal_read, journal_seal, journal_purge, journal_admin;
-- What is made later is nobody's until it says so.
ALTER DEFAULT PRIVILEGES REVOKE ALL ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES REVOKE ALL ON TYPES FROM PUBLIC;

CREATE DOMAIN journal.slug AS text CHECK (VALUE ~ '^[a-z0-9][a-z0-9-]{0,62}$');
CREATE DOMAIN journal.hash AS bytea CHECK (octet_length(VALUE) = 32);

-- -----------------------------------------------------------------------------------------------------------
-- What triggers call
--
-- The owner and a superuser can disable a trigger or drop a table: against them stand the chains, the seals
-- and their copies elsewhere, not the database. The triggers stop mistakes, and whatever a definer function
-- might be made to do.
-- -----------------------------------------------------------------------------------------------------------

-- Nothing changes what is append-only. Two triggers stand before an entry: this one lets no statement remove
-- any, but for `remove_entries`; `refuse_entry_removal` then looks at every row.
CREATE FUNCTION journal.refuse_change() RETURNS trigger
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

-- Only a destroyed tenant's entries are ever removed, whoever asks.
CREATE FUNCTION journal.refuse_entry_removal() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM journal.tenant AS t
                  WHERE t.code = OLD.tenant AND t.destroyed_at IS NOT NULL) THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ001',
      MESSAGE = format('DELETE of an entry of %s refused: it is append-only', OLD.tenant);
  END IF;
  RETURN OLD;
END
$$;

-- Only open seals more than a week old are ever thinned, whoever asks.
CREATE FUNCTION journal.refuse_seal_removal() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF OLD.day IS NOT NULL OR OLD.sealed_at > journal.now() - interval '7 days' THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ001',
      MESSAGE = format('DELETE of seal %s refused: only open seals older than a week are thinned',
                       OLD.number);
  END IF;
  RETURN OLD;
END
$$;

-- When the last day that is wholly purged was: noted whatever moves `purged_day`.
CREATE FUNCTION journal.note_purged_at() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  NEW.purged_at := journal.now();
  RETURN NEW;
END
$$;

-- -----------------------------------------------------------------------------------------------------------
-- Tables, each with the triggers that protect it
-- -----------------------------------------------------------------------------------------------------------

CREATE TRIGGER migration_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journal.migration
  FOR EACH STATEMENT EXECUTE FUNCTION journal.refuse_change();

-- The installation: one row.
CREATE TABLE journal.service (
  singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton), -- no second row
  name text NOT NULL CHECK (name ~ '^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$'), -- a lower-case DNS name
  created_at timestamptz NOT NULL,
  first_day date NOT NULL, -- the first that is ever closed
  closed_day date NOT NULL, -- the last that can receive nothing more; its close seal may still be missing
  snapshot_version bigint NOT NULL DEFAULT 0, -- moves with tenants, categories, fences and credentials
  pruned_before bigint NOT NULL DEFAULT 0, -- heads of seals below this number are no longer kept
  stamping_failed_since timestamptz -- since when no time-stamp could be had; null once one was
);
CREATE TRIGGER service_kept BEFORE DELETE OR TRUNCATE ON journal.service
  FOR EACH STATEMENT EXECUTE FUNCTION journal.refuse_change();

-- The communes, and the reserved tenant `_service`, which records what concerns none of them. Codes are never
-- reused.
CREATE TABLE journal.tenant (
  code text PRIMARY KEY CHECK (code = '_service' OR code ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  name text NOT NULL,
  created_at timestamptz NOT NULL,
  moved_at timestamptz, -- since then it goes on elsewhere: appends to its `journal` alone
  closed_at timestamptz, -- no append since
  destroyed_at timestamptz, -- its rows may go since, for ever
  CONSTRAINT tenant_destroyed_check CHECK (destroyed_at IS NULL OR closed_at IS NOT NULL) -- closed first
);
-- The append asks on every batch whether a tenant is closed or moved: this index is nearly empty.
CREATE INDEX tenant_left ON journal.tenant (code) WHERE closed_at IS NOT NULL OR moved_at IS NOT NULL;
CREATE TRIGGER tenant_kept BEFORE DELETE OR TRUNCATE ON journal.tenant
  FOR EACH STATEMENT EXECUTE FUNCTION journal.refuse_change();

-- The legal classes of data, each with its rule. The seals must never state a rule that what is kept, or
-- gone, contradicts; so a rule that is changed is pending at first:
--
-- Shorter: the purge and reads obey the new rule at once; seals state the old one until every day that is
-- past the new limit is purged, and then, in one transaction, the new rule and where the chains now begin.
-- Longer: nothing comes back. The rule that seals state grows by a day a day from where the chains begin to
-- the new one: on day T, with days up to X purged, it is T − X + 1 at most. Whoever sees but a few of the
-- seals, one of them today's, can then tell that what is gone could go; had today's stated the new rule at
-- once, it would look like an early deletion.
CREATE TABLE journal.category (
  code journal.slug PRIMARY KEY,
  id smallint NOT NULL UNIQUE CHECK (id > 0), -- names the partitions
  label text NOT NULL,
  regime text NOT NULL CHECK (regime IN ('LED', 'GDPR')),
  retention_days smallint NOT NULL CHECK (retention_days BETWEEN 2 AND 60), -- the rule that seals state
  needs_authorisation boolean NOT NULL,
  created_at timestamptz NOT NULL,
  first_day date NOT NULL, -- has partitions from here on
  fence date, -- the last day whose purge was begun: nothing at or before it is written or read
  purged_day date, -- the last whose purge is wholly done; where the fence is past it, one was cut short
  next_retention_days smallint CHECK (next_retention_days BETWEEN 2 AND 60), -- null: nothing is pending
  next_since date, -- the day it was asked for
  next_from date, -- the first day that purge and reads obey it, if it is shorter
  purged_at timestamptz, -- when `purged_day` last moved
  basis text NOT NULL, -- what the rule rests on: a contract, a law
  legal_basis text NOT NULL, -- what the journaling itself rests on
  required_days smallint NOT NULL CHECK (required_days >= 0), -- how long that wants entries kept; 0: it does not say
  -- A pending rule knows since when, and from when.
  CHECK ((next_retention_days IS NULL) = (next_since IS NULL)
         AND (next_retention_days IS NULL) = (next_from IS NULL))
);
CREATE TRIGGER category_kept BEFORE DELETE OR TRUNCATE ON journal.category
  FOR EACH STATEMENT EXECUTE FUNCTION journal.refuse_change();
CREATE TRIGGER category_purged BEFORE UPDATE OF purged_day ON journal.category
  FOR EACH ROW WHEN (NEW.purged_day IS DISTINCT FROM OLD.purged_day)
  EXECUTE FUNCTION journal.note_purged_at();

-- What was changed of a category, until it is recorded as `setting` entries. Null: left as it was.
CREATE TABLE journal.category_change (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  changed_at timestamptz NOT NULL,
  retention_days smallint,
  retention_days_before smallint,
  effective_from date, -- of a shorter rule
  needs_authorisation boolean,
  category text NOT NULL REFERENCES journal.category,
  label text,
  basis text,
  legal_basis text,
  required_days smallint,
  instruction text NOT NULL -- reference of the client's instruction
);

-- What never changes of a chain: a tenant's in a category.
CREATE TABLE journal.chain (
  tenant text NOT NULL REFERENCES journal.tenant,
  category text NOT NULL REFERENCES journal.category,
  genesis journal.hash NOT NULL, -- the chain hash of the empty chain
  PRIMARY KEY (tenant, category)
);
CREATE TRIGGER chain_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journal.chain
  FOR EACH STATEMENT EXECUTE FUNCTION journal.refuse_change();

-- What moves with every append. Half-empty pages and no other index: every update is heap-only.
CREATE TABLE journal.head (
  size bigint NOT NULL CHECK (size >= 0),
  kept_from bigint NOT NULL CHECK (kept_from BETWEEN 0 AND size), -- the first entry that is not purged
  recorded_at timestamptz, -- of the last entry
  tenant text NOT NULL,
  category text NOT NULL,
  chain_hash bytea NOT NULL CHECK (octet_length(chain_hash) = 32), -- after the last entry
  PRIMARY KEY (tenant, category),
  FOREIGN KEY (tenant, category) REFERENCES journal.chain,
  CHECK ((size = 0) = (recorded_at IS NULL)) -- an empty chain has no last entry
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
CREATE TRIGGER head_kept BEFORE DELETE OR TRUNCATE ON journal.head
  FOR EACH STATEMENT EXECUTE FUNCTION journal.refuse_change();

-- The entries. A partition for each category (`add_category`) and in it one for each day
-- (`ensure_partitions`), which has the unique indexes. There is no default partition: a missing one is an
-- error, not a place where entries hide from the purge.
CREATE TABLE journal.entry (
  index bigint NOT NULL CHECK (index >= 0),
  day date NOT NULL,
  tenant text NOT NULL,
  category text NOT NULL,
  event_key bytea NOT NULL CHECK (octet_length(event_key) = 16),
  leaf_hash bytea NOT NULL CHECK (octet_length(leaf_hash) = 32),
  chain_hash bytea NOT NULL CHECK (octet_length(chain_hash) = 32), -- at size index + 1
  ciphertext bytea NOT NULL
) PARTITION BY LIST (category);
-- Ciphertext does not compress: do not try.
ALTER TABLE journal.entry ALTER COLUMN ciphertext SET STORAGE EXTERNAL;
CREATE TRIGGER entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journal.entry
  FOR EACH STATEMENT EXECUTE FUNCTION journal.refuse_change();
-- On the parent: every partition has it, those that are attached later too.
CREATE TRIGGER entry_kept BEFORE DELETE ON journal.entry
  FOR EACH ROW EXECUTE FUNCTION journal.refuse_entry_removal();

-- Plain counters for the status page; never per agent. They go with their day.
CREATE TABLE journal.activity (
  count bigint NOT NULL CHECK (count > 0),
  day date NOT NULL,
  tenant text NOT NULL,
  category text NOT NULL,
  action text NOT NULL,
  PRIMARY KEY (tenant, category, day, action) -- the counter that an append adds to
) WITH (fillfactor = 50);

-- How many entries of a day are of accesses on another day. They go with their day.
CREATE TABLE journal.lateness (
  count bigint NOT NULL CHECK (count > 0),
  day date NOT NULL,
  occurred date NOT NULL CHECK (occurred <> day), -- the day of the access
  tenant text NOT NULL,
  category text NOT NULL,
  PRIMARY KEY (tenant, category, day, occurred)
) WITH (fillfactor = 50);

-- Which sequence numbers a source used on a day, in one epoch of its counter: what it numbered and did not send
-- shows as a gap. `name` is source and epoch, encrypted.
CREATE TABLE journal.source_span (
  count bigint NOT NULL CHECK (count > 0), -- of events: more than numbers where some came twice
  filled bigint NOT NULL DEFAULT 0, -- missing numbers that `numbers` holds nevertheless: see `journal.bounded`
  last_at timestamptz NOT NULL, -- when the last event was recorded
  day date NOT NULL,
  tenant text NOT NULL,
  category text NOT NULL,
  source_key bytea NOT NULL,
  name bytea NOT NULL,
  numbers int8multirange NOT NULL,
  PRIMARY KEY (tenant, category, day, source_key) -- the numbers that an append adds to
) WITH (fillfactor = 50);

-- The same of days that are purged, together: what was missing stays known.
CREATE TABLE journal.source_past (
  count bigint NOT NULL,
  filled bigint NOT NULL,
  last_at timestamptz NOT NULL,
  last_day date NOT NULL,
  tenant text NOT NULL,
  category text NOT NULL,
  source_key bytea NOT NULL,
  name bytea NOT NULL,
  numbers int8multirange NOT NULL,
  PRIMARY KEY (tenant, category, source_key)
);

-- How often a source is to send something, in whatever epoch of its counter: it is silent if nothing came for longer.
CREATE TABLE journal.source_rhythm (
  minutes integer NOT NULL CHECK (minutes BETWEEN 1 AND 43200),
  declared_at timestamptz NOT NULL,
  tenant text NOT NULL,
  category text NOT NULL,
  source_key bytea NOT NULL, -- of the epoch without a name
  name bytea NOT NULL,
  PRIMARY KEY (tenant, category, source_key)
);

-- Numbers of which somebody said, in an entry, that their events are lost.
CREATE TABLE journal.source_loss (
  tenant text NOT NULL,
  category text NOT NULL,
  source_key bytea NOT NULL,
  name bytea NOT NULL,
  numbers int8multirange NOT NULL,
  PRIMARY KEY (tenant, category, source_key)
);

-- Close seals are kept for ever, open ones for a week.
CREATE TABLE journal.seal (
  number bigint PRIMARY KEY CHECK (number > 0),
  day date UNIQUE, -- one close seal a day; null: an open seal
  sealed_at timestamptz NOT NULL,
  text bytea NOT NULL,
  signature bytea NOT NULL
);
CREATE TRIGGER seal_append_only BEFORE UPDATE OR TRUNCATE ON journal.seal
  FOR EACH STATEMENT EXECUTE FUNCTION journal.refuse_change();
CREATE TRIGGER seal_kept BEFORE DELETE ON journal.seal
  FOR EACH ROW EXECUTE FUNCTION journal.refuse_seal_removal();

-- The heads that moved in a seal; a chain's head at seal n is its latest row at or before n.
CREATE TABLE journal.seal_head (
  -- No foreign keys: one to the seals would read this whole table for every seal that is thinned, one to the chains,
  -- which stay for ever, would look for each head of a seal by itself. Only functions write here.
  number bigint NOT NULL,
  size bigint NOT NULL CHECK (size >= 0),
  kept_from bigint NOT NULL CHECK (kept_from BETWEEN 0 AND size),
  retention_days smallint NOT NULL,
  tenant text NOT NULL,
  category text NOT NULL,
  chain_hash bytea NOT NULL CHECK (octet_length(chain_hash) = 32),
  PRIMARY KEY (tenant, category, number) -- one probe finds a chain's head at a seal
);
-- Thinning looks for the rows of a range of seals. Numbers arrive in order, so a block range index costs
-- nothing.
CREATE INDEX seal_head_number ON journal.seal_head USING brin (number)
  WITH (pages_per_range = 16, autosummarize = on);
CREATE TRIGGER seal_head_kept BEFORE TRUNCATE ON journal.seal_head
  FOR EACH STATEMENT EXECUTE FUNCTION journal.refuse_change();

-- Time-stamps of close seals: tokens of an authority that is not ours, kept as they came, for ever.
CREATE TABLE journal.seal_timestamp (
  number bigint PRIMARY KEY REFERENCES journal.seal,
  stamped_at timestamptz NOT NULL, -- by the authority's clock
  token bytea NOT NULL CHECK (octet_length(token) BETWEEN 1 AND 65536)
);
-- DER does not compress.
ALTER TABLE journal.seal_timestamp ALTER COLUMN token SET STORAGE EXTERNAL;
CREATE TRIGGER seal_timestamp_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journal.seal_timestamp
  FOR EACH STATEMENT EXECUTE FUNCTION journal.refuse_change();

-- Who may call the service. The secret arrives hashed.
CREATE TABLE journal.credential (
  id text PRIMARY KEY,
  secret_hash bytea NOT NULL CHECK (octet_length(secret_hash) = 32),
  role text NOT NULL CHECK (role IN ('module', 'client', 'auditor', 'operator')),
  tenant text NOT NULL REFERENCES journal.tenant,
  categories text[] NOT NULL,
  source_prefix text, -- what the sources of its events must begin with
  certificate_sha256 bytea CHECK (octet_length(certificate_sha256) = 32), -- of the only client certificate it passes with
  person bytea, -- whose it is, encrypted under the tenant's key; null: nobody's
  label text NOT NULL,
  created_at timestamptz NOT NULL,
  expires_at timestamptz,
  revoked_at timestamptz
);
CREATE TRIGGER credential_kept BEFORE DELETE OR TRUNCATE ON journal.credential
  FOR EACH STATEMENT EXECUTE FUNCTION journal.refuse_change();

-- Who may sign in to the console. Nothing personal is in clear: `login_key` is a keyed hash of the login, `sealed` holds
-- name, function, password hash and second factor, encrypted under the tenant's key.
CREATE TABLE journal.person (
  id text PRIMARY KEY,
  tenant text NOT NULL REFERENCES journal.tenant, -- of the host's own operators: the reserved one
  role text NOT NULL CHECK (role IN ('referent', 'reader', 'auditor', 'operator')),
  categories text[] NOT NULL,
  login_key bytea NOT NULL CHECK (octet_length(login_key) = 32),
  sealed bytea NOT NULL,
  invitation_hash bytea CHECK (octet_length(invitation_hash) = 32), -- until the invitation is accepted
  invited_until timestamptz,
  created_at timestamptz NOT NULL,
  revoked_at timestamptz,
  CHECK ((role = 'operator') = (tenant = '_service')),
  CHECK ((invitation_hash IS NULL) = (invited_until IS NULL))
);
-- A login is one person's, among those who may sign in.
CREATE UNIQUE INDEX person_login ON journal.person (login_key) WHERE revoked_at IS NULL;
CREATE TRIGGER person_kept BEFORE DELETE OR TRUNCATE ON journal.person
  FOR EACH STATEMENT EXECUTE FUNCTION journal.refuse_change();

-- What of a second factor was used: no code is taken twice. It grants nothing, and no fact covers it.
CREATE TABLE journal.person_code (
  person text PRIMARY KEY REFERENCES journal.person,
  step bigint NOT NULL, -- RFC 6238 section 4.2: the number of 30 s since 1970
  signed_out_at timestamptz -- sessions that began before are over
);

-- What a purge took of each chain, until it is recorded as an entry of the tenant's `journal` category.
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

-- Hand-over before purge, in five tables. Nothing in them is personal: codes, days, sizes, hashes of
-- encrypted files, certificates.

-- The certificate that a tenant's days are encrypted to before they are purged. No row, no hand-over.
CREATE TABLE journal.recipient (
  tenant text PRIMARY KEY REFERENCES journal.tenant CHECK (tenant <> '_service'),
  registered_at timestamptz NOT NULL,
  confirmed_at timestamptz, -- since when it is known that the tenant can open what is encrypted to it; null: it is not
  certificate bytea NOT NULL -- DER
);

-- One file: the whole days `first_day` to `last_day` of a chain, from its size `base_size` to `head_size`.
-- Written first, then renamed into its place (`placed_at`), then named in an inventory (`listed_at`).
CREATE TABLE journal.handover (
  base_size bigint NOT NULL CHECK (base_size >= 0),
  head_size bigint NOT NULL CHECK (head_size >= base_size),
  file_bytes bigint NOT NULL CHECK (file_bytes > 0),
  written_at timestamptz NOT NULL,
  placed_at timestamptz,
  listed_at timestamptz CHECK (listed_at IS NULL OR placed_at IS NOT NULL), -- placed first
  first_day date NOT NULL,
  last_day date NOT NULL CHECK (last_day >= first_day),
  tenant text NOT NULL,
  category text NOT NULL,
  base_hash journal.hash NOT NULL,
  head_hash journal.hash NOT NULL,
  file_sha256 journal.hash NOT NULL,
  recipient_sha256 journal.hash NOT NULL, -- of the certificate it is encrypted to
  code_mac journal.hash NOT NULL, -- over its confirmation code, which nobody can read here
  mac journal.hash NOT NULL, -- over the above and whether it is placed, under a key that no database has
  PRIMARY KEY (tenant, category, last_day), -- one file ends with a day
  FOREIGN KEY (tenant, category) REFERENCES journal.chain
);

-- A day of a chain that the purge took at its limit although it was not handed over, or although the tenant had not
-- confirmed that it could open what was.
CREATE TABLE journal.handover_lapse (
  head_size bigint NOT NULL CHECK (head_size > 0),
  lapsed_at timestamptz NOT NULL,
  day date NOT NULL,
  tenant text NOT NULL,
  category text NOT NULL,
  mac journal.hash NOT NULL, -- as that of a hand-over
  PRIMARY KEY (tenant, category, day),
  FOREIGN KEY (tenant, category) REFERENCES journal.chain
);

-- What keeps a tenant's hand-over from being made now; gone once it works again.
CREATE TABLE journal.handover_fault (
  tenant text PRIMARY KEY REFERENCES journal.tenant,
  since timestamptz NOT NULL,
  reason text NOT NULL, -- for the commune
  detail text NOT NULL -- for the operator: what, where, what to do
);

-- What must still become an `alarm` entry.
CREATE TABLE journal.handover_alarm (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  raised_at timestamptz NOT NULL,
  day date, -- null where it is about no day
  tenant text NOT NULL REFERENCES journal.tenant,
  category text, -- null where it is about all of them
  reason text NOT NULL,
  detail text NOT NULL
);

-- The end of a contract: what a commune is given, then what is destroyed. In this order, each step safe to
-- repeat: `end_contract` (no append after it) → `note_export` or `waive_export` → `begin_destruction`, from
-- when on the triggers let its rows go → its key shredded, outside the database → `remove_entries` until
-- nothing is left, `remove_traces` → `empty_heads`, which the next seal shows → `finish_destruction`. Heads,
-- chains and seals stay for ever.

-- How far the end of a tenant's contract has come.
CREATE TABLE journal.ending (
  request_index bigint CHECK (request_index >= 0), -- the entry that announced the export; null: none
  seal_before bigint, -- the last that states its entries as kept
  seal_after bigint, -- the first known to state that none is
  exported_at timestamptz,
  waived_at timestamptz, -- the commune wants no export, or no other
  finished_at timestamptz CHECK (finished_at IS NULL OR (seal_before IS NOT NULL AND seal_after IS NOT NULL)),
  tenant text PRIMARY KEY REFERENCES journal.tenant CHECK (tenant <> '_service'),
  request_leaf journal.hash,
  certificate bytea, -- DER: whom the export was announced to
  export_sha256 journal.hash, -- of its inventory
  seal_before_sha256 journal.hash, -- of their texts: open seals are thinned
  seal_after_sha256 journal.hash,
  -- The announcement is there whole, or not at all.
  CHECK ((request_index IS NULL) = (request_leaf IS NULL) AND (request_index IS NULL) = (certificate IS NULL))
);
CREATE TRIGGER ending_kept BEFORE DELETE OR TRUNCATE ON journal.ending
  FOR EACH STATEMENT EXECUTE FUNCTION journal.refuse_change();

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
CREATE TRIGGER ended_chain_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journal.ended_chain
  FOR EACH STATEMENT EXECUTE FUNCTION journal.refuse_change();

-- -----------------------------------------------------------------------------------------------------------
-- Helpers: no role calls them, other functions do
-- -----------------------------------------------------------------------------------------------------------

-- The UTC day of a moment. No SET here: it would keep the planner from inlining it, and this body's names are
-- bound when it is made.
CREATE FUNCTION journal.day_of(moment timestamptz) RETURNS date
  LANGUAGE sql IMMUTABLE
  RETURN (moment AT TIME ZONE 'UTC')::date;

-- The name of a category's table for a day.
CREATE FUNCTION journal.leaf_name(category_id smallint, day date) RETURNS text
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
  RETURN format('entry_%s_%s', category_id, to_char(day, 'YYYYMMDD'));

-- What of a day is on disk: its own relation, and its slices, one that somebody detached too. By name: the
-- catalog's index finds them.
CREATE FUNCTION journal.day_relations(leaf text) RETURNS TABLE (id oid, name text, kind "char")
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT r.oid, r.relname::text, r.relkind
    FROM pg_class AS r
   WHERE r.relnamespace = 'journal'::regnamespace AND r.relkind IN ('r', 'p')
     AND r.relname BETWEEN leaf::name AND (leaf || '_z')::name AND r.relname ~ ('^' || leaf || '(_[0-9]+)?$')
$$;

-- One slice for every 128 MiB of the largest day that is kept: what was written tells what will be.
-- By name, and with a look at the size of what has entries alone: sizes take most of the time of making a day.
CREATE FUNCTION journal.slices_needed(category_id smallint) RETURNS integer
  LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT least(32, greatest(1, ceil(max(day.bytes) / (128 * 1024 * 1024))))::integer
    FROM (SELECT sum(pg_total_relation_size(r.oid)) AS bytes
            FROM pg_class AS r
           CROSS JOIN LATERAL regexp_match(r.relname, '^entry_[0-9]+_([0-9]{8})(?:_[0-9]+)?$') AS p (part)
           WHERE r.relnamespace = 'journal'::regnamespace AND r.relkind = 'r'
             AND r.relname BETWEEN format('entry_%s_0', category_id)::name AND format('entry_%s_9z', category_id)::name
             AND p.part IS NOT NULL AND pg_relation_size(r.oid) > 0
           GROUP BY p.part[1]) AS day
$$;

-- The rule that a seal made on `today` states.
CREATE FUNCTION journal.stated_days(days smallint, next_days smallint, fence date, today date)
  RETURNS smallint
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
  RETURN (CASE WHEN next_days > days
               THEN greatest(days, least(next_days, coalesce(today - fence + 1, next_days)))
               ELSE days END)::smallint;

-- Raise unless the tenant's destruction was begun: every function that removes something of it asks first.
CREATE FUNCTION journal.check_destroyed(of_tenant text) RETURNS void
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM journal.tenant AS t WHERE t.code = of_tenant AND t.destroyed_at IS NOT NULL) THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ009',
      MESSAGE = format('%s is not destroyed: nothing of it is removed', of_tenant);
  END IF;
END
$$;

-- -----------------------------------------------------------------------------------------------------------
-- What several roles call; each role's list below says which of these are its own
-- -----------------------------------------------------------------------------------------------------------

-- The database's clock, everywhere. Tests and the demonstration replace it (simulated_clock.sql).
CREATE FUNCTION journal.now() RETURNS timestamptz
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  RETURN clock_timestamp();

-- True where simulated_clock.sql replaced the clock: never on a service that counts.
CREATE FUNCTION journal.clock_is_simulated() RETURNS boolean
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  RETURN to_regclass('journal.simulated_clock') IS NOT NULL;

-- No row until the service is created.
CREATE FUNCTION journal.read_service()
  RETURNS TABLE (name text, created_at timestamptz, first_day date, closed_day date)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT s.name, s.created_at, s.first_day, s.closed_day FROM journal.service AS s
$$;

-- All facts of a kind, or, with a code, one: two statements, so that one costs the same however many there are.
-- Callers hold each row against the ledger in the key store (journal/database/facts.py): the columns are those
-- that its digest covers, and more.

-- `rule_days` is the rule in force, `retention_days` what the purge and reads obey; `stated_days` what seals
-- state: more while a shorter rule is pending.
CREATE FUNCTION journal.read_categories(of_code text DEFAULT NULL)
  RETURNS TABLE (code text, id smallint, label text, regime text, rule_days smallint, retention_days smallint,
                 stated_days smallint, next_retention_days smallint, next_since date, next_from date,
                 needs_authorisation boolean, created_at timestamptz, first_day date, basis text, legal_basis text,
                 required_days smallint, fence date)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.code, c.id, c.label, c.regime, c.retention_days,
         least(s.days, CASE WHEN c.next_from <= s.today THEN c.next_retention_days END), s.days,
         c.next_retention_days, c.next_since, c.next_from, c.needs_authorisation, c.created_at, c.first_day,
         c.basis, c.legal_basis, c.required_days, c.fence
    FROM journal.category AS c
   CROSS JOIN LATERAL (SELECT d.today, journal.stated_days(c.retention_days, c.next_retention_days, c.fence,
                                                           d.today) AS days
                         FROM (SELECT journal.day_of(journal.now()) AS today) AS d) AS s
   WHERE of_code IS NULL OR c.code = of_code
   ORDER BY c.id
$$;

-- Closed ones too. Nobody reads a destroyed tenant's key.
CREATE FUNCTION journal.read_tenants(of_code text DEFAULT NULL)
  RETURNS TABLE (code text, name text, created_at timestamptz, moved_at timestamptz, closed_at timestamptz,
                 destroyed_at timestamptz)
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  IF of_code IS NULL THEN
    RETURN QUERY SELECT t.code, t.name, t.created_at, t.moved_at, t.closed_at, t.destroyed_at
                   FROM journal.tenant AS t ORDER BY t.code;
  ELSE
    RETURN QUERY SELECT t.code, t.name, t.created_at, t.moved_at, t.closed_at, t.destroyed_at
                   FROM journal.tenant AS t WHERE t.code = of_code;
  END IF;
END
$$;

-- All of them, revoked and expired ones too.
CREATE FUNCTION journal.read_credentials(of_id text DEFAULT NULL)
  RETURNS TABLE (id text, secret_hash bytea, role text, tenant text, categories text[], source_prefix text,
                 certificate_sha256 bytea, person bytea, label text, created_at timestamptz, expires_at timestamptz,
                 revoked_at timestamptz)
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  IF of_id IS NULL THEN
    RETURN QUERY SELECT c.id, c.secret_hash, c.role, c.tenant, c.categories, c.source_prefix,
                        c.certificate_sha256, c.person, c.label, c.created_at, c.expires_at, c.revoked_at
                   FROM journal.credential AS c ORDER BY c.created_at, c.id;
  ELSE
    RETURN QUERY SELECT c.id, c.secret_hash, c.role, c.tenant, c.categories, c.source_prefix,
                        c.certificate_sha256, c.person, c.label, c.created_at, c.expires_at, c.revoked_at
                   FROM journal.credential AS c WHERE c.id = of_id;
  END IF;
END
$$;

-- All of them, revoked ones too.
CREATE FUNCTION journal.read_persons(of_id text DEFAULT NULL)
  RETURNS TABLE (id text, tenant text, role text, categories text[], login_key bytea, sealed bytea,
                 invitation_hash bytea, invited_until timestamptz, created_at timestamptz, revoked_at timestamptz)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT p.id, p.tenant, p.role, p.categories, p.login_key, p.sealed, p.invitation_hash, p.invited_until,
         p.created_at, p.revoked_at
    FROM journal.person AS p
   WHERE of_id IS NULL OR p.id = of_id
   ORDER BY p.created_at, p.id
$$;

-- Who wants its days handed over. Open tenants alone have a row: an extract is an entry of the tenant's own
-- journal, and a closed one's takes nothing more.
CREATE FUNCTION journal.read_recipients(of_tenant text DEFAULT NULL)
  RETURNS TABLE (tenant text, registered_at timestamptz, confirmed_at timestamptz, certificate bytea)
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
  IF of_tenant IS NULL THEN
    RETURN QUERY SELECT r.tenant, r.registered_at, r.confirmed_at, r.certificate
                   FROM journal.recipient AS r ORDER BY r.tenant;
  ELSE
    RETURN QUERY SELECT r.tenant, r.registered_at, r.confirmed_at, r.certificate
                   FROM journal.recipient AS r WHERE r.tenant = of_tenant;
  END IF;
END
$$;

-- The last seal taken; no row before the first.
CREATE FUNCTION journal.latest_seal()
  RETURNS TABLE (number bigint, day date, sealed_at timestamptz, text bytea, signature bytea)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT s.number, s.day, s.sealed_at, s.text, s.signature
    FROM journal.seal AS s ORDER BY s.number DESC LIMIT 1
$$;

-- The last seal that ended a day; no row before the first.
CREATE FUNCTION journal.latest_close_seal()
  RETURNS TABLE (number bigint, day date, sealed_at timestamptz, text bytea, signature bytea)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT s.number, s.day, s.sealed_at, s.text, s.signature
    FROM journal.seal AS s WHERE s.day IS NOT NULL ORDER BY s.day DESC LIMIT 1
$$;

-- Every chain as it stood at a seal: its latest row at or before it. Asked per chain, so that each is one
-- index probe.
CREATE FUNCTION journal.read_seal_heads(of_number bigint)
  RETURNS TABLE (tenant text, category text, size bigint, chain_hash bytea, kept_from bigint,
                 retention_days smallint)
  LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_column
BEGIN
  IF EXISTS (SELECT FROM journal.service AS s WHERE of_number < s.pruned_before) THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ005',
      MESSAGE = format('the heads of seal %s are no longer kept', of_number);
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

-- -----------------------------------------------------------------------------------------------------------
-- journal_ingest: the process that appends
-- -----------------------------------------------------------------------------------------------------------

-- Moves with tenants, categories, fences, credentials and persons: a process then reads those again.
CREATE FUNCTION journal.snapshot_version() RETURNS bigint
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT s.snapshot_version FROM journal.service AS s
$$;

-- Heads by (tenant, category), in the order asked; a chain that is not there is left out.
CREATE FUNCTION journal.read_heads(tenants text[], categories text[])
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

-- Which of these events are recorded in their chains between two days, the second today at the latest. Straight in
-- each day's partition, one index probe an event: through the parent it costs a hundred times more. Purged days are
-- passed over; where `strict`, a missing partition of another day is an error: it would be taken for one without copy.
CREATE FUNCTION journal.find_recorded(
    tenants text[], categories text[], event_keys bytea[], first_days date[], last_days date[], strict boolean)
  RETURNS TABLE ("position" integer, size bigint, chain_hash bytea, leaf_hash bytea, day date, ciphertext bytea)
  LANGUAGE plpgsql STABLE SECURITY DEFINER
  -- No sequential scan, however small the planner believes a leaf to be: it is planned now and may be full
  -- tonight.
  SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
AS $$
#variable_conflict use_column
DECLARE
  leaf record;
BEGIN
  FOR leaf IN
    SELECT k.code, d.day::date AS day, journal.leaf_name(k.id, d.day::date) AS name
      FROM (SELECT a.category, min(a.first_day) AS first_day, max(a.last_day) AS last_day
              FROM unnest(categories, first_days, last_days) AS a (category, first_day, last_day)
             GROUP BY a.category) AS span
      JOIN journal.category AS k ON k.code = span.category,
           generate_series(greatest(span.first_day, k.first_day)::timestamp,
                           least(span.last_day, journal.day_of(journal.now()))::timestamp,
                           interval '1 day') AS d (day)
     WHERE k.fence IS NULL OR d.day::date > k.fence
     ORDER BY k.code, d.day
  LOOP
    IF to_regclass('journal.' || leaf.name) IS NULL THEN
      IF strict THEN
        RAISE EXCEPTION USING ERRCODE = 'OJ004', MESSAGE = format('there is no partition %s', leaf.name);
      END IF;
      CONTINUE;
    END IF;
    RETURN QUERY EXECUTE format($dynamic$
      SELECT asked.place::integer, e.index, e.chain_hash, e.leaf_hash, e.day, e.ciphertext
        FROM unnest($1, $2, $3, $4, $5) WITH ORDINALITY
               AS asked (tenant, category, event_key, first_day, last_day, place)
       CROSS JOIN LATERAL (SELECT e.* FROM journal.%I AS e
                            WHERE e.tenant = asked.tenant AND e.event_key = asked.event_key LIMIT 1) AS e
       WHERE asked.category = $6 AND $7 BETWEEN asked.first_day AND asked.last_day
      $dynamic$, leaf.name)
      USING tenants, categories, event_keys, first_days, last_days, leaf.code, leaf.day;
  END LOOP;
END
$$;

-- The numbers of a source, in no more than 1,000 ranges, and how many missing ones were filled in for that, the
-- lowest first: they stay counted as missing, and can no longer arrive.
CREATE FUNCTION journal.bounded(given int8multirange, OUT numbers int8multirange, OUT filled bigint)
  LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  numbers := given;
  filled := 0;
  -- A range takes 16 bytes, and so much is read of none that has few.
  IF pg_column_size(given) > 16384 THEN
    numbers := given + int8multirange((
      SELECT int8range(min(lower(r.range)), max(upper(r.range)))
        FROM (SELECT r.range FROM unnest(given) AS r (range) ORDER BY r.range LIMIT 500) AS r));
    filled := journal.cardinality_of(numbers) - journal.cardinality_of(given);
  END IF;
END
$$;

-- How many numbers there are in ranges.
CREATE FUNCTION journal.cardinality_of(numbers int8multirange) RETURNS bigint
  LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(sum(upper(r.range) - lower(r.range)), 0)::bigint FROM unnest(numbers) AS r (range)
$$;

-- Return once everything committed before is as durable as an acknowledgement promises: it commits after it, and
-- waits for the disk and the standby. An append does not wait by itself, but is visible at once: whatever rests on
-- what was read or appended calls this first, on the same connection, which a crash in between would have ended.
CREATE FUNCTION journal.flush() RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- Somebody may have lowered it for this role, database or session since the service looked.
  IF current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ002', MESSAGE = 'flush needs synchronous_commit = on';
  END IF;
  -- A transaction that writes nothing would not wait for anything.
  PERFORM pg_logical_emit_message(true, 'openepm-journal', '');
END
$$;

-- Which entries of a batch (see `append`) are recorded already: of all, on their chain's day; of `early` ones, if
-- given, between `since` and the day before.
CREATE FUNCTION journal.find_copies(
    chain_tenant text[], chain_category text[], chain_size bigint[], next_size bigint[],
    chain_recorded_at timestamptz[], firsts bigint[], entry_hashes bytea, early_entry integer[], early_since date[])
  RETURNS TABLE ("position" integer, size bigint, chain_hash bytea, leaf_hash bytea, day date, ciphertext bytea)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  WITH chain AS (
    SELECT c.*, journal.day_of(c.at) AS day
      FROM unnest(chain_tenant, chain_category, chain_size, next_size, chain_recorded_at, firsts)
             AS c (tenant, category, before, after, at, first)),
  asked AS (
    SELECT c.first + o.n + 1 AS entry, c.tenant, c.category, c.day AS first_day, c.day AS last_day
      FROM chain AS c CROSS JOIN LATERAL generate_series(0, c.after - c.before - 1) AS o (n)
     WHERE early_entry IS NULL
     UNION ALL
    SELECT e.entry, c.tenant, c.category, e.since, c.day - 1
      FROM unnest(early_entry, early_since) AS e (entry, since)
      JOIN chain AS c ON e.entry > c.first AND e.entry <= c.first + c.after - c.before),
  arrays AS (
    SELECT array_agg(a.entry) AS entries, array_agg(a.tenant) AS tenants, array_agg(a.category) AS categories,
           array_agg(substr(entry_hashes, 80 * a.entry::integer - 79, 16)) AS keys,
           array_agg(a.first_day) AS first_days, array_agg(a.last_day) AS last_days
      FROM asked AS a)
  SELECT a.entries[f.position]::integer, f.size, f.chain_hash, f.leaf_hash, f.day, f.ciphertext
    FROM arrays AS a,
         journal.find_recorded(a.tenants, a.categories, a.keys, a.first_days, a.last_days, true) AS f
$$;

-- Append a batch over many chains, whole or not at all, without waiting for the disk: `journal.flush` does.
-- `AppendBatch` and `AppendResult` in journal/database/ingest.py say what the arguments and the answers are. The
-- entries come chain by chain, their columns as bytes: an array's elements would be decoded one by one.
CREATE FUNCTION journal.append(
    chain_tenant text[], chain_category text[], chain_size bigint[], chain_head bytea[],
    next_size bigint[], next_head bytea[], chain_recorded_at timestamptz[],
    entry_hashes bytea, entry_end integer[], entry_ciphertext bytea, early_entry integer[], early_since date[],
    activity_chain integer[], activity_action text[], activity_count bigint[],
    late_chain integer[], late_day date[], late_count bigint[],
    span_chain integer[], span_source bytea[], span_name bytea[], span_low bigint[], span_high bigint[],
    span_count bigint[])
  RETURNS TABLE (answer text, "position" integer, size bigint, chain_hash bytea, recorded_at timestamptz,
                 leaf_hash bytea, day date, ciphertext bytea)
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER
  -- No sequential scan: an empty leaf's statistics would let the planner choose one for a full leaf.
  -- No sequential scan of heads: a plan made when they were few is kept when they are many.
  -- Heads are updated in the order given, in which every append locks them: no join but by their index.
  -- Memory for the arrays of the largest batch (16 MiB), which would go through a file otherwise.
  -- One plan for all: another for each call costs more than a small batch itself.
  SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
  SET jit = off SET work_mem = '64MB' SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
  chains CONSTANT integer := cardinality(chain_tenant);
  entries CONSTANT integer := cardinality(entry_end) - 1;
  moment timestamptz;
  earliest timestamptz;
  latest timestamptz;
  closed date;
  firsts bigint[];
  cause text;
  affected bigint;
BEGIN
  -- In another isolation level the limits below would be read in an old snapshot.
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ002', MESSAGE = 'append needs the isolation level read committed';
  END IF;
  -- The flush that follows would not be one.
  IF current_setting('synchronous_commit') NOT IN ('on', 'remote_apply') THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ002', MESSAGE = 'append needs synchronous_commit = on';
  END IF;
  PERFORM pg_advisory_xact_lock_shared(7304680770881318763);

  moment := journal.now();
  SELECT min(t.at), max(t.at) INTO earliest, latest FROM unnest(chain_recorded_at) AS t (at);
  IF earliest < moment - interval '2 seconds' OR latest > moment + interval '2 seconds' THEN
    RETURN QUERY
      SELECT 'clock', NULL::integer, NULL::bigint, NULL::bytea, moment,
             NULL::bytea, NULL::date, NULL::bytea;
    RETURN;
  END IF;

  SELECT s.closed_day INTO STRICT closed FROM journal.service AS s;
  IF journal.day_of(earliest) <= closed THEN
    RETURN QUERY
      SELECT 'closed', c.place::integer, NULL::bigint, NULL::bytea, NULL::timestamptz,
             NULL::bytea, closed, NULL::bytea
        FROM unnest(chain_recorded_at) WITH ORDINALITY AS c (at, place)
       WHERE journal.day_of(c.at) <= closed;
    RETURN;
  END IF;

  -- A caller's mistake here would break a chain for ever.
  firsts := ARRAY(SELECT sum(c.after - c.before) OVER (ORDER BY c.place) - (c.after - c.before)
                    FROM unnest(chain_size, next_size) WITH ORDINALITY AS c (before, after, place)
                   ORDER BY c.place);
  IF EXISTS (SELECT FROM unnest(chain_size, next_size, next_head, firsts) AS c (before, after, head, first)
              WHERE (c.after > c.before) IS NOT TRUE
                 OR substr(entry_hashes, 80 * (c.first + c.after - c.before)::integer - 31, 32)
                    IS DISTINCT FROM c.head)
     OR octet_length(entry_hashes) <> 80 * entries OR entry_end[1] <> 0
     OR entry_end[entries + 1] <> octet_length(entry_ciphertext)
     OR entries <> (SELECT coalesce(sum(c.after - c.before), 0)
                      FROM unnest(chain_size, next_size) AS c (before, after)) THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ003',
      MESSAGE = 'append: entries do not lead from the heads to the next heads';
  END IF;

  -- An entry whose earlier copy might be in a purged day cannot be told from a new one.
  RETURN QUERY
    SELECT 'fenced', c.place::integer, NULL::bigint, NULL::bytea, NULL::timestamptz,
           NULL::bytea, k.fence, NULL::bytea
      FROM unnest(chain_category, chain_recorded_at, chain_size, next_size, firsts) WITH ORDINALITY
             AS c (category, at, before, after, first, place)
      JOIN journal.category AS k ON k.code = c.category
     WHERE journal.day_of(c.at) <= k.fence
        OR (cardinality(early_entry) > 0
            AND EXISTS (SELECT FROM unnest(early_entry, early_since) AS e (entry, since)
                         WHERE e.entry > c.first AND e.entry <= c.first + c.after - c.before AND e.since <= k.fence));
  IF FOUND THEN
    RETURN;
  END IF;

  BEGIN
    -- Compared and moved at once, in one order everywhere so that two batches cannot wait for each other.
    UPDATE journal.head AS h SET size = c.next_size, chain_hash = c.next_head, recorded_at = c.at
      FROM (SELECT * FROM unnest(chain_tenant, chain_category, chain_size, chain_head, next_size, next_head,
                                 chain_recorded_at) AS c (tenant, category, size, head, next_size, next_head, at)
             ORDER BY c.tenant, c.category) AS c
     WHERE h.tenant = c.tenant AND h.category = c.category
       AND h.size = c.size AND h.chain_hash = c.head AND (h.recorded_at > c.at) IS NOT TRUE;
    GET DIAGNOSTICS affected = ROW_COUNT;
    IF affected <> chains
       OR EXISTS (SELECT FROM journal.tenant AS t
                   WHERE (t.closed_at IS NOT NULL OR t.moved_at IS NOT NULL) AND t.code = ANY (chain_tenant)
                     AND (t.closed_at IS NOT NULL
                          OR EXISTS (SELECT FROM unnest(chain_tenant, chain_category) AS c (tenant, category)
                                      WHERE c.tenant = t.code AND c.category <> 'journal'))) THEN
      RAISE EXCEPTION USING ERRCODE = 'OJ010', MESSAGE = 'moved';
    END IF;

    -- An earlier copy in a day before: only events from around midnight, and late ones, can have one.
    IF cardinality(early_entry) > 0 AND EXISTS (
         SELECT FROM journal.find_copies(chain_tenant, chain_category, chain_size, next_size, chain_recorded_at, firsts,
                                         entry_hashes, early_entry, early_since)) THEN
      RAISE EXCEPTION USING ERRCODE = 'OJ011', MESSAGE = 'known';
    END IF;

    -- By the parent: a statement for each leaf would be planned at each append.
    INSERT INTO journal.entry (index, day, tenant, category, event_key, leaf_hash, chain_hash, ciphertext)
    SELECT c.before + o.n, c.day, c.tenant, c.category,
           substr(entry_hashes, 80 * (c.first + o.n)::integer + 1, 16),
           substr(entry_hashes, 80 * (c.first + o.n)::integer + 17, 32),
           substr(entry_hashes, 80 * (c.first + o.n)::integer + 49, 32),
           substr(entry_ciphertext, entry_end[c.first + o.n + 1] + 1,
                  entry_end[c.first + o.n + 2] - entry_end[c.first + o.n + 1])
      FROM (SELECT u.*, journal.day_of(u.at) AS day
              FROM unnest(chain_tenant, chain_category, chain_recorded_at, chain_size, next_size, firsts)
                     AS u (tenant, category, at, before, after, first)
            OFFSET 0) AS c, -- its day once, not for each entry
           generate_series(0, c.after - c.before - 1) AS o (n);
  EXCEPTION
    -- The leaf's own index found an earlier copy of today, at no cost to the batches that hold none. Nothing
    -- of this block remains.
    WHEN unique_violation OR SQLSTATE 'OJ010' OR SQLSTATE 'OJ011' THEN
      cause := SQLSTATE;
    WHEN check_violation THEN
      -- Without a name it is not a column's: the parent has no partition for an entry.
      GET STACKED DIAGNOSTICS cause = CONSTRAINT_NAME;
      IF cause <> '' THEN
        RAISE;
      END IF;
      RAISE EXCEPTION USING ERRCODE = 'OJ004', MESSAGE = (
        SELECT format('there is no partition %s', string_agg(DISTINCT c.leaf, ', '))
          FROM (SELECT journal.leaf_name(k.id, journal.day_of(u.at)) AS leaf
                  FROM unnest(chain_category, chain_recorded_at) AS u (category, at)
                  JOIN journal.category AS k ON k.code = u.category) AS c
         WHERE NOT EXISTS (SELECT FROM pg_inherits AS i
                            WHERE i.inhrelid = to_regclass('journal.' || c.leaf) AND NOT i.inhdetachpending));
  END;

  IF cause = 'OJ010' THEN
    RETURN QUERY
      SELECT 'absent', c.place::integer, NULL::bigint, NULL::bytea, NULL::timestamptz,
             NULL::bytea, NULL::date, NULL::bytea
        FROM unnest(chain_tenant, chain_category) WITH ORDINALITY AS c (tenant, category, place)
        LEFT JOIN journal.head AS h ON h.tenant = c.tenant AND h.category = c.category
        LEFT JOIN journal.tenant AS t ON t.code = c.tenant
       WHERE h.tenant IS NULL OR t.closed_at IS NOT NULL OR (t.moved_at IS NOT NULL AND c.category <> 'journal');
    IF FOUND THEN
      RETURN;
    END IF;
    RETURN QUERY
      SELECT 'conflict', c.place::integer, h.size, h.chain_hash, h.recorded_at,
             NULL::bytea, NULL::date, NULL::bytea
        FROM unnest(chain_tenant, chain_category, chain_size, chain_head, chain_recorded_at)
               WITH ORDINALITY AS c (tenant, category, size, head, at, place)
        JOIN journal.head AS h ON h.tenant = c.tenant AND h.category = c.category
       WHERE h.size <> c.size OR h.chain_hash <> c.head OR h.recorded_at > c.at;
    IF FOUND THEN
      RETURN;
    END IF;
    IF chains <> (SELECT count(DISTINCT (c.tenant, c.category))
                    FROM unnest(chain_tenant, chain_category) AS c (tenant, category)) THEN
      RAISE EXCEPTION USING ERRCODE = 'OJ003', MESSAGE = 'append: a chain is named twice';
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'serialization_failure', MESSAGE = 'heads moved to and fro';
  END IF;

  IF cause IS NOT NULL THEN
    -- Which entries are known. If none is, the batch repeats itself.
    RETURN QUERY
      SELECT 'known', e.position, e.size, e.chain_hash, NULL::timestamptz, e.leaf_hash, e.day, e.ciphertext
        FROM journal.find_copies(chain_tenant, chain_category, chain_size, next_size, chain_recorded_at, firsts,
                                 entry_hashes, early_entry, early_since) AS e
       WHERE cardinality(early_entry) > 0
       UNION ALL
      SELECT 'known', e.position, e.size, e.chain_hash, NULL::timestamptz, e.leaf_hash, e.day, e.ciphertext
        FROM journal.find_copies(chain_tenant, chain_category, chain_size, next_size, chain_recorded_at, firsts,
                                 entry_hashes, NULL, NULL) AS e;
    IF NOT FOUND THEN
      RAISE EXCEPTION USING ERRCODE = 'OJ003', MESSAGE = 'append: an event or an index is in the batch twice';
    END IF;
    RETURN;
  END IF;

  INSERT INTO journal.activity AS a (tenant, category, day, action, count)
  SELECT chain_tenant[n.chain], chain_category[n.chain], journal.day_of(chain_recorded_at[n.chain]), n.action, n.count
    FROM unnest(activity_chain, activity_action, activity_count) AS n (chain, action, count)
  ON CONFLICT (tenant, category, day, action) DO UPDATE SET count = a.count + excluded.count;

  IF cardinality(late_chain) > 0 THEN
    INSERT INTO journal.lateness AS l (tenant, category, day, occurred, count)
    SELECT chain_tenant[n.chain], chain_category[n.chain], journal.day_of(chain_recorded_at[n.chain]),
           n.occurred, n.count
      FROM unnest(late_chain, late_day, late_count) AS n (chain, occurred, count)
    ON CONFLICT (tenant, category, day, occurred) DO UPDATE SET count = l.count + excluded.count;
  END IF;

  IF cardinality(span_chain) > 0 THEN
    INSERT INTO journal.source_span AS s (tenant, category, day, source_key, name, numbers, count, last_at)
    SELECT chain_tenant[n.chain], chain_category[n.chain], journal.day_of(chain_recorded_at[n.chain]), n.source_key,
           (array_agg(n.name))[1], range_agg(int8range(n.low, n.high, '[]')), sum(n.count), chain_recorded_at[n.chain]
      FROM unnest(span_chain, span_source, span_name, span_low, span_high, span_count)
             AS n (chain, source_key, name, low, high, count)
     GROUP BY n.chain, n.source_key
    ON CONFLICT (tenant, category, day, source_key)
    DO UPDATE SET count = s.count + excluded.count, last_at = excluded.last_at,
                  (numbers, filled) = (SELECT b.numbers, s.filled + b.filled
                                         FROM journal.bounded(s.numbers + excluded.numbers) AS b);
  END IF;

  -- The next batch need not wait for the disk: `journal.flush` does, before anything rests on this one.
  PERFORM set_config('synchronous_commit', 'off', true);
  RETURN QUERY
    SELECT 'appended', NULL::integer, NULL::bigint, NULL::bytea, NULL::timestamptz,
           NULL::bytea, NULL::date, NULL::bytea;
END
$$;

GRANT EXECUTE ON FUNCTION
    journal.now, journal.clock_is_simulated, journal.read_service, journal.read_categories,
    journal.read_tenants, journal.read_credentials, journal.read_persons, journal.snapshot_version, journal.read_heads,
    journal.lock_heads, journal.find_recorded, journal.append, journal.flush
  TO journal_ingest;

-- -----------------------------------------------------------------------------------------------------------
-- journal_seal: the sealer
--
-- Closing a day takes two steps, so that a crash between them is resumed: `close_day` ends appends into it,
-- and the close seal over its heads follows. While a day is closed and unsealed no open seal is taken, so
-- every seal before a close seal covers nothing after its day.
-- -----------------------------------------------------------------------------------------------------------

-- Every chain as it stands, under the rule that seals state.
CREATE FUNCTION journal.live_heads()
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
    RAISE EXCEPTION USING ERRCODE = 'OJ006',
      MESSAGE = format('the next day to close is %s, not %s', closed + 1, of_day);
  END IF;
  -- The day before it must have its seal: one day at a time is closed and unsealed.
  IF EXISTS (SELECT FROM journal.service AS s WHERE closed >= s.first_day)
     AND NOT EXISTS (SELECT FROM journal.seal AS s WHERE s.day = closed) THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ006',
      MESSAGE = format('the day %s is closed but not yet sealed', closed);
  END IF;
  -- Appends may run 2 seconds ahead or behind; 5 leave no doubt.
  IF journal.now() < ((of_day + 1)::timestamp AT TIME ZONE 'UTC') + interval '5 seconds' THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ006', MESSAGE = format('the day %s is not over', of_day);
  END IF;
  UPDATE journal.service SET closed_day = of_day;
END
$$;

-- Every chain as it stood at the end of the closed day that awaits its seal, under the rule that seals state;
-- appends go on meanwhile.
CREATE FUNCTION journal.closed_heads(of_day date)
  RETURNS TABLE (tenant text, category text, size bigint, chain_hash bytea, recorded_at timestamptz,
                 kept_from bigint, retention_days smallint)
  LANGUAGE plpgsql STABLE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
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
           journal.stated_days(c.retention_days, c.next_retention_days, c.fence,
                               journal.day_of(journal.now())) AS retention_days
      FROM journal.category AS c ORDER BY c.id
  LOOP
    leaf := journal.leaf_name(kind.id, of_day);
    IF to_regclass('journal.' || leaf) IS NULL THEN
      IF of_day >= kind.first_day AND (kind.fence IS NULL OR of_day > kind.fence) THEN
        RAISE EXCEPTION USING ERRCODE = 'OJ004', MESSAGE = format('there is no partition %s', leaf);
      END IF;
      -- The category is younger than the day, or the day was fenced before it came to this database (an old
      -- backup restored beside a newer key store): the parent, where it is not found either, says "no entry".
      leaf := 'entry';
    END IF;
    -- A head not moved since the day's end is the answer; otherwise the day's last entry; otherwise the chain
    -- stood where the latest seal saw it (every seal so far was before the day's end), or at its beginning.
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

-- The leaf hashes of chains, straight from the days' tables: of each chain asked those of the indexes from `low` up
-- to, not including, `high`, in the tables of the days from `since` to `through` (null: all there are). Each of these
-- columns is a text, its values separated by commas. A row for each chain and day that has any: the place of the chain
-- in what was asked, the first index, the hashes joined in their order. The caller checks that they are complete.
CREATE FUNCTION journal.read_leaves(
    tenants text, categories text, lows text, highs text, since date, through date)
  RETURNS TABLE (place integer, first_index bigint, leaves bytea)
  LANGUAGE plpgsql STABLE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
AS $$
DECLARE
  chain_tenant CONSTANT text[] := string_to_array(tenants, ',');
  chain_category CONSTANT text[] := string_to_array(categories, ',');
  low CONSTANT bigint[] := string_to_array(lows, ',')::bigint[];
  high CONSTANT bigint[] := string_to_array(highs, ',')::bigint[];
  leaf record;
BEGIN
  FOR leaf IN
    SELECT p.category, journal.leaf_name(k.id, p.day) AS name
      FROM journal.partitions() AS p
      JOIN journal.category AS k ON k.code = p.category
     WHERE p.category = ANY (chain_category) AND (p.day >= since) IS NOT FALSE
       AND (p.day <= through) IS NOT FALSE
     ORDER BY p.category, p.day
  LOOP
    -- Slices that were left of a day have no table of the day's own.
    CONTINUE WHEN to_regclass('journal.' || leaf.name) IS NULL;
    RETURN QUERY EXECUTE format($dynamic$
      SELECT asked.place::integer, min(e.index), string_agg(e.leaf_hash, ''::bytea ORDER BY e.index)
        FROM unnest($1, $2, $3, $4) WITH ORDINALITY AS asked (tenant, category, low, high, place)
       CROSS JOIN LATERAL (SELECT e.index, e.leaf_hash FROM journal.%I AS e
                            WHERE e.tenant = asked.tenant AND e.index >= asked.low AND e.index < asked.high) AS e
       WHERE asked.category = $5
       GROUP BY asked.place
      $dynamic$, leaf.name)
      USING chain_tenant, chain_category, low, high, leaf.category;
  END LOOP;
END
$$;

-- The close seals of a day and of those after it, newest first.
CREATE FUNCTION journal.close_seals(since date)
  RETURNS TABLE (number bigint, day date, sealed_at timestamptz, text bytea, signature bytea)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT s.number, s.day, s.sealed_at, s.text, s.signature
    FROM journal.seal AS s WHERE s.day >= since ORDER BY s.day DESC
$$;

-- Store a seal if its number is the next one; false, and nothing stored, if another sealer was faster. Of the heads
-- that moved, each column is a text, its values separated by commas, and their hashes are joined.
CREATE FUNCTION journal.put_seal(
    of_number bigint, of_day date, at timestamptz, seal_text bytea, seal_signature bytea,
    head_tenants text, head_categories text, head_sizes text, heads_kept_from text, heads_retention_days text,
    head_hashes bytea) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  head_tenant CONSTANT text[] := string_to_array(head_tenants, ',');
  head_category CONSTANT text[] := string_to_array(head_categories, ',');
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
    RAISE EXCEPTION USING ERRCODE = 'OJ006',
      MESSAGE = 'an open seal must wait for the close seal of the day before';
  END IF;
  IF EXISTS (SELECT FROM unnest(head_tenant, head_category) AS h (tenant, category)
              WHERE NOT EXISTS (SELECT FROM journal.chain AS c
                                 WHERE c.tenant = h.tenant AND c.category = h.category)) THEN
    RAISE EXCEPTION USING ERRCODE = 'foreign_key_violation', MESSAGE = 'a head is of no chain';
  END IF;
  INSERT INTO journal.seal (number, day, sealed_at, text, signature)
  VALUES (of_number, of_day, at, seal_text, seal_signature);
  INSERT INTO journal.seal_head (number, tenant, category, size, chain_hash, kept_from, retention_days)
  SELECT of_number, h.tenant, h.category, h.size, substr(head_hashes, 32 * h.place::integer - 31, 32), h.kept_from,
         h.retention_days
    FROM unnest(head_tenant, head_category, string_to_array(head_sizes, ',')::bigint[],
                string_to_array(heads_kept_from, ',')::bigint[],
                string_to_array(heads_retention_days, ',')::smallint[]) WITH ORDINALITY
           AS h (tenant, category, size, kept_from, retention_days, place);
  RETURN true;
END
$$;

-- Remove open seals made before a moment at least a week ago, and give the heads they saw to the next seal
-- that stays: what every kept seal covers does not change. The latest seal always stays.
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
                      WHERE stale.tenant = i.tenant AND stale.category = i.category
                        AND stale.number = i.number);
  DELETE FROM journal.seal AS s WHERE s.number = ANY (gone);
  GET DIAGNOSTICS removed = ROW_COUNT;
  RETURN removed;
END
$$;

-- Forget the heads of the days up to some days before the last one that is wholly purged in the slowest
-- category: they show when a purge was done, for as long as the entries that tell of it are kept. Never those
-- from the close seal of that last day on, which a chain's base may be among. It is not the fence: between a
-- fence and the move of the chains' beginnings, the heads of the days between are still needed. Texts and
-- signatures of close seals stay for ever.
CREATE FUNCTION journal.prune_seal_heads(of_days integer) RETURNS bigint
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
   WHERE s.day <= (SELECT min(c.purged_day) FROM journal.category AS c) - greatest(of_days, 0);
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

-- Close seals that wait for a time-stamp, oldest first. Extracts list none from before the longest retention,
-- of which 60 days are the limit: an authority that is named after years is not asked about them.
CREATE FUNCTION journal.unstamped_seals()
  RETURNS TABLE (number bigint, day date, sealed_at timestamptz, text bytea, signature bytea)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT s.number, s.day, s.sealed_at, s.text, s.signature
    FROM journal.seal AS s
   WHERE s.day >= journal.day_of(journal.now()) - 61
     AND NOT EXISTS (SELECT FROM journal.seal_timestamp AS t WHERE t.number = s.number)
   ORDER BY s.day
$$;

-- Keep a close seal's first time-stamp; false, and nothing kept, if it has one.
CREATE FUNCTION journal.put_timestamp(of_number bigint, at timestamptz, seal_token bytea) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  stored boolean;
BEGIN
  IF NOT EXISTS (SELECT FROM journal.seal AS s WHERE s.number = of_number AND s.day IS NOT NULL) THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ006',
      MESSAGE = format('seal %s is not a close seal: it bears no time-stamp', of_number);
  END IF;
  INSERT INTO journal.seal_timestamp (number, stamped_at, token) VALUES (of_number, at, seal_token)
  ON CONFLICT (number) DO NOTHING;
  stored := FOUND;
  UPDATE journal.service SET stamping_failed_since = NULL WHERE stamping_failed_since IS NOT NULL;
  RETURN stored;
END
$$;

-- No time-stamp could be had: remember since when.
CREATE FUNCTION journal.note_stamping_failure() RETURNS void
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  UPDATE journal.service SET stamping_failed_since = journal.now() WHERE stamping_failed_since IS NULL
$$;

-- Null once a time-stamp was had: for readiness, in every process and across restarts.
CREATE FUNCTION journal.stamping_failed_since() RETURNS timestamptz
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT s.stamping_failed_since FROM journal.service AS s
$$;

GRANT EXECUTE ON FUNCTION
    journal.now, journal.clock_is_simulated, journal.read_service, journal.read_categories,
    journal.latest_seal, journal.latest_close_seal, journal.read_seal_heads, journal.live_heads,
    journal.close_day, journal.closed_heads, journal.read_leaves, journal.close_seals, journal.put_seal,
    journal.thin_seals, journal.prune_seal_heads,
    journal.unstamped_seals, journal.put_timestamp, journal.note_stamping_failure,
    journal.stamping_failed_since, journal.flush
  TO journal_seal;

-- -----------------------------------------------------------------------------------------------------------
-- journal_purge: the nightly run. Day partitions are made and dropped here, and nowhere else.
--
-- A day of a category is one table, or, where the category writes much, several: its slices, by tenant.
-- Whoever unlinks a file keeps every fsync of its file system waiting, for the longer the larger it is: on
-- ext4 with discard about 0.11 ms for every MB, 80 ms for a day of a million entries. So large days are
-- dropped slice after slice, with a rest in between. Slices for every category would cost a thousand tables
-- more, for nothing.
-- -----------------------------------------------------------------------------------------------------------

-- Make missing partitions from each category's first kept day to `days_ahead` days from now, ten at most, and
-- return their names: to be called until there is none. A day of 32 slices takes some 260 of the 6,400 locks
-- there are. Made alone, then attached: attaching does not stop reads and appends, as creating in place
-- would.
CREATE FUNCTION journal.ensure_partitions(days_ahead integer) RETURNS SETOF text
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
                           (journal.day_of(journal.now()) + days_ahead)::timestamp,
                           interval '1 day') AS d (day)
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
        EXECUTE format('CREATE TABLE journal.%I PARTITION OF journal.%I '
                       'FOR VALUES WITH (MODULUS %s, REMAINDER %s)',
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

-- The days as the catalog has them, which is what is on disk: detached ones too, by their name, and slices
-- that are left of one.
CREATE FUNCTION journal.partitions() RETURNS TABLE (category text, day date, attached boolean)
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

-- The days whose tables have pages, so that they hold entries, or held some. From the size of the files: a look
-- into every table would lock every table.
CREATE FUNCTION journal.recorded_days() RETURNS TABLE (category text, day date)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '150ms'
AS $$
  SELECT c.code, to_date(p.part[2], 'YYYYMMDD')
    FROM pg_class AS r
   CROSS JOIN LATERAL regexp_match(r.relname, '^entry_([0-9]+)_([0-9]{8})(?:_[0-9]+)?$') AS p (part)
    JOIN journal.category AS c ON c.id = p.part[1]::smallint
   WHERE r.relnamespace = 'journal'::regnamespace AND r.relkind = 'r' AND p.part IS NOT NULL
   GROUP BY c.code, p.part[2]
  HAVING bool_or(pg_relation_size(r.oid) > 0)
   ORDER BY c.code, 2
$$;

-- How much of a category's day is on disk, at no more than two index probes a chain: a chain's rows of a day
-- have consecutive indexes. Zero of everything where there is no partition.
CREATE FUNCTION journal.day_figures(
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
     CROSS JOIN LATERAL (SELECT e.index FROM journal.%1$I AS e WHERE e.tenant = h.tenant
                          ORDER BY e.index LIMIT 1) AS first
     CROSS JOIN LATERAL (SELECT e.index FROM journal.%1$I AS e WHERE e.tenant = h.tenant
                          ORDER BY e.index DESC LIMIT 1) AS last
     WHERE h.category = $1
    $dynamic$, leaf)
    INTO count, chains USING of_category;
END
$$;

-- Nothing at or before this day is written or read any more. Never goes back; says where it now stands.
CREATE FUNCTION journal.raise_fence(of_category text, of_day date) RETURNS date
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  stands date;
BEGIN
  PERFORM pg_advisory_xact_lock(7304680770881318763);
  UPDATE journal.category AS c SET fence = greatest(c.fence, of_day)
   WHERE c.code = of_category RETURNING c.fence INTO stands;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ004', MESSAGE = 'there is no such category';
  END IF;
  UPDATE journal.service SET snapshot_version = snapshot_version + 1;
  RETURN stands;
END
$$;

-- Drop one table of a fenced and sealed day, and the day's counters; true once nothing is left of the day,
-- also where it is older than the category: to be called until then, with a rest in between.
--
-- What takes time comes before the lock: under it there is nothing but the change of the catalog and the
-- commit, and PostgreSQL unlinks the files after it has let go of it. The table is locked first: its parent,
-- into which every append inserts, is not held while a page of an extract is waited for. Of a day in slices
-- that parent is the day's own, and nobody's any more.
--
-- Detaching the table first holds the parent no less long (measured: 3.5 ms for 3.6). Detaching it
-- concurrently does not hold it, takes twice as long, cannot be done by a function, and is left pending by a
-- kill: not worth 4 ms a night.
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
    RAISE EXCEPTION USING ERRCODE = 'OJ007',
      MESSAGE = format('the fence of %s is not at %s yet', of_category, of_day);
  END IF;
  IF of_day < kept.first_day THEN
    RETURN true;
  END IF;
  IF NOT EXISTS (SELECT FROM journal.seal AS s WHERE s.day = of_day) THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ007', MESSAGE = format('the day %s has no close seal yet', of_day);
  END IF;
  DELETE FROM journal.activity AS a WHERE a.category = of_category AND a.day <= of_day;
  DELETE FROM journal.lateness AS l WHERE l.category = of_category AND l.day <= of_day;
  WITH gone AS (
    DELETE FROM journal.source_span AS s WHERE s.category = of_category AND s.day <= of_day RETURNING s.*)
  INSERT INTO journal.source_past AS p (tenant, category, source_key, name, numbers, count, filled, last_at, last_day)
  SELECT g.tenant, g.category, g.source_key, (array_agg(g.name))[1], range_agg(g.numbers), sum(g.count),
         sum(g.filled), max(g.last_at), max(g.day)
    FROM gone AS g GROUP BY 1, 2, 3
  ON CONFLICT (tenant, category, source_key)
  DO UPDATE SET count = p.count + excluded.count, last_at = excluded.last_at, last_day = excluded.last_day,
                (numbers, filled) = (SELECT b.numbers, p.filled + excluded.filled + b.filled
                                       FROM journal.bounded(p.numbers + excluded.numbers) AS b);
  leaf := journal.leaf_name(kept.id, of_day);
  -- Slices, whose names are longer, before the day that holds them together.
  SELECT r.name INTO dropped FROM journal.day_relations(leaf) AS r
   ORDER BY length(r.name) DESC, r.name DESC LIMIT 1;
  IF FOUND THEN
    EXECUTE format('LOCK TABLE journal.%I IN ACCESS EXCLUSIVE MODE', dropped);
    EXECUTE format('DROP TABLE journal.%I', dropped);
  END IF;
  RETURN dropped IS NULL OR dropped = leaf;
END
$$;

-- Say in every head of a category that what came up to this day is gone, under which rule; returns how many
-- moved. Refused while a row of those days exists: the seals would attest what is not so.
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
    RAISE EXCEPTION USING ERRCODE = 'OJ007',
      MESSAGE = format('entries of %s up to %s are still kept', of_category, of_day);
  END IF;
  UPDATE journal.category AS c SET purged_day = greatest(c.purged_day, of_day) WHERE c.code = of_category;
  PERFORM FROM (SELECT h.tenant FROM journal.head AS h WHERE h.category = of_category
                 ORDER BY h.tenant, h.category FOR NO KEY UPDATE) AS held;
  WITH at_close AS (
      SELECT s.tenant, s.size FROM journal.read_seal_heads(close_number) AS s WHERE s.category = of_category),
    gone AS (
      INSERT INTO journal.purge_span (
          tenant, category, day, first_index, end_index, seal_number, moved_at, retention_days)
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

-- Advance a category's chains past a day under the rule that seals state. A day that only a pending shorter
-- rule lets go is left to `settle_rule`, which states both at once: 0, and nothing done.
CREATE FUNCTION journal.move_kept_from(of_category text, of_day date) RETURNS bigint
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
  SELECT c.retention_days, c.next_retention_days, c.next_from, c.first_day, c.fence, c.purged_day INTO kind
    FROM journal.category AS c WHERE c.code = of_category FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ004', MESSAGE = 'there is no such category';
  END IF;
  IF kind.next_retention_days IS NULL THEN
    RETURN true;
  END IF;
  stated := journal.stated_days(kind.retention_days, kind.next_retention_days, kind.fence, today);
  IF kind.next_retention_days < kind.retention_days THEN
    -- It is announced and not in effect yet; or a day past the new limit is still there, or one that is fenced.
    IF today < kind.next_from OR EXISTS (SELECT FROM journal.partitions() AS p
                WHERE p.category = of_category
                  AND p.day <= greatest(today - kind.next_retention_days, kind.fence)) THEN
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
         next_since = CASE WHEN c.next_retention_days <> stated THEN c.next_since END,
         next_from = CASE WHEN c.next_retention_days <> stated THEN c.next_from END
   WHERE c.code = of_category;
  UPDATE journal.service SET snapshot_version = snapshot_version + 1;
  RETURN stated = kind.next_retention_days;
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
  RETURNS TABLE (tenant text, category text, day date, first_index bigint, end_index bigint,
                 seal_number bigint, moved_at timestamptz, retention_days smallint)
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

-- What was changed of categories and is no entry yet, in order.
CREATE FUNCTION journal.read_category_changes()
  RETURNS TABLE (number bigint, changed_at timestamptz, category text, retention_days smallint,
                 retention_days_before smallint, effective_from date, needs_authorisation boolean, label text,
                 basis text, legal_basis text, required_days smallint, instruction text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT g.number, g.changed_at, g.category, g.retention_days, g.retention_days_before, g.effective_from,
         g.needs_authorisation, g.label, g.basis, g.legal_basis, g.required_days, g.instruction
    FROM journal.category_change AS g ORDER BY g.number
$$;

-- Its entries are written.
CREATE FUNCTION journal.forget_category_change(of_number bigint) RETURNS void
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  DELETE FROM journal.category_change AS g WHERE g.number = of_number
$$;

-- Hand-over before purge.

-- What the database says is handed over or lapsed of a category, after the last day that is wholly purged: the
-- caller holds each row against its mac.
CREATE FUNCTION journal.read_handovers(of_category text)
  RETURNS TABLE (tenant text, is_lapse boolean, first_day date, last_day date, base_size bigint, base_hash bytea,
                 head_size bigint, head_hash bytea, file_bytes bigint, file_sha256 bytea,
                 recipient_sha256 bytea, code_mac bytea, placed_at timestamptz, mac bytea)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  SELECT o.tenant, false, o.first_day, o.last_day, o.base_size, o.base_hash, o.head_size, o.head_hash,
         o.file_bytes, o.file_sha256, o.recipient_sha256, o.code_mac, o.placed_at, o.mac
    FROM journal.handover AS o JOIN journal.category AS c ON c.code = o.category
   WHERE o.category = of_category AND o.last_day > coalesce(c.purged_day, '-infinity')
   UNION ALL
  SELECT p.tenant, true, NULL, p.day, NULL, NULL, p.head_size, NULL, NULL, NULL, NULL, NULL, NULL, p.mac
    FROM journal.handover_lapse AS p JOIN journal.category AS c ON c.code = p.category
   WHERE p.category = of_category AND p.day > coalesce(c.purged_day, '-infinity')
$$;

-- The chains of a category, among those of the tenants named, that hold entries up to the close of a day past
-- the size up to which each is handed over: from which size they are missing, and to which. None before the
-- day is sealed.
CREATE FUNCTION journal.handover_due(
    of_category text, of_day date, of_tenants text[], done_sizes bigint[], done_days date[])
  RETURNS TABLE (tenant text, base_size bigint, head_size bigint, done_day date)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  SELECT r.tenant, done.size, closed.size, r.done_day
    FROM unnest(of_tenants, done_sizes, done_days) AS r (tenant, done_size, done_day)
    JOIN journal.head AS h ON h.tenant = r.tenant AND h.category = of_category
    JOIN journal.seal AS s ON s.day = of_day
   CROSS JOIN LATERAL (SELECT l.size FROM journal.seal_head AS l
                        WHERE l.tenant = h.tenant AND l.category = h.category AND l.number <= s.number
                        ORDER BY l.number DESC LIMIT 1) AS closed
   CROSS JOIN LATERAL (SELECT greatest(h.kept_from, r.done_size) AS size) AS done
   WHERE closed.size > done.size
   ORDER BY r.tenant
$$;

-- The same by what the rows say, for figures only: nothing is decided by it.
CREATE FUNCTION journal.handover_figures(of_category text, of_day date)
  RETURNS TABLE (tenant text, base_size bigint, head_size bigint, done_day date)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  SELECT due.*
    FROM (SELECT array_agg(r.tenant) AS tenants, array_agg(done.size) AS sizes, array_agg(done.day) AS days
            FROM journal.recipient AS r
           CROSS JOIN LATERAL (SELECT max(d.size) AS size, max(d.day) AS day
                                 FROM (SELECT o.head_size, o.last_day FROM journal.handover AS o
                                        WHERE o.tenant = r.tenant AND o.category = of_category
                                          AND o.placed_at IS NOT NULL
                                       UNION ALL
                                       SELECT p.head_size, p.day FROM journal.handover_lapse AS p
                                        WHERE p.tenant = r.tenant AND p.category = of_category)
                                      AS d (size, day)) AS done) AS noted
   CROSS JOIN LATERAL journal.handover_due(of_category, of_day, noted.tenants, noted.sizes, noted.days) AS due
$$;

-- Note a file that is written and has not its name yet; false, and nothing noted, if another run was faster.
-- What is noted and older than a year goes: the file is long gone, and the entries' proof needs none of it.
CREATE FUNCTION journal.note_handover(
    of_tenant text, of_category text, of_first_day date, of_last_day date,
    of_base_size bigint, of_base_hash bytea, of_head_size bigint, of_head_hash bytea,
    of_file_bytes bigint, of_file_sha256 bytea, of_recipient_sha256 bytea, of_code_mac bytea,
    of_mac bytea)
  RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  DELETE FROM journal.handover AS o WHERE o.listed_at < journal.now() - interval '1 year';
  DELETE FROM journal.handover_lapse AS p WHERE p.lapsed_at < journal.now() - interval '1 year';
  INSERT INTO journal.handover AS o (
      tenant, category, first_day, last_day, base_size, base_hash, head_size, head_hash,
      file_bytes, file_sha256, recipient_sha256, code_mac, mac, written_at)
  VALUES (of_tenant, of_category, of_first_day, of_last_day, of_base_size, of_base_hash,
          of_head_size, of_head_hash, of_file_bytes, of_file_sha256, of_recipient_sha256, of_code_mac, of_mac,
          journal.now())
  ON CONFLICT (tenant, category, last_day) DO UPDATE
     SET first_day = excluded.first_day, base_size = excluded.base_size, base_hash = excluded.base_hash,
         head_size = excluded.head_size, head_hash = excluded.head_hash, file_bytes = excluded.file_bytes,
         file_sha256 = excluded.file_sha256, recipient_sha256 = excluded.recipient_sha256,
         code_mac = excluded.code_mac, mac = excluded.mac,
         written_at = excluded.written_at
   WHERE o.placed_at IS NULL;
  RETURN FOUND;
END
$$;

-- The file has its name and is durable: its days are handed over.
CREATE FUNCTION journal.place_handover(
    of_tenant text, of_category text, of_last_day date, of_file_sha256 bytea, of_mac bytea)
  RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  UPDATE journal.handover AS o SET placed_at = journal.now(), mac = of_mac
   WHERE o.tenant = of_tenant AND o.category = of_category AND o.last_day = of_last_day
     AND o.file_sha256 = of_file_sha256 AND o.placed_at IS NULL;
  RETURN FOUND;
END
$$;

-- A file that was noted and is nowhere: forget it, so that it is made again.
CREATE FUNCTION journal.forget_handover(of_tenant text, of_category text, of_last_day date) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  DELETE FROM journal.handover AS o
   WHERE o.tenant = of_tenant AND o.category = of_category AND o.last_day = of_last_day
     AND o.placed_at IS NULL;
  RETURN FOUND;
END
$$;

-- A hand-over, or a lapse, whose mac does not fit: this service did not write it. False if it is gone already.
CREATE FUNCTION journal.discard_handover(
    of_tenant text, of_category text, of_last_day date, of_lapse boolean, of_mac bytea) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF of_lapse THEN
    DELETE FROM journal.handover_lapse AS p
     WHERE p.tenant = of_tenant AND p.category = of_category AND p.day = of_last_day AND p.mac = of_mac;
  ELSE
    DELETE FROM journal.handover AS o
     WHERE o.tenant = of_tenant AND o.category = of_category AND o.last_day = of_last_day AND o.mac = of_mac;
  END IF;
  RETURN FOUND;
END
$$;

-- What a tenant's inventories do not name yet, and what they must name beside it: the files not placed, then
-- every file of each night that holds one not listed, by night, category, day.
CREATE FUNCTION journal.unlisted_handovers(of_tenant text)
  RETURNS TABLE (category text, first_day date, last_day date, base_size bigint, base_hash bytea,
                 head_size bigint, head_hash bytea, file_bytes bigint, file_sha256 bytea,
                 recipient_sha256 bytea, code_mac bytea, placed_at timestamptz, mac bytea)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT o.category, o.first_day, o.last_day, o.base_size, o.base_hash, o.head_size, o.head_hash,
         o.file_bytes, o.file_sha256, o.recipient_sha256, o.code_mac, o.placed_at, o.mac
    FROM journal.handover AS o
   WHERE o.tenant = of_tenant
     AND (o.placed_at IS NULL
          OR journal.day_of(o.placed_at) IN (SELECT journal.day_of(n.placed_at) FROM journal.handover AS n
                                              WHERE n.tenant = of_tenant AND n.placed_at IS NOT NULL
                                                AND n.listed_at IS NULL))
   ORDER BY o.placed_at IS NOT NULL, journal.day_of(o.placed_at), o.category, o.last_day
$$;

-- A tenant's files that are in their place, of one night (UTC day) or, with null, of all that are kept, by category
-- and day.
CREATE FUNCTION journal.placed_handovers(of_tenant text, of_night date)
  RETURNS TABLE (category text, first_day date, last_day date, base_size bigint, base_hash bytea,
                 head_size bigint, head_hash bytea, file_bytes bigint, file_sha256 bytea,
                 recipient_sha256 bytea, code_mac bytea, placed_at timestamptz, mac bytea)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT o.category, o.first_day, o.last_day, o.base_size, o.base_hash, o.head_size, o.head_hash,
         o.file_bytes, o.file_sha256, o.recipient_sha256, o.code_mac, o.placed_at, o.mac
    FROM journal.handover AS o
   WHERE o.tenant = of_tenant AND o.placed_at IS NOT NULL
     AND (of_night IS NULL OR journal.day_of(o.placed_at) = of_night)
   ORDER BY o.category, o.last_day
$$;

-- The inventory of a night is in its place: it names every file placed up to a moment.
CREATE FUNCTION journal.list_handovers(of_tenant text, up_to timestamptz) RETURNS bigint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  listed bigint;
BEGIN
  UPDATE journal.handover AS o SET listed_at = journal.now()
   WHERE o.tenant = of_tenant AND o.placed_at <= up_to AND o.listed_at IS NULL;
  GET DIAGNOSTICS listed = ROW_COUNT;
  RETURN listed;
END
$$;

-- The limit of a day has come: note what goes without hand-over, and raise an alarm for each. Repeating it
-- finds nothing more.
CREATE FUNCTION journal.lapse_handovers(
    of_category text, of_day date, of_reason text, of_detail text, of_tenants text[], head_sizes bigint[],
    macs bytea[])
  RETURNS SETOF text
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN QUERY
    WITH lapsed AS (
      INSERT INTO journal.handover_lapse AS p (tenant, category, day, head_size, mac, lapsed_at)
      SELECT d.tenant, of_category, of_day, d.head_size, d.mac, journal.now()
        FROM unnest(of_tenants, head_sizes, macs) AS d (tenant, head_size, mac)
      ON CONFLICT DO NOTHING
      RETURNING p.tenant),
    alarmed AS (
      INSERT INTO journal.handover_alarm (tenant, category, day, reason, detail, raised_at)
      SELECT l.tenant, of_category, of_day, of_reason, of_detail, journal.now() FROM lapsed AS l)
    SELECT l.tenant FROM lapsed AS l ORDER BY l.tenant;
END
$$;

-- A tenant's hand-over cannot be made: note why, and raise an alarm unless this very reason is known; true
-- if raised.
CREATE FUNCTION journal.raise_handover_fault(
    of_tenant text, of_category text, of_day date, of_reason text, of_detail text)
  RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
  known text;
BEGIN
  SELECT f.reason INTO known FROM journal.handover_fault AS f WHERE f.tenant = of_tenant FOR UPDATE;
  INSERT INTO journal.handover_fault AS f (tenant, since, reason, detail)
  VALUES (of_tenant, journal.now(), of_reason, of_detail)
  ON CONFLICT (tenant) DO UPDATE SET reason = excluded.reason, detail = excluded.detail;
  IF known = of_reason THEN
    RETURN false;
  END IF;
  INSERT INTO journal.handover_alarm (tenant, category, day, reason, detail, raised_at)
  VALUES (of_tenant, of_category, of_day, of_reason, of_detail, journal.now());
  RETURN true;
END
$$;

-- It works again; true if something was wrong.
CREATE FUNCTION journal.clear_handover_fault(of_tenant text) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  DELETE FROM journal.handover_fault AS f WHERE f.tenant = of_tenant;
  RETURN FOUND;
END
$$;

-- What is wrong now, of open tenants alone: a run of the hand-over that a close overtook may still note that
-- it failed, and nobody would ever clear that.
CREATE FUNCTION journal.read_handover_faults()
  RETURNS TABLE (tenant text, since timestamptz, reason text, detail text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT f.tenant, f.since, f.reason, f.detail
    FROM journal.handover_fault AS f
    JOIN journal.tenant AS t ON t.code = f.tenant AND t.closed_at IS NULL
   ORDER BY f.since, f.tenant
$$;

-- What must still become an entry, in order.
CREATE FUNCTION journal.read_handover_alarms()
  RETURNS TABLE (number bigint, raised_at timestamptz, day date, tenant text, category text, reason text,
                 detail text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT a.number, a.raised_at, a.day, a.tenant, a.category, a.reason, a.detail
    FROM journal.handover_alarm AS a ORDER BY a.number
$$;

-- Its entries are written.
CREATE FUNCTION journal.forget_handover_alarm(of_number bigint) RETURNS void
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  DELETE FROM journal.handover_alarm AS a WHERE a.number = of_number
$$;

-- The rows of a tenant whose contract has ended.

-- Remove some entries of a destroyed tenant from one day, a slice that somebody detached too; return how
-- many, 0 once none is left. Few at a time: each is its own short transaction, and appends of others go on
-- meanwhile.
CREATE FUNCTION journal.remove_entries(of_tenant text, of_category text, of_day date, max_rows integer)
  RETURNS bigint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
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
      FROM journal.category AS c
     CROSS JOIN LATERAL journal.day_relations(journal.leaf_name(c.id, of_day)) AS r
     WHERE c.code = of_category AND r.kind = 'r' ORDER BY r.name
  LOOP
    EXECUTE format($dynamic$
      DELETE FROM journal.%1$I AS e
       WHERE e.tenant = $1
         AND e.index = ANY (ARRAY(SELECT k.index FROM journal.%1$I AS k WHERE k.tenant = $1
                                   ORDER BY k.index LIMIT $2))
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

-- Remove what else there is of a destroyed tenant: counters, what was noted of its hand-overs, and all of its
-- credentials and persons but their ids, which no other will have. What the journal of the service is still to say of it
-- stays until it is said.
CREATE FUNCTION journal.remove_traces(of_tenant text) RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM journal.check_destroyed(of_tenant);
  DELETE FROM journal.activity AS a WHERE a.tenant = of_tenant;
  DELETE FROM journal.lateness AS l WHERE l.tenant = of_tenant;
  DELETE FROM journal.source_span AS s WHERE s.tenant = of_tenant;
  DELETE FROM journal.source_past AS p WHERE p.tenant = of_tenant;
  DELETE FROM journal.source_loss AS l WHERE l.tenant = of_tenant;
  DELETE FROM journal.source_rhythm AS r WHERE r.tenant = of_tenant;
  DELETE FROM journal.recipient AS r WHERE r.tenant = of_tenant;
  DELETE FROM journal.handover AS o WHERE o.tenant = of_tenant;
  DELETE FROM journal.handover_lapse AS p WHERE p.tenant = of_tenant;
  DELETE FROM journal.handover_fault AS f WHERE f.tenant = of_tenant;
  UPDATE journal.credential AS c
     SET secret_hash = decode(repeat('00', 32), 'hex'), categories = '{}', source_prefix = NULL,
         certificate_sha256 = NULL, label = '', revoked_at = coalesce(c.revoked_at, journal.now())
   WHERE c.tenant = of_tenant AND c.secret_hash <> decode(repeat('00', 32), 'hex');
  DELETE FROM journal.person_code AS o USING journal.person AS p WHERE p.id = o.person AND p.tenant = of_tenant;
  UPDATE journal.person AS p
     SET sealed = '', categories = '{}', login_key = decode(repeat('00', 32), 'hex'), invitation_hash = NULL,
         invited_until = NULL, revoked_at = coalesce(p.revoked_at, journal.now())
   WHERE p.tenant = of_tenant AND p.sealed <> '';
END
$$;

-- Say in every head of a destroyed tenant that nothing is kept; returns how many moved. Refused while a row
-- is there: the seals would attest what is not so.
CREATE FUNCTION journal.empty_heads(of_tenant text) RETURNS bigint
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
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
                AND NOT EXISTS (SELECT FROM journal.seal AS c
                                 WHERE c.day = journal.day_of(h.recorded_at) - 1)) THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ009',
      MESSAGE = format('a day before the last entry of %s has no close seal', of_tenant);
  END IF;
  PERFORM FROM (SELECT h.tenant FROM journal.head AS h WHERE h.tenant = of_tenant
                 ORDER BY h.tenant, h.category FOR NO KEY UPDATE) AS held;
  UPDATE journal.head AS h SET kept_from = h.size WHERE h.tenant = of_tenant AND h.kept_from < h.size;
  GET DIAGNOSTICS moved = ROW_COUNT;
  RETURN moved;
END
$$;

GRANT EXECUTE ON FUNCTION
    journal.now, journal.clock_is_simulated, journal.read_service, journal.read_categories,
    journal.read_recipients, journal.ensure_partitions, journal.partitions, journal.recorded_days,
    journal.day_figures, journal.raise_fence, journal.drop_day, journal.move_kept_from, journal.settle_rule,
    journal.unfinished_purges, journal.read_purge_spans, journal.forget_purge_spans,
    journal.read_category_changes, journal.forget_category_change, journal.read_handovers,
    journal.handover_due, journal.note_handover, journal.place_handover, journal.forget_handover,
    journal.discard_handover, journal.unlisted_handovers, journal.placed_handovers,
    journal.list_handovers, journal.lapse_handovers, journal.raise_handover_fault,
    journal.clear_handover_fault, journal.read_handover_faults, journal.read_handover_alarms,
    journal.forget_handover_alarm, journal.remove_entries, journal.remove_traces, journal.empty_heads
  TO journal_purge;

-- -----------------------------------------------------------------------------------------------------------
-- journal_read: extracts, heads, attestations, status
-- -----------------------------------------------------------------------------------------------------------

-- A page of a chain's day, straight in its partition, in the order of indexes. Not one of a day past its
-- limit, whatever clock the reader goes by: until it is purged it is there, and nobody's any more.
CREATE FUNCTION journal.read_entries(
    of_tenant text, of_category text, of_day date, first_index bigint, page_size integer)
  RETURNS TABLE (index bigint, event_key bytea, leaf_hash bytea, chain_hash bytea, ciphertext bytea)
  LANGUAGE plpgsql STABLE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
  SET jit = off
AS $$
DECLARE
  today CONSTANT date := journal.day_of(journal.now());
  kept record;
  leaf text;
BEGIN
  SELECT c.id, c.first_day, c.fence,
         journal.stated_days(c.retention_days, c.next_retention_days, c.fence, today) AS days
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
    RAISE EXCEPTION USING ERRCODE = 'OJ005',
      MESSAGE = format('the day %s is past its limit of %s days', of_day, kept.days);
  END IF;
  leaf := journal.leaf_name(kept.id, of_day);
  IF to_regclass('journal.' || leaf) IS NULL THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ004', MESSAGE = format('there is no partition %s', leaf);
  END IF;
  RETURN QUERY EXECUTE format(
    'SELECT e.index, e.event_key, e.leaf_hash, e.chain_hash, e.ciphertext FROM journal.%I AS e '
    'WHERE e.tenant = $1 AND e.index >= $2 ORDER BY e.index LIMIT $3', leaf)
    USING of_tenant, first_index, page_size;
END
$$;

-- A page of everything in one day's partition, whatever its rows say they are: for the check of the store.
CREATE FUNCTION journal.scan_entries(
    of_category text, of_day date, after_tenant text, after_index bigint, page_rows integer)
  RETURNS TABLE (tenant text, category text, day date, index bigint, event_key bytea, leaf_hash bytea,
                 chain_hash bytea, ciphertext bytea)
  LANGUAGE plpgsql STABLE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
  SET jit = off
AS $$
#variable_conflict use_column
DECLARE
  leaf text;
BEGIN
  SELECT journal.leaf_name(c.id, of_day) INTO STRICT leaf
    FROM journal.category AS c WHERE c.code = of_category;
  RETURN QUERY EXECUTE format($dynamic$
    SELECT e.tenant, e.category, e.day, e.index, e.event_key, e.leaf_hash, e.chain_hash, e.ciphertext
      FROM journal.%I AS e
     WHERE (e.tenant, e.index) > ($1, $2)
     ORDER BY e.tenant, e.index LIMIT $3
    $dynamic$, leaf)
    USING after_tenant, after_index, page_rows;
END
$$;

-- A seal by its number; no row where it is thinned.
CREATE FUNCTION journal.read_seal(of_number bigint)
  RETURNS TABLE (number bigint, day date, sealed_at timestamptz, text bytea, signature bytea)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT s.number, s.day, s.sealed_at, s.text, s.signature FROM journal.seal AS s WHERE s.number = of_number
$$;

-- In order of number; thinned open seals are simply not there.
CREATE FUNCTION journal.read_seals(after_number bigint, page_size integer)
  RETURNS TABLE (number bigint, day date, sealed_at timestamptz, text bytea, signature bytea)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT s.number, s.day, s.sealed_at, s.text, s.signature
    FROM journal.seal AS s WHERE s.number > after_number ORDER BY s.number LIMIT page_size
$$;

-- The close seals of a range of days, both included.
CREATE FUNCTION journal.read_close_seals(first_day date, last_day date)
  RETURNS TABLE (number bigint, day date, sealed_at timestamptz, text bytea, signature bytea)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT s.number, s.day, s.sealed_at, s.text, s.signature
    FROM journal.seal AS s WHERE s.day BETWEEN first_day AND last_day ORDER BY s.day
$$;

-- A seal's time-stamp, null where it has none.
CREATE FUNCTION journal.read_timestamp(of_number bigint) RETURNS bytea
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT t.token FROM journal.seal_timestamp AS t WHERE t.number = of_number
$$;

-- The seals in which a chain's base is first seen further on, in order of number, with the base and the rule
-- that were stated before. What moved before the oldest head kept is not among them.
CREATE FUNCTION journal.read_base_moves(of_tenant text, of_category text)
  RETURNS TABLE (number bigint, kept_before bigint, kept_from bigint, retention_before smallint,
                 retention_days smallint)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT m.number, m.kept_before, m.kept_from, m.retention_before, m.retention_days
    FROM (SELECT h.number, h.kept_from, h.retention_days,
                 lag(h.kept_from) OVER moved AS kept_before,
                 lag(h.retention_days) OVER moved AS retention_before
            FROM journal.seal_head AS h
           WHERE h.tenant = of_tenant AND h.category = of_category
          WINDOW moved AS (ORDER BY h.number)) AS m
   WHERE m.kept_before < m.kept_from
   ORDER BY m.number
$$;

-- A tenant's counters, by category, day and action.
CREATE FUNCTION journal.read_activity(of_tenant text)
  RETURNS TABLE (category text, day date, action text, count bigint)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT a.category, a.day, a.action, a.count
    FROM journal.activity AS a WHERE a.tenant = of_tenant ORDER BY a.category, a.day, a.action
$$;

-- What the numbers of sources say, one row a source and epoch: how many came and the last, on how many events, which
-- are missing (from 1 on; the first 20 ranges, and how many numbers in all), how many are declared lost. Of one
-- tenant or all, of one category or all.
CREATE FUNCTION journal.read_sources(of_tenant text, of_category text)
  RETURNS TABLE (tenant text, category text, source_key bytea, name bytea, last bigint, numbers bigint, events bigint,
                 missing bigint, missing_low bigint[], missing_high bigint[], declared bigint, last_day date,
                 last_at timestamptz)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  SELECT g.tenant, g.category, g.source_key, g.name, upper(g.came) - 1,
         journal.cardinality_of(g.came) - g.filled, g.events,
         journal.cardinality_of(open.numbers) + g.filled, shown.low, shown.high,
         journal.cardinality_of((whole.numbers - g.came) * coalesce(l.numbers, '{}')), g.last_day, g.last_at
    FROM (SELECT s.tenant, s.category, s.source_key, (array_agg(s.name))[1] AS name, range_agg(s.numbers) AS came,
                 sum(s.count)::bigint AS events, sum(s.filled)::bigint AS filled, max(s.day) AS last_day,
                 max(s.last_at) AS last_at
            FROM (SELECT d.tenant, d.category, d.source_key, d.name, d.numbers, d.count, d.filled, d.day, d.last_at
                    FROM journal.source_span AS d
                  UNION ALL
                  SELECT p.tenant, p.category, p.source_key, p.name, p.numbers, p.count, p.filled, p.last_day,
                         p.last_at
                    FROM journal.source_past AS p) AS s
           WHERE (of_tenant IS NULL OR s.tenant = of_tenant) AND (of_category IS NULL OR s.category = of_category)
           GROUP BY 1, 2, 3) AS g
    LEFT JOIN journal.source_loss AS l
      ON l.tenant = g.tenant AND l.category = g.category AND l.source_key = g.source_key
   CROSS JOIN LATERAL (SELECT int8multirange(int8range(1, greatest(upper(g.came), 1))) AS numbers) AS whole
   CROSS JOIN LATERAL (SELECT whole.numbers - g.came - coalesce(l.numbers, '{}') AS numbers) AS open
   CROSS JOIN LATERAL (
      SELECT coalesce(array_agg(lower(r.range)), '{}') AS low, coalesce(array_agg(upper(r.range) - 1), '{}') AS high
        FROM (SELECT u.range FROM unnest(open.numbers) AS u (range) ORDER BY u.range LIMIT 20) AS r) AS shown
   ORDER BY g.tenant, g.category, g.source_key
$$;

-- The rhythms that sources are to keep, of tenants whose contract runs.
CREATE FUNCTION journal.read_rhythms()
  RETURNS TABLE (tenant text, category text, source_key bytea, name bytea, minutes integer, declared_at timestamptz)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT r.tenant, r.category, r.source_key, r.name, r.minutes, r.declared_at
    FROM journal.source_rhythm AS r
    JOIN journal.tenant AS t ON t.code = r.tenant AND t.closed_at IS NULL AND t.moved_at IS NULL
   ORDER BY r.tenant, r.category, r.source_key
$$;

-- How many entries still kept are of accesses on days of a period, but recorded on others.
CREATE FUNCTION journal.count_elsewhere(of_tenant text, of_category text, first_day date, last_day date) RETURNS bigint
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT coalesce(sum(l.count), 0)::bigint
    FROM journal.lateness AS l
   WHERE l.tenant = of_tenant AND l.category = of_category
     AND l.occurred BETWEEN first_day AND last_day AND l.day NOT BETWEEN first_day AND last_day
$$;

-- What readiness and the metrics say of seals and retention: a row or a few of facts, in one question each.
-- Nothing here reads an entry: days come from the catalog, sizes from the heads. No tenant leaves either
-- function.

-- How far seals, time-stamps and hand-over are behind: one row. The faults are those that
-- `read_handover_faults` names.
CREATE FUNCTION journal.read_status()
  RETURNS TABLE (at timestamptz, first_day date, close_day date, number bigint, sealed_at timestamptz,
                 unsealed_heads bigint, unsealed_since timestamptz, unstamped_seals bigint,
                 unstamped_since timestamptz, stamping_failed_since timestamptz, handover_faults bigint,
                 handover_failed_since timestamptz)
  -- One probe a chain, whatever the planner believes of a table that was small when it looked.
  LANGUAGE sql STABLE SECURITY DEFINER
  SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
AS $$
  SELECT journal.now(), s.first_day, (SELECT max(c.day) FROM journal.seal AS c),
         latest.number, latest.sealed_at,
         moved.count, moved.since, stamps.count, stamps.since,
         s.stamping_failed_since, faults.count, faults.since
    FROM journal.service AS s
    LEFT JOIN LATERAL (SELECT l.number, l.sealed_at FROM journal.seal AS l
                        ORDER BY l.number DESC LIMIT 1) AS latest ON true
   CROSS JOIN LATERAL (
      SELECT count(*) AS count, min(coalesce(h.recorded_at, journal.now())) AS since
        FROM journal.head AS h
        LEFT JOIN LATERAL (SELECT p.size FROM journal.seal_head AS p
                            WHERE p.tenant = h.tenant AND p.category = h.category
                            ORDER BY p.number DESC LIMIT 1) AS sealed ON true
       WHERE sealed.size IS DISTINCT FROM h.size) AS moved
   CROSS JOIN LATERAL (SELECT count(*) AS count, min(u.sealed_at) AS since
                         FROM journal.unstamped_seals() AS u) AS stamps
   CROSS JOIN LATERAL (SELECT count(*) AS count, min(f.since) AS since
                         FROM journal.handover_fault AS f
                         JOIN journal.tenant AS t ON t.code = f.tenant AND t.closed_at IS NULL) AS faults
$$;

-- What is kept of each category asked about, and what of it waits for its hand-over up to a day: the days on
-- disk, in order; the first of them that holds anything (a leaf that holds nothing has no page); what went
-- last, and when; how many tenants have been given files of it and not confirmed that they can open them.
CREATE FUNCTION journal.read_retention(of_category text[], of_day date[])
  RETURNS TABLE (category text, days date[], oldest_day date, purged_day date, purged_at timestamptz,
                 handover_days bigint, handover_lapses bigint, handover_unconfirmed bigint)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  WITH leaf AS MATERIALIZED (
    SELECT p.part[1]::smallint AS id, to_date(p.part[2], 'YYYYMMDD') AS day,
           bool_or(pg_relation_size(r.oid) > 0) AS is_used
      FROM pg_class AS r
     CROSS JOIN LATERAL regexp_match(r.relname, '^entry_([0-9]+)_([0-9]{8})(?:_[0-9]+)?$') AS p (part)
     WHERE r.relnamespace = 'journal'::regnamespace AND r.relkind IN ('r', 'p') AND p.part IS NOT NULL
     GROUP BY p.part[1], p.part[2])
  SELECT c.code, kept.days, kept.oldest_day, c.purged_day, c.purged_at, waiting.count, lapsed.count, unsure.count
    FROM unnest(of_category, of_day) AS asked (category, day)
    JOIN journal.category AS c ON c.code = asked.category
   CROSS JOIN LATERAL (
      SELECT coalesce(array_agg(l.day ORDER BY l.day), '{}') AS days,
             min(l.day) FILTER (WHERE l.is_used) AS oldest_day
        FROM leaf AS l WHERE l.id = c.id) AS kept
   CROSS JOIN LATERAL (
      SELECT count(*) AS count
        FROM leaf AS l,
             (SELECT bool_or(d.done_day IS NULL) AS from_the_first, min(d.done_day) AS done_day
                FROM journal.handover_figures(c.code, asked.day) AS d) AS due
       WHERE l.id = c.id AND l.is_used AND l.day <= asked.day
         AND (due.from_the_first OR l.day > due.done_day)) AS waiting
   CROSS JOIN LATERAL (SELECT count(*) AS count FROM journal.handover_lapse AS p
                        WHERE p.category = c.code
                          -- Handed over, and not confirmed: told below.
                          AND NOT EXISTS (SELECT FROM journal.handover AS o
                                           WHERE o.tenant = p.tenant AND o.category = p.category
                                             AND o.placed_at IS NOT NULL
                                             AND p.day BETWEEN o.first_day AND o.last_day)) AS lapsed
   CROSS JOIN LATERAL (SELECT count(*) AS count FROM journal.recipient AS r
                        WHERE r.confirmed_at IS NULL
                          AND EXISTS (SELECT FROM journal.handover AS o
                                       WHERE o.tenant = r.tenant AND o.category = c.code
                                         AND o.placed_at IS NOT NULL)) AS unsure
   ORDER BY c.code
$$;

GRANT EXECUTE ON FUNCTION
    journal.now, journal.clock_is_simulated, journal.read_service, journal.read_categories,
    journal.read_tenants, journal.latest_seal, journal.latest_close_seal, journal.read_seal_heads,
    journal.read_entries, journal.scan_entries, journal.read_seal, journal.read_seals,
    journal.read_close_seals, journal.read_timestamp, journal.read_base_moves,
    journal.read_activity, journal.read_sources, journal.read_rhythms, journal.count_elsewhere, journal.read_status, journal.read_retention
  TO journal_read;

-- -----------------------------------------------------------------------------------------------------------
-- journal_admin: the operator's commands
--
-- To say that a contract has ended is the operator's: the process that serves requests removes nothing by
-- itself.
-- -----------------------------------------------------------------------------------------------------------

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

-- Make a tenant and its chains. Holding the service's row keeps this and `add_category` from missing each
-- other's chains.
CREATE FUNCTION journal.add_tenant(of_code text, of_name text, chain_category text[], chain_genesis bytea[])
  RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM FROM journal.service FOR UPDATE;
  -- The reserved tenant records what concerns no tenant: the service's own category is all it has.
  IF EXISTS (SELECT FROM unnest(chain_category) AS g (code)
               FULL JOIN (SELECT c.code FROM journal.category AS c
                           WHERE of_code <> '_service' OR c.code = 'journal') AS c
                 ON c.code = g.code
              WHERE g.code IS NULL OR c.code IS NULL) THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ008',
      MESSAGE = 'the categories have changed meanwhile: read them again';
  END IF;
  INSERT INTO journal.tenant (code, name, created_at) VALUES (of_code, of_name, journal.now());
  INSERT INTO journal.chain (tenant, category, genesis)
  SELECT of_code, g.category, g.genesis FROM unnest(chain_category, chain_genesis) AS g (category, genesis);
  INSERT INTO journal.head (tenant, category, size, chain_hash, kept_from)
  SELECT of_code, g.category, 0, g.genesis, 0
    FROM unnest(chain_category, chain_genesis) AS g (category, genesis);
  UPDATE journal.service SET snapshot_version = snapshot_version + 1;
END
$$;

-- Make a category, its chains in every open tenant, and its partition; return its id.
CREATE FUNCTION journal.add_category(
    of_code text, of_label text, of_regime text, of_retention_days smallint, of_needs_authorisation boolean,
    of_basis text, of_legal_basis text, of_required_days smallint, chain_tenant text[], chain_genesis bytea[])
  RETURNS smallint
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
  INSERT INTO journal.category (
      code, id, label, regime, retention_days, needs_authorisation, basis, legal_basis, required_days, created_at,
      first_day)
  VALUES (of_code, new_id, of_label, of_regime, of_retention_days,
          of_needs_authorisation, of_basis, of_legal_basis, of_required_days, moment, journal.day_of(moment));
  INSERT INTO journal.chain (tenant, category, genesis)
  SELECT g.tenant, of_code, g.genesis FROM unnest(chain_tenant, chain_genesis) AS g (tenant, genesis);
  INSERT INTO journal.head (tenant, category, size, chain_hash, kept_from)
  SELECT g.tenant, of_code, 0, g.genesis, 0 FROM unnest(chain_tenant, chain_genesis) AS g (tenant, genesis);
  EXECUTE format('CREATE TABLE journal.%I (LIKE journal.entry INCLUDING CONSTRAINTS INCLUDING STORAGE) '
                 'PARTITION BY RANGE (day)', 'entry_' || new_id);
  EXECUTE format('ALTER TABLE journal.entry ATTACH PARTITION journal.%I FOR VALUES IN (%L)',
                 'entry_' || new_id, of_code);
  EXECUTE format('CREATE TRIGGER entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journal.%I '
                 'FOR EACH STATEMENT EXECUTE FUNCTION journal.refuse_change()', 'entry_' || new_id);
  UPDATE journal.service SET snapshot_version = snapshot_version + 1;
  RETURN new_id;
END
$$;

-- Change a category on an instruction; null leaves a value as it is. A rule asked for is pending until it is
-- settled, a shorter one obeyed after a delay of some days. False, and nothing done, if all is so already.
CREATE FUNCTION journal.set_category(
    of_code text, of_label text, of_retention_days smallint, of_needs_authorisation boolean, of_basis text,
    of_legal_basis text, of_required_days smallint, of_instruction text, of_delay_days integer)
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
  SELECT c.label, c.retention_days, c.next_retention_days, c.needs_authorisation, c.basis, c.legal_basis,
         c.required_days, c.fence, c.purged_day
    INTO kind
    FROM journal.category AS c WHERE c.code = of_code FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ004', MESSAGE = 'there is no such category';
  END IF;
  stated := journal.stated_days(kind.retention_days, kind.next_retention_days, kind.fence, today);
  asked := coalesce(kind.next_retention_days, kind.retention_days);
  -- What is purged already under a shorter rule is excused by that one alone: it must have been stated.
  IF of_retention_days > asked AND asked < stated
     AND kind.fence > coalesce(kind.purged_day, kind.fence - 1) THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ007',
      MESSAGE = format('%s of %s is destroyed already under the rule of %s days asked for before: '
                       'run openepm-journal purge, then set the longer rule', kind.fence, of_code, asked);
  END IF;
  SELECT nullif(of_label, kind.label) AS label, nullif(of_retention_days, asked) AS retention_days,
         nullif(of_needs_authorisation, kind.needs_authorisation) AS needs_authorisation,
         nullif(of_basis, kind.basis) AS basis, nullif(of_legal_basis, kind.legal_basis) AS legal_basis,
         nullif(of_required_days, kind.required_days) AS required_days,
         CASE WHEN of_retention_days < stated AND of_retention_days <> asked THEN today + of_delay_days END
           AS effective_from
    INTO said;
  IF said.label IS NULL AND said.retention_days IS NULL AND said.needs_authorisation IS NULL
     AND said.basis IS NULL AND said.legal_basis IS NULL AND said.required_days IS NULL THEN
    RETURN false;
  END IF;
  IF said.retention_days IS NOT NULL THEN
    UPDATE journal.category AS c
       SET retention_days = stated, next_retention_days = nullif(said.retention_days, stated),
           next_since = CASE WHEN said.retention_days <> stated THEN today END,
           next_from = CASE WHEN said.retention_days <> stated THEN coalesce(said.effective_from, today) END
     WHERE c.code = of_code;
  END IF;
  UPDATE journal.category AS c
     SET label = coalesce(said.label, c.label),
         needs_authorisation = coalesce(said.needs_authorisation, c.needs_authorisation),
         basis = coalesce(said.basis, c.basis),
         legal_basis = coalesce(said.legal_basis, c.legal_basis),
         required_days = coalesce(said.required_days, c.required_days)
   WHERE c.code = of_code;
  INSERT INTO journal.category_change (
      changed_at, category, retention_days, retention_days_before, effective_from, needs_authorisation, label,
      basis, legal_basis, required_days, instruction)
  VALUES (journal.now(), of_code, said.retention_days,
          CASE WHEN said.retention_days IS NOT NULL THEN asked END, said.effective_from,
          said.needs_authorisation, said.label, said.basis, said.legal_basis, said.required_days,
          of_instruction);
  UPDATE journal.service SET snapshot_version = snapshot_version + 1;
  RETURN true;
END
$$;

-- Store a credential. Its secret arrives hashed.
CREATE FUNCTION journal.add_credential(
    of_id text, of_secret_hash bytea, of_role text, of_tenant text, of_categories text[],
    of_source_prefix text, of_certificate_sha256 bytea, of_person bytea, of_label text, of_expires_at timestamptz)
  RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  IF EXISTS (SELECT FROM unnest(of_categories) AS g (code)
              WHERE NOT EXISTS (SELECT FROM journal.category AS c WHERE c.code = g.code)) THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ004', MESSAGE = 'there is no such category';
  END IF;
  INSERT INTO journal.credential (
      id, secret_hash, role, tenant, categories, source_prefix, certificate_sha256, person, label, created_at,
      expires_at)
  VALUES (of_id, of_secret_hash, of_role, of_tenant, of_categories, of_source_prefix, of_certificate_sha256,
          of_person, of_label, journal.now(), of_expires_at);
  UPDATE journal.service SET snapshot_version = snapshot_version + 1;
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
  UPDATE journal.service SET snapshot_version = snapshot_version + 1;
  RETURN true;
END
$$;

-- Let a credential expire at a time, if not earlier; false if there is none of that name, or it is revoked.
CREATE FUNCTION journal.limit_credential(of_id text, of_expires_at timestamptz) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  UPDATE journal.credential AS c SET expires_at = least(c.expires_at, of_expires_at)
   WHERE c.id = of_id AND c.revoked_at IS NULL;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  UPDATE journal.service SET snapshot_version = snapshot_version + 1;
  RETURN true;
END
$$;

-- Store a person who is invited.
CREATE FUNCTION journal.add_person(
    of_id text, of_tenant text, of_role text, of_categories text[], of_login_key bytea, of_sealed bytea,
    of_invitation_hash bytea, of_invited_until timestamptz)
  RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  INSERT INTO journal.person (
      id, tenant, role, categories, login_key, sealed, invitation_hash, invited_until, created_at)
  VALUES (of_id, of_tenant, of_role, of_categories, of_login_key, of_sealed, of_invitation_hash, of_invited_until,
          journal.now());
  UPDATE journal.service SET snapshot_version = snapshot_version + 1;
END
$$;

-- Keep the password and the second factor of a person who accepts an invitation, or the invitation to choose new
-- ones; false if there is none of that name, it is revoked, or its invitation is not the one given as before: an
-- invitation is accepted once, however many processes are asked at once.
CREATE FUNCTION journal.set_person(
    of_id text, of_sealed bytea, of_invitation_hash bytea, of_invited_until timestamptz, of_hash_before bytea)
  RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  UPDATE journal.person AS p
     SET sealed = of_sealed, invitation_hash = of_invitation_hash, invited_until = of_invited_until
   WHERE p.id = of_id AND p.revoked_at IS NULL AND p.invitation_hash IS NOT DISTINCT FROM of_hash_before;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  UPDATE journal.service SET snapshot_version = snapshot_version + 1;
  RETURN true;
END
$$;

-- False if there is none of that name, or it is already revoked.
CREATE FUNCTION journal.revoke_person(of_id text) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  UPDATE journal.person AS p SET revoked_at = journal.now() WHERE p.id = of_id AND p.revoked_at IS NULL;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  UPDATE journal.service SET snapshot_version = snapshot_version + 1;
  RETURN true;
END
$$;

-- Note that a person's code of this step was used; false if it, or a later one, was used before.
CREATE FUNCTION journal.use_code(of_person text, of_step bigint) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  INSERT INTO journal.person_code AS o (person, step) VALUES (of_person, of_step)
      ON CONFLICT (person) DO UPDATE SET step = of_step WHERE o.step < of_step;
  RETURN FOUND;
END
$$;

-- End the sessions of a person that began up to a moment, by the clock that sessions go by.
CREATE FUNCTION journal.sign_out(of_person text, of_at timestamptz) RETURNS void
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  UPDATE journal.person_code AS o SET signed_out_at = greatest(o.signed_out_at, of_at) WHERE o.person = of_person
$$;

-- Since when sessions of a person are over; null if they are not.
CREATE FUNCTION journal.signed_out_at(of_person text) RETURNS timestamptz
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT o.signed_out_at FROM journal.person_code AS o WHERE o.person = of_person
$$;

-- Count numbers of a source as declared lost. The entry that tells of it is written before.
CREATE FUNCTION journal.declare_loss(
    of_tenant text, of_category text, of_source_key bytea, of_name bytea, first_number bigint, last_number bigint)
  RETURNS void
  LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  INSERT INTO journal.source_loss AS l (tenant, category, source_key, name, numbers)
  VALUES (of_tenant, of_category, of_source_key, of_name, int8multirange(int8range(first_number, last_number, '[]')))
  ON CONFLICT (tenant, category, source_key) DO UPDATE SET numbers = l.numbers + excluded.numbers
$$;

-- Declare how often a source is to send something; null: no more.
CREATE FUNCTION journal.set_rhythm(
    of_tenant text, of_category text, of_source_key bytea, of_name bytea, of_minutes integer) RETURNS void
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  DELETE FROM journal.source_rhythm AS r
   WHERE r.tenant = of_tenant AND r.category = of_category AND r.source_key = of_source_key;
  IF of_minutes IS NOT NULL THEN
    INSERT INTO journal.source_rhythm (tenant, category, source_key, name, minutes, declared_at)
    VALUES (of_tenant, of_category, of_source_key, of_name, of_minutes, journal.now());
  END IF;
END
$$;

-- Register a tenant's certificate, or with null end its hand-over; false if there was none to end.
CREATE FUNCTION journal.set_recipient(of_tenant text, of_certificate bytea) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- What was wrong was wrong with the certificate before; if not, the next run says so again.
  DELETE FROM journal.handover_fault AS f WHERE f.tenant = of_tenant;
  IF of_certificate IS NULL THEN
    DELETE FROM journal.recipient AS r WHERE r.tenant = of_tenant;
    RETURN FOUND;
  END IF;
  INSERT INTO journal.recipient (tenant, registered_at, certificate)
  VALUES (of_tenant, journal.now(), of_certificate)
  ON CONFLICT (tenant) DO UPDATE
     SET registered_at = excluded.registered_at, confirmed_at = NULL, certificate = excluded.certificate;
  RETURN true;
END
$$;

-- The tenant has shown that it opened what was encrypted to its certificate; false if it has another one by now.
CREATE FUNCTION journal.confirm_recipient(of_tenant text, of_certificate bytea) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  UPDATE journal.recipient AS r SET confirmed_at = coalesce(r.confirmed_at, journal.now())
   WHERE r.tenant = of_tenant AND r.certificate = of_certificate;
  RETURN FOUND;
END
$$;

-- Accept nothing more for a tenant; false if there is none of that code or it is closed. `end_contract` alone
-- calls it.
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
  UPDATE journal.service SET snapshot_version = snapshot_version + 1;
  RETURN true;
END
$$;

-- Accept nothing more for a tenant but entries of its `journal`; false if there is none of that code, or it is
-- moved or closed.
CREATE FUNCTION journal.move_tenant(of_code text) RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  -- Waits for the appends under way; later ones find it moved.
  PERFORM pg_advisory_xact_lock(7304680770881318763);
  UPDATE journal.tenant AS t SET moved_at = journal.now()
   WHERE t.code = of_code AND t.moved_at IS NULL AND t.closed_at IS NULL;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  UPDATE journal.service SET snapshot_version = snapshot_version + 1;
  RETURN true;
END
$$;

-- Close a tenant whose export was announced by an entry of its `journal` category, or, with nulls, that wants
-- none. False if there is none of that code or it is closed.
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

-- From now on its rows may go, for ever: the tenant is closed, its export made or not wanted, its last entry
-- sealed. False if that was said before.
CREATE FUNCTION journal.begin_destruction(of_tenant text, of_seal_number bigint, of_seal_sha256 bytea)
  RETURNS boolean
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
  UPDATE journal.ending AS e SET seal_before = of_seal_number, seal_before_sha256 = of_seal_sha256
   WHERE e.tenant = of_tenant;
  INSERT INTO journal.ended_chain (tenant, category, kept_from, size, chain_hash)
  SELECT h.tenant, h.category, h.kept_from, h.size, h.chain_hash
    FROM journal.head AS h WHERE h.tenant = of_tenant;
  UPDATE journal.service SET snapshot_version = snapshot_version + 1;
  RETURN true;
END
$$;

-- A seal states that nothing is kept: the destruction is done. False if that was said before.
CREATE FUNCTION journal.finish_destruction(of_tenant text, of_seal_number bigint, of_seal_sha256 bytea)
  RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  PERFORM journal.check_destroyed(of_tenant);
  IF EXISTS (SELECT FROM journal.read_seal_heads(of_seal_number) AS s
              WHERE s.tenant = of_tenant AND s.kept_from < s.size) THEN
    RAISE EXCEPTION USING ERRCODE = 'OJ009',
      MESSAGE = format('seal %s does not say that nothing of %s is kept', of_seal_number, of_tenant);
  END IF;
  UPDATE journal.ending AS e
     SET seal_after = of_seal_number, seal_after_sha256 = of_seal_sha256, finished_at = journal.now()
   WHERE e.tenant = of_tenant AND e.finished_at IS NULL;
  IF NOT FOUND THEN
    RETURN false;
  END IF;
  -- Every process forgets whatever it read meanwhile.
  UPDATE journal.service SET snapshot_version = snapshot_version + 1;
  RETURN true;
END
$$;

-- How far the end of a tenant's contract has come; no row while it goes on. Null: of all of them.
CREATE FUNCTION journal.read_ending(of_tenant text)
  RETURNS TABLE (tenant text, closed_at timestamptz, certificate bytea, request_index bigint,
                 request_leaf bytea, exported_at timestamptz, export_sha256 bytea, waived_at timestamptz,
                 destroyed_at timestamptz, seal_before bigint, seal_before_sha256 bytea, seal_after bigint,
                 seal_after_sha256 bytea, finished_at timestamptz)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT e.tenant, t.closed_at, e.certificate, e.request_index, e.request_leaf,
         e.exported_at, e.export_sha256, e.waived_at, t.destroyed_at,
         e.seal_before, e.seal_before_sha256, e.seal_after, e.seal_after_sha256, e.finished_at
    FROM journal.ending AS e JOIN journal.tenant AS t ON t.code = e.tenant
   WHERE of_tenant IS NULL OR e.tenant = of_tenant
$$;

-- What a destroyed tenant's chains were when that began, by category.
CREATE FUNCTION journal.read_ended_chains(of_tenant text)
  RETURNS TABLE (category text, kept_from bigint, size bigint, chain_hash bytea)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT c.category, c.kept_from, c.size, c.chain_hash
    FROM journal.ended_chain AS c WHERE c.tenant = of_tenant ORDER BY c.category
$$;

GRANT EXECUTE ON FUNCTION
    journal.now, journal.clock_is_simulated, journal.read_service, journal.read_categories,
    journal.read_tenants, journal.read_credentials, journal.read_recipients, journal.create_service,
    journal.add_tenant, journal.add_category, journal.set_category, journal.add_credential,
    journal.revoke_credential, journal.limit_credential, journal.set_recipient, journal.confirm_recipient,
    journal.move_tenant, journal.end_contract, journal.note_export,
    journal.waive_export, journal.begin_destruction, journal.finish_destruction, journal.read_ending,
    journal.read_ended_chains, journal.declare_loss, journal.set_rhythm, journal.read_persons, journal.add_person,
    journal.set_person, journal.revoke_person, journal.use_code, journal.sign_out, journal.signed_out_at
  TO journal_admin;

-- -----------------------------------------------------------------------------------------------------------
-- Nothing is anybody's but what was granted above, whatever the defaults of this server are.
-- -----------------------------------------------------------------------------------------------------------

REVOKE ALL ON ALL TABLES IN SCHEMA journal FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA journal FROM PUBLIC;
