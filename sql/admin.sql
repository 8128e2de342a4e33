-- Statements of the role journal_admin: the operator's commands.

-- name: create_service
-- The installation, once.
SELECT journal.create_service($1)

-- name: add_tenant
-- With the genesis of each of its chains.
SELECT journal.add_tenant($1, $2, $3, $4)

-- name: add_category
-- With the genesis of each of its chains; returns its id.
SELECT journal.add_category($1, $2, $3, $4, $5, $6, $7)

-- name: set_category
-- Null leaves a value as it is.
SELECT journal.set_category($1, $2, $3, $4)

-- name: close_tenant
-- No append is under way or accepted after this.
SELECT journal.close_tenant($1)

-- name: add_credential
-- The secret arrives hashed.
SELECT journal.add_credential($1, $2, $3, $4, $5, $6, $7, $8)

-- name: revoke_credential
-- False if there is nothing to revoke.
SELECT journal.revoke_credential($1)

-- name: read_credentials
-- All of them, revoked and expired ones too.
SELECT id, secret_hash, role, tenant, categories, source_prefix, label, created_at, expires_at, revoked_at
  FROM journal.read_credentials()

-- name: set_recipient
-- The certificate a tenant's days are handed over to; null ends it.
SELECT journal.set_recipient($1, $2)

-- name: read_recipients
-- Those registered, of open tenants.
SELECT tenant, registered_at, certificate FROM journal.read_recipients()
