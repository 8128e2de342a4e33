"""Figures as they are printed: least, median and most of several runs, and the ratio to a floor of the same run."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence


def show(title: str, unit: str, figures: Sequence[float], floor: float = 0, *, digits: int = 0) -> float:
    """Print one line; return the median."""
    median = statistics.median(figures)
    ratio = f"  {median / floor:5.2f} of its floor" if floor else ""
    least, most = min(figures), max(figures)
    print(f"{title:<44} {least:>10,.{digits}f} {median:>10,.{digits}f} {most:>10,.{digits}f} {unit}{ratio}", flush=True)
    return median


async def measure(title: str, unit: str, work: Callable[[], Awaitable[float]], runs: int, floor: float = 0) -> float:
    """Run the work several times and print what it returned; return the median."""
    return show(title, unit, [await work() for _ in range(runs)], floor)
