"""The purge beside a running service: made up for at the start after a missed night, then by the timer's command."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from journal.admin.administration import NewCategory
from tests.faults.auditing import audit
from tests.faults.ledger import Ledger
from tests.faults.load import Load
from tests.faults.oracle import judge
from tests.support.brief import BRIEF, key_files, leaves
from tests.support.contents import purge_entries
from tests.support.rig import TENANTS
from tests.support.serving import Serving, Site, site_of
from tests.support.world import DAY, new_world

if TYPE_CHECKING:
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

NIGHTS = 2
CLIENTS = 4
SEED = 20261126


async def purge(site: Site) -> tuple[int | None, str, str]:
    """Run the timer's command; return its status and what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "journal.cli.main", "purge",
        env=site.environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def test_the_purge_beside_a_running_service(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """Nights without a purge are made up for before the first request; a command beside the service then is in order.

    What a backup brings back while the service runs goes with that command, under load, and no client notices.
    """
    begin = datetime.now(UTC) - NIGHTS * DAY
    async with new_world(postgres, tmp_path / "home", start=begin, tenants=TENANTS) as world:
        category = NewCategory(code=BRIEF, label="Brève", retention_days=2)
        await world.installation.administration.add_category(category)
        await world.installation.maintenance.prepare()
        await world.record(3, category=BRIEF)
        await world.seal()
        [key, *_] = key_files(world, begin.date())
        content = key.read_bytes()
        await world.travel(datetime.now(UTC))
        site = await site_of(world)
        assert begin.date() in await leaves(world)
        ledger = Ledger(tmp_path / "ledger")
        async with await Serving.start(site) as serving, Load(site, ledger, clients=CLIENTS, seed=SEED) as load:
            assert min(await leaves(world)) >= datetime.now(UTC).date()
            assert not key.exists()
            assert [gone["count"] for entry in await purge_entries(world) for gone in entry["days"]] == [3]
            await load.acknowledgements(10)
            key.write_bytes(content)
            status, out, err = await purge(site)
            assert (status, err) == (0, "")
            assert out.startswith(
                f"purged {BRIEF} {begin.date()}: 0 entries in 0 compartments, 0 bytes on disk, its key;"
            )
            assert not key.exists()
            await load.acknowledgements(10)
            await load.finish()
            assert await serving.stop() == 0
        ledger.close()
        verdict = await judge(ledger=tmp_path / "ledger", superuser_dsn=site.superuser_dsn, home=site.home)
        # The oracle knows no purge: where the purged chain's entries lead is for the audit to say.
        assert (verdict.lost, verdict.duplicated) == ([], [])
        assert set(load.statuses) <= {200, 201, 400, 409}
        assert await audit(site) == []
