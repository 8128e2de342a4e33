"""What goes into the database and comes out of it: plain values, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

Outcome = Literal["appended", "conflict", "known", "clock", "closed", "fenced", "absent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendBatch:
    """Entries for many chains, appended whole or not at all. Lists of one group have one length.

    chain_*     one place per chain: the head the batch was computed from (`chain_size`, `chain_hash`), the head it
                leads to (`next_size`, `next_hash`), and the `recorded_at` of all its entries
    entry_*     one place per entry: its chain (place in the chain lists, from 1), index, event key (16 bytes), leaf
                hash, chain hash at index + 1, sealed bytes, and the first day an earlier copy may be in
    activity_*  one place per (chain, action): how many of the batch's entries
    span_*      one place per (chain, source) that numbers its events: lowest and highest sequence, how many
    """

    chain_tenant: Sequence[str]
    chain_category: Sequence[str]
    chain_size: Sequence[int]
    chain_hash: Sequence[bytes]
    next_size: Sequence[int]
    next_hash: Sequence[bytes]
    chain_recorded_at: Sequence[datetime]
    entry_chain: Sequence[int]
    entry_index: Sequence[int]
    entry_key: Sequence[bytes]
    entry_leaf: Sequence[bytes]
    entry_hash: Sequence[bytes]
    entry_sealed: Sequence[bytes]
    entry_since: Sequence[date]
    activity_chain: Sequence[int] = ()
    activity_action: Sequence[str] = ()
    activity_count: Sequence[int] = ()
    span_chain: Sequence[int] = ()
    span_source: Sequence[bytes] = ()
    span_low: Sequence[int] = ()
    span_high: Sequence[int] = ()
    span_count: Sequence[int] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MovedHead:
    """A chain that is not where the batch expected it: its place in the chain lists (from 1), and where it stands."""

    position: int
    size: int
    chain_hash: bytes
    recorded_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownEntry:
    """An entry already recorded: its place in the entry lists (from 1), and its first copy."""

    position: int
    index: int
    chain_hash: bytes
    leaf_hash: bytes
    day: date
    sealed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendResult:
    """What became of a batch. Only `appended` wrote anything.

    appended  nothing more to say
    conflict  `moved`: every chain that moved
    known     `known`: every entry of the batch that is recorded already
    clock     `database_now`: more than 2 s from a chain's `recorded_at`
    closed    `chains` (places in the chain lists, from 1): their day can receive nothing more
    fenced    `chains`: an entry's `since` is destroyed
    absent    `chains`: they do not exist, or their tenant is closed
    """

    outcome: Outcome
    moved: Sequence[MovedHead] = ()
    known: Sequence[KnownEntry] = ()
    chains: Sequence[int] = ()
    database_now: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadRow:
    """A chain as it stands. `recorded_at` is None while it is empty, and in heads of a closed day that moved since."""

    tenant: str
    category: str
    size: int
    chain_hash: bytes
    recorded_at: datetime | None
    kept_from: int
    retention_days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SealHeadRow:
    """A chain as a seal saw it."""

    tenant: str
    category: str
    size: int
    chain_hash: bytes
    kept_from: int
    retention_days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseMove:
    """The first seal in which a chain begins at `kept_from`, under which rule; and what the one before stated."""

    number: int
    kept_before: int
    kept_from: int
    retention_before: int
    retention_days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryRow:
    """A stored entry, still sealed."""

    index: int
    event_key: bytes
    leaf_hash: bytes
    chain_hash: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SealRow:
    """A seal; `day` is None for an open one, `timestamp` where it bears none or was not asked for."""

    number: int
    day: date | None
    sealed_at: datetime
    text: bytes
    signature: bytes
    timestamp: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SealState:
    """All that the next seal needs, in one snapshot.

    number       of the latest seal, 0 before the first
    text         of the latest seal; close_text and close_day of the latest close seal
    first_day    the first day that is ever closed
    closed_day   the last day that receives nothing more; its close seal is missing where close_day is not it
                 (and where close_day is None and closed_day >= first_day)
    heads        every chain as it stands; sealed: every chain as the latest seal saw it
    now          the database's clock
    """

    number: int
    text: bytes | None
    close_text: bytes | None
    close_day: date | None
    first_day: date
    closed_day: date
    heads: list[HeadRow]
    sealed: list[SealHeadRow]
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryRow:
    """A legal class of data; `fence` is its last destroyed day, `first_day` the first it has partitions for.

    `retention_days` is the rule that the purge and reads obey, `stated_days` the one that seals state today: it is
    the longer one while a shorter rule is pending. `next_retention_days` is the rule that is pending, asked for on
    `next_since`; None where none is.
    """

    code: str
    id: int
    label: str
    regime: str
    retention_days: int
    stated_days: int
    next_retention_days: int | None
    next_since: date | None
    needs_authorisation: bool
    first_day: date
    fence: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryChange:
    """What was changed of a category; None was left as it was."""

    number: int
    changed_at: datetime
    category: str
    retention_days: int | None
    retention_days_before: int | None
    needs_authorisation: bool | None
    label: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantRow:
    """A commune; once `destroyed`, nothing of what it recorded is kept."""

    code: str
    name: str
    closed: bool
    destroyed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRow:
    """The installation; `closed_day` is the last day that receives nothing more."""

    name: str
    created_at: datetime
    first_day: date
    closed_day: date


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialRow:
    """A credential as stored: its secret only as SHA-256."""

    id: str
    secret_hash: bytes
    role: str
    tenant: str
    categories: list[str]
    source_prefix: str | None
    label: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCredential:
    """A credential to store."""

    id: str
    secret_hash: bytes
    role: str
    tenant: str
    categories: list[str]
    source_prefix: str | None = None
    label: str = ""
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityRow:
    """How many entries of one action a category got on one day."""

    category: str
    day: date
    action: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GapRow:
    """How many sources of a category skipped sequence numbers, and how many numbers they skipped."""

    category: str
    sources: int
    missing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionRow:
    """A leaf on disk; one that is not attached was left by an interrupted operation."""

    category: str
    day: date
    attached: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DayFigures:
    """How much of a category's day is on disk: rows, chains that have some, bytes with indexes and all."""

    count: int
    chains: int
    disk_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedPurge:
    """Days of a category that are fenced and not wholly purged, both included."""

    category: str
    first_day: date
    last_day: date


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeSpan:
    """Entries of one chain that went with a day, `first_index` ≤ i < `end_index`, and under which rule and seal."""

    tenant: str
    category: str
    day: date
    first_index: int
    end_index: int
    seal_number: int
    moved_at: datetime
    retention_days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRow:
    """A row of a leaf with all its columns, believed in nothing."""

    tenant: str
    category: str
    day: date
    index: int
    event_key: bytes
    leaf_hash: bytes
    chain_hash: bytes
    sealed: bytes
