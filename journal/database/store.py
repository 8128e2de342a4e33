"""The database, as the rest of the project sees it.

One class per database role (`ingest`, `read` and its status, `seal`, `purge` and the hand-over, `admin`) and one for
the end of a contract, which uses two roles, combined in `Store`. Each method is one named statement of
`sql/<role>.sql`, which calls one function; the functions, and what they guarantee, are in `sql/schema.sql`. Every
method raises StoreError, LockedError or UnavailableError, and nothing else of its own.
"""

from __future__ import annotations

from journal.database.admin import AdminStatements
from journal.database.ending import EndingStatements
from journal.database.handover import (
    HandoverStatements,
)
from journal.database.ingest import (
    IngestStatements,
)
from journal.database.owner import OwnerStatements
from journal.database.persons import PersonStatements
from journal.database.probe import ProbeStatements
from journal.database.purge import PurgeStatements
from journal.database.read import ReadStatements
from journal.database.seal import SealStatements
from journal.database.status import StatusStatements


class Store(
    IngestStatements,
    ReadStatements,
    StatusStatements,
    SealStatements,
    PurgeStatements,
    HandoverStatements,
    AdminStatements,
    PersonStatements,
    EndingStatements,
    OwnerStatements,
    ProbeStatements,
):
    """All roles and the owner: `async with await Store.connect(dsn, application="…")`, or `connect` and `close`."""
