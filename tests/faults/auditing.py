"""The audit of a store that no service runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from journal.audit.run import Audit
from journal.cli.installation import open_service
from journal.clock import SystemClock
from journal.core.errors import SignerError

if TYPE_CHECKING:
    from journal.seals.sealer import Sealer
    from tests.support.serving import Site


SIGNER_STARTS = 10


async def audit(site: Site) -> list[str]:
    """Check the whole store as its operator would; the service must not run."""
    async with open_service(site.dsn, site.settings, SystemClock()) as installation:
        await _seal(installation.service.sealer)
        return [str(finding) for finding in await Audit(installation.service).run(lambda _: None)]


async def _seal(sealer: Sealer) -> None:
    """Seal; a signer that a busy machine is long in starting is asked again."""
    for attempt in range(SIGNER_STARTS):
        try:
            await sealer.seal_open(even_if_still=True)
        except SignerError:
            if attempt == SIGNER_STARTS - 1:
                raise
        else:
            return
