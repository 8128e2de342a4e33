-- The two roles of Barman. Run once by the superuser, in the database postgres:
--   psql -d postgres -f roles.sql
-- then give each a password: \password barman, \password streaming_barman

-- Copies the cluster's files and its WAL: ciphertext, hashes and the names of communes. Nothing but replication.
CREATE ROLE streaming_barman LOGIN NOINHERIT REPLICATION;

-- Asks the server how it is and ends a WAL segment: what `barman check` demands of a role that is no superuser. It
-- may not even connect to the journal's own database, and reads no table.
CREATE ROLE barman LOGIN;
GRANT pg_read_all_settings, pg_read_all_stats TO barman;
GRANT EXECUTE ON FUNCTION pg_backup_start(text, boolean), pg_backup_stop(boolean), pg_switch_wal(),
  pg_create_restore_point(text) TO barman;
