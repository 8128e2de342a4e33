-- Statements about administrative facts, whichever role asks: a null reads all of a kind, a name one.

-- name: begin
-- Around a change; the isolation level lets its reads see what was committed before it got the lock.
BEGIN ISOLATION LEVEL READ COMMITTED

-- name: lock
-- One change at a time, of all processes; held until the transaction ends.
SELECT pg_catalog.pg_advisory_xact_lock(7304680770881318765)

-- name: commit
-- Its tag is compared: on a failed transaction it says ROLLBACK.
COMMIT

-- name: rollback
-- Nothing was changed.
ROLLBACK

-- name: service
-- No row until the service is created; there is but one, whatever the name.
SELECT name, created_at, first_day, closed_day FROM journal.read_service() WHERE $1::text IS NULL OR $1 = 'service'

-- name: tenant
-- Closed ones too.
SELECT code, name, created_at, moved_at, closed_at, destroyed_at FROM journal.read_tenants($1)

-- name: category
-- In the order they were added.
SELECT code, id, label, regime, rule_days, retention_days, stated_days, next_retention_days, next_since, next_from,
       needs_authorisation, created_at, first_day, basis, legal_basis, required_days, fence
  FROM journal.read_categories($1)

-- name: credential
-- Revoked and expired ones too: the caller judges.
SELECT id, secret_hash, role, tenant, categories, source_prefix, certificate_sha256, person, label, created_at,
       expires_at, revoked_at
  FROM journal.read_credentials($1)

-- name: person
-- Revoked ones too: the caller judges.
SELECT id, tenant, role, categories, login_key, sealed, invitation_hash, invited_until, created_at, revoked_at
  FROM journal.read_persons($1)

-- name: recipient
-- The certificates that days are handed over to.
SELECT tenant, registered_at, confirmed_at, certificate FROM journal.read_recipients($1)

-- name: ending
-- How far the end of a contract has come.
SELECT tenant, closed_at, certificate, request_index, request_leaf, exported_at, export_sha256, waived_at, destroyed_at,
       seal_before, seal_before_sha256, seal_after, seal_after_sha256, finished_at
  FROM journal.read_ending($1)
