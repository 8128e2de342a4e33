-- Statements of the role journal_seal: the sealer.

-- name: read_service
-- Which day is closed.
SELECT name, created_at, first_day, closed_day FROM journal.read_service()

-- name: read_now
-- The database's clock.
SELECT journal.now()

-- name: live_heads
-- Every chain as it stands.
SELECT tenant, category, size, chain_hash, recorded_at, kept_from, retention_days FROM journal.live_heads()

-- name: latest_seal
-- The last one taken.
SELECT number, day, sealed_at, text, signature FROM journal.latest_seal()

-- name: latest_close_seal
-- The last one that ended a day.
SELECT number, day, sealed_at, text, signature FROM journal.latest_close_seal()

-- name: read_seal_heads
-- Every chain as it stood at a seal.
SELECT tenant, category, size, chain_hash, kept_from, retention_days FROM journal.read_seal_heads($1)

-- name: close_day
-- End appends into a day; waits for those under way.
SELECT journal.close_day($1)

-- name: closed_heads
-- Every chain as it stood at the end of the day that awaits its seal.
SELECT tenant, category, size, chain_hash, recorded_at, kept_from, retention_days FROM journal.closed_heads($1)

-- name: flush
-- Before a seal rests on the heads that this connection read: they may be of appends that are not yet on the disk. The answer
-- is which standbys it waited for.
SELECT pg_catalog.current_setting('synchronous_standby_names') FROM journal.flush()

-- name: read_leaves
-- The leaf hashes between two sizes of many chains, whose columns are texts.
SELECT place, first_index, leaves FROM journal.read_leaves($1, $2, $3, $4, $5, $6)

-- name: close_seals
-- Those of a day and of the days after it, newest first.
SELECT number, day, sealed_at, text, signature FROM journal.close_seals($1)

-- name: put_seal
-- Compare-and-swap on the number; the columns of the heads are texts.
SELECT journal.put_seal($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)

-- name: thin_seals
-- Remove old open seals.
SELECT journal.thin_seals($1)

-- name: prune_seal_heads
-- Forget heads that no base can be among, and that show no purge of so many days any more.
SELECT journal.prune_seal_heads($1)

-- name: unstamped_seals
-- Close seals that wait for a time-stamp.
SELECT number, day, sealed_at, text, signature FROM journal.unstamped_seals()

-- name: put_timestamp
-- Keep the first token of a close seal.
SELECT journal.put_timestamp($1, $2, $3)

-- name: note_stamping_failure
-- Remember since when there is none to be had.
SELECT journal.note_stamping_failure()

-- name: stamping_failed_since
-- Null once one was had.
SELECT journal.stamping_failed_since()
