-- Statements of the role journal_purge: partitions, fences, drops.

-- name: ensure_partitions
-- Make what is missing up to some days from now.
SELECT journal.ensure_partitions($1)

-- name: partitions
-- What is on disk, according to the catalog.
SELECT category, day, attached FROM journal.partitions()

-- name: raise_fence
-- Nothing at or before this day is written or read any more.
SELECT journal.raise_fence($1, $2)

-- name: drop_day
-- Remove the rows of a fenced, sealed day.
SELECT count, chains FROM journal.drop_day($1, $2)

-- name: move_kept_from
-- Say in the heads what is gone.
SELECT journal.move_kept_from($1, $2)

-- name: unfinished_purges
-- Days fenced whose purge is not wholly done.
SELECT category, first_day, last_day FROM journal.unfinished_purges()

-- name: read_purge_spans
-- What went and is not recorded yet.
SELECT tenant, category, day, first_index, end_index, seal_number, moved_at, retention_days FROM journal.read_purge_spans()

-- name: forget_purge_spans
-- A tenant's purge entry is written.
SELECT journal.forget_purge_spans($1, $2)
