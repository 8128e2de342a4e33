"""The check of the whole store: every row opened with its key, every chain walked, every seal compared.

It believes nothing of what the database says of itself: each leaf is read whole, whatever its rows claim to be.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from journal import cms
from journal.certificates import pem_to_der
from journal.chain import Head, extend, genesis, leaf_hash
from journal.entry import Compartment, event_key, is_tenant, parse_record
from journal.envelope import open_entry
from journal.errors import AbsentKeyError, JournalError, VerificationError
from journal.rule import purgeable_through
from journal.seal import NOTHING_HASH, parse_seal
from journal.sealer import sealed_head
from journal.times import day_of, format_day
from journal.trie import Trie

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from journal.seal import Seal
    from journal.service import Service
    from journal.store import HeadRow, PartitionRow, SealHeadRow, SealRow, StoredRow

PAGE_ROWS = 2_000
PAGE_SEALS = 200
MAX_FINDINGS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong: its class in the words of FORMAT.md, where, and why. Nothing personal."""

    verdict: str
    where: str
    reason: str

    def __str__(self) -> str:
        """Return the line an operator reads."""
        return f"{self.verdict}: {self.where}: {self.reason}"


class _Walk:
    """How far a chain has been walked: the entries of one compartment come in order of day and index."""

    def __init__(self, compartment: Compartment, kept_from: int) -> None:
        self.compartment = compartment
        self.origin_prefix = compartment.origin.encode() + b"\0"
        self.kept_from = kept_from
        self.head = genesis(compartment.origin) if kept_from == 0 else None
        self.next_index = kept_from
        # Sizes at which a seal or the head table states a chain hash, and what it is.
        self.stated: dict[int, set[bytes]] = {}
        # Sizes at the end of a day: entries missing from one to another are a day deleted.
        self.closes: set[int] = {kept_from}


class Audit:
    """One run over everything a service stores."""

    def __init__(self, service: Service) -> None:
        """Check this service's store with its keys."""
        self._service = service
        self._store = service.store
        self._walks: dict[tuple[str, str], _Walk] = {}
        self._findings: list[Finding] = []
        self.entries = 0
        self.seals = 0

    @property
    def chains(self) -> int:
        """Return how many chains there are."""
        return len(self._walks)

    async def run(self, progress: Callable[[int], object]) -> list[Finding]:
        """Check everything and return what is wrong; `progress` is told of every page of entries.

        What is appended meanwhile is left to the next run: the heads are read first.
        """
        heads = (await self._store.seal_state()).heads
        for head in heads:
            compartment = Compartment(self._service.name, head.tenant, head.category)
            self._walks[head.tenant, head.category] = _Walk(compartment, head.kept_from)
        await self._check_seals(heads)
        await self._check_rule(heads)
        for head in heads:
            self._state(head, f"head of {self._name(head)}")
        for partition in sorted(await self._store.partitions(), key=lambda row: (row.day, row.category)):
            await self._check_leaf(partition, progress)
        for head in heads:
            self._finish(head)
        return self._findings

    async def _check_seals(self, live: list[HeadRow]) -> None:
        anchors = pem_to_der(self._service.reader.trust())
        previous: Seal | None = None
        previous_close: Seal | None = None
        last: dict[str, SealHeadRow] = {}
        async for row in self._all_seals():
            self.seals += 1
            where = f"seal {row.number}"
            try:
                seal = parse_seal(row.text)
                cms.verify(row.signature, seal.digest, anchors=anchors, service=self._service.name)
            except VerificationError as error:
                self._find(error, where)
                continue
            if (seal.number, seal.day, seal.sealed_at) != (row.number, row.day, row.sealed_at):
                self._report("mismatched part", where, "its columns are not what its text says")
            adjacent = previous is not None and previous.number == seal.number - 1
            if adjacent and previous is not None and seal.previous != previous.digest:
                self._report("fork", where, "it does not follow the seal before it")
            if seal.previous_close != (previous_close.digest if previous_close else NOTHING_HASH):
                self._report("fork", where, "it does not follow the close seal before it")
            last = await self._check_seal_heads(seal, last)
            previous = seal
            previous_close = seal if seal.day is not None else previous_close
        for head in live:
            sealed = last.get(f"{head.tenant}/{head.category}")
            if sealed is not None and (head.size < sealed.size or head.kept_from < sealed.kept_from):
                self._report("fork", f"head of {self._name(head)}", "it stands before what the last seal states")

    async def _check_seal_heads(self, seal: Seal, last: dict[str, SealHeadRow]) -> dict[str, SealHeadRow]:
        where = f"seal {seal.number}"
        try:
            rows = await self._store.read_seal_heads(seal.number)
        except JournalError:
            return last  # so old that its heads are lawfully forgotten
        tree = await asyncio.to_thread(Trie, [sealed_head(self._service.name, row) for row in rows])
        if tree.root != seal.root or tree.chains != seal.chains:
            self._report("mismatched part", where, "the heads kept with it do not give its root")
        current = {f"{row.tenant}/{row.category}": row for row in rows}
        for name, row in current.items():
            before = last.get(name)
            if before == row:
                continue
            self._state(row, f"{where}, {name}", closes=seal.day is not None)
            if before is not None and (row.size < before.size or row.kept_from < before.kept_from):
                self._report("fork", f"{where}, {name}", "it goes back behind an earlier seal")
        for name in last.keys() - current.keys():
            self._report("fork", f"{where}, {name}", "the chain has vanished")
        return current

    async def _check_rule(self, live: list[HeadRow]) -> None:
        """Compare where each chain begins with what the rule allows to be gone today."""
        today = day_of(await self._store.read_now())
        for days in {head.retention_days for head in live}:
            lawful: dict[tuple[str, str], int] = {}
            closes = await self._store.read_close_seals(date.min, purgeable_through(today, days))
            if closes:
                rows = await self._store.read_seal_heads(closes[-1].number)
                lawful = {(row.tenant, row.category): row.size for row in rows}
            for head in live:
                limit = lawful.get((head.tenant, head.category), 0)
                if head.retention_days == days and head.kept_from > limit:
                    reason = f"it begins at {head.kept_from}; the rule of {days} days lets nothing above {limit} go yet"
                    self._report("early deletion", f"head of {self._name(head)}", reason)

    async def _all_seals(self) -> AsyncIterator[SealRow]:
        after = 0
        while page := await self._store.read_seals(after, PAGE_SEALS):
            for row in page:
                yield row
            after = page[-1].number

    def _state(self, row: HeadRow | SealHeadRow, where: str, *, closes: bool = False) -> None:
        """Note what is stated of a chain, to be compared when the walk comes by."""
        walk = self._walks.get((row.tenant, row.category))
        if walk is None:
            self._report("foreign entry", where, "there is no such chain")
            return
        if closes:
            walk.closes.add(row.size)
        hashes = walk.stated.setdefault(row.size, set())
        hashes.add(row.chain_hash)
        if len(hashes) > 1:
            self._report("fork", where, f"two chain hashes are stated at size {row.size}")
        if walk.head is None and row.size == walk.kept_from:
            walk.head = Head(row.size, row.chain_hash)
        if row.size == 0 and row.chain_hash != genesis(walk.compartment.origin).chain_hash:
            self._report("broken chain", where, "an empty chain begins with another hash than its origin's")

    async def _check_leaf(self, partition: PartitionRow, progress: Callable[[int], object]) -> None:
        tenant, index = "", -1
        while rows := await self._store.scan_entries(partition.category, partition.day, tenant, index, PAGE_ROWS):
            for row in rows:
                self._check_row(partition, row)
            self.entries += len(rows)
            progress(len(rows))
            tenant, index = rows[-1].tenant, rows[-1].index
            await asyncio.sleep(0)

    def _check_row(self, partition: PartitionRow, row: StoredRow) -> None:
        walk = self._walks.get((row.tenant, partition.category))
        name = f"{row.tenant}/{partition.category}" if is_tenant(row.tenant) else f"?/{partition.category}"
        where = f"{name} {format_day(partition.day)} entry {row.index}"
        if walk is None or (row.category, row.day) != (partition.category, partition.day):
            self._report("foreign entry", where, "it does not belong here")
            return
        if row.index > walk.next_index:
            self._report_missing(walk, row.index)
        elif row.index < walk.next_index:
            self._report("foreign entry", where, "this index has been before")
        try:
            self._check_content(walk, partition.day, row)
        except (VerificationError, AbsentKeyError) as error:
            self._find(error, where)
        self._step(walk, row, where)

    def _check_content(self, walk: _Walk, day: date, row: StoredRow) -> None:
        """Open the row and compare it with every other column. Raises VerificationError, KeyStoreError."""
        cipher = self._service.keyring.cipher(walk.compartment, day)
        salt, record = open_entry(cipher, row.sealed, origin_prefix=walk.origin_prefix, index=row.index)
        if leaf_hash(salt, record) != row.leaf_hash:
            raise VerificationError("its leaf hash is not of its record")
        entry = parse_record(record)
        place = (walk.compartment.tenant, walk.compartment.category, row.index, day)
        if (entry.tenant, entry.category, entry.index, day_of(entry.recorded_at)) != place:
            raise VerificationError("its record is of another place")
        key = self._service.keyring.event_key_key(walk.compartment)
        if event_key(key, entry.event["source"], entry.event["id"]) != row.event_key:
            raise VerificationError("its event key is not of its record")

    def _step(self, walk: _Walk, row: StoredRow, where: str) -> None:
        follows = walk.head is None or extend(walk.head.chain_hash, row.leaf_hash) == row.chain_hash
        if row.index == walk.next_index and not follows:
            self._report("broken chain", where, "its chain hash does not follow")
        walk.next_index = row.index + 1
        # Go on from what is stored: one fault is one finding, not one for each entry after it.
        walk.head = Head(row.index + 1, row.chain_hash)
        stated = walk.stated.get(row.index + 1)
        if stated is not None and row.chain_hash not in stated:
            self._report("fork", where, "a seal or the head states another chain hash here")

    def _finish(self, head: HeadRow) -> None:
        walk = self._walks[head.tenant, head.category]
        if walk.next_index < head.size:
            walk.closes.add(head.size)
            self._report_missing(walk, head.size)

    def _report_missing(self, walk: _Walk, end: int) -> None:
        whole_days = walk.next_index in walk.closes and end in walk.closes
        where = f"{walk.compartment.tenant}/{walk.compartment.category}"
        reason = f"entries {walk.next_index} to {end - 1} are missing"
        self._report("early deletion" if whole_days else "gap", where, reason)

    def _name(self, row: HeadRow) -> str:
        return f"{row.tenant}/{row.category}"

    def _find(self, error: JournalError, where: str) -> None:
        verdict = error.verdict if isinstance(error, VerificationError) else "missing key"
        self._report("broken chain" if verdict == VerificationError.verdict else verdict, where, str(error))

    def _report(self, verdict: str, where: str, reason: str) -> None:
        if len(self._findings) < MAX_FINDINGS:
            self._findings.append(Finding(verdict=verdict, where=where, reason=reason))
