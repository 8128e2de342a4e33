"""What administrative facts cost: a start, one change, a revocation seen elsewhere, with few communes and with many.

`python -m tests.bench.facts --communes 4000 --credentials 5`: communes and credentials are put into the database and
the ledger in bulk, as restored facts are confirmed; then each figure is taken several times, and its median shown.
"""

from __future__ import annotations

import argparse
import secrets
import tempfile
import time
from datetime import UTC, datetime
from statistics import median
from typing import TYPE_CHECKING

import asyncpg
import uvloop

from journal.cli.installation import open_database, open_service, prepare
from journal.clock import SystemClock
from journal.core.chain import genesis
from journal.core.entry import Compartment
from journal.database.store import Store
from journal.keys.store import open_facts, open_keystore
from journal.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from journal.cli.installation import Installation

RUNS = 9
NO_HASH = bytes(32)


async def fill(dsn: str, settings: Settings, communes: int, credentials: int) -> None:
    """Add communes and credentials in bulk, and have them vouched for."""
    keystore = open_keystore(settings)
    async with open_service(dsn, settings, SystemClock()) as installation:
        name, categories = installation.service.name, [row.code for row in installation.service.snapshot.categories()]
    codes = [f"commune-{number}" for number in range(communes)]
    for code in codes:
        keystore.make_tenant_key(code)
    now = datetime.now(UTC)
    owner = await asyncpg.connect(dsn)
    try:
        chains = [
            (code, category, genesis(Compartment(name, code, category).origin).chain_hash)
            for code in codes
            for category in categories
        ]
        await owner.copy_records_to_table(
            "tenant",
            schema_name="journal",
            columns=["code", "name", "created_at"],
            records=[(c, c, now) for c in codes],
        )
        await owner.copy_records_to_table(
            "chain", schema_name="journal", columns=["tenant", "category", "genesis"], records=chains
        )
        await owner.copy_records_to_table(
            "head",
            schema_name="journal",
            columns=["tenant", "category", "chain_hash", "size", "kept_from"],
            records=[(*chain, 0, 0) for chain in chains],
        )
        await owner.copy_records_to_table(
            "credential",
            schema_name="journal",
            columns=["id", "secret_hash", "role", "tenant", "categories", "label", "created_at"],
            records=[
                (secrets.token_hex(6), NO_HASH, "auditor", code, categories[:1], "", now)
                for code in codes
                for _ in range(credentials)
            ],
        )
    finally:
        await owner.close()
    facts = open_facts(keystore, SystemClock())
    async with await Store.connect(dsn, application="bench", facts=facts) as store:
        await store.confirm_facts({key: fact.digest for key, fact in (await store.suspended_facts()).items()})


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    """Return how many milliseconds it takes."""
    started_at = time.perf_counter()
    await work()
    return (time.perf_counter() - started_at) * 1000


def show(what: str, figures: list[float]) -> None:
    """Print a line: least, median, most."""
    print(f"{what:<44} {min(figures):>10.1f} {median(figures):>10.1f} {max(figures):>10.1f} ms", flush=True)


async def measure(dsn: str, settings: Settings) -> None:
    """Measure a start, changes, and how long a revocation takes to be seen by another process."""

    async def start() -> None:
        async with open_service(dsn, settings, SystemClock()):
            pass

    show("start: open the service", [await timed(start) for _ in range(3)])
    async with open_service(dsn, settings, SystemClock()) as one, open_service(dsn, settings, SystemClock()) as two:
        administration = one.administration
        await one.maintenance.prepare()
        run = secrets.token_hex(3)

        async def add(number: int) -> None:
            await administration.add_tenant(f"new-{run}-{number}", "Nouvelle")

        show("tenant add", [await timed(lambda number=number: add(number)) for number in range(RUNS)])  # type: ignore[misc]  # bound now
        change = one.service.store.set_category
        labels = [f"Libellé {number}" for number in range(RUNS)]
        show(
            "one change of a category (store alone)",
            [await timed(lambda label=label: change("ecrits", label=label, instruction="I-1")) for label in labels],  # type: ignore[misc]  # bound now
        )
        show(
            "read everything again",
            [await timed(lambda: two.service.snapshot.refresh(whole=True)) for _ in range(RUNS)],
        )
        show("seen by another process", [await revoked(one, two, f"new-{run}-0") for _ in range(RUNS)])


async def revoked(one: Installation, two: Installation, tenant: str) -> float:
    """Return how many milliseconds after a revocation another process refuses the credential."""
    credentials = one.administration.credentials
    identifier, _ = await credentials.add(role="auditor", tenant=tenant, categories=["ecrits"])
    while two.service.snapshot.credential(identifier) is None:
        await one.service.clock.sleep(0.01)
    await one.service.store.revoke_credential(identifier)
    started_at = time.perf_counter()
    while (row := two.service.snapshot.credential(identifier)) is not None and row.revoked_at is None:
        await one.service.clock.sleep(0.005)
    return (time.perf_counter() - started_at) * 1000


async def run(communes: int, credentials: int) -> None:
    """Measure a temporary installation."""
    with tempfile.TemporaryDirectory(prefix="oej-bench-") as home:
        settings = Settings(home=home)
        async with open_database(settings) as dsn:
            await prepare(dsn, settings, SystemClock())
            await fill(dsn, settings, communes, credentials)
            print(
                f"{communes} communes, {communes * credentials} credentials {'least':>18} {'median':>10} {'most':>10}"
            )
            await measure(dsn, settings)


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.facts", description=__doc__)
    parser.add_argument("--communes", type=int, default=4_000)
    parser.add_argument("--credentials", type=int, default=5, help="of each commune")
    arguments = parser.parse_args()
    uvloop.run(run(arguments.communes, arguments.credentials))


if __name__ == "__main__":
    main()
