"""The database: connections, one module per role, the embedded server, migrations."""
