-- What is wrong with replication slots, a line each; nothing where all is well. A slot that nobody reads keeps the WAL,
-- and with it the ciphertext of purged days, until the disk is full or the slot is given up.
SELECT format('slot %s: %s, %s, keeps %s of WAL', s.slot_name,
              CASE WHEN s.active THEN 'read' ELSE 'read by nobody' END, coalesce(s.wal_status, 'new'),
              pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn)))
  FROM pg_replication_slots AS s
 WHERE NOT s.active OR s.wal_status IN ('unreserved', 'lost')
    OR pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn) > 2 * 1024 ^ 3
 ORDER BY s.slot_name;
