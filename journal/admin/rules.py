"""Changes of a category: its retention rule, its label, whether it needs authorisations. Each is an entry.

A rule changes in steps, each safe to repeat: requested in the database → recorded in the journal of the service and of
every commune → pending → settled. A shorter rule is announced first, and obeyed some days later (`rule_delay_days`).
From then on purge and reads obey it, and seals state the old one until nothing past the new limit is kept. While a
longer rule is pending, seals state as much of it as the purges so far allow, one day more each day. The hourly purge
does the last three steps, and finishes what was cut short.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog

from journal.core.entry import JOURNAL_CATEGORY, RESERVED_TENANT
from journal.core.times import day_of, format_day, purgeable_through

if TYPE_CHECKING:
    from datetime import date

    from journal.database.admin import CategoryChange
    from journal.database.ingest import CategoryRow
    from journal.service import Service

log = structlog.get_logger()


class RuleChanges:
    """Records changes of categories, and settles pending rules."""

    def __init__(self, service: Service) -> None:
        """Work on this service; its writer must be running."""
        self._store = service.store
        self._keystore = service.keyring.keystore
        self._chronicle = service.chronicle

    async def enter(self) -> int:
        """Write the entries of every change that has none yet; return how many changes."""
        changes = await self._store.read_category_changes()
        for change in changes:
            await self._chronicle.write_everywhere(
                "setting",
                subject=change.category,
                data=_describe(change),
                # The same event on every attempt: it is recorded once.
                event_id=f"category-change-{change.number}",
                at=change.changed_at,
            )
            await self._store.forget_category_change(change.number)
        return len(changes)

    async def settle(self) -> list[str]:
        """Settle the rules that can be; return the categories whose rule is now settled."""
        settled: list[str] = []
        for category in await self._store.read_categories():
            if category.next_retention_days is None or self._keeps_a_key(category):
                continue
            if await self._store.settle_rule(category.code):
                log.info("a rule is in force", category=category.code, retention_days=category.next_retention_days)
                settled.append(category.code)
        return settled

    async def unrecorded(self) -> list[str]:
        """Return the categories whose pending rule no entry of the service's journal announces.

        A change that is still to be entered is not among them.
        """
        waiting = {change.category for change in await self._store.read_category_changes()}
        categories = await self._store.read_categories()
        kept = min((row.retention_days for row in categories if row.code == JOURNAL_CATEGORY), default=0)
        # What may be purged by now is not missed.
        oldest = day_of(await self._store.read_now()) - timedelta(days=kept - 2)
        found: list[str] = []
        for category in categories:
            days, since = category.next_retention_days, category.next_since
            if days is None or since is None or since < oldest or category.code in waiting:
                continue
            entries = self._chronicle.entries(RESERVED_TENANT, "setting", since=since)
            said = [entry.event["data"] async for entry in entries if entry.event["subject"] == category.code]
            if all(data.get("retention_days") != days for data in said):
                found.append(category.code)
        return found

    def _keeps_a_key(self, category: CategoryRow) -> bool:
        """Tell whether the key of a fenced day is left: its purge is not done, and no seal may state the rule."""
        fence = category.fence
        return fence is not None and any(day <= fence for day in self._keystore.day_keys(category.code))


def is_asked_for(category: CategoryRow, day: date) -> bool:
    """Tell whether a pending shorter rule is what allows a day's purge, and did so when it was requested.

    Such days, and fenced ones, do not count towards the limit of days per run. The limit guards against a wrong clock,
    and the operator who requested the rule vouched for the clock then. Fenced days stay due until the rule is settled:
    counted in every run, they would block the rest.
    """
    days, since = category.next_retention_days, category.next_since
    if days is None or since is None or days >= category.stated_days:
        return False
    is_fenced = category.fence is not None and day <= category.fence
    return is_fenced or day <= purgeable_through(since, days)


def _detail(change: CategoryChange) -> str | None:
    """Return, in French, what is new of the legal basis; None if nothing is."""
    said = [f"journalisation fondée sur : {change.legal_basis}"] if change.legal_basis is not None else []
    if change.required_days is not None:
        asked = f"{change.required_days} jours" if change.required_days else "aucune durée"
        said.append(f"conservation que demande ce fondement : {asked}")
    return " ; ".join(said) or None


def _describe(change: CategoryChange) -> dict[str, Any]:
    from_day = change.effective_from
    return {
        "basis": change.basis,
        "change": "category changed",
        "detail": _detail(change),
        "effective_from": format_day(from_day) if from_day is not None else None,
        "instruction": change.instruction or None,
        "label": change.label,
        "needs_authorisation": change.needs_authorisation,
        "retention_days": change.retention_days,
        "retention_days_before": change.retention_days_before,
    }
