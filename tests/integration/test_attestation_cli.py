"""`openepm-journal attestation` as it is typed, on a service whose simulated days have come to the real one."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from journal.admin.administration import NewCategory
from journal.cli.commands import write_attestation
from tests.support import forks
from tests.support.commands import plain_line
from tests.support.world import DAY, SERVICE, TENANT, World, new_world

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

DONE, NOT_RUN = 0, 2
BRIEF = "breve"


@asynccontextmanager
async def aged_world(postgres: EmbeddedPostgres, home: Path, days: int) -> AsyncIterator[World]:
    """A service that began so many days ago, wrote two entries then, and purges what it keeps three days."""
    begin = datetime.now(UTC) - days * DAY
    async with new_world(postgres, home, start=begin) as world:
        await world.installation.administration.add_category(NewCategory(code=BRIEF, label="Brève", retention_days=3))
        await world.installation.maintenance.prepare()
        await world.record(2, category=BRIEF)
        await world.seal()
        await world.travel(datetime.now(UTC))
        await world.seal()
        await world.installation.purger.run(max_days=None)
        yield world


def command(world: World, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run openepm-journal on that service, in a directory."""
    settings = {
        "JOURNAL_HOME": str(world.settings.home_path),
        "JOURNAL_DSN": world.dsn,
        "JOURNAL_SERVICE_NAME": SERVICE,
        "JOURNAL_SIGNER_SOCKET": "none",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JOURNAL_")}
    return forks.run(arguments, kept | settings, directory)


async def test_the_command(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """It writes one file, of the name it says, that is private and signed; a second time it refuses."""
    here = tmp_path / "here"
    here.mkdir()
    async with aged_world(postgres, tmp_path / "home", 4) as world:
        day = (datetime.now(UTC) - 4 * DAY).date()
        asked = ("attestation", "--tenant", TENANT, "--day", str(day))
        done = command(world, here, *asked)
        name = f"attestation-{TENANT}-{day}.pdf"
        assert (done.returncode, done.stderr) == (DONE, ""), done.stderr
        assert done.stdout == (
            f"{name}: 2 entries destroyed of {BRIEF}; not attested, because still kept: main-courante, ecrits, "
            f"assistance, comptes, journal; check its signature with: pdfsig {name}\n"
        )
        assert [path.name for path in here.iterdir()] == [name]
        content = (here / name).read_bytes()
        assert content.startswith(b"%PDF-")
        assert (here / name).stat().st_mode & 0o777 == 0o600
        assert f"{name} exists: choose another name with -o" in plain_line(command(world, here, *asked))
        assert (here / name).read_bytes() == content
        done = command(world, here, *asked, "-o", str(tmp_path / "other.pdf"))
        assert done.returncode == DONE
        for arguments, says in (
            (["--tenant", TENANT, "--day", str(day), "-o", "nowhere/x.pdf"], "there is no directory"),
            (["--tenant", "../x", "--day", str(day)], "there is no tenant ../x"),
            (["--tenant", TENANT, "--day", "2026-02-30"], "'2026-02-30' is not a day: write YYYY-MM-DD"),
        ):
            assert says in plain_line(command(world, here, "attestation", *arguments))
        assert [path.name for path in here.iterdir()] == [name]
        # The name is taken while it is made: what is there stays.
        with pytest.raises(FileExistsError):
            await write_attestation(world.installation, TENANT, day, here / name)
        assert (here / name).read_bytes() == content
