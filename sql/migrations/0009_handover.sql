-- Hand-over before purge: who wants it, what was handed over, what went without, and what the operator must be told.
--
-- Nothing here is personal: codes, days, sizes, hashes of encrypted files, certificates.

-- The certificate that a tenant's days are encrypted to before they are purged. No row, no hand-over.
CREATE TABLE journal.recipient (
  tenant text PRIMARY KEY REFERENCES journal.tenant CHECK (tenant <> '_service'),
  registered_at timestamptz NOT NULL,
  certificate bytea NOT NULL -- DER
);

-- One file: the whole days `first_day` to `last_day` of a chain, from its size `base_size` to `head_size`.
-- Written first, then renamed into its place (`placed_at`), then named in a manifest (`listed_at`).
CREATE TABLE journal.handover (
  base_size bigint NOT NULL CHECK (base_size >= 0),
  head_size bigint NOT NULL CHECK (head_size >= base_size),
  file_bytes bigint NOT NULL CHECK (file_bytes > 0),
  written_at timestamptz NOT NULL,
  placed_at timestamptz,
  listed_at timestamptz CHECK (listed_at IS NULL OR placed_at IS NOT NULL),
  first_day date NOT NULL,
  last_day date NOT NULL CHECK (last_day >= first_day),
  tenant text NOT NULL,
  category text NOT NULL,
  base_hash journal.hash NOT NULL,
  head_hash journal.hash NOT NULL,
  file_sha256 journal.hash NOT NULL,
  recipient_sha256 journal.hash NOT NULL,
  PRIMARY KEY (tenant, category, last_day),
  FOREIGN KEY (tenant, category) REFERENCES journal.chain
);

-- A day of a chain that the purge took at its limit although it was not handed over.
CREATE TABLE journal.handover_lapse (
  head_size bigint NOT NULL CHECK (head_size > 0),
  lapsed_at timestamptz NOT NULL,
  day date NOT NULL,
  tenant text NOT NULL,
  category text NOT NULL,
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
  ON CONFLICT (tenant) DO UPDATE SET registered_at = excluded.registered_at, certificate = excluded.certificate;
  RETURN true;
END
$$;

-- Open tenants alone: an extract is an entry of the tenant's own journal, and a closed one's takes nothing more.
CREATE FUNCTION journal.read_recipients() RETURNS TABLE (tenant text, registered_at timestamptz, certificate bytea)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT r.tenant, r.registered_at, r.certificate
    FROM journal.recipient AS r
    JOIN journal.tenant AS t ON t.code = r.tenant AND t.closed_at IS NULL
   ORDER BY r.tenant
$$;

-- The chains of a category that hold entries, up to the close of a day, which are neither handed over nor purged:
-- from which size they are missing, to which, and the last day handed over or lapsed before. None before the day is
-- sealed.
CREATE FUNCTION journal.handover_due(of_category text, of_day date)
  RETURNS TABLE (tenant text, base_size bigint, head_size bigint, done_day date)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
  SELECT r.tenant, done.size, closed.size, done.day
    FROM journal.read_recipients() AS r
    JOIN journal.head AS h ON h.tenant = r.tenant AND h.category = of_category
    JOIN journal.seal AS s ON s.day = of_day
   CROSS JOIN LATERAL (SELECT l.size FROM journal.seal_head AS l
                        WHERE l.tenant = h.tenant AND l.category = h.category AND l.number <= s.number
                        ORDER BY l.number DESC LIMIT 1) AS closed
   CROSS JOIN LATERAL (SELECT greatest(h.kept_from, max(d.size)) AS size, max(d.day) AS day
                         FROM (SELECT o.head_size, o.last_day FROM journal.handover AS o
                                WHERE o.tenant = h.tenant AND o.category = h.category AND o.placed_at IS NOT NULL
                               UNION ALL
                               SELECT p.head_size, p.day FROM journal.handover_lapse AS p
                                WHERE p.tenant = h.tenant AND p.category = h.category) AS d (size, day)) AS done
   WHERE closed.size > done.size
   ORDER BY r.tenant
$$;

-- Note a file that is written and has not its name yet; false, and nothing noted, if another run was faster.
-- What is noted and older than a year goes: long after the file, it says nothing that the entries' proof needs.
CREATE FUNCTION journal.note_handover(
    of_tenant text, of_category text, of_first_day date, of_last_day date, of_base_size bigint, of_base_hash bytea,
    of_head_size bigint, of_head_hash bytea, of_file_bytes bigint, of_file_sha256 bytea, of_recipient_sha256 bytea)
  RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  DELETE FROM journal.handover AS o WHERE o.listed_at < journal.now() - interval '1 year';
  DELETE FROM journal.handover_lapse AS p WHERE p.lapsed_at < journal.now() - interval '1 year';
  INSERT INTO journal.handover AS o (
      tenant, category, first_day, last_day, base_size, base_hash, head_size, head_hash,
      file_bytes, file_sha256, recipient_sha256, written_at)
  VALUES (of_tenant, of_category, of_first_day, of_last_day, of_base_size, of_base_hash, of_head_size, of_head_hash,
          of_file_bytes, of_file_sha256, of_recipient_sha256, journal.now())
  ON CONFLICT (tenant, category, last_day) DO UPDATE
     SET first_day = excluded.first_day, base_size = excluded.base_size, base_hash = excluded.base_hash,
         head_size = excluded.head_size, head_hash = excluded.head_hash, file_bytes = excluded.file_bytes,
         file_sha256 = excluded.file_sha256, recipient_sha256 = excluded.recipient_sha256,
         written_at = excluded.written_at
   WHERE o.placed_at IS NULL;
  RETURN FOUND;
END
$$;

-- The file has its name and is durable: its days are handed over.
CREATE FUNCTION journal.place_handover(of_tenant text, of_category text, of_last_day date, of_file_sha256 bytea)
  RETURNS boolean
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  UPDATE journal.handover AS o SET placed_at = journal.now()
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
   WHERE o.tenant = of_tenant AND o.category = of_category AND o.last_day = of_last_day AND o.placed_at IS NULL;
  RETURN FOUND;
END
$$;

-- What a tenant's manifests do not name yet, and what they must name beside it: the files not placed, then every
-- file of each night that holds one not listed, by night, category, day.
CREATE FUNCTION journal.unlisted_handovers(of_tenant text)
  RETURNS TABLE (category text, first_day date, last_day date, base_size bigint, base_hash bytea, head_size bigint,
                 head_hash bytea, file_bytes bigint, file_sha256 bytea, recipient_sha256 bytea, placed_at timestamptz)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT o.category, o.first_day, o.last_day, o.base_size, o.base_hash, o.head_size, o.head_hash,
         o.file_bytes, o.file_sha256, o.recipient_sha256, o.placed_at
    FROM journal.handover AS o
   WHERE o.tenant = of_tenant
     AND (o.placed_at IS NULL
          OR journal.day_of(o.placed_at) IN (SELECT journal.day_of(n.placed_at) FROM journal.handover AS n
                                              WHERE n.tenant = of_tenant AND n.placed_at IS NOT NULL
                                                AND n.listed_at IS NULL))
   ORDER BY o.placed_at IS NOT NULL, journal.day_of(o.placed_at), o.category, o.last_day
$$;

-- The manifest of a night is in its place: it names every file placed up to a moment.
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

-- The limit of a day has come: note what goes without hand-over, and raise an alarm for each. Repeating it finds
-- nothing more.
CREATE FUNCTION journal.lapse_handovers(of_category text, of_day date, of_reason text, of_detail text)
  RETURNS SETOF text
  LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
  RETURN QUERY
    WITH lapsed AS (
      INSERT INTO journal.handover_lapse AS p (tenant, category, day, head_size, lapsed_at)
      SELECT d.tenant, of_category, of_day, d.head_size, journal.now() FROM journal.handover_due(of_category, of_day) AS d
      ON CONFLICT DO NOTHING
      RETURNING p.tenant),
    alarmed AS (
      INSERT INTO journal.handover_alarm (tenant, category, day, reason, detail, raised_at)
      SELECT l.tenant, of_category, of_day, of_reason, of_detail, journal.now() FROM lapsed AS l)
    SELECT l.tenant FROM lapsed AS l ORDER BY l.tenant;
END
$$;

-- A tenant's hand-over cannot be made: note why, and raise an alarm unless this very reason is known; true if raised.
CREATE FUNCTION journal.raise_handover_fault(of_tenant text, of_category text, of_day date, of_reason text, of_detail text)
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

CREATE FUNCTION journal.read_handover_faults() RETURNS TABLE (tenant text, since timestamptz, reason text, detail text)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT f.tenant, f.since, f.reason, f.detail FROM journal.handover_fault AS f ORDER BY f.since, f.tenant
$$;

CREATE FUNCTION journal.read_handover_alarms()
  RETURNS TABLE (number bigint, raised_at timestamptz, day date, tenant text, category text, reason text, detail text)
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

REVOKE ALL ON TABLE journal.recipient, journal.handover, journal.handover_lapse, journal.handover_fault,
  journal.handover_alarm FROM PUBLIC;
REVOKE ALL ON FUNCTION
  journal.set_recipient(text, bytea),
  journal.read_recipients(),
  journal.handover_due(text, date),
  journal.note_handover(text, text, date, date, bigint, bytea, bigint, bytea, bigint, bytea, bytea),
  journal.place_handover(text, text, date, bytea),
  journal.forget_handover(text, text, date),
  journal.unlisted_handovers(text),
  journal.list_handovers(text, timestamptz),
  journal.lapse_handovers(text, date, text, text),
  journal.raise_handover_fault(text, text, date, text, text),
  journal.clear_handover_fault(text),
  journal.read_handover_faults(),
  journal.read_handover_alarms(),
  journal.forget_handover_alarm(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION journal.set_recipient(text, bytea) TO journal_admin;
GRANT EXECUTE ON FUNCTION journal.read_recipients() TO journal_admin, journal_purge;
GRANT EXECUTE ON FUNCTION
  journal.handover_due(text, date),
  journal.note_handover(text, text, date, date, bigint, bytea, bigint, bytea, bigint, bytea, bytea),
  journal.place_handover(text, text, date, bytea),
  journal.forget_handover(text, text, date),
  journal.unlisted_handovers(text),
  journal.list_handovers(text, timestamptz),
  journal.lapse_handovers(text, date, text, text),
  journal.raise_handover_fault(text, text, date, text, text),
  journal.clear_handover_fault(text),
  journal.read_handover_faults(),
  journal.read_handover_alarms(),
  journal.forget_handover_alarm(bigint)
TO journal_purge;
