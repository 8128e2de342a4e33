"""The end of a contract, second step: a closed commune's key and rows are destroyed, and a report of it is signed.

In this order, each step safe to repeat: seal its last entry → mark it destroyed in the database, after which no process
uses its key → destroy the key in every copy of the key store, and mark it there so that it cannot come back → remove
rows, a few at a time → set the heads to nothing kept → seal → record. Its chains, and all seals, stay.
"""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING

import structlog

from journal.core.errors import OperatorError, StoreError
from retention.ending_texts import encode_report

if TYPE_CHECKING:
    from collections.abc import Callable

    from journal.admin.administration import Administration
    from journal.database.ending import EndedChain, Ending
    from journal.database.seal import SealRow
    from journal.service import Service

log = structlog.get_logger()

ROWS_PER_STEP = 2_000


class Destruction:
    """Destroys closed communes; the next run finishes one that was cut short."""

    def __init__(self, service: Service, administration: Administration) -> None:
        """Destroy communes of this service."""
        self._service = service
        self._store = service.store
        self._administration = administration

    async def check(self, code: str) -> Ending:
        """Return how far the end of the contract has come. Raises OperatorError where nothing may be destroyed yet."""
        await self._service.snapshot.refresh()
        tenant = self._administration.find_tenant(code)
        ending = await self._store.read_ending(code)
        if not tenant.closed:
            raise OperatorError(
                f"the contract of {code} has not ended: end it first (openepm-journal tenant close {code})"
            )
        if ending is None or (ending.exported_at is None and ending.waived_at is None):
            raise OperatorError(
                f"the export of {code} is not made: make it (openepm-journal tenant close {code} --export-to DIR), "
                f"or, if it wants none, openepm-journal tenant close {code} --without-export"
            )
        return ending

    async def run(self, code: str, progress: Callable[[int], object]) -> bytes:
        """Destroy a closed commune; return the destruction report, to be signed. `progress` gets counts of entries.

        BusyError while another run or a purge is under way. Raises OperatorError, JournalError, OSError.
        """
        ending = await self.check(code)
        keystore = self._service.keyring.keystore
        with keystore.destroying():
            if ending.destroyed_at is None:
                before = await self._seal(even_if_still=True)
                await self._store.begin_destruction(code, before.number, sha256(before.text).digest())
            await self._service.snapshot.refresh()
            await asyncio.to_thread(keystore.destroy_tenant_key, code)
            await self._remove(code, progress)
            await self._store.empty_heads(code)
            after = await self._seal(even_if_still=False)
            await self._store.finish_destruction(code, after.number, sha256(after.text).digest())
        ending = await self.check(code)
        chains = await self._store.read_ended_chains(code)
        report = encode_report(service=self._service.name, ending=ending, chains=chains)
        await self._record(ending, chains, report)
        log.info("a tenant was destroyed", tenant=code)
        return report

    async def _remove(self, code: str, progress: Callable[[int], object]) -> None:
        """Remove every row, in short transactions, so that others can append and read."""
        for leaf in await self._store.partitions():
            while removed := await self._store.remove_entries(code, leaf.category, leaf.day, ROWS_PER_STEP):
                progress(removed)
        await self._store.remove_traces(code)

    async def _seal(self, *, even_if_still: bool) -> SealRow:
        """Return a seal of the heads as they are: the latest where nothing changed since."""
        made = await self._service.sealer.seal_open(even_if_still=even_if_still) or await self._store.latest_seal()
        if made is None:
            raise StoreError("no seal was made")
        return made

    async def _record(self, ending: Ending, chains: list[EndedChain], report: bytes) -> None:
        """Write the entry about the destruction; repeated, it is the same event, and recorded once."""
        assert ending.finished_at is not None
        data = {
            "chains": len(chains),
            "change": "destroyed",
            "entries": sum(chain.size - chain.kept_from for chain in chains),
            "report": sha256(report).hexdigest(),
            "seal_after": ending.seal_after,
            "seal_before": ending.seal_before,
        }
        await self._service.chronicle.write_once(
            "tenant",
            tenant=ending.tenant,
            subject=ending.tenant,
            data=data,
            event_id=f"destroyed-{data['report']}",
            at=ending.finished_at,
        )
