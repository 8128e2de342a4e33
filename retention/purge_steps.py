"""The steps of the purge, in their one order, and what may be told of each.

Where a purge stands is in the database: a category's fence says what was begun, `purged_day` what is wholly done,
`purge_span` what went and is no entry yet; partitions and key files say the rest. So no step remembers anything: a run
that was cut short is taken up by the next one from its first step, and every step that was done finds nothing to do.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date


class Step(Enum):
    """One step; its value is what an operator reads while it is under way."""

    RECORD_EARLIER = "recording what an earlier run took"
    RECORD_CHANGES = "recording what was changed of categories"
    CLOSE_DAYS = "sealing the days that are over"

    CHECK_SEAL = "checking the close seal"
    HAND_OVER = "checking the hand-over"
    FENCE_DATABASE = "raising the fence in the database"
    FENCE_KEYS = "raising the fence in the key store"
    DROP_ROWS = "dropping the rows"
    SHRED_KEY = "shredding the key"
    MOVE_BASE = "moving the base of the chains"

    SETTLE_RULES = "settling the rules that were changed"
    SEAL = "sealing what went"
    RECORD = "recording what went"
    RECORD_ALARMS = "recording alarms"


# A run is the first, then for each day that is due the second, then the third. What an earlier run has not recorded
# comes before anything else: it must not be mixed with what goes now.
BEFORE_DAYS: Final = (Step.RECORD_EARLIER, Step.RECORD_CHANGES, Step.CLOSE_DAYS)
OF_A_DAY: Final = (
    Step.CHECK_SEAL,
    Step.HAND_OVER,
    Step.FENCE_DATABASE,
    Step.FENCE_KEYS,
    Step.DROP_ROWS,
    Step.SHRED_KEY,
    Step.MOVE_BASE,
)
AFTER_DAYS: Final = (Step.SETTLE_RULES, Step.SEAL, Step.RECORD, Step.RECORD_ALARMS)


@dataclass(frozen=True, slots=True, kw_only=True)
class DueDay:
    """A day of a category that the rule allows to go; `retention_days` is the rule that seals state."""

    category: str
    day: date
    retention_days: int
    asked_for: bool = False  # by a shorter rule that is pending: not a matter of the clock
    begun: bool = False  # behind the fence already: nothing can be read of it any more
    again: bool = False  # wholly purged once: a backup has brought back rows or a key
    forgotten: bool = False  # the key store alone knows that it is destroyed: a backup has brought back the database


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """Where a run is: about to take a step, or done with it. `due` is None where the step is about no single day."""

    step: Step
    due: DueDay | None
    is_done: bool


if TYPE_CHECKING:
    OnStep = Callable[[Boundary], None]


class Choice:
    """Which due days a run takes, oldest first: so many of each category, and none after one that stays.

    A fence has all days before it behind it: what is later than a day that stays must stay as well.
    """

    def __init__(self, max_days: int | None) -> None:
        """Take `max_days` of each category, beside what a shorter rule asks for; None: all."""
        self._max_days = max_days
        self._taken: Counter[str] = Counter()
        self._held: set[str] = set()

    def takes(self, due: DueDay) -> bool:
        """Tell whether the run goes on to this day; to be asked once for each, in order."""
        # No clock can be wrong about what is behind its fence.
        self._taken[due.category] += not (due.asked_for or due.begun)
        return not self.is_held(due) and (self._max_days is None or self._taken[due.category] <= self._max_days)

    def is_held(self, due: DueDay) -> bool:
        """Tell whether a day before it stays."""
        return due.category in self._held

    def hold(self, due: DueDay) -> None:
        """Leave the later days of its category: this one stays."""
        self._held.add(due.category)
