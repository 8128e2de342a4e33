"""One of several processes that append to the same chains at once: `python -m tests.support.appending DSN SEED`.

It appends as the service does (heads in memory, amended by what the database answers) and prints, one a line, the key
of every event whose recording it was told of.
"""

from __future__ import annotations

import asyncio
import random
import sys
from time import monotonic
from typing import TYPE_CHECKING

from journal.core.errors import UnavailableError
from journal.database.heads import HeadRow
from journal.database.store import Store
from tests.support.chains import CATEGORY, Pending, advanced, batch, durable, keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from journal.database.ingest import AppendBatch, AppendResult

CHAINS = 6
ROUNDS = 40
UNAVAILABLE_SECONDS = 60
OPTIMISTIC_TRIES = 3
TENANTS = [f"commune-{number}" for number in range(CHAINS)]


class Appending:
    """The heads as this process believes them, and what it was told is recorded."""

    def __init__(self, store: Store, seed: int) -> None:
        """Know nothing yet; `seed` decides which events."""
        self.store = store
        self.random = random.Random(seed)
        self.heads: dict[str, HeadRow] = {}
        self.recorded: list[str] = []
        self.losses = 0

    async def run(self, rounds: int = ROUNDS) -> None:
        """Append many small batches over some of the chains; half of the events are everyone's."""
        await self.relearn()
        for number in range(rounds):
            wanted = {
                tenant: [self.draw(number) for _ in range(self.random.randint(1, 5))]
                for tenant in self.random.sample(TENANTS, self.random.randint(1, CHAINS))
            }
            await self.settle({tenant: list(dict.fromkeys(names)) for tenant, names in wanted.items()})

    def draw(self, number: int) -> str:
        """Name an event: one that the other processes also have, or one of our own."""
        if self.random.random() < 0.5:
            return f"shared-{number}-{self.random.randint(1, 4)}"
        return f"own-{self.random.getrandbits(64):x}"

    async def learn(self) -> None:
        """Read every head again."""
        rows = await self.store.read_heads(TENANTS, [CATEGORY] * CHAINS)
        self.heads = {row.tenant: row for row in rows}

    async def settle(self, wanted: dict[str, list[str]]) -> None:
        """Repeat until every event is recorded, by us or by another."""
        tries = 0
        while any(wanted.values()):
            places = [(tenant, name) for tenant, names in wanted.items() for name in names]
            try:
                made, result = await self.attempt(wanted, locked=tries >= OPTIMISTIC_TRIES)
            except UnavailableError:
                self.losses += 1
                await self.relearn()
                continue
            if result.answer == "appended":
                if not await self.durable(result):
                    continue
                for place, tenant in enumerate(made.chain_tenant, start=1):
                    self.heads[tenant] = advanced(self.heads[tenant], made, place)
                self.recorded += [f"{tenant} {name}" for tenant, name in places]
                return
            tries += 1
            for moved in result.moved:
                tenant = made.chain_tenant[moved.position - 1]
                self.heads[tenant] = HeadRow(
                    tenant=tenant,
                    category=CATEGORY,
                    size=moved.size,
                    chain_hash=moved.chain_hash,
                    recorded_at=moved.recorded_at,
                    kept_from=0,
                    retention_days=60,
                )
            for known in result.known:
                tenant, name = places[known.position - 1]
                wanted[tenant].remove(name)
                self.recorded.append(f"{tenant} {name}")
            assert result.answer in {"conflict", "known", "clock"}, result

    async def durable(self, result: AppendResult) -> bool:
        """Wait until what was appended is durable; False, with the heads read anew, where that is not known."""
        try:
            await durable(result)
        except UnavailableError:
            self.losses += 1
            await self.relearn()
            return False
        return True

    async def relearn(self) -> None:
        """Read the heads once the database answers again. UnavailableError where it does not for a minute."""
        deadline = monotonic() + UNAVAILABLE_SECONDS
        while True:
            try:
                return await self.learn()
            except UnavailableError:
                self.losses += 1
                if monotonic() > deadline:
                    raise

    async def attempt(self, wanted: dict[str, list[str]], *, locked: bool) -> tuple[AppendBatch, AppendResult]:
        """Append once: from the heads in memory, or from the true ones under their lock."""
        tenants = [tenant for tenant, names in wanted.items() if names]
        now = await self.store.read_now()
        if not locked:
            made = batch([(self.heads[tenant], events(tenant, wanted)) for tenant in tenants], now)
            return made, await self.store.append(made)
        made_under_lock: list[AppendBatch] = []

        def build(rows: list[HeadRow]) -> AppendBatch:
            self.heads.update({row.tenant: row for row in rows})
            made_under_lock.append(batch([(row, events(row.tenant, wanted)) for row in rows], now))
            return made_under_lock[-1]

        result = await self.store.append_locked(tenants, [CATEGORY] * len(tenants), build)
        assert result.answer != "conflict"
        return made_under_lock[-1], result


def events(tenant: str, wanted: dict[str, list[str]]) -> list[Pending]:
    """Return a chain's events: one name is one event in each chain."""
    return keys(*(f"{tenant} {name}" for name in wanted[tenant]))


def parse(lines: str) -> Iterator[str]:
    """Yield what a process printed."""
    yield from lines.splitlines()


async def main(dsn: str, seed: int) -> None:
    """Append, then say what is recorded."""
    async with await Store.connect(dsn, application=f"appending {seed}") as store:
        appending = Appending(store, seed)
        await appending.run()
    sys.stdout.write("\n".join(appending.recorded) + "\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
