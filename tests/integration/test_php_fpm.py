"""The connector under php-fpm: the page has its answer before anything is sent, whatever the journal does."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from tests.support.fpm import Fpm, running_fpm
from tests.support.php import DIRECTORY, Connector
from tests.support.ports import free_port
from tests.support.serving import Serving, found_site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.needs("php", "php-fpm")

PAGE = """<?php
require '{connector}';
session_id('sharedsession');
session_start();
OpenepmJournal::fromFile('{config}')->agent('c.martin')->consultation($_GET['reference'], 'Relecture');
echo 'the page';
"""
# Longer than a page may take, and than anything in this test does.
TIMEOUT_SECONDS = 30


@contextlib.contextmanager
def hanging_journal() -> Iterator[tuple[str, socket.socket]]:
    """Give the address of what takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))
        listener.listen(64)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", listener


async def ask(fpm: Fpm, page: Path, reference: str) -> None:
    """Ask for the page, and have it in time."""
    async with asyncio.timeout(TIMEOUT_SECONDS / 2):
        assert (await fpm.ask(page, f"reference={reference}")).endswith(b"the page")


async def test_after_the_response(dsn: str, tmp_path: Path) -> None:
    """While the journal hangs, pages of one session come at once, and events wait; then a page has all of them sent."""
    site = await found_site(tmp_path / "service", dsn)
    with hanging_journal() as (url, listener):
        connector = Connector.install(
            site, tmp_path / "module", url=url, send="after-response", timeout_seconds=TIMEOUT_SECONDS
        )
        page = tmp_path / "page.php"
        page.write_text(
            PAGE.format(connector=DIRECTORY / "OpenepmJournal.php", config=connector.config), encoding="utf-8"
        )
        async with running_fpm(tmp_path / "fpm", children=3) as fpm:
            await ask(fpm, page, "MC-1")
            # It is sent: PHP has connected, and waits for an answer that does not come.
            connection, _ = await asyncio.to_thread(listener.accept)
            with connection:
                assert b"POST /v1/categories/main-courante/events" in await asyncio.to_thread(connection.recv, 65536)
                await ask(fpm, page, "MC-2")
                await ask(fpm, page, "MC-3")
                assert [event["subject"] for event in connector.waiting()] == ["MC-1", "MC-2", "MC-3"]
        Connector.install(site, tmp_path / "module", send="after-response")
        connector.end_pause()
        async with await Serving.start(site), running_fpm(tmp_path / "fpm", children=3) as fpm:
            await ask(fpm, page, "MC-4")
            async with asyncio.timeout(60):
                while len(await connector.entries()) < 4:  # noqa: ASYNC110  (PHP tells nobody)
                    await asyncio.sleep(0.05)
            assert [event["subject"] for event in await connector.entries()] == ["MC-1", "MC-2", "MC-3", "MC-4"]
            assert (await connector.entries())[0]["data"]["client"] == {"address": "192.0.2.7"}
