-- The owner and the database, made by psql as a superuser; harmless when run again. After it, roles.sql.
SELECT 'CREATE ROLE journal_owner LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS'
 WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'journal_owner') \gexec
SELECT 'CREATE DATABASE journal OWNER journal_owner TEMPLATE template0 ENCODING ''UTF8'' LC_COLLATE ''C'' LC_CTYPE ''C'''
 WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = 'journal') \gexec
