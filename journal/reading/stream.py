"""The bytes of one extract, in one pass over a fixed range, in little memory.

Each page of rows is read while the one before is opened, and that is deflated meanwhile, in threads, so that others are
served. Records are given out at once; of the proof and the table, which come after them in the container, the deflated
bytes are kept aside (`journal.reading.spool`). The document is made while these are given out.

Nothing is served of a day whose limit has come: the clock is asked before each chunk is given out, whichever member it
is of (the table and the document hold content too), and the container then breaks off. What of it was given out before
ends without its directory and its signature: it is never short and yet accepted.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Self, TypeVar

import structlog

from journal import __version__
from journal.core import faults
from journal.core.errors import EmptyError, StoreError, VerificationError
from journal.core.times import day_of, overdue_through
from journal.document.content import Circumstances, document_content
from journal.document.render import DocumentError, render
from journal.extract import layout, table
from journal.extract.listing import encode_seals
from journal.extract.manifest import Filter, Lateness, Manifest
from journal.extract.packing import ContainerWriter, Packing
from journal.extract.texts import signed_names, write_digests, write_instructions
from journal.pki.certificates import pem_to_der
from journal.reading.disclosure import Disclosure
from journal.reading.spool import Spool

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator
    from datetime import date
    from pathlib import Path

    from journal.clock import Clock
    from journal.core.chain import Head
    from journal.core.entry import Compartment
    from journal.document.makers import Makers
    from journal.extract.grounds import Authorisation, Person, Rule
    from journal.extract.manifest import Request
    from journal.extract.numbering import SourceNumbers
    from journal.extract.purges import PurgedDays
    from journal.keys.ring import Keyring
    from journal.pki.trust import Anchor
    from journal.reading.disclosure import Page
    from journal.reading.reader import ChainSeal, DayRange, Reader
    from journal.signer.client import SignerClient

Item = TypeVar("Item")

log = structlog.get_logger()

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
        makers: Makers,
        folder: Path,
    ) -> None:
        """Prepare; `chunks` does the work, and keeps in `folder` what comes late in the container."""
        self._makers = makers
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
        self._folder = folder
        # Whether it is still to be seen that an entry matches the filter: until then nothing is given out.
        self._awaits_a_match = not (even_if_empty or selection.withhold_all or selection == Filter())
        self._entries_read = False
        self._made = Disclosure(plan.compartment, selection, plan.first_day, plan.last_day)

    @property
    def plan(self) -> Plan:
        """What the extract holds, fixed before a byte of it is made."""
        return self._plan

    @property
    def request(self) -> Request:
        """The entry of the request for it."""
        return self._request

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the container. An error thrown here means: throw away what came.

        Where no entry matches the filter, EmptyError is raised before anything is given out, unless it was asked for.
        """
        held: list[bytes] = []
        async with aclosing(self._container()) as chunks:
            async for chunk in chunks:
                self._refuse_overdue()
                held.append(chunk)
                if self._awaits_a_match and not self._made.disclosed:
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
        await self._makers.start()
        container = ContainerWriter()
        yield container.add(layout.MIMETYPE, layout.MIMETYPE_CONTENT)
        with _Aside(layout.PROOF, self._folder) as proof, _Aside(layout.TABLE, self._folder) as rows:
            rows.write(table.HEADER)
            yield container.start(layout.ENTRIES)
            async with aclosing(_ahead(self._packed(container, proof, rows))) as chunks:
                async for chunk in chunks:
                    yield chunk
            yield container.finish()
            self._entries_read = True
            manifest = self._manifest()
            making = asyncio.ensure_future(self._document(manifest))
            try:
                for chunk in proof.copy(container):
                    yield chunk
                yield container.add(layout.SEALS, encode_seals(stated.listed() for stated in self._plan.seals))
                yield container.add(layout.MANIFEST, manifest.encode())
                for chunk in rows.copy(container):
                    yield chunk
                document = await making
            finally:
                making.cancel()
                await asyncio.wait([making])
        if document is not None:
            yield container.add(layout.DOCUMENT, document)
        yield container.add(layout.INSTRUCTIONS, write_instructions(manifest))
        names = [name for name in signed_names(layout.NAMES) if name != layout.DOCUMENT or document is not None]
        digests = write_digests({name: container.digest(name) for name in names})
        yield container.add(layout.DIGESTS, digests)
        yield container.add(layout.SIGNATURE, await self._signer.sign(digests, manifest.issued_at))
        yield container.close()
        # For the next extract, and only now: while it starts, it takes a processor.
        self._makers.prepare()

    async def _packed(self, container: ContainerWriter, proof: _Aside, rows: _Aside) -> AsyncGenerator[bytes, None]:
        """Yield the deflated records of each page that gives some; the rest of the page is kept aside."""

        def pack(page: Page) -> bytes:
            proof.write(page.proof)
            rows.write(page.table)
            return container.write(page.entries)

        async with aclosing(_ahead(self._opened())) as pages:
            async for page in pages:
                yield await asyncio.to_thread(pack, page)

    async def _opened(self) -> AsyncGenerator[Page, None]:
        """Yield what each page says."""
        compartment = self._plan.compartment
        async with aclosing(_ahead(self._reader.pages(compartment, self._plan.ranges))) as pages:
            async for day, page in pages:
                box = self._keyring.box(compartment, day)
                yield await asyncio.to_thread(self._made.page, box, page)

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
            content = await asyncio.to_thread(document_content, manifest, self._made.gathered, circumstances)
            return await render(content, self._signer, manifest.issued_at, makers=self._makers)
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
            disclosed=self._made.disclosed,
            withheld=plan.head.size - plan.base.size - self._made.disclosed,
            filter=self._selection,
            purpose=self._purpose,
            requester=self._requester,
            lateness=replace(plan.lateness, here=None if self._selection.withhold_all else self._made.here),
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


class _Aside:
    """A member that comes later in the container than it is made."""

    def __init__(self, name: str, folder: Path) -> None:
        self._packing = Packing(name)
        self._spool = Spool(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.close()

    def write(self, content: bytes) -> None:
        """Continue it, before it is in the container."""
        self._spool.add(self._packing.write(content))

    def copy(self, container: ContainerWriter) -> Iterator[bytes]:
        """Write all of it into the container."""
        self._spool.add(self._packing.finish())
        yield from container.copy(self._packing, self._spool.take())


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
