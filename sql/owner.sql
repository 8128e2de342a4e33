-- Statements of the database's owner: VACUUM, which takes no transaction and which no function can run, and reads of
-- tables that must not go through a function, because it may have been replaced.

-- name: vacuum_removed
-- Give the room of removed rows back to the partitions. TRUNCATE would stop reads and appends for a moment.
VACUUM (TRUNCATE false, INDEX_CLEANUP on)
  journal.entry, journal.activity, journal.lateness, journal.source_span, journal.source_past, journal.source_loss,
  journal.source_rhythm, journal.credential, journal.recipient, journal.handover,
  journal.handover_lapse, journal.handover_fault

-- name: read_stored_chains
-- What the tables hold of chains of one category: their heads, and their entries of one day at the indexes asked for.
SELECT h.size, h.chain_hash, h.kept_from, e.chain_hash AS entry_hash, t.destroyed_at IS NOT NULL AS destroyed
  FROM unnest($3::text[], $4::bigint[]) WITH ORDINALITY AS asked (tenant, index, place)
  LEFT JOIN journal.tenant AS t ON t.code = asked.tenant
  LEFT JOIN journal.head AS h ON h.tenant = asked.tenant AND h.category = $1
  LEFT JOIN journal.entry AS e
    ON e.category = $1 AND e.day = $2 AND e.tenant = asked.tenant AND e.index = asked.index
 ORDER BY asked.place

-- name: read_activity_of_day
-- The counters of a category's day.
SELECT a.tenant, a.action, a.count FROM journal.activity AS a WHERE a.category = $1 AND a.day = $2

-- name: read_spans_of_day
-- The sequence numbers of a category's day, range by range.
SELECT s.tenant, s.source_key, s.count, s.filled, lower(r.range) AS low, upper(r.range) - 1 AS high
  FROM journal.source_span AS s, unnest(s.numbers) AS r (range) WHERE s.category = $1 AND s.day = $2
 ORDER BY s.tenant, s.source_key, r.range

-- name: read_lateness_of_day
-- How many entries of a category's day are of accesses on each other day.
SELECT l.tenant, l.occurred, l.count FROM journal.lateness AS l WHERE l.category = $1 AND l.day = $2
