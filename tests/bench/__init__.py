"""Figures with their floors, measured in one run on a real PostgreSQL."""
