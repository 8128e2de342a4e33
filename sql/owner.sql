-- Statements of the database's owner, which no function can run: VACUUM takes no transaction.

-- name: vacuum_removed
-- Give the room of removed rows back to the partitions. TRUNCATE would stop reads and appends for a moment.
VACUUM (TRUNCATE false, INDEX_CLEANUP on)
  journal.entry, journal.activity, journal.source_span, journal.credential, journal.recipient, journal.handover,
  journal.handover_lapse, journal.handover_fault
