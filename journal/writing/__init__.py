"""Writing: events are queued, drafted and appended; the service records its own entries."""
