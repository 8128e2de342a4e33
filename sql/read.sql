-- Statements of the role journal_read: extracts, heads, status.

-- name: read_entries
-- A page of a chain's day, straight in its partition.
SELECT index, event_key, leaf_hash, chain_hash, ciphertext FROM journal.read_entries($1, $2, $3, $4, $5)

-- name: read_page
-- A page of a chain's day: what is needed to open it.
SELECT index, leaf_hash, ciphertext FROM journal.read_entries($1, $2, $3, $4, $5)

-- name: read_seal
-- One seal by its number.
SELECT number, day, sealed_at, text, signature, journal.read_timestamp(number) AS timestamp
  FROM journal.read_seal($1)

-- name: latest_seal
-- The last one taken.
SELECT number, day, sealed_at, text, signature, journal.read_timestamp(number) AS timestamp
  FROM journal.latest_seal()

-- name: read_seals
-- A page of seals in order of number.
SELECT number, day, sealed_at, text, signature, journal.read_timestamp(number) AS timestamp
  FROM journal.read_seals($1, $2)

-- name: read_close_seals
-- The close seals of a range of days.
SELECT number, day, sealed_at, text, signature, journal.read_timestamp(number) AS timestamp
  FROM journal.read_close_seals($1, $2)

-- name: read_seal_heads
-- Every chain as it stood at a seal.
SELECT tenant, category, size, chain_hash, kept_from, retention_days FROM journal.read_seal_heads($1)

-- name: read_activity
-- Entries per category, day and action.
SELECT category, day, action, count FROM journal.read_activity($1)

-- name: read_sources
-- What the numbers of sources say.
SELECT tenant, category, source_key, name, last, numbers, events, missing, missing_low, missing_high, declared, last_day,
       last_at
  FROM journal.read_sources($1, $2)

-- name: read_rhythms
-- How often sources are to send something.
SELECT tenant, category, source_key, name, minutes, declared_at FROM journal.read_rhythms()

-- name: count_elsewhere
-- Entries of accesses on days of a period, recorded on others.
SELECT journal.count_elsewhere($1, $2, $3, $4)

-- name: scan_entries
-- A page of everything in one leaf, whatever its rows say they are.
SELECT tenant, category, day, index, event_key, leaf_hash, chain_hash, ciphertext
  FROM journal.scan_entries($1, $2, $3, $4, $5)

-- name: read_status
-- How far seals, time-stamps and hand-over are behind.
SELECT at, first_day, close_day, number, sealed_at, unsealed_heads, unsealed_since, unstamped_seals, unstamped_since,
       stamping_failed_since, handover_faults, handover_failed_since
  FROM journal.read_status()

-- name: read_retention
-- What is kept of each category, and what of it waits for its hand-over.
SELECT category, days, oldest_day, purged_day, purged_at, handover_days, handover_lapses, handover_unconfirmed
  FROM journal.read_retention($1, $2)

-- name: read_base_moves
-- The seals that first show more of a chain gone.
SELECT number, kept_before, kept_from, retention_before, retention_days FROM journal.read_base_moves($1, $2)
