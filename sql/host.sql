-- Statements that `setup` has psql run as a superuser, on this host's server.

-- name: read_server
-- Version, files, socket directories and port.
SELECT pg_catalog.current_setting('server_version_num'), pg_catalog.current_setting('config_file'),
       pg_catalog.current_setting('hba_file'), pg_catalog.current_setting('ident_file'),
       pg_catalog.current_setting('unix_socket_directories'), pg_catalog.current_setting('port')

-- name: reload
-- Read the files again.
SELECT pg_catalog.pg_reload_conf()

-- name: read_pending
-- The settings that wait for a restart.
SELECT pg_catalog.string_agg(name, ', ') FROM pg_catalog.pg_settings WHERE pending_restart
