"""Changes of a category: its rule, its label, whether it needs authorisations; each is an entry that auditors see.

A rule is changed in steps, each safe to repeat:
asked for, in the database → entered, in the service's journal and in every commune's → pending: shorter, the purge and
reads obey it, and seals state the old one until nothing past the new limit is kept; longer, seals state it as far as
what is gone already lets them, a day more each day → settled.
The purge does the last three, every hour: what was cut short anywhere is finished by its next run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from journal.core.times import purgeable_through

if TYPE_CHECKING:
    from datetime import date

    from journal.database.admin import CategoryChange
    from journal.database.ingest import CategoryRow
    from journal.database.store import Store
    from journal.keys.store import KeyStore
    from journal.writing.chronicle import Chronicle

log = structlog.get_logger()


class RuleChanges:
    """Enters what was changed of categories, and settles rules that are pending."""

    def __init__(self, *, store: Store, keystore: KeyStore, chronicle: Chronicle) -> None:
        """Use the parts of the running service."""
        self._store = store
        self._keystore = keystore
        self._chronicle = chronicle

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
        """Settle what can be by now; return the categories of which nothing is pending any more."""
        settled: list[str] = []
        for category in await self._store.read_categories():
            if category.next_retention_days is None or self._keeps_a_key(category):
                continue
            if await self._store.settle_rule(category.code):
                log.info("a rule is in force", category=category.code, retention_days=category.next_retention_days)
                settled.append(category.code)
        return settled

    def _keeps_a_key(self, category: CategoryRow) -> bool:
        """Tell whether a fenced day's key is still there: its purge is not done, and no seal may say so."""
        fence = category.fence
        return fence is not None and any(day <= fence for day in self._keystore.day_keys(category.code))


def is_asked_for(category: CategoryRow, day: date) -> bool:
    """Tell whether a shorter rule, asked for when the day was old enough to go, is what lets it go.

    Who asked vouched for the clock of that day: the brake on days per run is for clocks, not for this. Nor is it for
    what is fenced: that is done only once the rule is settled, and counted again and again it would stop the rest.
    """
    days, since = category.next_retention_days, category.next_since
    if days is None or since is None or days >= category.stated_days:
        return False
    is_fenced = category.fence is not None and day <= category.fence
    return is_fenced or day <= purgeable_through(since, days)


def _describe(change: CategoryChange) -> dict[str, Any]:
    return {
        "change": "category changed",
        "label": change.label,
        "needs_authorisation": change.needs_authorisation,
        "retention_days": change.retention_days,
        "retention_days_before": change.retention_days_before,
    }
