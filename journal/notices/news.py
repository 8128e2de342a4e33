"""What there is to tell the persons of communes: what entries say that happened, and what lasts.

Entries are the queue: they are there once each, survive every restart, and wait as long as nobody could be told.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from journal.core.entry import JOURNAL_CATEGORY, RESERVED_TENANT
from journal.core.errors import VerificationError
from journal.core.times import day_of, format_day, overdue_through, parse_day
from journal.notices.host import CERTIFICATE_DAYS
from journal.pki.certificates import parse
from journal.writing.chronicle import is_automatic

if TYPE_CHECKING:
    from collections.abc import Iterable

    from journal.core.entry import Entry
    from journal.database.ingest import CategoryRow
    from journal.database.store import Store

# What the `what` of an alarm in a commune's own journal is about; another one is about integrity.
_OWN: Final = {"handover": "handover", "numbers": "silence", "rhythm": "silence"}
# Told from the service's own journal, which has them first.
_SHARED: Final = frozenset({"database", "facts"})
# Of the host alone: its own acts, and time-stamps, which another one replaces.
_OF_HOST: Final = frozenset({"time-stamps"})
_OF_HOST_ALARMS: Final = frozenset({"signer learned", "future seal accepted", "numbers lost"})
# A day that is kept too long lasts, and is told as what lasts.
_KEPT_TOO_LONG: Final = "over-retention: "
_CHAIN = re.compile(r"([a-z0-9][a-z0-9-]{0,62}|_service)/([a-z0-9][a-z0-9-]{0,62})").search


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """One thing to tell: its kind (a code of KINDS), of which commune (None: of all), category and day.

    `key` names it: what is told to a person is not told again under the same key. `submitted_by` is whose doing it is.
    """

    key: str
    kind: str
    at: datetime
    tenant: str | None = None
    category: str | None = None
    day: date | None = None
    note: str = ""
    submitted_by: str = ""

    def is_for(self, tenant: str, categories: Iterable[str], person: str) -> bool:
        """Tell whether a person of these categories is told: of other categories nothing, of own doings nothing."""
        is_seen = self.category in {None, JOURNAL_CATEGORY, *categories}
        return self.tenant in {None, tenant} and is_seen and self.submitted_by != person


def news_of_entry(journal: str, entry: Entry) -> News | None:
    """Return what an entry of a journal, a commune's or the service's own, has to tell; None for nothing."""
    data = entry.event.get("data", {})
    is_extract = entry.event["type"].endswith(".extract")
    found = _extract(journal, entry, data) if is_extract else _alarm(journal, entry, data)
    if found is None:
        return None
    kind, tenant, category = found
    day = None
    with suppress(ValueError, TypeError):
        day = parse_day(data["day"]) if "day" in data else None
    return News(
        key=f"{journal} {entry.index}",
        kind=kind,
        at=entry.recorded_at,
        tenant=tenant,
        category=category,
        day=day,
        submitted_by=entry.submitted_by if is_extract else "",
    )


def _extract(journal: str, entry: Entry, data: dict[str, Any]) -> tuple[str, str | None, str | None] | None:
    if journal == RESERVED_TENANT or is_automatic(entry) or data.get("outcome") == "denied":
        return None
    return "extract", journal, data.get("category")


def _alarm(journal: str, entry: Entry, data: dict[str, Any]) -> tuple[str, str | None, str | None] | None:
    what, alarm = str(data.get("what", "")), str(data.get("alarm", ""))
    if what in _OF_HOST or alarm in _OF_HOST_ALARMS:
        return None
    subject = str(entry.event.get("subject", ""))
    if journal == RESERVED_TENANT:
        return _shared(what, alarm, subject, data)
    if what in _SHARED:
        return None
    category = data.get("category") or (subject if what in _OWN and subject != journal else None)
    return _OWN.get(what, "integrity"), journal, category


def _shared(what: str, alarm: str, subject: str, data: dict[str, Any]) -> tuple[str, str | None, str | None] | None:
    """Return what an alarm in the service's own journal has to tell communes that theirs do not have."""
    found: tuple[str, str | None, str | None] | None = None
    if alarm == "chain not sealed":
        found = "seal", data.get("tenant"), data.get("category")
    elif what == "facts":
        found = "fact", None, None
    elif what == "database":
        found = "integrity", data.get("tenant"), subject
    elif what.startswith("audit") and not str(data.get("reason", "")).startswith(_KEPT_TOO_LONG):
        found = "integrity", *_place(subject)
    return found


def _place(where: str) -> tuple[str | None, str | None]:
    """Return the commune and the category of what the audit found; nothing where it is not of one chain."""
    match = _CHAIN(where)
    return (match[1], match[2]) if match else (None, None)


async def lasting(store: Store, categories: list[CategoryRow], now: datetime, own_until: datetime) -> list[News]:
    """Return what lasts: days kept too long, and certificates near their end; `own_until` is the service's one's."""
    limits = {row.code: overdue_through(day_of(now), row.stated_days) for row in categories}
    late: dict[str, date] = {}
    for row in await store.partitions():
        if row.category in limits and row.day <= limits[row.category]:
            late[row.category] = min(row.day, late.get(row.category, row.day))
    found = [
        News(key=f"purge {category}", kind="purge", at=now, category=category, day=day)
        for category, day in sorted(late.items())
    ]
    found += _ending("certificate", own_until, now, None, "celui du service, qui signe sceaux et extraits")
    for recipient in await store.read_recipients():
        with suppress(VerificationError):  # one that cannot be read is told by the hand-over
            until = parse(recipient.certificate).not_after
            key = f"recipient {sha256(recipient.certificate).hexdigest()[:16]}"
            found += _ending(key, until, now, recipient.tenant, "celui de la commune, qui ouvre les remises")
    return found


def _ending(key: str, until: datetime, now: datetime, tenant: str | None, whose: str) -> list[News]:
    if until.astimezone(UTC) - now > timedelta(days=CERTIFICATE_DAYS):
        return []
    is_over = until.astimezone(UTC) <= now
    note = f"{whose} ; {'périmé depuis le' if is_over else 'valable jusqu’au'} {until:%d/%m/%Y}"
    # Told once more when it is over.
    key = f"{key} {format_day(day_of(until))}{' over' if is_over else ''}"
    return [News(key=key, kind="certificate", at=now, tenant=tenant, note=note)]
