"""The database, as the rest of the project sees it.

One class per database role (`ingest`, `read` with where the service stands, `seal`, `purge` with the hand-over it waits
for, `admin`), and one for the end of a contract, which takes two of them, put together in `Store`. Each method is one
named statement of `sql/<role>.sql`, which calls one function; the functions, and what they guarantee, are in
`sql/migrations/`. Every method raises StoreError, LockedError or UnavailableError, and nothing else of its own.
"""

from __future__ import annotations

from journal.store.admin import AdminStatements
from journal.store.ending import Announcement, EndedChain, Ending, EndingStatements
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
from journal.store.standing import RetentionRow, StandingRow, StandingStatements
from journal.store.values import (
    ActivityRow,
    AppendBatch,
    AppendResult,
    BaseMove,
    CategoryChange,
    CategoryRow,
    CredentialRow,
    DayFigures,
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
    "Announcement",
    "AppendBatch",
    "AppendResult",
    "BaseMove",
    "CategoryChange",
    "CategoryRow",
    "CredentialRow",
    "DayFigures",
    "EndedChain",
    "Ending",
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
    "RetentionRow",
    "SealHeadRow",
    "SealRow",
    "SealState",
    "ServiceRow",
    "StandingRow",
    "Store",
    "StoredRow",
    "TenantRow",
    "UnfinishedPurge",
]


class Store(
    IngestStatements,
    ReadStatements,
    StandingStatements,
    SealStatements,
    PurgeStatements,
    HandoverStatements,
    AdminStatements,
    EndingStatements,
):
    """All five roles: `async with await Store.connect(dsn, application="…") as store`, or `connect` and `close`."""
