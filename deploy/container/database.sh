#!/bin/sh
# Run once by the image of PostgreSQL, as its superuser, on a new cluster: roles, their password, the database.
set -eu

# The image has read the file of the password, and forgotten its name.
JOURNAL_PASSWORD=${POSTGRES_PASSWORD:?}
export JOURNAL_PASSWORD
psql -v ON_ERROR_STOP=1 --quiet --no-psqlrc --dbname postgres --file "${JOURNAL_ROLES:-/openepm-journal/roles.sql}"
psql -v ON_ERROR_STOP=1 --quiet --no-psqlrc --dbname postgres <<'SQL'
\getenv password JOURNAL_PASSWORD
CREATE ROLE journal_owner LOGIN;
SELECT format('ALTER ROLE %I PASSWORD %L', rolname, :'password')
  FROM pg_roles WHERE rolname IN ('journal_owner', 'journal_ingest', 'journal_read', 'journal_seal', 'journal_purge',
                                  'journal_admin') \gexec
CREATE DATABASE journal OWNER journal_owner;
SQL
echo "include '/openepm-journal/openepm-journal.conf'" >> "${PGDATA:?}/postgresql.conf"
