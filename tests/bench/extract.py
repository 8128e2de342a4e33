"""How fast an extract is made and verified, against a cursor and a loop of hashes."""

from __future__ import annotations

import time
from hashlib import sha256
from typing import TYPE_CHECKING

import asyncpg

from journal.core.times import day_of
from journal.extract.verify import verify_extract
from journal.pki.certificates import pem_to_der
from journal.reading.plan import ExtractRequest
from journal.verifier.processes import spread
from tests.bench.append import BATCH_EVENTS
from tests.bench.figures import measure
from tests.support.world import PERSON

if TYPE_CHECKING:
    from pathlib import Path

    from journal.extract.sweep import Run
    from tests.bench.site import Site


class Extracts:
    """Extracts of the first compartment's day."""

    def __init__(self, site: Site, path: Path) -> None:
        """Write them there."""
        self._site = site
        self._path = path

    async def extract(self) -> float:
        """Return entries/s of an extract of one compartment's day, written to a file."""
        service = self._site.service
        today = day_of(service.clock.now())
        request = ExtractRequest(from_day=today, to_day=today, purpose="lawfulness", requester="bench", person=PERSON)
        entries = await self._site.size()
        started = time.perf_counter()
        chunks = await service.extraction.extract(
            self._site.compartment(0), request, requested_by="bench", disclose=True
        )
        with self._path.open("wb") as file:
            async for chunk in chunks:
                file.write(chunk)
        return entries / (time.perf_counter() - started)

    async def cursor_floor(self) -> float:
        """Return rows/s of a database cursor alone over the same rows."""
        entries = await self._site.size()
        connection = await asyncpg.connect(self._site.dsn)
        try:
            started = time.perf_counter()
            async with connection.transaction():
                statement = "SELECT index, leaf_hash, ciphertext FROM journal.entry WHERE tenant = $1 AND category = $2"
                async for _ in connection.cursor(statement, "t0", "ecrits", prefetch=BATCH_EVENTS):
                    pass
            return entries / (time.perf_counter() - started)
        finally:
            await connection.close()

    async def verify(self, run: Run | None = map) -> float:
        """Return entries/s verified offline."""
        anchors = pem_to_der(self._site.service.settings.trust_path.read_bytes())
        entries = await self._site.size()
        started = time.perf_counter()
        with self._path.open("rb") as file:
            verify_extract(file, anchors=anchors, run=run)
        return entries / (time.perf_counter() - started)

    async def sha256_floor(self) -> float:
        """Return entries/s of hashing alone: a leaf and a chain hash each, in a Python loop."""
        entries = await self._site.size()
        record, chain = bytes(420), bytes(32)
        started = time.perf_counter()
        for _ in range(entries):
            chain = sha256(b"\x01" + chain + sha256(record).digest()).digest()
        return entries / (time.perf_counter() - started)


async def measure_extracts(extracts: Extracts, runs: int) -> None:
    """Print what there is to say about extracts."""
    cursor = await measure("database cursor alone (floor)", "rows/s", extracts.cursor_floor, runs)
    await measure("extract", "entries/s", extracts.extract, runs, cursor)
    hashing = await measure("SHA-256 loop alone (floor)", "entries/s", extracts.sha256_floor, runs)
    await measure("journal-verify on one processor", "entries/s", extracts.verify, runs, hashing)
    await measure("journal-verify on all", "entries/s", lambda: extracts.verify(spread), runs, hashing)
    await measure("journal-verify --strict", "entries/s", lambda: extracts.verify(None), runs, hashing)
