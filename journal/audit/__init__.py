"""The check of the whole store."""
