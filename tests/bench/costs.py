"""Rates, and what an event costs in processor time: of the server, of PostgreSQL, of who sends.

On a machine that others use too a rate says little; what the processors have to do for an event varies much less.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from math import inf
from statistics import median
from typing import TYPE_CHECKING

from tests.bench.figures import say, show
from tests.bench.processor import seconds_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence


@dataclass(slots=True, kw_only=True)
class Found:
    """What was measured: events/s, and what an event costs in µs of processor."""

    rates: list[float] = field(default_factory=list)
    server: list[float] = field(default_factory=list)
    postgres: list[float] = field(default_factory=list)
    sending: list[float] = field(default_factory=list)

    async def measure_here(
        self, work: Awaitable[tuple[float, int]], postmaster: int, *, is_server: bool = False
    ) -> None:
        """Note the rate and the number of events that the work returns, and what they cost this process."""
        before = time.process_time(), seconds_of(postmaster)
        rate, events = await work
        here = 1e6 * (time.process_time() - before[0]) / events
        self.rates.append(rate)
        self.server.append(here if is_server else 0)
        self.sending.append(0 if is_server else here)
        self.postgres.append(1e6 * (seconds_of(postmaster) - before[1]) / events)

    def ceiling(self, processes: int, sessions: int) -> float:
        """Return how many events/s the processors allow, shared perfectly, where nothing else uses them.

        The server is so many processes, and works with so many sessions of PostgreSQL at once.
        """
        server, postgres = median(self.server), median(self.postgres)
        together = server + postgres + median(self.sending)
        bounds = [(os.cpu_count() or 1, together), (processes, server), (sessions, postgres)]
        return 1e6 * min(number / cost if cost else inf for number, cost in bounds)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table; "(a) …" is what those after it are compared with, as "(a)"."""

    title: str
    found: Found
    processes: int = 1
    sessions: int = 1


def table(rows: Sequence[Row]) -> None:
    """Print the rates, then what the processors had to do for them."""
    floors: list[tuple[float, str]] = []
    for row in rows:
        rate = show(row.title, "events/s", row.found.rates, compared=floors)
        floors += _named(row, rate)
    floors = []
    say(f"{'µs of processor an event':<44} {'server':>10} {'PostgreSQL':>10} {'sending':>10} {'allow/s':>10}")
    for row in rows:
        found, ceiling = row.found, row.found.ceiling(row.processes, row.sessions)
        parts = "".join(f" {median(part):>10.1f}" for part in (found.server, found.postgres, found.sending))
        ratios = "".join(f"  {ceiling / figure:5.2f} of {name}" for figure, name in floors)
        say(f"{row.title:<44}{parts} {ceiling:>10,.0f}{ratios}")
        floors += _named(row, ceiling)


def _named(row: Row, figure: float) -> list[tuple[float, str]]:
    is_floor = row.title.startswith("(")
    return [(figure, row.title[:3])] if is_floor else [(figure, "one worker")] if "1 worker" in row.title else []
