"""The sample module, as a person uses it under `php -S`: each page does what it says, and the journal has its event."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.support.php import DIRECTORY, Connector
from tests.support.ports import free_port
from tests.support.serving import Serving, found_site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.needs("php")

# What is clicked, and typed: the act, the sheet, the text; what the page then holds.
CLICKS = [
    ("recherche", "", "tapage", "MC-2026-00001"),
    ("creation", "", "Chien <errant>", "MC-2026-00003 créée"),
    ("consultation", "MC-2026-00003", "Relecture", "Chien &lt;errant&gt;"),
    ("modification", "MC-2026-00003", "Chien retrouvé", "Corrigée"),
    ("impression", "MC-2026-00003", "Dossier papier", "Chien retrouvé"),
    ("transmission", "MC-2026-00003", "Saisine du parquet", "PV-2026-00003 transmis"),
    ("suppression", "MC-2026-00003", "", "Supprimée"),
]
# Type and operation, subject, by category.
MAIN_COURANTE = [
    ("access", "login-failed", None),
    ("access", "login", None),
    ("access", "list", None),
    ("access", "search", None),
    ("collection", "create", "MC-2026-00003"),
    ("consultation", "view", "MC-2026-00003"),
    ("modification", "update", "MC-2026-00003"),
    ("consultation", "print", "MC-2026-00003"),
    ("erasure", "delete", "MC-2026-00003"),
    ("access", "logout", None),
]
ECRITS = [("collection", "create", "PV-2026-00003"), ("disclosure", "transmit", "PV-2026-00003")]


@asynccontextmanager
async def served(connector: Connector) -> AsyncIterator[str]:
    """Serve the sample with PHP's own server; give its address."""
    address = f"127.0.0.1:{free_port()}"
    environment = os.environ | {"OPENEPM_JOURNAL": str(connector.config), "TMPDIR": str(connector.home)}
    process = await asyncio.create_subprocess_exec(
        "php", "-S", address, "-t", str(DIRECTORY / "exemple"), env=environment, stderr=asyncio.subprocess.PIPE
    )
    try:
        assert process.stderr is not None
        assert b"started" in await process.stderr.readline()
        reading = asyncio.create_task(process.stderr.read())
        yield f"http://{address}/"
    finally:
        process.terminate()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
        await process.wait()


async def test_each_page(dsn: str, tmp_path: Path) -> None:
    """Sign in, list, search, record, read, edit, print, transmit, delete, sign out; what is wrong shows nothing."""
    site = await found_site(tmp_path / "service", dsn)
    connector = Connector.install(site, tmp_path / "module")
    jar = aiohttp.CookieJar(unsafe=True)
    async with served(connector) as address, aiohttp.ClientSession(cookie_jar=jar) as session:

        async def post(text: str = "", **query: str) -> tuple[int, str]:
            async with session.post(address, params=query, data={"texte": text}) as answer:
                return answer.status, await answer.text()

        for password, status in (("non", 403), ("exemple", 200)):
            assert "Mot de passe" in (await post("Relecture", acte="consultation", fiche="MC-2026-00001"))[1]
            async with session.post(address, data={"compte": "c.martin", "passe": password}) as answer:
                assert answer.status == status
                page = await answer.text()
        for act, sheet, text, holds in CLICKS:
            assert f"?acte={act}" in page or act not in ("recherche", "creation")
            status, told = await post(text, acte=act, fiche=sheet)
            assert (status, holds in told) == (200, True)
        # A sheet is shown for a motive alone, and nothing is shown that is not in the journal.
        for blank in ("", " ", "\u00a0"):
            status, told = await post(blank, acte="consultation", fiche="MC-2026-00001")
            assert (status, "Tapage" in told, "Motif" in told) == (400, False, True)
        lost = connector.spool.rename(connector.home / "elsewhere")
        connector.spool.write_text("no directory")
        for act in ("consultation", "impression", "transmission", "suppression"):
            status, told = await post("Relecture", acte=act, fiche="MC-2026-00001")
            assert (status, "Tapage" in told, "ne peut être journalisé" in told) == (503, False, True)
        connector.spool.unlink()
        lost.rename(connector.spool)
        assert (await post("M", acte="consultation", fiche="MC-2026-00003"))[0] == 404
        async with session.get(address, params={"acte": "suppression", "fiche": "MC-2026-00001"}) as answer:
            assert answer.status == 405
        assert "À bientôt" in (await post(acte="sortie"))[1]
        assert "Mot de passe" in (await post("Relecture", acte="consultation", fiche="MC-2026-00001"))[1]
    async with await Serving.start(site):
        assert await asyncio.to_thread(connector.flush) == ""
        for category, expected in (("main-courante", MAIN_COURANTE), ("ecrits", ECRITS)):
            events = await connector.entries(category)
            assert [
                (event["type"].rpartition(".")[2], event["data"]["operation"], event.get("subject")) for event in events
            ] == expected
            assert {event["data"]["actor"].get("name") for event in events} - {None} == {"Martin, Claire"}
        assert events[1]["data"]["recipients"] == ["Parquet d'Albi"]


def test_calls_are_short() -> None:
    """A page's call to the journal is one line, which decides whether the page does anything."""
    source = (DIRECTORY / "exemple" / "index.php").read_text(encoding="utf-8")
    pages = source.partition("switch ($acte)")[2].partition("?>")[0].split("    case ")[3:]
    calls = [re.findall(r"^ +if \(\$journal->\w+\(.*\)\) \{", page, flags=re.MULTILINE) for page in pages]
    assert [len(found) for found in calls] == [1] * 9
    assert max(len(call.strip()) for found in calls for call in found) < 120
