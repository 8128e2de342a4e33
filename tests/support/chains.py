"""Well-formed batches for the database's tests: true hashes, ciphertexts that are only noise."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

from journal.core.chain import Head, extend, genesis
from journal.core.entry import Compartment
from journal.database.ingest import AppendBatch, AppendResult

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from journal.database.heads import HeadRow
    from journal.database.read import EntryRow
    from journal.database.store import Store

SERVICE = "journal.test"
CATEGORY = "main-courante"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """An event to append: its key, and the first day an earlier copy may be in (None: the batch's own)."""

    key: bytes
    since: date | None = None


def keys(*names: object) -> list[Pending]:
    """Return an event per name; one name gives one key."""
    return [Pending(key=hashlib.sha256(str(name).encode()).digest()[:16]) for name in names]


def fresh(number: int) -> list[Pending]:
    """Return events that were never seen."""
    return [Pending(key=os.urandom(16)) for _ in range(number)]


def origin_of(tenant: str, category: str) -> str:
    """Return the chain's identity."""
    return Compartment(SERVICE, tenant, category).origin


def genesis_of(tenant: str, category: str) -> bytes:
    """Return the hash of the empty chain."""
    return genesis(origin_of(tenant, category)).chain_hash


async def add_chains(
    store: Store, tenants: Iterable[str], categories: Sequence[str] = (CATEGORY,), *, retention_days: int = 60
) -> list[HeadRow]:
    """Make categories, tenants and today's partitions; return the heads by tenant, then category."""
    for category in categories:
        await store.add_category(
            category,
            label=category,
            regime="LED",
            retention_days=retention_days,
            needs_authorisation=False,
            genesis={},
        )
    names = list(tenants)
    for tenant in names:
        await store.add_tenant(tenant, tenant, {category: genesis_of(tenant, category) for category in categories})
    await store.ensure_partitions(7)
    pairs = [(tenant, category) for tenant in names for category in categories]
    return await store.read_heads([tenant for tenant, _ in pairs], [category for _, category in pairs])


def empty_batch() -> AppendBatch:
    """Return a batch of no chain."""
    return AppendBatch(
        chain_tenant=[],
        chain_category=[],
        chain_size=[],
        chain_hash=[],
        next_size=[],
        next_hash=[],
        chain_recorded_at=[],
        entry_key=[],
        entry_leaf=[],
        entry_hash=[],
        entry_ciphertext=[],
    )


def batch(
    chains: Sequence[tuple[HeadRow, Sequence[Pending]]], now: datetime, *, sealed_bytes: int = 600
) -> AppendBatch:
    """Return the batch that extends each head by its events, recorded at `now` or at the head's time if later."""
    made = empty_batch()
    lists: dict[str, list[object]] = {name: [] for name in AppendBatch.__dataclass_fields__}
    for place, (head, events) in enumerate(chains, start=1):
        recorded_at = max(head.recorded_at or now, now)
        chain_hash = head.chain_hash
        for index, event in enumerate(events, start=head.size):
            leaf = hashlib.sha256(event.key + index.to_bytes(8, "big")).digest()
            chain_hash = extend(chain_hash, leaf)
            _push(lists, entry_key=event.key, entry_leaf=leaf)
            _push(lists, entry_hash=chain_hash, entry_ciphertext=os.urandom(sealed_bytes))
            if event.since is not None and event.since < recorded_at.astimezone(UTC).date():
                _push(lists, early_entry=len(lists["entry_key"]), early_since=event.since)
        _push(lists, chain_tenant=head.tenant, chain_category=head.category, chain_size=head.size)
        _push(lists, chain_hash=head.chain_hash, next_size=head.size + len(events), next_hash=chain_hash)
        _push(lists, chain_recorded_at=recorded_at)
        if events:
            _push(lists, activity_chain=place, activity_action="consultation", activity_count=len(events))
    return replace(made, **lists)  # type: ignore[arg-type]  # each list holds what its own member asks


def advanced(head: HeadRow, made: AppendBatch, place: int = 1) -> HeadRow:
    """Return the head as a batch leaves it."""
    return head._replace(
        size=made.next_size[place - 1],
        chain_hash=made.next_hash[place - 1],
        recorded_at=made.chain_recorded_at[place - 1],
    )


async def durable(result: AppendResult) -> None:
    """Wait until what was appended is."""
    if result.flushed is not None:
        await result.flushed


async def append(store: Store, head: HeadRow, events: Sequence[Pending]) -> HeadRow:
    """Append to one chain now, which must succeed; return the head as it then stands."""
    made = batch([(head, events)], await store.read_now())
    result = await store.append(made)
    assert result.answer == "appended", result
    await durable(result)
    return advanced(head, made)


async def read_chain(store: Store, head: HeadRow, *days: date) -> list[EntryRow]:
    """Return a chain's entries over some days."""
    rows: list[EntryRow] = []
    for day in days:
        rows += await store.read_entries(head.tenant, head.category, day, 0, 1_000_000)
    return rows


def check_chain(rows: Sequence[EntryRow], head: HeadRow) -> None:
    """Assert that the rows are a chain without a hole that ends at the head, each event once."""
    chain = Head(size=0, chain_hash=genesis_of(head.tenant, head.category))
    for row in rows:
        assert row.index == chain.size
        chain = Head(size=chain.size + 1, chain_hash=extend(chain.chain_hash, row.leaf_hash))
        assert row.chain_hash == chain.chain_hash
    assert (chain.size, chain.chain_hash) == (head.size, head.chain_hash)
    assert len({row.event_key for row in rows}) == len(rows)


def seconds_until(moment: datetime) -> float:
    """Return how far the real clock is from a moment."""
    return (moment - datetime.now(UTC)).total_seconds()


def midnight_after(day: date) -> datetime:
    """Return the end of a day."""
    return datetime.combine(day, time(), tzinfo=UTC) + timedelta(days=1)


def _push(lists: dict[str, list[object]], **values: object) -> None:
    for name, value in values.items():
        lists[name].append(value)
