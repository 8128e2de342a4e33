-- name: lock
-- One runner at a time, for as long as its session lasts.
SELECT pg_catalog.pg_advisory_lock(7304680770881318762)

-- name: unlock
-- The next runner may look.
SELECT pg_catalog.pg_advisory_unlock(7304680770881318762)

-- name: is_superuser
-- Functions run with the rights of the owner who makes them.
SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user

-- name: prepare_schema
-- Where everything lives. REVOKE: a schema made by a database's owner is nobody else's, but say so.
CREATE SCHEMA IF NOT EXISTS journal

-- name: prepare_table
-- Which files made this database, and their exact content.
CREATE TABLE IF NOT EXISTS journal.migration (
  number integer PRIMARY KEY,
  name text NOT NULL UNIQUE,
  sha256 bytea NOT NULL CHECK (octet_length(sha256) = 32),
  applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)

-- name: is_prepared
-- False on a database that has seen no migration.
SELECT pg_catalog.to_regclass('journal.migration') IS NOT NULL

-- name: read_applied
-- In the order they were applied.
SELECT number, name, sha256 FROM journal.migration ORDER BY number

-- name: record
-- In the same transaction as the file itself.
INSERT INTO journal.migration (number, name, sha256) VALUES ($1, $2, $3)

-- name: read_role_faults
-- The roles that are missing or may do more than call functions.
SELECT wanted.name
  FROM unnest(ARRAY['journal_ingest', 'journal_read', 'journal_seal', 'journal_purge', 'journal_admin']) AS wanted (name)
  LEFT JOIN pg_catalog.pg_roles AS r ON r.rolname = wanted.name
 WHERE r.rolname IS NULL OR NOT r.rolcanlogin OR r.rolsuper OR r.rolcreatedb OR r.rolcreaterole OR r.rolreplication
    OR r.rolbypassrls
    OR EXISTS (SELECT FROM pg_catalog.pg_auth_members AS m WHERE m.member = r.oid)
