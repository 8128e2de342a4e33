"""Readiness, computed at most once a second, because anyone may call the probe.

It also answers while the database does not: metrics must stay available then.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import structlog

from journal.core.errors import JournalError

if TYPE_CHECKING:
    from journal.service import Service
    from journal.status.figures import Status

log = structlog.get_logger()

FRESH_SECONDS = 1.0
# Shorter than the usual timeout of a scraper.
PATIENCE_SECONDS = 3.0
FIGURES = re.compile(r"\d+")
LATE: dict[str, str | None] = {"database": f"the checks had no answer within {PATIENCE_SECONDS:g} s"}


class Readiness:
    """Caches the last results for a second, and logs new failures."""

    def __init__(self, service: Service) -> None:
        """Start without results."""
        self._service = service
        self._answers: dict[str, str | None] = {}
        self._told: dict[str, str] = {}
        self._status: Status | None = None
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    async def ask(self) -> tuple[dict[str, str | None], Status | None]:
        """Return each check's problem, or None, and the status.

        The status is None if it cannot be read; one of the checks then fails.
        """
        now = self._service.clock.monotonic()
        if self._asking is None and not 0 <= now - self._asked_at < FRESH_SECONDS:
            self._asking = asyncio.create_task(self._ask(now))
        if (asking := self._asking) is not None:
            # Not cancelled on timeout: a cancelled statement may hold its connection even longer.
            done, _ = await asyncio.wait([asking], timeout=PATIENCE_SECONDS)
            if not done:
                self._tell(self._answers | LATE)
                return self._answers, None
            asking.result()
        return self._answers, self._status

    async def _ask(self, now: float) -> None:
        try:
            self._status = await self._read_status()
            self._tell(await self._service.checks.run(self._status))
            self._asked_at = now
        finally:
            self._asking = None

    async def _read_status(self) -> Status | None:
        try:
            return await self._service.status()
        except (JournalError, OSError):
            return None

    def _tell(self, answers: dict[str, str | None]) -> None:
        """Keep the results; log the failures if their words have changed: figures, as of seconds, always do."""
        words = {name: FIGURES.sub("", reason) for name, reason in answers.items() if reason}
        if words and words != self._told:
            log.warning("not ready", **{name: reason for name, reason in answers.items() if reason})
        self._answers, self._told = answers, words
