-- Statements of the role journal_purge: partitions, fences, drops.

-- name: ensure_partitions
-- Make some of what is missing up to some days from now.
SELECT journal.ensure_partitions($1)

-- name: partitions
-- What is on disk, according to the catalog.
SELECT category, day, attached FROM journal.partitions()

-- name: recorded_days
-- The days that hold entries, or held some.
SELECT category, day FROM journal.recorded_days()

-- name: day_figures
-- How much of a day is on disk.
SELECT count, chains, disk_bytes FROM journal.day_figures($1, $2)

-- name: raise_fence
-- Nothing at or before this day is written or read any more.
SELECT journal.raise_fence($1, $2)

-- name: drop_day
-- Remove a table of a fenced, sealed day.
SELECT journal.drop_day($1, $2)

-- name: move_kept_from
-- Say in the heads what is gone.
SELECT journal.move_kept_from($1, $2)

-- name: settle_rule
-- Let seals state a pending rule, as far as they may by now.
SELECT journal.settle_rule($1)

-- name: read_category_changes
-- What was changed of categories and is not recorded yet.
SELECT number, changed_at, category, retention_days, retention_days_before, effective_from, needs_authorisation, label,
       basis, legal_basis, required_days, instruction
  FROM journal.read_category_changes()

-- name: forget_category_change
-- Its entries are written.
SELECT journal.forget_category_change($1)

-- name: unfinished_purges
-- Days fenced whose purge is not wholly done.
SELECT category, first_day, last_day FROM journal.unfinished_purges()

-- name: read_purge_spans
-- What went and is not recorded yet.
SELECT tenant, category, day, first_index, end_index, seal_number, moved_at, retention_days FROM journal.read_purge_spans()

-- name: forget_purge_spans
-- A tenant's purge entry is written.
SELECT journal.forget_purge_spans($1, $2)

-- name: handover_due
-- What of a category is not handed over up to a day, to these tenants.
SELECT tenant, base_size, head_size, done_day FROM journal.handover_due($1, $2, $3, $4, $5)

-- name: read_handovers
-- What its rows say is handed over or lapsed; the caller holds each against its mac.
SELECT tenant, is_lapse, first_day, last_day, base_size, base_hash, head_size, head_hash, file_bytes, file_sha256,
       recipient_sha256, code_mac, placed_at, mac
  FROM journal.read_handovers($1)

-- name: note_handover
-- A file is written and durable, and has not its name yet.
SELECT journal.note_handover($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)

-- name: place_handover
-- It has its name.
SELECT journal.place_handover($1, $2, $3, $4, $5)

-- name: forget_handover
-- It is nowhere.
SELECT journal.forget_handover($1, $2, $3)

-- name: discard_handover
-- This service did not write it.
SELECT journal.discard_handover($1, $2, $3, $4, $5)

-- name: unlisted_handovers
-- What a run that was cut short left to be done.
SELECT category, first_day, last_day, base_size, base_hash, head_size, head_hash, file_bytes, file_sha256,
       recipient_sha256, code_mac, placed_at, mac
  FROM journal.unlisted_handovers($1)

-- name: placed_handovers
-- What is in its place, of one night or of all.
SELECT category, first_day, last_day, base_size, base_hash, head_size, head_hash, file_bytes, file_sha256,
       recipient_sha256, code_mac, placed_at, mac
  FROM journal.placed_handovers($1, $2)

-- name: list_handovers
-- The inventories name every file placed up to a moment.
SELECT journal.list_handovers($1, $2)

-- name: lapse_handovers
-- A day goes without: its limit has come.
SELECT journal.lapse_handovers($1, $2, $3, $4, $5, $6, $7)

-- name: raise_handover_fault
-- What keeps a tenant's hand-over from being made.
SELECT journal.raise_handover_fault($1, $2, $3, $4, $5)

-- name: clear_handover_fault
-- It works again.
SELECT journal.clear_handover_fault($1)

-- name: read_handover_faults
-- What is wrong now.
SELECT tenant, since, reason, detail FROM journal.read_handover_faults()

-- name: read_handover_alarms
-- What must still become an entry.
SELECT number, raised_at, day, tenant, category, reason, detail FROM journal.read_handover_alarms()

-- name: forget_handover_alarm
-- Its entries are written.
SELECT journal.forget_handover_alarm($1)

-- name: remove_entries
-- Some entries of a destroyed tenant, from one leaf.
SELECT journal.remove_entries($1, $2, $3, $4)

-- name: remove_traces
-- What else there is of it.
SELECT journal.remove_traces($1)

-- name: empty_heads
-- Say in its heads that nothing is kept.
SELECT journal.empty_heads($1)
