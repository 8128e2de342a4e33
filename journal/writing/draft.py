"""A draft: the next append, computed in memory for many chains from their last known heads."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from journal.core.chain import SALT_BYTES, extend, leaf_hash
from journal.core.entry import Compartment, encode_record
from journal.core.envelope import NONCE_BYTES
from journal.core.receipt import Receipt
from journal.core.sources import ranges
from journal.core.times import day_of, format_time
from journal.database.ingest import AppendBatch
from journal.writing import answers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date, datetime

    from journal.core.entry import Event
    from journal.core.envelope import Box
    from journal.keys.ring import Keyring
    from journal.writing.answers import Notary
    from journal.writing.queue import Submission

DRAW_BYTES = SALT_BYTES + NONCE_BYTES
# About a millisecond's work.
STEP_EVENTS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadState:
    """A chain's head as this process last knew it."""

    size: int
    chain_hash: bytes
    recorded_at: datetime | None


class _ChainDraft:
    """One chain within a draft: its head before the draft, and its current end."""

    __slots__ = (
        "base",
        "box",
        "chain_hash",
        "day",
        "position",
        "recorded_at",
        "size",
        "text",
    )

    def __init__(
        self,
        *,
        position: int,
        base: HeadState,
        recorded_at: datetime,
        box: Box,
    ) -> None:
        self.position = position
        self.base = base
        self.size = base.size
        self.chain_hash = base.chain_hash
        self.recorded_at = recorded_at
        self.text = format_time(recorded_at)
        self.day = day_of(recorded_at)
        self.box = box


class Draft:
    """Submissions turned into the arrays of one append.

    Salts and nonces are drawn anew in every draft: none of a lost draft is used again.
    """

    def __init__(self, keyring: Keyring) -> None:
        """Start empty."""
        self._keyring = keyring
        self._chains: dict[Compartment, _ChainDraft] = {}
        self._entries: dict[tuple[int, bytes], int] = {}  # by chain and event key: which entry
        self._owners: list[tuple[int, int]] = []  # per entry: (submission's place, ordinal within it)
        self._copies: dict[int, list[tuple[int, int]]] = {}  # by entry: other submissions that wait for the same event
        self._copied = 0
        self._activity: Counter[tuple[int, str]] = Counter()
        self._late: Counter[tuple[int, date]] = Counter()
        # By chain, and a source's key and name: the numbers of its events.
        self._numbers: dict[tuple[int, bytes, bytes], list[int]] = {}
        self.submissions: list[Submission] = []
        self._entry_chain: list[int] = []
        self._entry_index: list[int] = []
        self._entry_key: list[bytes] = []
        self._entry_leaf: list[bytes] = []
        self._entry_hash: list[bytes] = []
        self._entry_ciphertext: list[bytes] = []
        self._entry_since: list[date] = []

    @property
    def events(self) -> int:
        """Return how many submitted events the draft holds."""
        return len(self._owners) + self._copied

    @property
    def compartments(self) -> list[Compartment]:
        """Return the draft's chains, in the order of the batch's arrays."""
        return list(self._chains)

    def base(self, compartment: Compartment) -> HeadState:
        """Return the head from which the chain was drafted."""
        return self._chains[compartment].base

    def head(self, compartment: Compartment) -> HeadState:
        """Return the chain's head once this draft is appended."""
        chain = self._chains[compartment]
        return HeadState(size=chain.size, chain_hash=chain.chain_hash, recorded_at=chain.recorded_at)

    def add(self, submission: Submission, head: HeadState, now: datetime) -> bool:
        """Extend the submission's chain by its pending events at once; see `adding`."""
        steps = self.adding(submission, head, now)
        for _ in steps or ():
            pass
        return steps is not None

    def adding(self, submission: Submission, head: HeadState, now: datetime) -> Iterator[None] | None:
        """Return the steps that extend the submission's chain by its pending events, some at a time.

        None, and nothing done, if one contradicts the draft. The draft is complete after the last step.
        An event that is in the draft already, with the same content, waits for the same entry.
        `head` is used if the chain is not in the draft yet. Raises KeyStoreError if the day has no key.
        """
        chain = self._chains.get(submission.compartment) or self._open_chain(submission.compartment, head, now)
        pending = submission.pending()
        copies: list[tuple[int, int]] = []
        for ordinal in pending:
            entry = self._entries.get((chain.position, submission.keys[ordinal]))
            if entry is not None:
                if self._event(entry).canonical != submission.events[ordinal].canonical:
                    return None
                copies.append((entry, ordinal))
        place = len(self.submissions)
        self.submissions.append(submission)
        if copies:
            copied = {ordinal for _, ordinal in copies}
            pending = [ordinal for ordinal in pending if ordinal not in copied]
            self._copied += len(copies)
            for entry, ordinal in copies:
                self._copies.setdefault(entry, []).append((place, ordinal))
        return self._extend_by(chain, submission, place, pending)

    def _extend_by(
        self, chain: _ChainDraft, submission: Submission, place: int, ordinals: Sequence[int]
    ) -> Iterator[None]:
        draws = os.urandom(DRAW_BYTES * len(ordinals))
        for number, ordinal in enumerate(ordinals, start=1):
            self._extend(chain, submission, ordinal, draws[(number - 1) * DRAW_BYTES : number * DRAW_BYTES])
            self._owners.append((place, ordinal))
            if not number % STEP_EVENTS:
                yield

    def finish(self) -> AppendBatch:
        """Return the arrays and the counters of the append."""
        activity, late, spans = self._activity, self._late, list(self._spans())
        return AppendBatch(
            chain_tenant=[compartment.tenant for compartment in self._chains],
            chain_category=[compartment.category for compartment in self._chains],
            chain_size=[chain.base.size for chain in self._chains.values()],
            chain_hash=[chain.base.chain_hash for chain in self._chains.values()],
            next_size=[chain.size for chain in self._chains.values()],
            next_hash=[chain.chain_hash for chain in self._chains.values()],
            chain_recorded_at=[chain.recorded_at for chain in self._chains.values()],
            entry_chain=self._entry_chain,
            entry_index=self._entry_index,
            entry_key=self._entry_key,
            entry_leaf=self._entry_leaf,
            entry_hash=self._entry_hash,
            entry_ciphertext=self._entry_ciphertext,
            entry_since=self._entry_since,
            activity_chain=[position for position, _ in activity],
            activity_action=[action for _, action in activity],
            activity_count=list(activity.values()),
            late_chain=[position for position, _ in late],
            late_day=[day for _, day in late],
            late_count=list(late.values()),
            span_chain=[span[0] for span in spans],
            span_source=[span[1] for span in spans],
            span_name=[span[2] for span in spans],
            span_low=[span[3] for span in spans],
            span_high=[span[4] for span in spans],
            span_count=[span[5] for span in spans],
        )

    def owners(self, entry: int) -> list[tuple[Submission, int]]:
        """Return the submissions that wait for an entry of the draft (from 0), and its ordinal in each."""
        return [
            (self.submissions[place], ordinal) for place, ordinal in (self._owners[entry], *self._copies.get(entry, ()))
        ]

    def settle(self, notary: Notary | None) -> None:
        """Give every submission its receipts: the draft is committed."""
        chains = [(compartment.origin, chain.text) for compartment, chain in self._chains.items()]
        created: Sequence[dict[int, Receipt]] = [{} for _ in self.submissions]
        for entry, (place, ordinal) in enumerate(self._owners):
            origin, recorded_at = chains[self._entry_chain[entry] - 1]
            event = self.submissions[place].events[ordinal]
            receipt = Receipt(
                event.source,
                event.id,
                event.time_text,
                origin,
                self._entry_index[entry],
                recorded_at,
                self._entry_leaf[entry],
                self._entry_hash[entry],
            )
            created[place][ordinal] = receipt
            for copy_place, copy_ordinal in self._copies.get(entry, ()):
                self.submissions[copy_place].known[copy_ordinal] = receipt
        answers.settle(zip(self.submissions, created, strict=True), notary)

    def _event(self, entry: int) -> Event:
        place, ordinal = self._owners[entry]
        return self.submissions[place].events[ordinal]

    def _open_chain(self, compartment: Compartment, head: HeadState, now: datetime) -> _ChainDraft:
        # Time never decreases within a chain, whatever the clocks of the processes that append to it.
        recorded_at = max(head.recorded_at, now) if head.recorded_at else now
        chain = _ChainDraft(
            position=len(self._chains) + 1,
            base=head,
            recorded_at=recorded_at,
            box=self._keyring.box(compartment, day_of(recorded_at)),
        )
        self._chains[compartment] = chain
        return chain

    def _extend(self, chain: _ChainDraft, submission: Submission, ordinal: int, draw: bytes) -> None:
        event = submission.events[ordinal]
        salt, nonce = draw[:SALT_BYTES], draw[SALT_BYTES:]
        record = encode_record(
            compartment=submission.compartment,
            event=event.canonical,
            index=chain.size,
            recorded_at=chain.text,
            submitted_by=submission.submitted_by,
        )
        leaf = leaf_hash(salt, record)
        chain.chain_hash = extend(chain.chain_hash, leaf)
        self._entry_chain.append(chain.position)
        self._entry_index.append(chain.size)
        self._entry_key.append(submission.keys[ordinal])
        self._entry_leaf.append(leaf)
        self._entry_hash.append(chain.chain_hash)
        self._entry_ciphertext.append(chain.box.encrypt(chain.size, nonce=nonce, salt=salt, record=record))
        self._entry_since.append(submission.since[ordinal])
        chain.size += 1
        self._entries[chain.position, submission.keys[ordinal]] = len(self._owners)
        self._activity[chain.position, event.action] += 1
        if (day := event.time.date()) != chain.day:
            self._late[chain.position, day] += 1
        if event.sequence is not None:
            key, name = self._keyring.source(submission.compartment, event.source, event.epoch)
            self._numbers.setdefault((chain.position, key, name), []).append(event.sequence)

    def _spans(self) -> Iterator[tuple[int, bytes, bytes, int, int, int]]:
        """Yield, by chain and source, ranges of numbers: position, key, name, lowest, highest, how many events."""
        for (position, key, name), numbers in self._numbers.items():
            found = ranges(numbers)
            # Numbers that came twice are counted with the first range: only the sum matters.
            repeated = len(numbers) - sum(high - low + 1 for low, high in found)
            for low, high in found:
                yield position, key, name, low, high, high - low + 1 + repeated
                repeated = 0
