"""The service as `serve` runs it, on a simulated clock, in this process: start, HTTP, background tasks, stop."""

from __future__ import annotations

import gc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
import orjson
from aiohttp import web

from journal.cli import serve
from journal.cli.installation import Installation, check_restored, open_service, prepare
from journal.core.times import format_time
from journal.pki import der
from journal.pki.certificates import der_to_pem
from journal.pki.timestamp_token import REPLY_TYPE
from tests.support import stamps

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from datetime import date, datetime
    from pathlib import Path

    from journal.clock import SimulatedClock
    from journal.service import Service
    from journal.settings import Settings

SERVICE = "journal.example.fr"
BATCH = "application/cloudevents-batch+json"


def make_events(at: datetime, name: str, count: int, *, source: str, first: int) -> list[dict[str, Any]]:
    """Return events of a moment; they are numbered from `first` on."""
    return [
        {
            "specversion": "1.0",
            "type": "fr.openepm.journal.consultation",
            "source": source,
            "id": f"{name}-{number}",
            "time": format_time(at),
            "subject": f"MC-2026-{number % 40:04d}",
            "sequence": f"{number:012d}",
            "data": {"actor": {"account": f"agent-{number % 7}"}, "justification": "Relecture", "outcome": "success"},
        }
        for number in range(first, first + count)
    ]


class Running:
    """A service that listens, and its callers."""

    def __init__(self, installation: Installation, url: str, session: aiohttp.ClientSession) -> None:
        """Call it at this address."""
        self.installation = installation
        self.url = url
        self._session = session

    @property
    def service(self) -> Service:
        """The service itself."""
        return self.installation.service

    async def post(self, token: str, category: str, events: Sequence[dict[str, Any]]) -> tuple[int, Any]:
        """Post a batch; return the status and the answer."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": BATCH}
        url = f"{self.url}/v1/categories/{category}/events"
        async with self._session.post(url, data=orjson.dumps(events), headers=headers) as answer:
            return answer.status, orjson.loads(await answer.read())

    async def get(self, token: str, path: str) -> tuple[int, bytes]:
        """Get what a credential may read."""
        async with self._session.get(f"{self.url}{path}", headers={"Authorization": f"Bearer {token}"}) as answer:
            return answer.status, await answer.read()

    async def extract(self, token: str, category: str, first: date, last: date) -> tuple[int, bytes]:
        """Ask for an extract as the commune does; return the status and the file, or the problem."""
        request = {
            "from": first.isoformat(),
            "to": last.isoformat(),
            "purpose": "lawfulness",
            "requester": "DPD",
            "request_reference": "R-1",
        }
        url = f"{self.url}/v1/categories/{category}/extracts"
        async with self._session.post(url, json=request, headers={"Authorization": f"Bearer {token}"}) as answer:
            try:
                return answer.status, await answer.read()
            except aiohttp.ClientError as error:  # cut short: the service found out while it wrote
                return 0, str(error).encode()

    async def ready(self) -> int:
        """Return the status of the readiness probe."""
        async with self._session.get(f"{self.url}/readyz") as answer:
            return answer.status


@asynccontextmanager
async def served(dsn: str, settings: Settings, clock: SimulatedClock, *, alone: bool = False) -> AsyncIterator[Running]:
    """Start as `serve` does, and serve until the end of the block; `alone` without its background tasks.

    Raises what makes `serve` refuse to start: JournalError, OSError.
    """
    listener = serve.bind(settings)
    try:
        await prepare(dsn, settings, clock)
        await check_restored(dsn, settings)
        async with open_service(dsn, settings, clock) as installation:
            await installation.check_clock(confirmed=False)
            await serve.first_steps(installation)
            async with serve.listening(installation, listener), aiohttp.ClientSession() as session:
                if not alone:
                    serve.run_forever(installation)
                host, port = listener.getsockname()[:2]
                yield Running(installation, f"http://{host}:{port}", session)
    finally:
        listener.close()
        gc.unfreeze()


@asynccontextmanager
async def stamping(clock: SimulatedClock, directory: Path) -> AsyncIterator[dict[str, str]]:
    """Run an authority of time that lives by a simulated clock; give the settings that name it."""

    async def answer(request: web.Request) -> web.Response:
        members = der.decode(await request.read(), limit_bytes=100).children
        digest, nonce = members[1].children[1].content, members[2].integer()
        token = stamps.Stamp(stamps.tst_info(digest, at=clock.now(), nonce=nonce)).encode()
        return web.Response(body=der.sequence(der.sequence(der.integer(0)), token), content_type=REPLY_TYPE)

    trust = directory / "authority-of-time.pem"
    trust.write_bytes(der_to_pem([stamps.ROOT.certificate]))
    app = web.Application()
    app.router.add_post("/tsa", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield {"tsa_url": f"http://{host}:{port}/tsa", "tsa_trust": str(trust)}
    finally:
        await runner.cleanup()


def with_settings(settings: Settings, **changes: Any) -> Settings:
    """Return the same settings with some changed."""
    return msgspec.structs.replace(settings, **changes)
