-- The metrics count the faults of hand-overs that `read_handover_faults` names: those of open tenants.

-- How far seals, time-stamps and hand-over are behind: one row. A contract that has ended has no hand-over to fail.
CREATE OR REPLACE FUNCTION journal.read_standing()
  RETURNS TABLE (at timestamptz, first_day date, close_day date, number bigint, sealed_at timestamptz,
                 unsealed_heads bigint, unsealed_since timestamptz, unstamped_seals bigint, unstamped_since timestamptz,
                 stamping_failed_since timestamptz, handover_faults bigint, handover_failed_since timestamptz)
  -- One probe a chain, whatever the planner believes of a table that was small when it looked.
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off
AS $$
  SELECT journal.now(), s.first_day, (SELECT max(c.day) FROM journal.seal AS c), latest.number, latest.sealed_at,
         moved.count, moved.since, stamps.count, stamps.since, s.stamping_failed_since, faults.count, faults.since
    FROM journal.service AS s
    LEFT JOIN LATERAL (SELECT l.number, l.sealed_at FROM journal.seal AS l ORDER BY l.number DESC LIMIT 1) AS latest ON true
   CROSS JOIN LATERAL (
      SELECT count(*) AS count, min(coalesce(h.recorded_at, journal.now())) AS since
        FROM journal.head AS h
        LEFT JOIN LATERAL (SELECT p.size FROM journal.seal_head AS p
                            WHERE p.tenant = h.tenant AND p.category = h.category
                            ORDER BY p.number DESC LIMIT 1) AS sealed ON true
       WHERE sealed.size IS DISTINCT FROM h.size) AS moved
   CROSS JOIN LATERAL (SELECT count(*) AS count, min(u.sealed_at) AS since FROM journal.unstamped_seals() AS u) AS stamps
   CROSS JOIN LATERAL (SELECT count(*) AS count, min(f.since) AS since FROM journal.handover_fault AS f
                  JOIN journal.tenant AS t ON t.code = f.tenant AND t.closed_at IS NULL) AS faults
$$;
