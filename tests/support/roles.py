"""The roles that act on the database."""

from __future__ import annotations

from typing import Final

ROLES: Final = ("journal_ingest", "journal_read", "journal_seal", "journal_purge", "journal_admin")
