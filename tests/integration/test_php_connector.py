"""The connector of PHP modules: each act of its table reaches the journal, and the usual mistakes end well."""

from __future__ import annotations

import asyncio
import json
import re
import stat
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from journal.core.entry import TYPE_PREFIX
from tests.support.php import DIRECTORY, Connector
from tests.support.rig import CATEGORY, SOURCE
from tests.support.serving import Serving, found_site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


pytestmark = pytest.mark.needs("php")

VALUES = (
    "$reference = 'MC-1'; $a = 'MC-2'; $b = 'MC-3'; $compte = 'j.dupont'; $motif = 'Relecture'; $nombre = 3; $o = [];"
)


def rows() -> list[tuple[str, str, str]]:
    """Return the rows of the page: the call, the action and the operation it announces."""
    found = []
    for line in (DIRECTORY / "EVENEMENTS.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        call = re.match(r"`([a-zA-Z]+\(.*?\))`( |$)", cells[-3]) if len(cells) > 3 else None
        if call:
            found.append((call[1], cells[-2].strip("`"), cells[-1].strip("`")))
    return found


@asynccontextmanager
async def installed(dsn: str, home: Path, **settings: object) -> AsyncIterator[Connector]:
    """Run a service, and install a connector beside it."""
    site = await found_site(home / "service", dsn)
    async with await Serving.start(site):
        yield Connector.install(site, home / "module", **settings)


async def test_every_row_of_the_table(dsn: str, tmp_path: Path) -> None:
    """Each call of EVENEMENTS.md is accepted, and found in an extract with the type and operation announced."""
    async with installed(dsn, tmp_path) as connector:
        calls = rows()
        assert len(calls) > 20
        categories = set()
        for call, action, operation in calls:
            category = "ecrits" if "'ecrits'" in call else "comptes" if "'comptes'" in call else CATEGORY
            if category == "comptes":  # found_site gives no right to it: what is asked is the same in another
                call = call.replace("'comptes'", "'ecrits'")  # noqa: PLW2901
                category = "ecrits"
            categories.add(category)
            made = await asyncio.to_thread(connector.run, f"{VALUES} echo json_encode($j->{call});")
            assert made == "true", call
            assert await asyncio.to_thread(connector.flush) == "", call
            last = (await connector.entries(category))[-1]
            assert last["type"] == TYPE_PREFIX + action, call
            assert last["data"].get("operation", "") == operation, call
        assert categories == {CATEGORY, "ecrits"}
        # What is in clear is for PHP's account alone.
        assert {stat.S_IMODE(path.stat().st_mode) for path in connector.spool.glob("*")} == {0o700}
        assert {stat.S_IMODE(path.stat().st_mode) for path in connector.spool.glob("*/*.ndjson")} == {0o600}
        assert connector.command("status").returncode == 0


async def test_the_usual_mistakes(dsn: str, tmp_path: Path) -> None:
    """Nothing is lost, nothing doubled in silence, and the author is told what to do."""
    async with installed(dsn, tmp_path) as connector:

        async def told(code: str) -> tuple[str, str]:
            await asyncio.to_thread(connector.run, code)
            stopped = await asyncio.to_thread(connector.flush)
            return stopped, (await asyncio.to_thread(connector.command, "status")).stdout

        # Text that is not UTF-8 is converted.
        assert await told("$j->consultation('MC-1', \"Relev\\xe9\");") == (
            "",
            "main-courante : 0 en attente, 0 mis de côté\n",
        )
        # A token that is no longer valid: all waits; a new one in its file, and all is sent once.
        token = connector.token.read_text(encoding="ascii")
        connector.token.write_text("0" * len(token), encoding="ascii")
        stopped, status = await told("$j->consultation('MC-2', 'Relecture');")
        assert "jeton refusé (401)" in stopped
        assert "1 en attente" in status
        connector.token.write_text(token, encoding="ascii")
        assert (await told(""))[0] == ""
        # A category that the token has no right to: it waits, and the others pass.
        stopped, status = await told("$j->consultation('X', 'M', ['category' => 'comptes']); $j->connexion();")
        assert "jeton refusé (404)" in stopped
        assert "comptes : 1 en attente" in status
        for path in (connector.spool / "comptes").iterdir():
            path.unlink()
        (connector.spool / "comptes").rmdir()
        # A moment to come, or too long ago: set aside with the reason; what is too old is counted as lost.
        ahead = "['time' => gmdate('Y-m-d\\TH:i:s\\Z', time() + 3600)]"
        stopped, status = await told(f"$j->consultation('MC-3', 'M', {ahead});")
        assert "mis de côté : /time is more than 5 minutes ahead" in stopped
        assert "1 mis de côté" in status
        late = "['time' => gmdate('Y-m-d\\TH:i:s\\Z', time() - 8 * 86400)]"
        stopped, status = await told(f"$j->consultation('MC-4', 'M', {late});")
        assert "mis de côté : trop ancien" in stopped
        assert "2 mis de côté" in status
        assert re.search(r"perdus : 5 à 5 \(époque \S+\), trop anciens ; à déclarer au journal", status)
        aside = (connector.spool / CATEGORY / "quarantine.ndjson").read_text(encoding="utf-8").splitlines()
        assert ["MC-3" in aside[0], "MC-4" in aside[1]] == [True, True]
        # A spool that is full: the page is told, the number is counted as lost, the next one follows it.
        connector.install(connector.site, connector.home, max_mib=0)
        assert await asyncio.to_thread(connector.run, "echo json_encode($j->connexion());") == "false"
        connector.install(connector.site, connector.home)
        stopped, status = await told("$j->deconnexion();")
        assert "perdus : 6 à 6" in status
        events = await connector.entries()
        assert [event.get("subject") for event in events] == ["MC-1", "MC-2", None, None]
        assert [event["sequence"] for event in events] == ["1", "2", "3", "7"]
        assert len({event["epoch"] for event in events}) == 1
        assert events[0]["data"]["justification"] == "Relevé"


async def test_both_connectors_on_one_spool(dsn: str, tmp_path: Path) -> None:
    """What the Python module records follows what PHP has recorded, and either sends both."""
    async with installed(dsn, tmp_path) as connector:
        await asyncio.to_thread(connector.run, "$j->consultation('MC-1', 'Relecture');")
        record = (
            "import sys; sys.path.insert(0, sys.argv[1]); from openepm_journal import Journal;"
            "Journal.from_file(sys.argv[2]).record('consultation', 'MC-2', account='c', justification='Relecture')"
        )
        await _python("-c", record, str(DIRECTORY), str(connector.config))
        await asyncio.to_thread(connector.run, "$j->consultation('MC-3', 'Relecture');")
        await _python(str(DIRECTORY / "openepm_journal.py"), "flush", "--config", str(connector.config))
        events = await connector.entries()
        assert [(event["subject"], event["sequence"]) for event in events] == [
            ("MC-1", "1"),
            ("MC-2", "2"),
            ("MC-3", "3"),
        ]
        assert {event["source"] for event in events} == {SOURCE}
        receipts = next((connector.spool / CATEGORY).glob("receipts-*.ndjson")).read_text(encoding="utf-8")
        assert [receipt["index"] for receipt in json.loads(receipts)["receipts"]] == [0, 1, 2]
        assert connector.command("status").returncode == 0


async def _python(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stderr=asyncio.subprocess.PIPE)
    _, said = await process.communicate()
    assert process.returncode == 0, said.decode()
