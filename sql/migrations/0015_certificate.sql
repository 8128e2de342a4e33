-- What an attestation of a destruction asks beside the seals and their heads.

-- Since when there is a tenant; null where there is none of that code.
CREATE FUNCTION journal.tenant_created_at(of_tenant text) RETURNS timestamptz
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT t.created_at FROM journal.tenant AS t WHERE t.code = of_tenant
$$;

-- The seals in which a chain's base is first seen further on, in order of number, with the base and the rule that were
-- stated before. What moved before the oldest head kept is not among them.
CREATE FUNCTION journal.read_base_moves(of_tenant text, of_category text)
  RETURNS TABLE (number bigint, kept_before bigint, kept_from bigint, retention_before smallint, retention_days smallint)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
  SELECT m.number, m.kept_before, m.kept_from, m.retention_before, m.retention_days
    FROM (SELECT h.number, h.kept_from, h.retention_days,
                 lag(h.kept_from) OVER moved AS kept_before, lag(h.retention_days) OVER moved AS retention_before
            FROM journal.seal_head AS h
           WHERE h.tenant = of_tenant AND h.category = of_category
          WINDOW moved AS (ORDER BY h.number)) AS m
   WHERE m.kept_before < m.kept_from
   ORDER BY m.number
$$;

REVOKE ALL ON FUNCTION journal.tenant_created_at(text), journal.read_base_moves(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION journal.tenant_created_at(text), journal.read_base_moves(text, text) TO journal_read;
