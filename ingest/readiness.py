"""Readiness, asked of the service at most once a second: a probe that anyone may call must cost little.

It also answers while the database does not: whoever is woken then must not be told that nothing can be scraped.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from journal.core.errors import JournalError

if TYPE_CHECKING:
    from journal.service import Service
    from journal.status.figures import Status

log = structlog.get_logger()

FRESH_SECONDS = 1.0
# Below any scraper's own patience.
PATIENCE_SECONDS = 3.0
LATE: dict[str, str | None] = {"database": f"it has not answered the checks within {PATIENCE_SECONDS:g} s"}


class Readiness:
    """Remembers the last answers for a second, and tells the operator when they change for the worse."""

    def __init__(self, service: Service) -> None:
        """Ask nothing yet."""
        self._service = service
        self._answers: dict[str, str | None] = {}
        self._status: Status | None = None
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    async def ask(self) -> tuple[dict[str, str | None], Status | None]:
        """Return, for each thing that must hold, None or what is wrong with it; and where the service stands.

        The latter is None where it cannot be told, which one of the former then says.
        """
        now = self._service.clock.monotonic()
        if self._asking is None and not 0 <= now - self._asked_at < FRESH_SECONDS:
            self._asking = asyncio.create_task(self._ask(now))
        if (asking := self._asking) is not None:
            # Not cancelled when it takes too long: a statement that is cancelled may hold its connection for longer.
            done, _ = await asyncio.wait([asking], timeout=PATIENCE_SECONDS)
            if not done:
                self._tell(self._answers | LATE)
                return self._answers, None
            asking.result()
        return self._answers, self._status

    async def _ask(self, now: float) -> None:
        try:
            self._status = await self._stand()
            self._tell(await self._service.checks.run(self._status))
            self._asked_at = now
        finally:
            self._asking = None

    async def _stand(self) -> Status | None:
        try:
            return await self._service.status()
        except (JournalError, OSError):
            return None

    def _tell(self, answers: dict[str, str | None]) -> None:
        """Keep the answers; the log says what fails whenever that is news."""
        if answers != self._answers and any(answers.values()):
            log.warning("not ready", **{name: reason for name, reason in answers.items() if reason})
        self._answers = answers
