"""The SQL of the journal."""
