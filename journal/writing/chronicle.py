"""Events of the service about itself: entries of the `journal` category that no module can post."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from journal.core import canonical
from journal.core.entry import SERVICE_PREFIX, TYPE_PREFIX, Event
from journal.core.times import format_time

if TYPE_CHECKING:
    from datetime import datetime

SUBMITTED_BY = "_service"


def service_event(*, service: str, kind: str, event_id: str, at: datetime, subject: str, data: dict[str, Any]) -> Event:
    """Build the event of something the service did: `kind` is its action without `service.`, `subject` the object.

    The same arguments give the same event, so that a step repeated after a crash is recorded once.
    """
    source = f"/journal/{service}"
    return Event(
        source=source,
        id=event_id,
        time=at,
        action=kind,
        canonical=canonical.encode(
            {
                "data": data,
                "id": event_id,
                "source": source,
                "specversion": "1.0",
                "subject": subject,
                "time": format_time(at),
                "type": TYPE_PREFIX + SERVICE_PREFIX + kind,
            }
        ),
    )
