"""The installation that is measured: communes, and events to submit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from journal.core import canonical
from journal.core.entry import Compartment, Event
from journal.core.times import format_time

if TYPE_CHECKING:
    from journal.cli.installation import Installation

CATEGORY = "ecrits"
CHAINS = 500
SOURCE = "/openepm/bench"
# In canonical JSON: making one must cost little beside recording it.
EVENT = canonical.encode(
    {
        "data": {
            "actor": {"account": "%b", "name": "Zoé Vidal", "role": "agent"},
            "justification": "Relecture avant transmission au chef de service",
            "outcome": "success",
        },
        "id": "%b",
        "source": SOURCE,
        "specversion": "1.0",
        "subject": "MC-2026-0001",
        "time": "%b",
        "type": "fr.openepm.journal.consultation",
    }
)


class Site:
    """One installation, and what is submitted to it."""

    def __init__(self, installation: Installation, dsn: str) -> None:
        """Measure this one."""
        self.installation = installation
        self.service = installation.service
        self.dsn = dsn
        self._number = 0

    async def add_communes(self, count: int) -> None:
        """Make the communes t0, t1 and so on."""
        await self.installation.maintenance.prepare()
        for number in range(count):
            await self.installation.administration.add_tenant(f"t{number}", f"Commune {number}")

    def compartment(self, number: int, category: str = CATEGORY) -> Compartment:
        """Return the compartment of one of them."""
        return Compartment(self.service.name, f"t{number}", category)

    async def submit(self, compartment: Compartment, events: list[Event]) -> None:
        """Record events."""
        await self.service.writer.submit(compartment, "bench", events, 0)

    async def size(self, number: int = 0) -> int:
        """Return how many entries a compartment has."""
        rows = await self.service.store.read_heads([f"t{number}"], [CATEGORY])
        return rows[0].size

    def make(self, count: int, *, account: str = "z.vidal") -> list[Event]:
        """Return new events of the moment, of the usual size."""
        now = self.service.clock.now()
        first, self._number = self._number + 1, self._number + count
        moment, of = format_time(now).encode(), account.encode()
        names = [f"e{number:09d}" for number in range(first, first + count)]
        return [Event(SOURCE, name, now, "consultation", EVENT % (of, name.encode(), moment)) for name in names]
