"""Hand-over before purge: days about to be purged are encrypted and put where the commune fetches them.

For each commune that registered a certificate and each of its compartments, `journal` included: one complete extract
of the days in the window that are not handed over yet. A failure is noted in the database, raises one alarm, and shows
in readiness until the hand-over works again; the purge waits for it, but never past the limit.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from journal.admin.recipient import Recipient, read_recipient
from journal.core.errors import BusyError, JournalError, UnavailableError
from journal.core.times import day_of, format_day
from journal.keys.files import make_private_directory
from retention.alarms import LAPSED_DETAIL, LAPSED_REASON, enter_alarms
from retention.delivery import Delivery, DuePeriod, HandedOver
from retention.outbox import HeldError, Outbox
from retention.policy import handover_through, readable_from, waits_until

if TYPE_CHECKING:
    from datetime import date, datetime

    from journal.database.handover import RecipientRow
    from journal.database.ingest import CategoryRow
    from journal.service import Service

log = structlog.get_logger()

INTERVAL_SECONDS = 3600
DETAIL_CHARACTERS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why a hand-over failed: `reason` for the commune, `detail` for the operator."""

    reason: str
    detail: str
    period: DuePeriod | None = None


class Handover:
    """Hands over the days in the window; the next run finishes one that was cut short."""

    def __init__(self, service: Service) -> None:
        """Hand over from this service, in its hand-over directory; one that the operator chose must exist."""
        self._service = service
        self._store = service.store
        self._root = service.settings.handover_path

    async def run(self) -> list[HandedOver]:
        """Hand over what is due, and return it. Failures are noted, raise one alarm, and are retried by the next run.

        Raises UnavailableError (the database cannot be written), OperatorError (clock).
        """
        today = day_of(self._service.guard.check())
        done: list[HandedOver] = []
        if recipients := await self._store.read_recipients():
            await self._close_days()
            overdue = await self._overdue(today)
            due = await self._due(today)
            for row in recipients:
                done += await self._serve(row, due.get(row.tenant, []), overdue)
        await enter_alarms(self._service)
        return done

    async def run_forever(self) -> None:
        """Hand over every hour: files appear at night, and failures are retried."""
        while True:
            try:
                await self.run()
            except (JournalError, OSError) as error:
                log.error("the hand-over failed", kind=type(error).__name__, reason=str(error))
            await self._service.clock.sleep(INTERVAL_SECONDS)

    async def _close_days(self) -> None:
        try:
            await self._service.sealer.close_due_days()
        except UnavailableError:
            raise
        except (JournalError, OSError) as error:
            # Days that are already closed can still be handed over; if they cannot, that is noted.
            log.error("no day could be closed", kind=type(error).__name__, reason=str(error))

    async def _overdue(self, today: date) -> dict[str, date]:
        """Return, by category, the first day that is past its limit and not purged yet.

        Seals made now show it kept: no extract of the category would verify.
        """
        limits = {row.code: readable_from(today, row.stated_days) for row in await self._store.read_categories()}
        found: dict[str, date] = {}
        for leaf in await self._store.partitions():
            if leaf.day < limits[leaf.category]:
                found[leaf.category] = min(leaf.day, found.get(leaf.category, leaf.day))
        return found

    async def _due(self, today: date) -> dict[str, list[DuePeriod]]:
        """Return what is due to each commune now; mark days that can no longer be read as lapsed."""
        found: dict[str, list[DuePeriod]] = {}
        leaves = await self._store.partitions()
        for category in await self._store.read_categories():
            await self._discard_forged(category.code)
            begin = _begin(category, today)
            gone = begin - timedelta(days=1)
            # Day by day: each that held entries of a commune has an alarm of its own.
            kept = {leaf.day for leaf in leaves if leaf.category == category.code and leaf.day < gone}
            for day in sorted(kept | {gone}):
                await self._store.lapse_handovers(category.code, day, LAPSED_REASON, LAPSED_DETAIL)
            last = handover_through(today, category.retention_days)
            for due in await self._store.handover_due(category.code, last):
                first = max(begin, due.done_day + timedelta(days=1)) if due.done_day else begin
                if first <= last:
                    period = DuePeriod(category=category, first_day=first, last_day=last)
                    found.setdefault(due.tenant, []).append(period)
        return found

    async def _discard_forged(self, category: str) -> None:
        """Remove what says that a day was handed over and this service did not write, loudly: the day waits again."""
        for forged in await self._store.discard_forged_handovers(category):
            what = "lapse" if forged.is_lapse else "hand-over"
            about = {"category": category, "day": format_day(forged.last_day)}
            log.error("a row of a hand-over that this service did not write", what=what, tenant=forged.tenant, **about)
            data = {"alarm": f"{what} not of this service removed", **about}
            await self._service.chronicle.write("alarm", tenant=forged.tenant, subject=category, data=data)

    async def _serve(self, row: RecipientRow, due: list[DuePeriod], overdue: dict[str, date]) -> list[HandedOver]:
        """Do everything due for one commune; note what is wrong, or that nothing is any more."""
        done: list[HandedOver] = []
        problems: list[Problem] = []
        try:
            if self._service.settings.handover_directory is None:
                await asyncio.to_thread(make_private_directory, self._root)
            with closing(await asyncio.to_thread(Outbox.hold, self._root, row.tenant)) as outbox:
                delivery = Delivery(self._service, outbox, row.tenant)
                if done := await delivery.resume():
                    due = (await self._due(day_of(self._service.guard.check()))).get(row.tenant, [])
                recipient = self._read(row, problems)
                if recipient is not None:
                    for period in due:
                        if (day := overdue.get(period.category.code)) is not None:
                            problems.append(_late(period, day))
                        else:
                            done += await self._try(delivery, recipient, period, problems)
                await delivery.write_inventories()
        except HeldError:
            log.warning("another run is handing over", tenant=row.tenant)
            return done
        except UnavailableError:
            raise
        except (JournalError, OSError) as error:
            problems.append(self._problem(error, None))
        await self._note(row.tenant, problems, due)
        return done

    def _read(self, row: RecipientRow, problems: list[Problem]) -> Recipient | None:
        """Return the commune's certificate if usable now; a problem is reported even if no day is due yet."""
        try:
            recipient = read_recipient(row.certificate)
            recipient.check_valid(self._service.clock.now())
        except JournalError as error:
            detail = f"{error}, and register it: openepm-journal tenant handover {row.tenant} --certificate PEM"
            problems.append(
                Problem(reason="the certificate registered for the hand-over cannot be used", detail=detail)
            )
            return None
        return recipient

    async def _try(
        self, delivery: Delivery, recipient: Recipient, period: DuePeriod, problems: list[Problem]
    ) -> list[HandedOver]:
        """Hand one period over; a failure does not stop the others."""
        try:
            handed = await delivery.hand_over(recipient, period)
        except UnavailableError:
            raise
        except BusyError as error:
            log.warning("a hand-over must wait for the next run", category=period.category.code, reason=str(error))
        except (JournalError, OSError) as error:
            problems.append(self._problem(error, period))
        else:
            return [handed] if handed is not None else []
        return []

    def _problem(self, error: JournalError | OSError, period: DuePeriod | None) -> Problem:
        if isinstance(error, OSError):
            return Problem(
                reason="the directory of the hand-over cannot be written",
                detail=f"{error.filename or self._root}: {error.strerror or type(error).__name__}: make room and let "
                "the service write there, mount it, or name another directory with JOURNAL_HANDOVER_DIRECTORY",
                period=period,
            )
        return Problem(
            reason="the extract for the hand-over could not be made",
            detail=f"{error}: see openepm-journal doctor and openepm-journal verify-store",
            period=period,
        )

    async def _note(self, tenant: str, problems: list[Problem], due: list[DuePeriod]) -> None:
        """Log and store what is wrong and what to do, or that the hand-over works again."""
        if not problems:
            if await self._store.clear_handover_fault(tenant):
                log.info("the hand-over works again", tenant=tenant)
            return
        problem = problems[0]
        period = problem.period or min(due, key=_deadline, default=None)
        detail = f"{tenant}: {problem.detail}; then run openepm-journal handover"
        if period is not None:
            what = f"{period.category.code} {format_day(period.first_day)}"
            detail += f"; {what} is purged at {_deadline(period):%Y-%m-%d %H:%M} UTC, handed over or not"
        log.error("a hand-over cannot be made", tenant=tenant, reason=problem.reason, detail=detail)
        await self._store.raise_handover_fault(
            tenant,
            category=period.category.code if period else None,
            day=period.first_day if period else None,
            reason=problem.reason,
            detail=detail[:DETAIL_CHARACTERS],
        )


def _late(period: DuePeriod, day: date) -> Problem:
    return Problem(
        reason="the purge is late: what is handed over now would not verify",
        detail=f"{period.category.code} {format_day(day)} is past its limit and not purged: run openepm-journal purge",
        period=period,
    )


def _begin(category: CategoryRow, today: date) -> date:
    """Return the first day of a category that can still be handed over; a pending shorter rule waits for it."""
    begin = max(readable_from(today, category.stated_days), category.first_day)
    return max(begin, category.fence + timedelta(days=1)) if category.fence else begin


def _deadline(period: DuePeriod) -> datetime:
    return waits_until(period.first_day, period.category.stated_days)
