-- Statements of the role journal_admin: the operator's commands.

-- name: create_service
-- The installation, once.
SELECT journal.create_service($1)

-- name: add_tenant
-- With the genesis of each of its chains.
SELECT journal.add_tenant($1, $2, $3, $4)

-- name: add_category
-- With the genesis of each of its chains; returns its id.
SELECT journal.add_category($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)

-- name: set_category
-- Null leaves a value as it is.
SELECT journal.set_category($1, $2, $3, $4, $5, $6, $7, $8, $9)

-- name: add_credential
-- The secret arrives hashed.
SELECT journal.add_credential($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)

-- name: revoke_credential
-- False if there is nothing to revoke.
SELECT journal.revoke_credential($1)

-- name: limit_credential
-- It expires then, if not earlier; false if there is nothing to limit.
SELECT journal.limit_credential($1, $2)

-- name: add_person
-- With an invitation, hashed.
SELECT journal.add_person($1, $2, $3, $4, $5, $6, $7, $8)

-- name: set_person
-- Password and second factor, or another invitation.
SELECT journal.set_person($1, $2, $3, $4, $5)

-- name: revoke_person
-- False if there is nothing to revoke.
SELECT journal.revoke_person($1)

-- name: use_code
-- False if this code of the second factor, or a later one, was used.
SELECT journal.use_code($1, $2)

-- name: sign_out
-- The sessions that began before are over.
SELECT journal.sign_out($1, $2)

-- name: signed_out_at
-- Null if they are not.
SELECT journal.signed_out_at($1)

-- name: set_rhythm
-- How often a source is to send something; null: no more.
SELECT journal.set_rhythm($1, $2, $3, $4, $5)

-- name: declare_loss
-- Of numbers of a source, that their events are lost.
SELECT journal.declare_loss($1, $2, $3, $4, $5, $6)

-- name: set_recipient
-- The certificate a tenant's days are handed over to; null ends it.
SELECT journal.set_recipient($1, $2)

-- name: confirm_recipient
-- The tenant can open what is encrypted to this certificate.
SELECT journal.confirm_recipient($1, $2)

-- name: move_tenant
-- Accept nothing more for a tenant but in its journal: no other append is under way or accepted after this.
SELECT journal.move_tenant($1)

-- name: end_contract
-- Close a tenant whose export was announced, or that wants none: no append is under way or accepted after this.
SELECT journal.end_contract($1, $2, $3, $4)

-- name: note_export
-- The export is whole where the commune fetches it.
SELECT journal.note_export($1, $2)

-- name: waive_export
-- The commune wants none.
SELECT journal.waive_export($1)

-- name: begin_destruction
-- From now on its rows may go.
SELECT journal.begin_destruction($1, $2, $3)

-- name: finish_destruction
-- A seal states that nothing is kept.
SELECT journal.finish_destruction($1, $2, $3)

-- name: read_ended_chains
-- What a destroyed tenant's chains were.
SELECT category, kept_from, size, chain_hash FROM journal.read_ended_chains($1)
