"""`openepm-journal papers` and `breach` as they are typed: what they write, print and refuse."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING

import orjson
import pytest

from tests.support import forks
from tests.support.commands import plain_line
from tests.support.pdf import words_of
from tests.support.world import CATEGORY, DAY, SERVICE, TENANT, World, new_world

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

pytestmark = pytest.mark.needs("pdftotext")
DONE, NOT_RUN = 0, 2


def command(world: World, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run openepm-journal on that service, in a directory."""
    settings = {
        "JOURNAL_HOME": str(world.settings.home_path),
        "JOURNAL_DSN": world.dsn,
        "JOURNAL_SERVICE_NAME": SERVICE,
        "JOURNAL_SIGNER_SOCKET": "none",
        # Nothing answers there, whatever else runs on this machine.
        "JOURNAL_LISTEN": "127.0.0.1:1",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JOURNAL_")}
    return forks.run(arguments, kept | settings, directory)


async def test_the_commands(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """Each writes private files of the names it says, over nothing; what does not fit together is refused."""
    here = tmp_path / "here"
    here.mkdir()
    begin = datetime.now(UTC) - 2 * DAY
    async with new_world(postgres, tmp_path / "home", start=begin) as world:
        await world.record(3)
        await world.travel(datetime.now(UTC))
        await world.seal()
        today = datetime.now(UTC).date()
        done = command(world, here, "papers", "coverage", "--tenant", TENANT, "--from", str(begin.date()))
        assert (done.returncode, done.stderr) == (DONE, "")
        name = f"couverture-{TENANT}.pdf"
        told = rf"{name}: entry \d+ of the journal of {TENANT} says that it was made; check .* with: pdfsig {name}\n"
        assert re.fullmatch(told, done.stdout)
        assert (here / name).stat().st_mode & 0o777 == 0o600
        text = words_of((here / name).read_bytes(), tmp_path / "read.pdf", order="-raw")
        assert "3 entrées, n° 0 à 2, couvertes par le sceau" in text
        again = command(world, here, "papers", "coverage", "--tenant", TENANT)
        assert f"{name} exists: choose another name with -o" in plain_line(again)
        done = command(world, here, "papers", "measures", "--tenant", TENANT, "-o", "m.pdf")
        assert done.returncode == DONE, done.stderr
        text = words_of((here / "m.pdf").read_bytes(), tmp_path / "read.pdf", order="-raw")
        assert "par l’hôte et le service" in text
        assert "Le service répond, et est prêt à inscrire en défaut" in text
        done = command(world, here, "breach", "root", "--tenant", TENANT, "--from", str(today))
        assert (done.returncode, done.stderr) == (DONE, "")
        assert done.stdout.startswith(f"violation-{TENANT}.pdf and violation-{TENANT}.json: ")
        facts = (here / f"violation-{TENANT}.json").read_bytes()
        found = {one["category"]: one["entries"] for one in orjson.loads(facts)["compartments"]}
        assert found[CATEGORY] == 3
        text = words_of((here / f"violation-{TENANT}.pdf").read_bytes(), tmp_path / "read.pdf", order="-raw")
        assert sha256(facts).hexdigest() in text
        for asked, said in (
            (("papers", "register", "--tenant", TENANT, "--to", str(today)), "--from and --to are for coverage"),
            (("papers", "register", "--tenant", "../x", "-o", "x.pdf"), "there is no tenant ../x"),
            (("papers", "rapport", "--tenant", TENANT), "invalid choice: 'rapport'"),
            (("breach", "credential", "--tenant", TENANT, "--from", str(today), "-o", "x.pdf"), "--credential ID goes"),
            (
                ("breach", "backup", "--tenant", TENANT, "--from", str(today + 2 * DAY), "-o", "x.pdf"),
                "--from is after --to",
            ),
            (
                ("breach", "root", "--tenant", TENANT, "--from", str(today), "--with-keys", "-o", "x.pdf"),
                "--with-keys is for a stolen backup or database",
            ),
        ):
            assert said in plain_line(command(world, here, *asked)), said
        (here / "link.pdf").symlink_to(here / "nowhere")
        root = ("breach", "root", "--tenant", TENANT, "--from")
        for asked, said in (
            ((*root, str(today), "-o", "x.json"), "x.json is the name of the facts beside the dossier"),
            ((*root, str(today), "-o", "."), ". exists"),
            ((*root, "0001-01-01", "-o", "x.pdf"), "--from is before 1970-01-01"),
            ((*root, str(today), "--known-at", "9999-12-31T00:00:00Z", "-o", "x.pdf"), "--known-at is to come"),
            (("papers", "notice", "--tenant", TENANT, "-o", "link.pdf"), "link.pdf exists"),
            (("papers", "coverage", "--tenant", TENANT, "--to", "9999-12-31", "-o", "x.pdf"), "--to has not begun"),
        ):
            assert said in plain_line(command(world, here, *asked)), said
        (here / "link.pdf").unlink()
        expected = {name, "m.pdf", f"violation-{TENANT}.pdf", f"violation-{TENANT}.json"}
        assert {path.name for path in here.iterdir()} == expected
