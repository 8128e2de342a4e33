"""Alarms of the running service, as entries: once each, in the commune's journal and in the service's own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

import structlog

from journal.core.errors import JournalError, KnownEventError
from journal.writing.alarm_reasons import french_reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from journal.clock import Clock
    from journal.writing.chronicle import Chronicle
    from journal.writing.instruments import Instruments

log = structlog.get_logger()

LOOK_SECONDS = 1.0
RETRY_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """What is wrong: `what` names who noticed, `subject` a category or an object of the database. Nothing personal."""

    what: str
    tenant: str
    subject: str
    reason: str

    @property
    def event_id(self) -> str:
        """Return the id of its event: another process that raises it, or this one restarted, repeats no entry."""
        return "alarm-" + sha256(repr((self.what, self.tenant, self.subject, self.reason)).encode()).hexdigest()[:32]


class Alarms:
    """Enters what its sources report."""

    def __init__(
        self,
        chronicle: Chronicle,
        clock: Clock,
        instruments: Instruments,
        sources: Iterable[Callable[[], Iterable[Alarm]]],
    ) -> None:
        """Ask these sources, each of which returns the alarms of the moment."""
        self._instruments = instruments
        self._chronicle = chronicle
        self._clock = clock
        self._sources = list(sources)
        self._told: dict[str, list[Alarm]] = {}
        self._raised_at: dict[Alarm, datetime] = {}
        self._entered: set[Alarm] = set()
        self._retry_at = float("-inf")

    def tell(self, what: str, alarms: list[Alarm]) -> None:
        """Replace what the audit says of `what`; readiness shows it until it is told that nothing is wrong."""
        for alarm in alarms:
            if alarm not in self._told.get(what, ()):
                log.error("the audit found something", what=alarm.what, reason=alarm.reason)
        self._told[what] = alarms
        self._instruments.audit_findings.set(len(self.findings))

    @property
    def findings(self) -> list[Alarm]:
        """Return what the audit says."""
        return [alarm for alarms in self._told.values() for alarm in alarms]

    def problem(self) -> str | None:
        """Return what the audit of this process, or of another one of the service, has found, else None."""
        if findings := self.findings:
            more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
            return f"{findings[0].reason}{more}: run openepm-journal verify-store"
        count = self._instruments.metrics.total("openepm_journal_audit_findings")
        return f"{count:.0f} findings: run openepm-journal verify-store" if count else None

    async def run(self) -> None:
        """Enter alarms for ever. One that cannot be written is tried again."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Enter the alarms that have no entry yet."""
        current = [alarm for source in self._sources for alarm in source()] + self.findings
        if set(current) <= self._entered or self._clock.monotonic() < self._retry_at:
            return
        for alarm in current:
            if alarm in self._entered:
                continue
            at = self._raised_at.setdefault(alarm, self._clock.now())
            try:
                await self._chronicle.write_once(
                    "alarm",
                    tenant=alarm.tenant,
                    subject=alarm.subject,
                    data={"reason": french_reason(alarm.reason), "what": alarm.what},
                    for_operator={"tenant": alarm.tenant},
                    event_id=alarm.event_id,
                    at=at,
                )
            except KnownEventError:
                pass  # entered by another process, or before a restart
            except (JournalError, OSError) as error:
                log.warning("an alarm cannot be entered yet", reason=str(error), subject=alarm.subject)
                self._retry_at = self._clock.monotonic() + RETRY_SECONDS
                continue
            self._entered.add(alarm)
