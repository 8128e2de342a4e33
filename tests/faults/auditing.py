"""The audit of a store that no service runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from journal.audit.run import Audit
from journal.cli.installation import open_service
from journal.clock import SystemClock

if TYPE_CHECKING:
    from tests.support.serving import Site


async def audit(site: Site) -> list[str]:
    """Check the whole store as its operator would; the service must not run."""
    async with open_service(site.dsn, site.settings, SystemClock()) as installation:
        await installation.service.sealer.seal_open(even_if_still=True)
        return [str(finding) for finding in await Audit(installation.service).run(lambda _: None)]
