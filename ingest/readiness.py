"""Readiness, asked of the service at most once a second: a probe that anyone may call must cost little."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from journal.core.errors import JournalError

if TYPE_CHECKING:
    from journal.service import Service
    from journal.standing import Standing

log = structlog.get_logger()

FRESH_SECONDS = 1.0


class Readiness:
    """Remembers the last answers for a second, and tells the operator when they change for the worse."""

    def __init__(self, service: Service) -> None:
        """Ask nothing yet."""
        self._service = service
        self._answers: dict[str, str | None] = {}
        self._standing: Standing | None = None
        self._asked_at = float("-inf")
        self._lock = asyncio.Lock()

    async def ask(self) -> tuple[dict[str, str | None], Standing | None]:
        """Return, for each thing that must hold, None or what is wrong with it; and where the service stands.

        The latter is None where it cannot be told, which one of the former then says.
        """
        async with self._lock:
            now = self._service.clock.monotonic()
            if not 0 <= now - self._asked_at < FRESH_SECONDS:
                self._standing = await self._stand()
                before, self._answers = self._answers, await self._service.readiness(self._standing)
                self._asked_at = now
                if self._answers != before and any(self._answers.values()):
                    log.warning("not ready", **{name: reason for name, reason in self._answers.items() if reason})
        return self._answers, self._standing

    async def _stand(self) -> Standing | None:
        try:
            return await self._service.standing()
        except (JournalError, OSError):
            return None
