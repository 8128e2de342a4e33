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
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from journal.clock import CLOCK_DEPARTURE_LIMIT
from journal.core.chain import HASH_BYTES, Head, extend_all, genesis
from journal.core.entry import JOURNAL_CATEGORY, RESERVED_TENANT, Compartment
from journal.core.seal import parse_seal
from journal.core.times import MAX_RETENTION_DAYS, day_of
from journal.database.heads import LeafSpan, SealHeadRow, seal_tree
from journal.signer.protocol import CHAINS_AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime

    from journal.core.seal import Seal
    from journal.database.heads import HeadRow, LeafRun
    from journal.signer.evidence import Chain, Evidence, Rule
    from journal.signer.memory import Memory

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
    does not cover, `through` the last day of entries in the heads, `now` the signer's clock.
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

    def __init__(self, *, memory: Memory, service_name: str) -> None:
        """Judge by this memory, which the caller holds."""
        self._memory = memory
        self._service_name = service_name
        # Sizes at close seals, by the digest of their text: needed at every seal while a first kept index is refused.
        # Those that the last seal needed: days go by.
        self._sizes_at: dict[bytes, dict[Chain, int]] = {}

    async def judge(self, heads: Sequence[HeadRow], moment: Moment, evidence: Evidence) -> Judgement:
        """Return what is signed of these heads. Raises what the evidence raises."""
        result: dict[Chain, SealHeadRow] = {}
        new: list[SealHeadRow] = []
        moved: list[_Move] = []
        refusals: list[Refusal] = []
        latest = moment.now + CLOCK_DEPARTURE_LIMIT
        signed = self._memory.signed
        for head in heads:
            chain, row, recorded_at = head[:2], head.sealed, head.recorded_at
            good = signed.get(chain)
            result[chain] = row
            if row == good:
                continue
            if recorded_at is not None and recorded_at > latest:
                refusals.append(_refuse(row, good, "its last entry is of a time that has not come"))
            elif good is None:
                new.append(row)
            else:
                moved.append(_Move(row, good))
        refusals += [
            Refusal(chain=chain, why="its head is gone", signed=good, found=None, instead=good)
            for chain, good in signed.items()
            if chain not in result
        ]
        refusals += await self._judge_new(new, moment, evidence) if new else []
        refusals += await self._judge_moved(moved, moment, evidence) if moved else []
        for refusal in refusals:
            if refusal.instead is None:
                del result[refusal.chain]
            else:
                result[refusal.chain] = refusal.instead
        return Judgement(heads=list(result.values()), refusals=refusals)

    async def _judge_new(self, rows: Sequence[SealHeadRow], moment: Moment, evidence: Evidence) -> list[Refusal]:
        """Return what is wrong with chains that were never signed; such a chain stays out of the seal."""
        why = await _strangers(rows, evidence)
        why |= {row.chain: "it is new, and its beginning is purged" for row in rows if row.kept_from != 0}
        walks = [_Move(row, None) for row in rows if row.chain not in why]
        why |= dict.fromkeys(
            await self._walk(walks, moment, evidence), "it is new, and does not lead from its genesis to its head"
        )
        return [_refuse(row, None, why[row.chain]) for row in rows if row.chain in why]

    async def _judge_moved(self, moved: Sequence[_Move], moment: Moment, evidence: Evidence) -> list[Refusal]:
        """Return what is wrong with chains that were signed before, at most one refusal a chain.

        Where only the rule or the first kept index is wrong, that alone stays as it was signed.
        """
        rules = await evidence.rules()
        fences = await evidence.fences(sorted({move.row.category for move in moved}))
        walks = [move for move in moved if move.good is not None and move.row.size > move.good.size]
        hard = dict.fromkeys(await self._walk(walks, moment, evidence), "its stored entries do not lead to its head")
        if len(walks) < len(moved):
            hard |= {move.row.chain: why for move in moved if (why := _refuse_size(move)) is not None}
        followed = [move for move in moved if move.row[:2] not in hard]
        excused = await self._excused(followed, fences, moment, evidence)
        refusals = [_refuse(move.row, move.good, hard[move.row.chain]) for move in moved if move.row.chain in hard]
        for row, good in followed:
            assert good is not None
            if row.kept_from == good.kept_from and row.retention_days == good.retention_days:
                continue
            instead = row
            reasons: list[str] = []
            if row.kept_from != good.kept_from and row.chain not in excused:
                reasons.append("it begins where no purge that the key store knows of has ended")
                instead = instead._replace(kept_from=good.kept_from)
            if why := _refuse_rule(row, good, rules.get(row.category), fences.get(row.category), moment):
                reasons.append(why)
                instead = instead._replace(retention_days=good.retention_days)
            if reasons:
                refusals.append(
                    Refusal(chain=row.chain, why=", and ".join(reasons), signed=good, found=row, instead=instead)
                )
        return refusals

    async def _walk(self, moves: Sequence[_Move], moment: Moment, evidence: Evidence) -> set[Chain]:
        """Return the chains whose stored leaf hashes do not lead from the last signed head to the present one."""
        # Most entries are of the days since the last seal; what is not whole there is looked for in every day.
        for since, through in ((moment.since, moment.through), (None, None)):
            walks = [self._begin(move) for move in moves]
            waiting = walks
            while waiting:
                spans = _part(waiting)
                runs = await evidence.leaves(spans, since, through)
                await asyncio.to_thread(_go_on, waiting, runs)
                # A chain that did not come as far as was asked for is not asked for again.
                asked = zip(waiting, spans, strict=False)
                on_their_way = [walk for walk, span in asked if walk.size == span.high < walk.row.size]
                waiting = [*on_their_way, *waiting[len(spans) :]]
            moves = [move for move, walk in zip(moves, walks, strict=True) if not walk.has_arrived]
        return {move.row.chain for move in moves}

    def _begin(self, move: _Move) -> _Walk:
        row, good = move
        if good is None:
            return _Walk(row, genesis(Compartment(self._service_name, row.tenant, row.category).origin))
        return _Walk(row, good)

    async def _excused(
        self, moves: Sequence[_Move], fences: Mapping[str, date], moment: Moment, evidence: Evidence
    ) -> set[Chain]:
        """Return the chains that begin where a fenced day ended, by its close seal, and those of destroyed tenants."""
        known, self._sizes_at = self._sizes_at, {}
        rows = [move.row for move in moves if move.good is not None and move.row.kept_from > move.good.kept_from]
        if not rows:
            return set()
        ended = await evidence.ended_tenants()
        excused = {row.chain for row in rows if row.tenant in ended and row.kept_from == row.size}
        waiting = {row.chain: row for row in rows if row.chain not in excused and row.category in fences}
        if not waiting:
            return excused
        oldest = min(fences[row.category] for row in waiting.values()) - timedelta(days=MAX_RETENTION_DAYS)
        digest = moment.close_digest
        # Each close seal names the one before: the last one, which was signed here, vouches for all.
        for seal in await evidence.close_seals(oldest):
            if sha256(seal.text).digest() != digest or seal.day is None:
                break
            if digest in known:
                self._sizes_at[digest] = known[digest]
            digest = parse_seal(seal.text).previous_close
            asked = [chain for chain, row in waiting.items() if seal.day <= fences[row.category]]
            sizes = await self._sizes(seal.number, seal.text, asked, evidence) if asked else {}
            for chain in asked:
                size = sizes.get(chain, 0)
                if size <= waiting[chain].kept_from:
                    row = waiting.pop(chain)
                    excused |= {chain} if size == row.kept_from else set()
            if not waiting:
                break
        return excused

    async def _sizes(self, number: int, text: bytes, chains: Sequence[Chain], evidence: Evidence) -> dict[Chain, int]:
        """Return the sizes of chains in a seal; none if the stored heads are not those that were signed."""
        known = self._sizes_at.setdefault(sha256(text).digest(), {})
        if any(chain not in known for chain in chains):
            heads = await evidence.heads_of_seal(number)
            if heads is None or not await asyncio.to_thread(states, self._service_name, parse_seal(text), heads):
                return {}
            sizes = {head.chain: head.size for head in heads}
            known |= {chain: sizes.get(chain, 0) for chain in chains}
        return known


# Tuples, as many as chains that moved: a frozen dataclass takes four times as long to make.
class _Move(NamedTuple):
    """A head that differs from the last signed one of its chain; `good` is None for a new chain."""

    row: SealHeadRow
    good: SealHeadRow | None


class _Walk:
    """How far the stored leaf hashes of a chain lead from its last signed head."""

    __slots__ = ("chain_hash", "row", "size")

    def __init__(self, row: SealHeadRow, begin: SealHeadRow | Head) -> None:
        self.row = row
        self.size = begin.size
        self.chain_hash = begin.chain_hash

    @property
    def has_arrived(self) -> bool:
        return self.size == self.row.size and self.chain_hash == self.row.chain_hash


def _go_on(walks: Sequence[_Walk], runs: Sequence[LeafRun]) -> None:
    """Follow the runs of each walk, in the order of their indexes, as far as they are whole."""
    for place, first, leaves in sorted(run for run in runs if 0 < run.place <= len(walks)):
        walk = walks[place - 1]
        if first == walk.size and leaves:
            walk.chain_hash = extend_all(walk.chain_hash, leaves)[-1]
            walk.size += len(leaves) // HASH_BYTES


def _part(walks: Sequence[_Walk]) -> list[LeafSpan]:
    """Return what is read next of the first of these chains: a bounded number of entries."""
    part: list[LeafSpan] = []
    left = LEAVES_AT_ONCE
    for walk in walks[:CHAINS_AT_ONCE]:
        if left == 0:
            break
        tenant, category, size = walk.row[:3]
        high = min(size, walk.size + left)
        part.append(LeafSpan(tenant, category, walk.size, high))
        left -= high - walk.size
    return part


async def _strangers(rows: Sequence[SealHeadRow], evidence: Evidence) -> dict[Chain, str]:
    """Return the new chains that belong to nobody, or are where there is none, and why."""
    tenants, rules = await evidence.tenants(), await evidence.rules()
    why: dict[Chain, str] = {}
    for row in rows:
        if row.tenant not in tenants or row.category not in rules:
            why[row.chain] = "it is new, and of a tenant or category that does not exist"
        elif row.tenant == RESERVED_TENANT and row.category != JOURNAL_CATEGORY:
            why[row.chain] = f"the service has a chain in {JOURNAL_CATEGORY} only"
    return why


def states(service_name: str, seal: Seal, heads: Sequence[SealHeadRow]) -> bool:
    """Tell whether these are the heads that a seal states, all of them."""
    try:
        tree = seal_tree(service_name, heads)
    except ValueError:
        return False
    return (tree.root, tree.chains) == (seal.root, seal.chains)


def _refuse(row: SealHeadRow, good: SealHeadRow | None, why: str) -> Refusal:
    """Return a refusal of the whole head: the last signed one stays."""
    return Refusal(chain=row.chain, why=why, signed=good, found=row, instead=good)


def _refuse_size(move: _Move) -> str | None:
    assert move.good is not None
    if move.row.size < move.good.size:
        return "it is shorter than it was"
    if move.row.size == move.good.size and move.row.chain_hash != move.good.chain_hash:
        return "its hash is another one at the same size"
    return None


def _refuse_rule(
    row: SealHeadRow, good: SealHeadRow, rule: Rule | None, fence: date | None, moment: Moment
) -> str | None:
    """Return why the rule may not be signed; None if it may."""
    if row.retention_days == good.retention_days:
        return None
    if rule is None or rule.stated_days != row.retention_days:
        return f"its rule of {row.retention_days} days is not that of its category"
    today = day_of(moment.now)
    if row.retention_days > good.retention_days:
        # A longer rule grows by a day a day from where the chain begins.
        if fence is not None and row.retention_days > max(good.retention_days, (today - fence).days + 1):
            return f"a rule of {row.retention_days} days contradicts what is purged already"
        return None
    # A day of grace: the rule may have been settled just before midnight.
    oldest = today - timedelta(days=row.retention_days + 1)
    if rule.first_day <= oldest and (fence is None or fence < oldest):
        return f"a rule of {row.retention_days} days is not in force: older days are not purged"
    return None


def _describe(head: SealHeadRow | None) -> str:
    if head is None:
        return "nothing"
    digits = head.chain_hash.hex()[:HASH_DIGITS]
    return f"size {head.size}, hash {digits}, kept from {head.kept_from}, rule of {head.retention_days} days"
