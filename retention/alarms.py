"""Alarms about the hand-over, written as entries: in the commune's `journal` category and in the service's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from journal.core.times import format_day
from journal.writing.alarm_reasons import french_reason

if TYPE_CHECKING:
    from journal.service import Service

# Why a day was purged without hand-over: for the commune, then for the operator.
LAPSED_REASON = "the day reached its limit before it was handed over: it was purged"
LAPSED_DETAIL = (
    "the day reached its limit before it was handed over and was purged, as its rule requires: it cannot be recovered. "
    "Earlier alarms say why the hand-over failed: fix that, run openepm-journal handover, tell the commune"
)
# Why a day that was handed over was purged at its limit only, and as if it had not been.
UNCONFIRMED_REASON = "the day reached its limit, handed over to a commune that has not confirmed that it can open it"
UNCONFIRMED_DETAIL = (
    "the day was handed over, but the commune has not confirmed that it can open what is handed over to it: the day "
    "was kept to its limit, then purged, as its rule requires. Have the commune open a file and give its confirmation "
    "code: in the console, or by openepm-journal tenant handover COMMUNE --confirm CODE"
)
FORGOTTEN_REASON = "the database was restored from before the day's purge: it no longer says whether it was handed over"
FORGOTTEN_DETAIL = (
    "the database was restored from a backup older than the day's purge: the day stays purged, and only the "
    "inventories in the commune's directory say whether it was handed over: check them, tell the commune"
)


async def enter_alarms(service: Service) -> int:
    """Write the entries of every alarm that has none yet; return how many alarms. Safe to repeat.

    The commune reads what happened to its days. What the operator must do is in the service's own entry only.
    """
    alarms = await service.store.read_handover_alarms()
    for alarm in alarms:
        await service.chronicle.write_once(
            "alarm",
            tenant=alarm.tenant,
            subject=alarm.category or alarm.tenant,
            data={
                "category": alarm.category,
                "day": format_day(alarm.day) if alarm.day is not None else None,
                "reason": french_reason(alarm.reason),
                "what": "handover",
            },
            for_operator={"detail": alarm.detail, "tenant": alarm.tenant},
            # The same event on every attempt: it is recorded once.
            event_id=f"handover-alarm-{alarm.number}",
            at=alarm.raised_at,
            owed=True,
        )
        await service.store.forget_handover_alarm(alarm.number)
    return len(alarms)
