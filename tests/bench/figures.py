"""Figures as they are printed: least, median and most of several runs, and ratios to floors and peers of the same run.

What is printed is collected, for RESULTS.md.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

_printed: list[str] = []


def say(line: str = "") -> None:
    """Print a line."""
    print(line, flush=True)
    _printed.append(line)


def take_printed() -> list[str]:
    """Return what was printed since this was last asked."""
    lines = _printed.copy()
    _printed.clear()
    return lines


def show(
    title: str,
    unit: str,
    figures: Sequence[float],
    floor: float = 0,
    *,
    compared: Sequence[tuple[float, str]] = (),
    digits: int = 0,
) -> float:
    """Print one line, with ratios to the floor and to each (figure, name) compared; return the median."""
    median = statistics.median(figures)
    named = ([(floor, "its floor")] if floor else []) + [*compared]
    ratios = "".join(f"  {median / figure:5.2f} of {name}" for figure, name in named)
    values = "".join(f" {value:>10,.{digits}f}" for value in (min(figures), median, max(figures)))
    say(f"{title:<44}{values} {unit}{ratios}")
    return median


async def measure(title: str, unit: str, work: Callable[[], Awaitable[float]], runs: int, floor: float = 0) -> float:
    """Run the work several times and print what it returned; return the median."""
    return show(title, unit, [await work() for _ in range(runs)], floor)
