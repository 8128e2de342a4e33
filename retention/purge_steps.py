"""The steps of the purge, their order, and how progress is reported.

The progress of a purge is in the database: a category's fence tells what was begun, `purged_day` what is complete,
`purge_span` what no entry records yet; partitions and key files tell the rest. Steps keep no state: after a run that
was cut short, the next one starts at the first step, and steps already done find nothing to do.
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
    """One step; its value is shown to the operator while it runs."""

    RECORD_EARLIER = "recording what an earlier run purged"
    RECORD_CHANGES = "recording changes of categories"
    CLOSE_DAYS = "sealing the days that are over"

    CHECK_SEAL = "checking the close seal"
    HAND_OVER = "checking the hand-over"
    FENCE_DATABASE = "raising the fence in the database"
    FENCE_KEYS = "raising the fence in the key store"
    DROP_ROWS = "dropping the rows"
    SHRED_KEY = "shredding the key"
    MOVE_BASE = "moving the base of the chains"

    SETTLE_RULES = "settling changed rules"
    SEAL = "sealing the purge"
    RECORD = "recording the purge"
    RECORD_ALARMS = "recording alarms"


# A run takes the first group, then the second for each due day, then the third. What an earlier run did not record
# comes first: it must not be mixed with what is purged now.
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
    """A day of a category that the rule allows to purge; `retention_days` is the rule stated in seals."""

    category: str
    day: date
    retention_days: int
    asked_for: bool = False  # by a pending shorter rule: does not depend on the clock
    begun: bool = False  # behind the fence: it can no longer be read
    again: bool = False  # purged before: a backup has brought back rows or a key
    forgotten: bool = False  # only the key store knows that it is destroyed: the database was restored


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """Progress of a run: about to take a step, or done with it. `due` is None for steps about no single day."""

    step: Step
    due: DueDay | None
    is_done: bool


if TYPE_CHECKING:
    OnStep = Callable[[Boundary], None]


class Choice:
    """Selects the due days that a run takes, oldest first: a number of each category, none after one that stays.

    A fence covers all days before it, so every day later than one that stays must stay too.
    """

    def __init__(self, max_days: int | None) -> None:
        """Take `max_days` of each category, besides those a shorter rule asks for; None: all."""
        self._max_days = max_days
        self._taken: Counter[str] = Counter()
        self._held: set[str] = set()

    def takes(self, due: DueDay) -> bool:
        """Tell whether the run takes this day; call once for each, in order."""
        # The limit guards against a wrong clock; these do not depend on it.
        self._taken[due.category] += not (due.asked_for or due.begun)
        return not self.is_held(due) and (self._max_days is None or self._taken[due.category] <= self._max_days)

    def is_held(self, due: DueDay) -> bool:
        """Tell whether an earlier day of its category stays."""
        return due.category in self._held

    def hold(self, due: DueDay) -> None:
        """Keep this day, and the later ones of its category."""
        self._held.add(due.category)
