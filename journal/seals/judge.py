"""Compares the heads that the database gives with what was last signed, before they are signed.

A size never decreases, one size has one hash, and between two sizes the stored leaf hashes lead from the one hash to
the other; a new chain begins at its genesis. The first kept index moves only to where a closed day ended that the key
store knows to be purged, the rule only as the category's rule says and as what is purged allows. What does not follow
stays as it was last signed.

Trust sentence: leaf hashes come from the database, so entries that no seal covers yet can still be exchanged; what a
seal covers cannot.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from journal.clock import CLOCK_DEPARTURE_LIMIT
from journal.core.chain import HASH_BYTES, extend, genesis
from journal.core.entry import JOURNAL_CATEGORY, RESERVED_TENANT, Compartment
from journal.core.errors import KeyStoreError, StoreError
from journal.core.seal import SealedHead, parse_seal
from journal.core.times import MAX_RETENTION_DAYS, day_of
from journal.core.tree import Trie
from journal.database.seal import LeafSpan, SealHeadRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import date, datetime

    from journal.database.ingest import CategoryRow, HeadRow
    from journal.database.store import Store
    from journal.keys.store import KeyStore
    from journal.seals.memory import Chain, Memory

LEAVES_AT_ONCE = 200_000
HASH_DIGITS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """What is wrong with a chain's head, and what is signed instead.

    `signed` is the last signed head (None: a new chain), `found` the one that the database gives (None: the chain is
    gone), `instead` what goes into the seal (None: nothing does).
    """

    chain: Chain
    why: str
    signed: SealHeadRow | None
    found: SealHeadRow | None
    instead: SealHeadRow | None

    def __str__(self) -> str:
        """Return it as one sentence without its end."""
        tenant, category = self.chain
        return f"{tenant} {category}: {self.why} (signed: {_describe(self.signed)}; found: {_describe(self.found)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What the heads are judged by.

    `close_digest` is the SHA-256 of the last close seal's text, `since` the first day of entries that the last seal
    does not cover, `through` the last day of entries in the heads, `now` the database's clock.
    """

    close_digest: bytes
    since: date | None
    through: date
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The heads to be signed, and what does not follow."""

    heads: list[SealHeadRow]
    refusals: list[Refusal]


class Judge:
    """Compares heads with the signer's memory."""

    def __init__(self, *, store: Store, keystore: KeyStore, memory: Memory, service_name: str) -> None:
        """Judge by this memory, which the caller holds."""
        self._store = store
        self._keystore = keystore
        self._memory = memory
        self._service_name = service_name
        # Sizes at close seals, by number: asked again at every seal while a first kept index is refused.
        self._sizes_at: dict[int, dict[Chain, int]] = {}

    async def judge(self, heads: Sequence[HeadRow], moment: Moment) -> Judgement:
        """Return what is signed of these heads. Raises StoreError."""
        result: dict[Chain, SealHeadRow] = {}
        new: list[SealHeadRow] = []
        moved: list[_Move] = []
        refusals: list[Refusal] = []
        for head in heads:
            row = as_sealed(head)
            chain = (row.tenant, row.category)
            good = self._memory.good(chain)
            result[chain] = row
            if row == good:
                continue
            if head.recorded_at is not None and head.recorded_at > moment.now + CLOCK_DEPARTURE_LIMIT:
                refusals.append(_refuse(row, good, "its last entry is of a time that has not come"))
            elif good is None:
                new.append(row)
            else:
                moved.append(_Move(row, good))
        for chain in self._memory.stored.keys() | self._memory.floor.keys():
            if chain not in result:
                good = self._memory.good(chain)
                refusals.append(Refusal(chain=chain, why="its head is gone", signed=good, found=None, instead=good))
        refusals += await self._judge_new(new, moment) if new else []
        refusals += await self._judge_moved(moved, moment) if moved else []
        for refusal in refusals:
            if refusal.instead is None:
                del result[refusal.chain]
            else:
                result[refusal.chain] = refusal.instead
        return Judgement(heads=list(result.values()), refusals=refusals)

    async def _judge_new(self, rows: Sequence[SealHeadRow], moment: Moment) -> list[Refusal]:
        """Return what is wrong with chains that were never signed; such a chain stays out of the seal."""
        why = await self._strangers(rows)
        why |= {_chain(row): "it is new, and its beginning is purged" for row in rows if row.kept_from != 0}
        walks = [_Move(row, None) for row in rows if _chain(row) not in why]
        why |= dict.fromkeys(
            await self._walk(walks, moment), "it is new, and does not lead from its genesis to its head"
        )
        return [_refuse(row, None, why[_chain(row)]) for row in rows if _chain(row) in why]

    async def _judge_moved(self, moved: Sequence[_Move], moment: Moment) -> list[Refusal]:
        """Return what is wrong with chains that were signed before, at most one refusal a chain.

        Where only the rule or the first kept index is wrong, that alone stays as it was signed.
        """
        rows = {row.code: row for row in await self._store.read_categories()}
        fences = await asyncio.to_thread(self._fences, {move.row.category for move in moved})
        hard = {_chain(move.row): why for move in moved if (why := _refuse_size(move)) is not None}
        walks = [move for move in moved if move.row.size > move.good_size and _chain(move.row) not in hard]
        hard |= dict.fromkeys(await self._walk(walks, moment), "its stored entries do not lead to its head")
        followed = [move for move in moved if _chain(move.row) not in hard]
        lawful = await self._lawful(followed, fences, moment)
        refusals = [_refuse(move.row, move.good, hard[_chain(move.row)]) for move in moved if _chain(move.row) in hard]
        for move in followed:
            row, good = move.row, move.good
            assert good is not None
            instead = row
            reasons: list[str] = []
            if row.kept_from != good.kept_from and _chain(row) not in lawful:
                reasons.append("it begins where no purge that the key store knows of has ended")
                instead = replace(instead, kept_from=good.kept_from)
            if why := _refuse_rule(row, good, rows.get(row.category), fences.get(row.category), moment):
                reasons.append(why)
                instead = replace(instead, retention_days=good.retention_days)
            if reasons:
                refusals.append(
                    Refusal(chain=_chain(row), why=", and ".join(reasons), signed=good, found=row, instead=instead)
                )
        return refusals

    async def _strangers(self, rows: Sequence[SealHeadRow]) -> dict[Chain, str]:
        """Return the new chains that belong to nobody, or are where there is none, and why."""
        tenants = {row.code for row in await self._store.read_tenants()}
        categories = {row.code for row in await self._store.read_categories()}
        why: dict[Chain, str] = {}
        for row in rows:
            if row.tenant not in tenants or row.category not in categories:
                why[_chain(row)] = "it is new, and of a tenant or category that does not exist"
            elif row.tenant == RESERVED_TENANT and row.category != JOURNAL_CATEGORY:
                why[_chain(row)] = f"the service has a chain in {JOURNAL_CATEGORY} only"
        return why

    def _fences(self, categories: Iterable[str]) -> dict[str, date]:
        """Return the fences that the key store has; none where it cannot be read."""
        found: dict[str, date] = {}
        for category in categories:
            try:
                fence = self._keystore.fence(category)
            except KeyStoreError:
                continue
            if fence is not None:
                found[category] = fence
        return found

    async def _walk(self, moves: Sequence[_Move], moment: Moment) -> set[Chain]:
        """Return the chains whose stored leaf hashes do not lead from the last signed head to the present one."""
        # Most entries are of the days since the last seal; what is not whole there is looked for in every day.
        for since, through in ((moment.since, moment.through), (None, None)):
            broken: set[Chain] = set()
            for part in _parts(moves):
                spans = [
                    LeafSpan(tenant=move.row.tenant, category=move.row.category, low=move.good_size, high=move.row.size)
                    for move in part
                ]
                leaves: dict[Chain, list[tuple[int, bytes]]] = {}
                for run in await self._store.read_leaves(spans, since, through):
                    leaves.setdefault((run.span.tenant, run.span.category), []).append((run.first_index, run.leaves))
                broken |= await asyncio.to_thread(_broken, self._service_name, part, leaves)
            moves = [move for move in moves if _chain(move.row) in broken]
        return {_chain(move.row) for move in moves}

    async def _lawful(self, moves: Sequence[_Move], fences: Mapping[str, date], moment: Moment) -> set[Chain]:
        """Return the chains that begin where a fenced day ended, by its close seal, and those of destroyed tenants."""
        rows = [move.row for move in moves if move.good is not None and move.row.kept_from > move.good.kept_from]
        if not rows:
            return set()
        ended = set(await asyncio.to_thread(self._keystore.ended_tenants))
        lawful = {_chain(row) for row in rows if row.tenant in ended and row.kept_from == row.size}
        waiting = {_chain(row): row for row in rows if _chain(row) not in lawful and row.category in fences}
        if not waiting:
            return lawful
        oldest = min(fences[row.category] for row in waiting.values()) - timedelta(days=MAX_RETENTION_DAYS)
        digest = moment.close_digest
        # Each close seal names the one before: the last one, which was signed here, vouches for all.
        for seal in await self._store.close_seals(oldest):
            if sha256(seal.text).digest() != digest or seal.day is None:
                break
            digest = parse_seal(seal.text).previous_close
            asked = [chain for chain, row in waiting.items() if seal.day <= fences[row.category]]
            sizes = await self._sizes(seal.number, seal.text, asked) if asked else {}
            for chain in asked:
                size = sizes.get(chain, 0)
                if size <= waiting[chain].kept_from:
                    row = waiting.pop(chain)
                    lawful |= {chain} if size == row.kept_from else set()
            if not waiting:
                break
        return lawful

    async def _sizes(self, number: int, text: bytes, chains: Sequence[Chain]) -> dict[Chain, int]:
        """Return the sizes of chains in a seal; none if the stored heads are not those that were signed."""
        known = self._sizes_at.setdefault(number, {})
        if any(chain not in known for chain in chains):
            try:
                heads = await self._store.heads_of_seal(number)
                tree = await asyncio.to_thread(Trie, [sealed_head(self._service_name, head) for head in heads])
            except (StoreError, ValueError):
                return {}
            seal = parse_seal(text)
            if (tree.root, tree.chains) != (seal.root, seal.chains):
                return {}
            sizes = {(head.tenant, head.category): head.size for head in heads}
            known |= {chain: sizes.get(chain, 0) for chain in chains}
        return known


@dataclass(frozen=True, slots=True)
class _Move:
    """A head that differs from the last signed one of its chain; `good` is None for a new chain."""

    row: SealHeadRow
    good: SealHeadRow | None

    @property
    def good_size(self) -> int:
        return self.good.size if self.good is not None else 0


def _chain(row: SealHeadRow) -> Chain:
    return row.tenant, row.category


def _refuse(row: SealHeadRow, good: SealHeadRow | None, why: str) -> Refusal:
    """Return a refusal of the whole head: the last signed one stays."""
    return Refusal(chain=_chain(row), why=why, signed=good, found=row, instead=good)


def _refuse_size(move: _Move) -> str | None:
    assert move.good is not None
    if move.row.size < move.good.size:
        return "it is shorter than it was"
    if move.row.size == move.good.size and move.row.chain_hash != move.good.chain_hash:
        return "its hash is another one at the same size"
    return None


def as_sealed(head: HeadRow) -> SealHeadRow:
    """Return the head as a seal states it."""
    return SealHeadRow(
        tenant=head.tenant,
        category=head.category,
        size=head.size,
        chain_hash=head.chain_hash,
        kept_from=head.kept_from,
        retention_days=head.retention_days,
    )


def sealed_head(service_name: str, head: HeadRow | SealHeadRow) -> SealedHead:
    """Return the head as the seal tree states it."""
    return SealedHead(
        origin=Compartment(service_name, head.tenant, head.category).origin,
        size=head.size,
        chain_hash=head.chain_hash,
        kept_from=head.kept_from,
        retention_days=head.retention_days,
    )


def _refuse_rule(
    row: SealHeadRow, good: SealHeadRow, category: CategoryRow | None, fence: date | None, moment: Moment
) -> str | None:
    """Return why the rule may not be signed; None if it may."""
    if row.retention_days == good.retention_days:
        return None
    if category is None or category.stated_days != row.retention_days:
        return f"its rule of {row.retention_days} days is not that of its category"
    today = day_of(moment.now)
    if row.retention_days > good.retention_days:
        # A longer rule grows by a day a day from where the chain begins.
        if fence is not None and row.retention_days > max(good.retention_days, (today - fence).days + 1):
            return f"a rule of {row.retention_days} days contradicts what is purged already"
        return None
    # A day of grace: the rule may have been settled just before midnight.
    oldest = today - timedelta(days=row.retention_days + 1)
    if category.first_day <= oldest and (fence is None or fence < oldest):
        return f"a rule of {row.retention_days} days is not in force: older days are not purged"
    return None


def _parts(moves: Sequence[_Move]) -> Iterator[list[_Move]]:
    """Yield the moves in parts of a bounded number of entries, or of one chain."""
    part: list[_Move] = []
    entries = 0
    for move in moves:
        way = move.row.size - move.good_size
        if part and entries + way > LEAVES_AT_ONCE:
            yield part
            part, entries = [], 0
        part.append(move)
        entries += way
    if part:
        yield part


def _broken(service_name: str, part: Sequence[_Move], leaves: Mapping[Chain, list[tuple[int, bytes]]]) -> set[Chain]:
    broken: set[Chain] = set()
    for move in part:
        chain = _chain(move.row)
        begin = move.good or genesis(Compartment(service_name, *chain).origin)
        size, chain_hash = begin.size, begin.chain_hash
        for first, joined in sorted(leaves.get(chain, [])):
            if first != size:
                break
            for at in range(0, len(joined), HASH_BYTES):
                chain_hash = extend(chain_hash, joined[at : at + HASH_BYTES])
            size += len(joined) // HASH_BYTES
        if (size, chain_hash) != (move.row.size, move.row.chain_hash):
            broken.add(chain)
    return broken


def _describe(head: SealHeadRow | None) -> str:
    if head is None:
        return "nothing"
    digits = head.chain_hash.hex()[:HASH_DIGITS]
    return f"size {head.size}, hash {digits}, kept from {head.kept_from}, rule of {head.retention_days} days"
