"""The database, as the rest of the project sees it.

One class per database role (`ingest`, `read`, `seal`, `purge` with the hand-over it waits for, `admin`), put together
in `Store`. Each method is one named statement of `sql/<role>.sql`, which calls one function; the functions, and what
they guarantee, are in `sql/migrations/`. Every method raises StoreError, LockedError or UnavailableError, and nothing
else of its own.
"""

from __future__ import annotations

from journal.store.admin import AdminStatements
from journal.store.handover import (
    HandoverAlarm,
    HandoverDue,
    HandoverFault,
    HandoverFile,
    HandoverStatements,
    RecipientRow,
)
from journal.store.ingest import IngestStatements
from journal.store.purge import PurgeStatements
from journal.store.read import ReadStatements
from journal.store.seal import SealStatements
from journal.store.values import (
    ActivityRow,
    AppendBatch,
    AppendResult,
    BaseMove,
    CategoryRow,
    CredentialRow,
    DayDropped,
    EntryRow,
    GapRow,
    HeadRow,
    KnownEntry,
    MovedHead,
    NewCredential,
    Outcome,
    PartitionRow,
    PurgeSpan,
    SealHeadRow,
    SealRow,
    SealState,
    ServiceRow,
    StoredRow,
    TenantRow,
    UnfinishedPurge,
)

__all__ = [
    "ActivityRow",
    "AppendBatch",
    "AppendResult",
    "BaseMove",
    "CategoryRow",
    "CredentialRow",
    "DayDropped",
    "EntryRow",
    "GapRow",
    "HandoverAlarm",
    "HandoverDue",
    "HandoverFault",
    "HandoverFile",
    "HeadRow",
    "KnownEntry",
    "MovedHead",
    "NewCredential",
    "Outcome",
    "PartitionRow",
    "PurgeSpan",
    "RecipientRow",
    "SealHeadRow",
    "SealRow",
    "SealState",
    "ServiceRow",
    "Store",
    "StoredRow",
    "TenantRow",
    "UnfinishedPurge",
]


class Store(IngestStatements, ReadStatements, SealStatements, PurgeStatements, HandoverStatements, AdminStatements):
    """All five roles: `async with await Store.connect(dsn, application="…") as store`, or `connect` and `close`."""
