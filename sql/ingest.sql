-- Statements of the role journal_ingest: the process that appends.

-- name: append
-- A batch over many chains, whole or not at all; one round trip, one transaction, which waits for no disk.
SELECT answer, "position", size, chain_hash, recorded_at, leaf_hash, day, ciphertext
  FROM journal.append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
    $23, $24)

-- name: flush
-- Before anything rests on what this connection appended or found; the answer is which standbys it waited for.
SELECT pg_catalog.current_setting('synchronous_standby_names') FROM journal.flush()

-- name: find_recorded
-- Which of these events, too late to be recorded now, were recorded in time.
SELECT "position", size, chain_hash, leaf_hash, day, ciphertext FROM journal.find_recorded($1, $2, $3, $4, $5, false)

-- name: lock_heads
-- The way through a contended chain: held until the transaction ends.
SELECT tenant, category, size, chain_hash, recorded_at, kept_from, retention_days
  FROM journal.lock_heads($1, $2)

-- name: read_heads
-- In the order asked; a chain that does not exist is left out.
SELECT tenant, category, size, chain_hash, recorded_at, kept_from, retention_days
  FROM journal.read_heads($1, $2)

-- name: snapshot_version
-- Grows with tenants, categories, fences and credentials.
SELECT journal.snapshot_version()

-- name: read_now
-- The clock that the append compares with.
SELECT journal.now()

-- name: clock_is_simulated
-- Never on a service that counts.
SELECT journal.clock_is_simulated()

-- name: read_durability
-- What an acknowledgement rests on, as this role's own session has it.
SELECT name, setting FROM pg_catalog.pg_settings
 WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', 'data_sync_retry', 'synchronous_standby_names')
 ORDER BY name

-- name: begin
-- Around lock_heads and append; the isolation level is what append's checks need.
BEGIN ISOLATION LEVEL READ COMMITTED

-- name: commit
-- Its tag is compared: on a failed transaction it says ROLLBACK.
COMMIT

-- name: rollback
-- Nothing was written.
ROLLBACK
