"""Alarms about the hand-over become entries: one in the commune's `journal` category, one in the service's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from journal.core.entry import JOURNAL_CATEGORY, RESERVED_TENANT, Compartment
from journal.core.errors import EndedTenantError, PurgedDayError
from journal.core.times import format_day
from journal.writing.chronicle import SUBMITTED_BY, service_event

if TYPE_CHECKING:
    from journal.database.handover import HandoverAlarm
    from journal.database.store import Store
    from journal.writing.writer import Writer

log = structlog.get_logger()

# Why a day went without hand-over: for the commune, then for the operator.
LAPSED_REASON = "the day reached its limit before it was handed over: it was purged"
LAPSED_DETAIL = (
    "the day reached its limit before it was handed over and was purged, as the law asks: nothing brings it back. "
    "Earlier alarms say why the hand-over failed: put that right, run openepm-journal handover, tell the commune"
)
FORGOTTEN_REASON = "the database was restored from before the day's purge: it no longer says whether it was handed over"
FORGOTTEN_DETAIL = (
    "the database was restored from a backup that is older than the day's purge: the day stays destroyed, and whether "
    "it was handed over is in the manifests of the commune's directory alone: compare them, tell the commune"
)


async def enter_alarms(*, store: Store, writer: Writer, service_name: str) -> int:
    """Write the entries of every alarm that has none yet; return how many alarms. Cut short, it is finished next time.

    The commune is told what happened to its days; what the operator must do stands in the service's own entry alone.
    """
    alarms = await store.read_handover_alarms()
    if not alarms:
        return 0
    closed = {tenant.code for tenant in await store.read_tenants() if tenant.closed}
    for alarm in alarms:
        data = _describe(alarm)
        told = {RESERVED_TENANT: data | {"detail": alarm.detail, "tenant": alarm.tenant}}
        if alarm.tenant not in closed:
            told[alarm.tenant] = data
        for owner, told_data in told.items():
            # One number, one event: an alarm written twice is recorded once.
            event = service_event(
                service=service_name,
                kind="alarm",
                event_id=f"handover-alarm-{alarm.number}",
                at=alarm.raised_at,
                subject=alarm.category or alarm.tenant,
                data=told_data,
            )
            compartment = Compartment(service_name, owner, JOURNAL_CATEGORY)
            try:
                await writer.submit(compartment, SUBMITTED_BY, [event], len(event.canonical))
            except EndedTenantError:
                continue  # its key is destroyed, which a restored database does not know yet: nobody is there to tell
            except PurgedDayError:
                # It could not be written for as long as entries are kept: nobody could read it any more either.
                log.error("an alarm is too old to be recorded", tenant=alarm.tenant, reason=alarm.reason)
        await store.forget_handover_alarm(alarm.number)
    return len(alarms)


def _describe(alarm: HandoverAlarm) -> dict[str, Any]:
    about = {
        "category": alarm.category,
        "day": format_day(alarm.day) if alarm.day is not None else None,
        "reason": alarm.reason,
        "what": "handover",
    }
    return {name: value for name, value in about.items() if value is not None}
