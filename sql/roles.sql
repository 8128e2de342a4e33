-- The five roles of the journal, for the whole cluster. Run by whoever may create roles; harmless when run again.
-- They own nothing, belong to nothing and hold no table privilege: they may call functions, and which ones is said
-- in schema.sql. An attribute that someone added by hand is taken away here.
DO $roles$
DECLARE
  role text;
BEGIN
  FOREACH role IN ARRAY ARRAY['journal_ingest', 'journal_read', 'journal_seal', 'journal_purge', 'journal_admin'] LOOP
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = role) THEN
      EXECUTE pg_catalog.format('CREATE ROLE %I LOGIN NOINHERIT', role);
    END IF;
    EXECUTE pg_catalog.format('ALTER ROLE %I LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS', role);
  END LOOP;
END
$roles$;
