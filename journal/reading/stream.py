"""The bytes of one extract, in passes over a fixed range, in little memory.

No content is kept anywhere: the pass that writes the table reads and opens the disclosed entries anew, page by page,
and checks every leaf hash again. Of the first pass only the salts stay, 16 bytes an entry, until the proof is written.
Opening, hashing and compressing happen in threads, so that others are served; a page is compressed while the next is
opened, and the one after that read.

Nothing is served of a day whose limit has come: the clock is asked before each chunk is given out, whichever member it
is of (the table and the document hold content too), and the container then breaks off. What of it was given out before
ends without its directory and its signature: it is never short and yet accepted.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import compress
from typing import TYPE_CHECKING, TypeVar

import structlog

from journal import __version__
from journal.core import canonical, faults
from journal.core.chain import SALT_BYTES
from journal.core.entry import parse_record
from journal.core.errors import EmptyError, StoreError, VerificationError
from journal.core.times import day_of, format_day, overdue_through
from journal.document.content import Circumstances, Gathered, document_content
from journal.document.render import DocumentError, Spare, render
from journal.extract import layout, table
from journal.extract.container import ContainerWriter
from journal.extract.listing import disclosed_line, encode_seals, withheld_line
from journal.extract.manifest import Filter, Lateness, Manifest
from journal.extract.slices import Shapes, is_wanted, write_rows
from journal.extract.texts import signed_names, write_digests, write_instructions
from journal.pki.certificates import pem_to_der
from journal.reading.reader import PAGE_ENTRIES, DayRange

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
    from datetime import date

    from journal.clock import Clock
    from journal.core.chain import Head
    from journal.core.entry import Compartment
    from journal.core.envelope import Box
    from journal.database.read import EntryRow
    from journal.extract.grounds import Authorisation, Person, Rule
    from journal.extract.manifest import Request
    from journal.extract.numbering import SourceNumbers
    from journal.extract.purges import PurgedDays
    from journal.keys.ring import Keyring
    from journal.pki.trust import Anchor
    from journal.reading.reader import ChainSeal, Reader
    from journal.signer.client import SignerClient

    Render = Callable[[Box, list[EntryRow]], bytes]

Item = TypeVar("Item")

log = structlog.get_logger()

_TIME = b'"time":"'
SOFTWARE = f"openepm-journal/{__version__}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The fixed range of an extract, and what the seals state of it, the open seal last."""

    compartment: Compartment
    tenant_name: str
    category_label: str
    first_day: date
    last_day: date
    retention_days: int
    lateness: Lateness  # without `here`, which is counted
    base: Head
    head: Head
    ranges: list[DayRange]
    seals: list[ChainSeal]
    purged: tuple[PurgedDays, ...]  # of the days asked for, with what the seals show of when they went
    rule: Rule
    numbering: tuple[SourceNumbers, ...]  # of sources of which there is something to tell


class ExtractStream:
    """Writes the container's members one after another."""

    def __init__(
        self,
        *,
        plan: Plan,
        selection: Filter,
        purpose: str,
        requester: str,
        authorisation: Authorisation | None,
        person: Person | None,
        even_if_empty: bool,
        request: Request,
        reader: Reader,
        keyring: Keyring,
        signer: SignerClient,
        clock: Clock,
        spare: Spare,
    ) -> None:
        """Prepare; `chunks` does the work."""
        self._spare = spare
        self._plan = plan
        self._selection = selection
        self._purpose = purpose
        self._requester = requester
        self._authorisation = authorisation
        self._person = person
        self._request = request
        self._reader = reader
        self._keyring = keyring
        self._signer = signer
        self._clock = clock
        # One bit an entry: which ones the first pass disclosed, so that the later ones agree with it; and their salts.
        self._shown = bytearray((plan.head.size - plan.base.size + 7) // 8)
        self._salts = bytearray()
        self._is_whole = selection == Filter()
        self._disclosed = 0
        # Whether it is still to be seen that an entry matches the filter: until then nothing is given out.
        self._awaits_a_match = not (even_if_empty or selection.withhold_all or selection == Filter())
        self._entries_read = False
        self._here = 0
        self._period = format_day(plan.first_day).encode(), format_day(plan.last_day).encode()
        self._gathered = Gathered()
        self._shapes = Shapes(plan.compartment.tenant, plan.compartment.category)

    @property
    def plan(self) -> Plan:
        """What the extract holds, fixed before a byte of it is made."""
        return self._plan

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the container. An error thrown here means: throw away what came.

        Where no entry matches the filter, EmptyError is raised before anything is given out, unless it was asked for.
        """
        held: list[bytes] = []
        async with aclosing(self._container()) as chunks:
            async for chunk in chunks:
                self._refuse_overdue()
                held.append(chunk)
                if self._awaits_a_match and not self._disclosed:
                    if self._entries_read:
                        raise EmptyError(
                            "/filter", faults.NOTHING_MATCHES, "no entry of these days that is still kept matches it"
                        )
                    continue
                yield b"".join(held)
                held.clear()

    def _refuse_overdue(self) -> None:
        """Break off once the oldest day that holds entries has reached its limit: they are not served any more."""
        last = overdue_through(day_of(self._clock.now()), self._plan.retention_days)
        if self._plan.ranges and self._plan.ranges[0].day <= last:
            raise StoreError(f"{self._plan.ranges[0].day} reached its limit while the extract was being made")

    async def _container(self) -> AsyncGenerator[bytes, None]:
        await self._spare.start()
        container = ContainerWriter()
        yield container.add(layout.MIMETYPE, layout.MIMETYPE_CONTENT)
        content = self._opened_pages(self._entries, [] if self._selection.withhold_all else self._plan.ranges)
        async for chunk in _member(container, layout.ENTRIES, content):
            yield chunk
        self._entries_read = True
        async for chunk in _member(container, layout.PROOF, self._proof()):
            yield chunk
        yield container.add(layout.SEALS, encode_seals(stated.listed() for stated in self._plan.seals))
        manifest = self._manifest()
        yield container.add(layout.MANIFEST, manifest.encode())
        content = self._opened_pages(self._table, self._ranges_shown())
        async for chunk in _member(container, layout.TABLE, content, table.HEADER):
            yield chunk
        document = await self._document(manifest)
        await self._spare.start()
        if document is not None:
            yield container.add(layout.DOCUMENT, document)
        yield container.add(layout.INSTRUCTIONS, write_instructions(manifest))
        names = [name for name in signed_names(layout.NAMES) if name != layout.DOCUMENT or document is not None]
        digests = write_digests({name: container.digest(name) for name in names})
        yield container.add(layout.DIGESTS, digests)
        yield container.add(layout.SIGNATURE, await self._signer.sign(digests, manifest.issued_at))
        yield container.close()

    async def _opened_pages(self, render: Render, ranges: Iterable[DayRange]) -> AsyncGenerator[bytes, None]:
        """Yield what `render` makes of each page, in threads; the next page is read meanwhile."""
        compartment = self._plan.compartment
        async with aclosing(_ahead(self._reader.pages(compartment, ranges))) as pages:
            async for day, rows in pages:
                box = self._keyring.box(compartment, day)
                yield await asyncio.to_thread(render, box, rows)

    def _entries(self, box: Box, rows: list[EntryRow]) -> bytes:
        """Return the records that are disclosed, and remember which they are, and their salts."""
        opened = [box.open(row.index, row.ciphertext, row.leaf_hash) for row in rows]
        first, last = self._period
        self._here += sum([not first <= _occurred(record) <= last for _, record in opened])
        indexes = [row.index for row in rows]
        if not self._is_whole:
            shown = self._select([record for _, record in opened])
            opened, indexes = list(compress(opened, shown)), list(compress(indexes, shown))
        self._remember(indexes)
        self._salts += b"".join([salt for salt, _ in opened])
        return b"".join([record + b"\n" for _, record in opened])

    def _select(self, records: list[bytes]) -> list[bool]:
        """Tell which records match the filter. One that does not hold the value as it is spelt is not read."""
        wanted = self._selection
        texts = (wanted.account, wanted.subject, wanted.action)
        spelt = [canonical.encode(text)[1:-1] for text in texts if text is not None]
        likely = [all(text in record for text in spelt) for record in records]
        kept = list(compress(records, likely))
        read = iter(self._shapes.read(kept, [record.decode() for record in kept]))
        return [is_likely and is_wanted(next(read), self._selection) for is_likely in likely]

    def _remember(self, indexes: list[int]) -> None:
        for index in () if self._is_whole else indexes:
            place = index - self._plan.base.size
            self._shown[place >> 3] |= 1 << (place & 7)
        self._disclosed += len(indexes)

    async def _proof(self) -> AsyncGenerator[bytes, None]:
        """Yield the proof, page by page; rows are read only where entries are withheld."""
        base, head, salts = self._plan.base.size, self._plan.head.size, self._salts
        self._salts = bytearray()
        if self._disclosed == head - base:
            for first in range(base, head, PAGE_ENTRIES):
                yield await asyncio.to_thread(
                    _disclosed_lines, salts, base, range(first, min(first + PAGE_ENTRIES, head))
                )
            return
        place = 0
        async with aclosing(_ahead(self._reader.pages(self._plan.compartment, self._plan.ranges))) as pages:
            async for _, rows in pages:
                lines = []
                for row in rows:
                    if self._is_shown(row.index):
                        lines.append(disclosed_line(row.index, bytes(salts[place : place + SALT_BYTES])))
                        place += SALT_BYTES
                    else:
                        lines.append(withheld_line(row.index, row.leaf_hash))
                yield b"".join(lines)

    def _ranges_shown(self) -> Iterator[DayRange]:
        """Yield the ranges of entries to be read for the table: pages, from the first disclosed to the last."""
        if self._is_whole:
            yield from self._plan.ranges
            return
        for part in self._plan.ranges:
            for first in range(part.start, part.end, PAGE_ENTRIES):
                end = min(first + PAGE_ENTRIES, part.end)
                if shown := [index for index in range(first, end) if self._is_shown(index)]:
                    yield DayRange(day=part.day, start=shown[0], end=shown[-1] + 1)

    def _table(self, box: Box, rows: list[EntryRow]) -> bytes:
        """Return the lines of the entries disclosed, and count them for the document."""
        shown = rows if self._is_whole else [row for row in rows if self._is_shown(row.index)]
        records = [box.open(row.index, row.ciphertext, row.leaf_hash)[1] for row in shown]
        read = self._shapes.read(records, [record.decode() for record in records])
        place = 0
        while place < len(records) and self._gathered.has_room:
            self._gathered.add(parse_record(records[place]))
            place += 1
        self._gathered.count(read[place:], [row.index for row in shown[place:]])
        return write_rows(read)

    def _is_shown(self, index: int) -> bool:
        place = index - self._plan.base.size
        return bool(self._shown[place >> 3] >> (place & 7) & 1)

    async def _document(self, manifest: Manifest) -> bytes | None:
        """Make the people's view; the extract proves as much without it, so its failure ends nothing."""
        plan = self._plan
        latest = plan.seals[-1].seal
        circumstances = Circumstances(
            tenant_name=plan.tenant_name,
            category_label=plan.category_label,
            service=plan.compartment.service,
            signer=self._signer.identity.subject,
            anchor=self._anchor(manifest),
            manifest_sha256=sha256(manifest.encode()).hexdigest(),
            first_seal=plan.seals[0].seal.number,
            last_seal=latest.number,
            sealed_at=latest.sealed_at,
            covered_at=latest.sealed_at if plan.last_day >= day_of(latest.sealed_at) else None,
            purged=plan.purged,
            retention_days=plan.seals[-1].head.retention_days,
        )
        try:
            content = document_content(manifest, self._gathered, circumstances)
            return await render(content, self._signer, manifest.issued_at, spare=self._spare)
        except DocumentError as error:
            log.error("an extract goes without its document", reason=str(error))
            return None

    def _anchor(self, manifest: Manifest) -> Anchor | None:
        """Return the trust anchor that an auditor will be shown; None if there is none now, which doctor tells."""
        try:
            return self._signer.identity.anchor(pem_to_der(self._reader.trust()), manifest.issued_at)
        except (VerificationError, OSError):
            return None

    def _manifest(self) -> Manifest:
        plan = self._plan
        # A signature claims whole seconds: the extract is issued at one, and never before its own seal.
        now = self._clock.now().replace(microsecond=0)
        return Manifest(
            origin=plan.compartment.origin,
            first_day=plan.first_day,
            last_day=plan.last_day,
            base=plan.base,
            head=plan.head,
            disclosed=self._disclosed,
            withheld=plan.head.size - plan.base.size - self._disclosed,
            filter=self._selection,
            purpose=self._purpose,
            requester=self._requester,
            lateness=replace(plan.lateness, here=None if self._selection.withhold_all else self._here),
            request=self._request,
            issued_at=max(now, plan.seals[-1].seal.sealed_at),
            software=SOFTWARE,
            rule=plan.rule,
            authorisation=self._authorisation,
            person=self._person,
            numbering=self._numbering(),
        )

    def _numbering(self) -> tuple[SourceNumbers, ...]:
        """Return what is told of sources: without their names, which are content, where all is withheld."""
        if not self._selection.withhold_all:
            return self._plan.numbering
        return tuple(replace(one, source=None, epoch=None) for one in self._plan.numbering)


def _occurred(record: bytes) -> bytes:
    """Return the day of the access, as the event's `time` spells it: of what follows, nothing has such a member."""
    start = record.rfind(_TIME) + len(_TIME)
    return record[start : start + 10]


def _disclosed_lines(salts: bytearray, base: int, indexes: range) -> bytes:
    lines = []
    for index in indexes:
        place = SALT_BYTES * (index - base)
        lines.append(disclosed_line(index, bytes(salts[place : place + SALT_BYTES])))
    return b"".join(lines)


async def _member(
    container: ContainerWriter, name: str, contents: AsyncGenerator[bytes, None], opening: bytes = b""
) -> AsyncGenerator[bytes, None]:
    """Yield a member of the container; each piece of content is compressed while the next is made."""
    yield container.start(name)
    yield container.write(opening)

    async def packed() -> AsyncGenerator[bytes, None]:
        async for content in contents:
            yield await asyncio.to_thread(container.write, content)

    async with aclosing(contents), aclosing(_ahead(packed())) as chunks:
        async for chunk in chunks:
            if chunk:
                yield chunk
    yield container.finish()


async def _ahead(items: AsyncGenerator[Item, None]) -> AsyncGenerator[Item, None]:
    """Yield the same items, each while the next is made. What is being made is waited for, whatever ends this."""
    coming = asyncio.ensure_future(anext(items, None))
    try:
        while (item := await coming) is not None:
            coming = asyncio.ensure_future(anext(items, None))
            yield item
    finally:
        coming.cancel()
        await asyncio.wait([coming])
        await items.aclose()
