"""A credential that is revoked while it floods: it is refused soon, and from then on for good."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import aiohttp

from tests.support import forks
from tests.support.databases import fresh_database
from tests.support.rig import CATEGORY, event_body
from tests.support.serving import Serving, found_site

if TYPE_CHECKING:
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

CLIENTS = 64
RECORDED_BEFORE = 200
ASKED_AFTER = 500
PATIENCE_SECONDS = 120
CREATED, UNAUTHENTICATED = 201, 401


class Flood:
    """Clients that post one event after the other with one credential, and what each was answered, and since when."""

    def __init__(self, session: aiohttp.ClientSession, token: str) -> None:
        """Post in this session."""
        self._session = session
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/cloudevents+json"}
        self.answers: list[tuple[bool, int]] = []  # whether it was sent after the first 401, and the status
        self.is_refused = False
        self._changed = asyncio.Condition()

    async def post(self) -> int:
        """Post an event of its own; return the status of the answer."""
        body = json.dumps(event_body(uuid4().hex, datetime.now(UTC) - timedelta(seconds=1)))
        path = f"/v1/categories/{CATEGORY}/events"
        async with self._session.post(path, data=body, headers=self._headers) as answer:
            await answer.read()
            return answer.status

    async def run(self) -> None:
        """Be a client that does not stop."""
        while True:
            since_refused = self.is_refused
            status = await self.post()
            async with self._changed:
                self.answers.append((since_refused, status))
                self.is_refused = self.is_refused or status == UNAUTHENTICATED
                self._changed.notify_all()

    def count(self, *, since_refused: bool, status: int | None = None) -> int:
        """Return how many were answered, before or after the first 401."""
        return sum(since == since_refused and status in {None, one} for since, one in self.answers)

    async def until(self, count: int, *, since_refused: bool, status: int | None = None) -> None:
        """Wait for so many."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._changed:
            await self._changed.wait_for(lambda: self.count(since_refused=since_refused, status=status) >= count)


async def test_a_credential_revoked_while_it_floods(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """Once one request is refused, none that is sent later is recorded; another commune's are, all along."""
    async with fresh_database(postgres) as name:
        site = await found_site(tmp_path, postgres.dsn(database=name))
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            await Serving.start(site),
            aiohttp.ClientSession(site.url, connector=connector) as session,
            asyncio.TaskGroup() as group,
        ):
            flood, quiet = Flood(session, site.modules["albi"]), Flood(session, site.modules["castres"])
            clients = [group.create_task(flood.run()) for _ in range(CLIENTS)]
            await flood.until(RECORDED_BEFORE, since_refused=False, status=CREATED)
            identifier = site.modules["albi"].split("_")[1]
            revoke = ("credential", "revoke", identifier)
            done = await asyncio.to_thread(forks.run, revoke, site.environment)
            assert done.returncode == 0, done.stderr
            await flood.until(ASKED_AFTER, since_refused=True)
            assert await quiet.post() == CREATED
            for client in clients:
                client.cancel()
        assert flood.count(since_refused=True, status=CREATED) == 0
        assert flood.count(since_refused=True, status=UNAUTHENTICATED) > 0
