-- Statements that try, on a connection made for it, whether entries can be recorded now.

-- name: read_settings
-- What an acknowledgement rests on, as a new session of this role has it.
SELECT name, setting FROM pg_catalog.pg_settings
 WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', 'data_sync_retry', 'synchronous_standby_names',
    'default_transaction_read_only')

-- name: read_archiving
-- How the WAL leaves the server: what the archiver did last, and the physical slots, of which some are not read.
SELECT current_setting('archive_mode') AS archive_mode,
       date_trunc('second', a.last_archived_time) AS last_archived_time,
       date_trunc('second', a.last_failed_time) AS last_failed_time,
       ARRAY(SELECT slot_name::text FROM pg_catalog.pg_replication_slots
              WHERE slot_type = 'physical' AND NOT temporary ORDER BY 1) AS slots,
       ARRAY(SELECT slot_name::text FROM pg_catalog.pg_replication_slots
              WHERE slot_type = 'physical' AND NOT temporary AND NOT active ORDER BY 1) AS unread
  FROM pg_catalog.pg_stat_archiver AS a

-- name: read_transport
-- Whether this connection is encrypted, and how; on a socket of the host it need not be.
SELECT s.ssl, s.version, pg_catalog.inet_server_addr() IS NULL AS is_socket
  FROM pg_catalog.pg_stat_ssl AS s WHERE s.pid = pg_catalog.pg_backend_pid()

-- name: read_now
-- The clock that the append compares with.
SELECT journal.now()

-- name: begin
-- The isolation level that the append needs.
BEGIN ISOLATION LEVEL READ COMMITTED

-- name: savepoint
-- Everything after it is taken back.
SAVEPOINT attempt

-- name: take_back
-- Nothing of the attempt remains.
ROLLBACK TO SAVEPOINT attempt

-- name: write
-- A few bytes in the log of the database, so that the commit must reach the disk and the standby.
SELECT pg_catalog.pg_logical_emit_message(true, 'openepm-journal', '')

-- name: commit
-- Its tag is compared: on a failed transaction it says ROLLBACK.
COMMIT
