"""Counters, gauges and histograms in memory shared by the processes of a service; each of them can add them up.

Each process has a row of numbers and writes only to it, so counting needs no lock and costs one addition. The memory
has no file name: a killed process leaves nothing behind. All values of a label are declared before counting, so no part
of a request can become a label.

Not thread-safe: a process counts on its event loop.
"""

from __future__ import annotations

import mmap
import os
import zlib
from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate, product
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Kind = Literal["counter", "gauge", "histogram"]
Merge = Literal["sum", "max"]

CELL_BYTES = 8
ROW_BYTES = 64 * 1024
ROW_CELLS = ROW_BYTES // CELL_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The value of a counter or gauge, or the sum of a histogram with its `buckets` (upper bound, cumulative count)."""

    labels: tuple[str, ...]
    value: float
    buckets: tuple[tuple[float, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A metric with all its samples."""

    name: str
    help: str
    kind: Kind
    labels: tuple[str, ...]
    samples: list[Sample]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Declared:
    """The place of a metric in every row: `width` cells at `places[label values]`."""

    name: str
    help: str
    kind: Kind
    merge: Merge
    labels: tuple[str, ...]
    places: Mapping[tuple[str, ...], int]
    bounds: tuple[float, ...]

    @property
    def width(self) -> int:
        return len(self.bounds) + 2 if self.kind == "histogram" else 1


class Counter:
    """A value that only grows."""

    __slots__ = ("_places", "_row")

    def __init__(self, row: memoryview[float], declared: _Declared) -> None:
        """Count in the row of this process."""
        self._row = row
        self._places = declared.places

    def add(self, amount: float, *labels: str) -> None:
        """Add `amount`. KeyError if a label's value was not declared."""
        self._row[self._places[labels]] += amount


class Gauge:
    """A value that may rise and fall."""

    __slots__ = ("_places", "_row")

    def __init__(self, row: memoryview[float], declared: _Declared) -> None:
        """Write to the row of this process."""
        self._row = row
        self._places = declared.places

    def set(self, value: float, *labels: str) -> None:
        """Set the value. KeyError if a label's value was not declared."""
        self._row[self._places[labels]] = value


class Histogram:
    """Counts of observations by size, and their sum."""

    __slots__ = ("_bounds", "_places", "_row")

    def __init__(self, row: memoryview[float], declared: _Declared) -> None:
        """Count in the row of this process."""
        self._row = row
        self._places = declared.places
        self._bounds = declared.bounds

    def observe(self, value: float, *labels: str) -> None:
        """Count one observation. KeyError if a label's value was not declared."""
        place = self._places[labels]
        self._row[place] += value
        self._row[place + 1 + bisect_left(self._bounds, value)] += 1


def make_shared_memory(processes: int) -> int:
    """Make memory for the rows of this many processes; return its descriptor, which each of them inherits."""
    descriptor = os.memfd_create("openepm-journal-metrics")
    os.ftruncate(descriptor, processes * ROW_BYTES)
    return descriptor


class Metrics:
    """The metrics of one process, declared in the same order in every process that shares its memory.

    The first number of a row is a checksum of the declarations: rows that differ (of a process that is still starting,
    or absent) are skipped.
    """

    def __init__(self, descriptor: int | None = None, row: int = 0) -> None:
        """Count in the given row of shared memory; without a descriptor, for this process alone."""
        memory = mmap.mmap(-1, ROW_BYTES) if descriptor is None else mmap.mmap(descriptor, 0)
        cells = memoryview(memory).cast("d")
        self._rows = [cells[start : start + ROW_CELLS] for start in range(0, len(cells), ROW_CELLS)]
        self._row = self._rows[row]
        self._declared: dict[str, _Declared] = {}
        self._next = 1
        self._checksum = 0

    def counter(self, name: str, text: str, **labels: Sequence[str]) -> Counter:
        """Declare a counter (`…_total`) and every value of each label; a second call returns the same metric."""
        return Counter(self._row, self._declare(name, text, "counter", "sum", labels))

    def gauge(self, name: str, text: str, *, merge: Merge = "sum", **labels: Sequence[str]) -> Gauge:
        """Declare a gauge; the value of the service is the sum or the maximum of its processes'."""
        return Gauge(self._row, self._declare(name, text, "gauge", merge, labels))

    def histogram(self, name: str, text: str, bounds: Sequence[float], **labels: Sequence[str]) -> Histogram:
        """Declare a histogram with these upper bounds, in order, and a last bucket without bound."""
        return Histogram(self._row, self._declare(name, text, "histogram", "sum", labels, tuple(bounds)))

    def collect(self) -> list[Family]:
        """Return every metric over all processes."""
        rows = self._counting()
        return [
            Family(
                name=declared.name,
                help=declared.help,
                kind=declared.kind,
                labels=declared.labels,
                samples=[_sample(rows, declared, labels) for labels in declared.places],
            )
            for declared in self._declared.values()
        ]

    def total(self, name: str) -> float:
        """Return the value of a metric without labels over all processes."""
        return _sample(self._counting(), self._declared[name], ()).value

    def processes(self) -> int:
        """Return the number of processes that count."""
        return len(self._counting())

    def _counting(self) -> list[memoryview[float]]:
        return [row for row in self._rows if row[0] == self._checksum]

    def _declare(  # noqa: PLR0917  # a private helper
        self,
        name: str,
        text: str,
        kind: Kind,
        merge: Merge,
        labels: Mapping[str, Sequence[str]],
        bounds: tuple[float, ...] = (),
    ) -> _Declared:
        if name in self._declared:
            return self._declared[name]
        width = len(bounds) + 2 if kind == "histogram" else 1
        sets = list(product(*labels.values()))
        declared = _Declared(
            name=name,
            help=text,
            kind=kind,
            merge=merge,
            labels=tuple(labels),
            places={values: self._next + number * width for number, values in enumerate(sets)},
            bounds=bounds,
        )
        self._next += len(sets) * width
        assert self._next <= ROW_CELLS, "make the rows longer"
        self._declared[name] = declared
        self._checksum = zlib.crc32(repr((name, sets, bounds)).encode(), self._checksum)
        self._row[0] = self._checksum
        return declared


def _sample(rows: Sequence[memoryview[float]], declared: _Declared, labels: tuple[str, ...]) -> Sample:
    place = declared.places[labels]
    merge = max if declared.merge == "max" else sum
    value, *counts = [merge(row[place + offset] for row in rows) for offset in range(declared.width)]
    bounds = (*declared.bounds, float("inf")) if counts else ()
    buckets = tuple(zip(bounds, (int(count) for count in accumulate(counts)), strict=True))
    return Sample(labels=labels, value=value, buckets=buckets)
