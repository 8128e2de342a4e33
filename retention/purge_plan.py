"""What a purge would take now, what would stay, and why: a read-only preview."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from retention.policy import goes_at
from retention.purge_steps import Choice, DueDay

if TYPE_CHECKING:
    from datetime import datetime

    from journal.database.store import Store
    from journal.keys.store import KeyStore
    from retention.purge import Purger


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedDay:
    """A day that is due: its size, and whether a run takes it.

    It stays where it waits for its hand-over to the communes `waits_for`, where an earlier day of its category waits,
    and where it is beyond the number of days that a run takes. Those `unconfirmed` have been given it, and have not
    confirmed that they can open what is handed over to them.
    """

    due: DueDay
    entries: int
    compartments: int
    disk_bytes: int
    has_key: bool
    is_sealed: bool  # by its close seal; a run makes that first
    gone_before: datetime
    waits_for: tuple[str, ...] = ()
    unconfirmed: tuple[str, ...] = ()
    waits_until: datetime | None = None
    is_held: bool = False  # by a day before it that waits
    is_beyond: bool = False

    @property
    def waits(self) -> bool:
        """Whether it waits for a hand-over, its own or that of an earlier day."""
        return bool(self.waits_for) or self.is_held

    @property
    def is_gone(self) -> bool:
        """Whether a shorter rule already purged it: it stays due until all days that the rule covers are gone."""
        return self.due.asked_for and not (self.entries or self.disk_bytes or self.has_key)

    @property
    def goes(self) -> bool:
        """Whether a run takes it."""
        return not self.waits and not self.is_beyond


async def plan(purger: Purger, store: Store, keystore: KeyStore, *, max_days: int | None) -> list[PlannedDay]:
    """Return every day that is due, oldest first, as a run with this `max_days` would find it."""
    choice = Choice(max_days)
    days: list[PlannedDay] = []
    for due in await purger.due():
        is_held, is_taken = choice.is_held(due), choice.takes(due)
        until = await purger.waits_until(due) if is_taken else None
        waits_for = await purger.waiting(due) if until is not None else []
        if waits_for:
            choice.hold(due)
        figures = await store.day_figures(due.category, due.day)
        days.append(
            PlannedDay(
                due=due,
                entries=figures.count,
                compartments=figures.chains,
                disk_bytes=figures.disk_bytes,
                is_sealed=await store.close_seal(due.day) is not None,
                has_key=due.day in keystore.day_keys(due.category),
                gone_before=goes_at(due.day, due.retention_days),
                waits_for=tuple(waits_for),
                unconfirmed=tuple(await purger.unconfirmed(due) if waits_for else ()),
                waits_until=until,
                is_held=is_held,
                is_beyond=not is_taken and not is_held,
            )
        )
    return days
