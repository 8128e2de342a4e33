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
    ("access", "list", None),
    ("access", "search", None),
    ("collection", "create", "MC-2026-00003"),
    ("consultation", "view", "MC-2026-00003"),
    ("modification", "update", "MC-2026-00003"),
    ("consultation", "print", "MC-2026-00003"),
    ("erasure", "delete", "MC-2026-00003"),
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
    """List, search, record, read, edit, print, transmit, delete; what does not exist, or was not posted, is refused."""
    site = await found_site(tmp_path / "service", dsn)
    connector = Connector.install(site, tmp_path / "module")
    async with served(connector) as address, aiohttp.ClientSession() as session:
        async with session.get(address) as answer:
            page = await answer.text()
        for act, sheet, text, holds in CLICKS:
            assert f"?acte={act}" in page or act not in ("recherche", "creation")
            query = {"acte": act, "fiche": sheet}
            async with session.post(address, params=query, data={"texte": text} if text else {}) as answer:
                assert answer.status == 200
                assert holds in await answer.text()
        async with session.post(address, params={"acte": "consultation", "fiche": "MC-2026-00003"}) as answer:
            assert answer.status == 404
        async with session.get(address, params={"acte": "suppression", "fiche": "MC-2026-00001"}) as answer:
            assert answer.status == 405
    async with await Serving.start(site):
        assert await asyncio.to_thread(connector.flush) == ""
        for category, expected in (("main-courante", MAIN_COURANTE), ("ecrits", ECRITS)):
            events = await connector.entries(category)
            assert [
                (event["type"].rpartition(".")[2], event["data"]["operation"], event.get("subject")) for event in events
            ] == expected
            assert {event["data"]["actor"]["name"] for event in events} == {"Martin, Claire"}
        assert events[1]["data"]["recipients"] == ["Parquet d'Albi"]


def test_calls_are_short() -> None:
    """A page's call to the journal is one line, beside what the page does."""
    source = (DIRECTORY / "exemple" / "index.php").read_text(encoding="utf-8")
    pages = source.partition("switch ($acte)")[2].partition("?>")[0].split("case ")[1:]
    calls = [re.findall(r"^ +\$journal->\w+\(.*\);", page, flags=re.MULTILINE) for page in pages]
    assert [len(found) for found in calls] == [1, 1, 1, 1, 1, 1, 2, 1]
    assert max(len(call.strip()) for found in calls for call in found) < 100
