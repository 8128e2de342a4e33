-- What a database's own access list says, asserted again by every run of the migrations: neither a restore nor a
-- copy from a template brings it along.
DO $database$
BEGIN
  EXECUTE pg_catalog.format('REVOKE ALL ON DATABASE %I FROM PUBLIC', pg_catalog.current_database());
  EXECUTE pg_catalog.format(
    'GRANT CONNECT ON DATABASE %I TO journal_ingest, journal_read, journal_seal, journal_purge, journal_admin',
    pg_catalog.current_database());
END
$database$;
