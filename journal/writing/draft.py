"""A draft: the next append, computed in memory for many chains from their last known heads."""

from __future__ import annotations

import os
from collections import Counter
from itertools import accumulate, repeat
from itertools import chain as chain_lists
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from journal.core.chain import Head
from journal.core.entry import Compartment, record_frame, time_text
from journal.core.extending import DRAW_BYTES, extend_by
from journal.core.sources import ranges
from journal.core.times import day_of, format_time
from journal.database.ingest import AppendBatch
from journal.writing import answers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import date, datetime

    from journal.core.entry import Frame
    from journal.core.envelope import Box
    from journal.core.receipt import Members
    from journal.keys.ring import Keyring
    from journal.writing.answers import Answer, Notary
    from journal.writing.queue import Submission

    # A submission, and the ordinal of an event within it.
    Owner = tuple[Submission, int]

# About a millisecond's work.
STEP_EVENTS = 50


# A tuple: there are three for every chain of every draft.
class HeadState(NamedTuple):
    """A chain's head as this process last knew it."""

    size: int
    chain_hash: bytes
    recorded_at: datetime | None


class _ChainDraft:
    """One chain within a draft: its head before the draft, its current end, and its entries, in order."""

    __slots__ = (
        "base",
        "ciphertexts",
        "copies",
        "day",
        "early",
        "entries",
        "hashes",
        "head",
        "keys",
        "leaves",
        "owners",
        "parts",
        "recorded_at",
        "text",
    )

    def __init__(self, *, base: HeadState, recorded_at: datetime, day: date, box: Box) -> None:
        self.base = base
        self.head = Head(base.size, base.chain_hash)
        self.recorded_at = recorded_at
        self.text = format_time(recorded_at)
        self.day = day
        self.parts = box.parts
        self.keys: list[bytes] = []
        self.leaves: list[bytes] = []
        self.hashes: list[bytes] = []
        self.ciphertexts: list[bytes] = []
        self.owners: list[Owner] = []
        self.entries: dict[bytes, int] = {}  # by event key: which entry
        self.copies: dict[int, list[Owner]] = {}  # by entry: other submissions that wait for the same event
        self.early: list[tuple[int, date]] = []  # entries that may be recorded on an earlier day, and from when on


class Draft:
    """Submissions turned into the arrays of one append.

    Salts and nonces are drawn anew in every draft: none of a lost draft is used again.
    """

    def __init__(self, keyring: Keyring) -> None:
        """Start empty."""
        self._keyring = keyring
        self._chains: dict[Compartment, _ChainDraft] = {}
        self._activity: Counter[tuple[Compartment, str]] = Counter()
        self._late: Counter[tuple[Compartment, date]] = Counter()
        # By chain, and a source's key and name: the numbers of its events.
        self._numbers: dict[tuple[Compartment, bytes, bytes], list[int]] = {}
        self.submissions: list[Submission] = []
        # How many submitted events it holds.
        self.events = 0
        self._made: list[tuple[Submission, Answer]] | None = None
        self._order: list[Compartment] = []

    @property
    def compartments(self) -> Sequence[Compartment]:
        """Return the draft's chains, in the order of the batch's lists, in which every append locks their heads."""
        if len(self._order) != len(self._chains):
            self._order = sorted(self._chains, key=attrgetter("tenant", "category"))
        return self._order

    def base(self, compartment: Compartment) -> HeadState:
        """Return the head from which the chain was drafted."""
        return self._chains[compartment].base

    def head(self, compartment: Compartment) -> HeadState:
        """Return the chain's head once this draft is appended."""
        chain = self._chains[compartment]
        return HeadState(size=chain.head.size, chain_hash=chain.head.chain_hash, recorded_at=chain.recorded_at)

    def add(self, submission: Submission, head: HeadState, now: datetime) -> bool:
        """Extend the submission's chain by its pending events at once; see `adding`."""
        steps = self.adding(submission, head, now)
        for _ in steps or ():
            pass
        return steps is not None

    def adding(self, submission: Submission, head: HeadState, now: datetime) -> Iterable[None] | None:
        """Return the steps that extend the submission's chain by its pending events, some at a time.

        None, and nothing done, if one contradicts the draft. The draft is complete after the last step: now, where the
        events are so few that there is none.
        An event that is in the draft already, with the same content, waits for the same entry.
        `head` is used if the chain is not in the draft yet. Raises KeyStoreError if the day has no key.
        """
        chain = self._chains.get(submission.compartment) or self._open_chain(submission.compartment, head, now)
        pending, entries = submission.pending(), chain.entries
        keys, events = submission.keys, submission.events
        copies = [ordinal for ordinal in pending if keys[ordinal] in entries]
        for ordinal in copies:
            owner, place = chain.owners[entries[keys[ordinal]]]
            if owner.events[place].canonical != events[ordinal].canonical:
                return None
        self.submissions.append(submission)
        self.events += len(pending)
        if copies:
            for ordinal in copies:
                chain.copies.setdefault(entries[keys[ordinal]], []).append((submission, ordinal))
            copied = set(copies)
            pending = [ordinal for ordinal in pending if ordinal not in copied]
        frame = record_frame(submission.compartment, chain.text, submission.submitted_by)
        if len(pending) > STEP_EVENTS:
            return self._extend_by(chain, submission, pending, frame)
        if pending:
            self._extend(chain, submission, pending, frame)
        return ()

    def _extend_by(
        self, chain: _ChainDraft, submission: Submission, ordinals: Sequence[int], frame: Frame
    ) -> Iterator[None]:
        for start in range(0, len(ordinals), STEP_EVENTS):
            if start:
                yield
            self._extend(chain, submission, ordinals[start : start + STEP_EVENTS], frame)

    def finish(self) -> AppendBatch:
        """Return the lists and the counters of the append."""
        compartments = self.compartments
        places = {compartment: place for place, compartment in enumerate(compartments, start=1)}
        chains = [self._chains[compartment] for compartment in compartments]
        firsts = accumulate((len(chain.keys) for chain in chains), initial=1)
        starts = zip(chains, firsts, strict=False)
        early = [(first + entry, day) for chain, first in starts for entry, day in chain.early]
        activity, late, spans = self._activity, self._late, list(self._spans())
        return AppendBatch(
            chain_tenant=[compartment.tenant for compartment in compartments],
            chain_category=[compartment.category for compartment in compartments],
            chain_size=[chain.base.size for chain in chains],
            chain_hash=[chain.base.chain_hash for chain in chains],
            next_size=[chain.head.size for chain in chains],
            next_hash=[chain.head.chain_hash for chain in chains],
            chain_recorded_at=[chain.recorded_at for chain in chains],
            entry_key=_joined([chain.keys for chain in chains]),
            entry_leaf=_joined([chain.leaves for chain in chains]),
            entry_hash=_joined([chain.hashes for chain in chains]),
            entry_ciphertext=_joined([chain.ciphertexts for chain in chains]),
            early_entry=[entry for entry, _ in early],
            early_since=[day for _, day in early],
            activity_chain=[places[compartment] for compartment, _ in activity],
            activity_action=[action for _, action in activity],
            activity_count=list(activity.values()),
            late_chain=[places[compartment] for compartment, _ in late],
            late_day=[day for _, day in late],
            late_count=list(late.values()),
            span_chain=[places[span[0]] for span in spans],
            span_source=[span[1] for span in spans],
            span_name=[span[2] for span in spans],
            span_low=[span[3] for span in spans],
            span_high=[span[4] for span in spans],
            span_count=[span[5] for span in spans],
        )

    def owners(self, entry: int) -> list[Owner]:
        """Return the submissions that wait for an entry of the batch (from 0), and its ordinal in each."""
        for compartment in self.compartments:
            chain = self._chains[compartment]
            if entry < len(chain.owners):
                return [chain.owners[entry], *chain.copies.get(entry, ())]
            entry -= len(chain.owners)
        raise IndexError(entry)

    def prepare(self, notary: Notary | None) -> None:
        """Make the answers that `settle` gives, while the database appends: nothing rests on them before that."""
        if not any(chain.copies for chain in self._chains.values()):
            self._made = answers.make(self._created().items(), notary)

    def settle(self, notary: Notary | None) -> None:
        """Give every submission its receipts: the draft is durable."""
        if self._made is not None:
            for submission, answer in self._made:
                submission.answer(answer)
            return
        created = self._created()
        for chain in self._chains.values():
            for entry, copies in chain.copies.items():
                owner, place = chain.owners[entry]
                for submission, ordinal in copies:
                    submission.known[ordinal] = created[owner][place]
        answers.settle(created.items(), notary)

    def _created(self) -> dict[Submission, dict[int, Members]]:
        """Return the receipts of the entries, by submission and by the ordinal of their event in it."""
        created: dict[Submission, dict[int, Members]] = {submission: {} for submission in self.submissions}
        for compartment, chain in self._chains.items():
            origin, recorded_at = compartment.origin, chain.text
            columns = zip(chain.owners, chain.leaves, chain.hashes, strict=True)
            for index, ((submission, ordinal), leaf, chain_hash) in enumerate(columns, start=chain.base.size):
                source, name, _, _, canonical, _, _, spelt = submission.events[ordinal]
                time = spelt or time_text(canonical)
                created[submission][ordinal] = source, name, time, origin, index, recorded_at, leaf, chain_hash
        return created

    def _open_chain(self, compartment: Compartment, head: HeadState, now: datetime) -> _ChainDraft:
        # Time never decreases within a chain, whatever the clocks of the processes that append to it.
        recorded_at = max(head.recorded_at, now) if head.recorded_at else now
        day = day_of(recorded_at)
        box = self._keyring.box_to_write(compartment, day)
        chain = self._chains[compartment] = _ChainDraft(base=head, recorded_at=recorded_at, day=day, box=box)
        return chain

    def _extend(self, chain: _ChainDraft, submission: Submission, ordinals: Sequence[int], frame: Frame) -> None:
        compartment = submission.compartment
        events = [submission.events[ordinal] for ordinal in ordinals]
        keys = [submission.keys[ordinal] for ordinal in ordinals]
        draws = os.urandom(DRAW_BYTES * len(events))
        extension = extend_by(chain.parts, chain.head, frame, [event.canonical for event in events], draws)
        first = len(chain.keys)
        chain.head = extension.head
        chain.keys += keys
        chain.leaves += extension.leaves
        chain.hashes += extension.hashes
        chain.ciphertexts += extension.ciphertexts
        chain.owners += zip(repeat(submission), ordinals)
        chain.entries.update(zip(keys, range(first, first + len(keys)), strict=True))
        if len(events) == 1:
            self._activity[compartment, events[0].action] += 1
        else:
            for action, count in Counter([event.action for event in events]).items():
                self._activity[compartment, action] += count
        if submission.is_usual_on(chain.day):
            return
        since = submission.since
        for entry, (event, ordinal) in enumerate(zip(events, ordinals, strict=True), start=first):
            if since[ordinal] < chain.day:
                chain.early.append((entry, since[ordinal]))
            if (day := event.time.date()) != chain.day:
                self._late[compartment, day] += 1
            if event.sequence is not None:
                key, name = self._keyring.source(compartment, event.source, event.epoch)
                self._numbers.setdefault((compartment, key, name), []).append(event.sequence)

    def _spans(self) -> Iterator[tuple[Compartment, bytes, bytes, int, int, int]]:
        """Yield, by chain and source, ranges of numbers: chain, key, name, lowest, highest, how many events."""
        for (compartment, key, name), numbers in self._numbers.items():
            found = ranges(numbers)
            # Numbers that came twice are counted with the first range: only the sum matters.
            repeated = len(numbers) - sum(high - low + 1 for low, high in found)
            for low, high in found:
                yield compartment, key, name, low, high, high - low + 1 + repeated
                repeated = 0


def _joined(columns: Sequence[list[bytes]]) -> list[bytes]:
    return columns[0] if len(columns) == 1 else list(chain_lists.from_iterable(columns))
