"""What a case of the campaign showed: figures that `tests/faults/REPORT.md` adds up, and a sentence for the eye."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.faults.oracle import Judgement

    Record = Callable[[str, object], None]

SHOWN: Final = "shown"
# No event in n trials excludes a rate above 3/n at 95 %.
BOUND: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """So many trials of a fault, and what the judge found.

    `broken` names the deliberate fault of a control, which must lose, repeat or be wrong; nothing for the product.
    `counts` are added up over cases; of `longest`, in seconds, the greatest is kept.
    """

    fault: str
    trials: int
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    broken: str = ""
    seed: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    longest: dict[str, float] = field(default_factory=dict)
    note: str = ""

    def __str__(self) -> str:
        """Return the sentence."""
        found = f"{self.lost} lost, {self.doubled} doubled, {self.wrong} otherwise wrong"
        title = f"{self.fault}, {self.broken}" if self.broken else self.fault
        bound = (
            "" if self.broken else f"; a fault in more than {bound_of(self.trials):.1%} of trials is excluded at 95 %"
        )
        more = "".join(f"; {told}" for told in (add_up([self]), self.note) if told)
        return f"{title}: {self.trials} trials, {self.acknowledged} events acknowledged: {found}{bound}{more}"


def bound_of(trials: int) -> float:
    """Return the rate above which a fault is excluded at 95 % where none was seen."""
    return min(1.0, BOUND / trials)


def add_up(shown: Sequence[Shown]) -> str:
    """Say the counts and the longest times of some cases together."""
    counts: Counter[str] = Counter()
    longest: dict[str, float] = {}
    for each in shown:
        counts.update(each.counts)
        longest |= {name: max(seconds, longest.get(name, 0.0)) for name, seconds in each.longest.items()}
    told = [f"{count:,} {name}" for name, count in counts.items()]
    return ", ".join([*told, *(f"{name} at most {seconds:.1f} s" for name, seconds in longest.items())])


def show(record: Record, fault: str, trials: int, verdict: Judgement, **more: Any) -> Shown:
    """Record what the judge found after so many trials of a fault."""
    shown = Shown(
        fault=fault,
        trials=trials,
        acknowledged=verdict.acknowledged,
        lost=len(verdict.lost),
        doubled=len(verdict.duplicated),
        wrong=len(verdict.wrong),
        **more,
    )
    tell(record, shown)
    return shown


def tell(record: Record, shown: Shown) -> None:
    """Record it for the report, and for the last lines of a run."""
    record(SHOWN, json.dumps(asdict(shown)))
    record("evidence", str(shown))
