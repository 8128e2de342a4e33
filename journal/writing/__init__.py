"""Writing: events wait, are drafted and appended; the service writes its own entries."""
