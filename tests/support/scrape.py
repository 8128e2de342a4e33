"""A scrape, read by Prometheus's own parsers: every test that reads the metrics also proves that others can."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web
from prometheus_client.openmetrics import parser as open_metrics
from prometheus_client.parser import text_string_to_metric_families

from ingest.app import create_app
from ingest.server import Runner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from prometheus_client.core import Metric

    from journal.service import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrape:
    """What one scrape says."""

    families: list[Metric]

    @classmethod
    def read(cls, text: str) -> Scrape:
        """Read Prometheus's text."""
        return cls(families=list(text_string_to_metric_families(text)))

    @classmethod
    def read_open(cls, text: str) -> Scrape:
        """Read OpenMetrics, whose parser is strict."""
        return cls(families=list(open_metrics.text_string_to_metric_families(text)))  # type: ignore[no-untyped-call]

    def names(self) -> set[str]:
        """Return the names of all samples."""
        return {sample.name for family in self.families for sample in family.samples}

    def labels(self) -> dict[str, set[str]]:
        """Return every label with all its values."""
        found: dict[str, set[str]] = {}
        for family in self.families:
            for sample in family.samples:
                for name, value in sample.labels.items():
                    found.setdefault(name, set()).add(value)
        return found

    def series(self, name: str) -> dict[tuple[str, ...], float]:
        """Return the values of a sample's name, by the values of its labels in the order of their names."""
        return {
            tuple(value for _, value in sorted(sample.labels.items())): sample.value
            for family in self.families
            for sample in family.samples
            if sample.name == f"openepm_journal_{name}"
        }

    def value(self, name: str, *labels: str) -> float:
        """Return one value; KeyError where there is none."""
        return self.series(name)[labels]


def growth(before: Scrape, after: Scrape, names: Iterable[str]) -> dict[str, dict[tuple[str, ...], float]]:
    """Return by how much each series of these names grew, those that did."""
    grown = {}
    for name in names:
        earlier = before.series(name)
        grown[name] = {
            labels: value - earlier.get(labels, 0)
            for labels, value in after.series(name).items()
            if value != earlier.get(labels, 0)
        }
    return grown


@asynccontextmanager
async def listening(service: Service) -> AsyncIterator[aiohttp.ClientSession]:
    """Put a service behind HTTP, and give who asks it."""
    runner = Runner(create_app(service))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:
            yield session
    finally:
        await runner.cleanup()


async def scrape(session: aiohttp.ClientSession) -> Scrape:
    """Scrape once."""
    async with session.get("/metrics") as answer:
        assert answer.status == 200
        return Scrape.read(await answer.text())
