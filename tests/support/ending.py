"""What tests of the end of a contract share: a commune that leaves, its export opened, its record checked."""

from __future__ import annotations

import json
import subprocess
from contextlib import asynccontextmanager, contextmanager
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

import pytest

from journal.core.canonical import encode
from journal.document import makers
from journal.pki.certificates import der_to_pem
from retention.outbox import Outbox
from tests.support.communes import commune, opened
from tests.support.documents import start_nothing
from tests.support.world import DAY, FIRST, OTHER_TENANT, SERVICE, TENANT, World, copied, new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from journal.cli.installation import Installation
    from journal.database.embedded import EmbeddedPostgres
    from journal.extract.report import Report
    from tests.support.authority import Holder

HOLDER = commune()
PEM = der_to_pem([HOLDER.certificate])


@copied
@asynccontextmanager
async def lived_world(postgres: EmbeddedPostgres, home: Path) -> AsyncIterator[World]:
    """Two communes with entries of three days in two categories, and a key store with a replica."""
    async with new_world(postgres, home, keystore_replicas=[str(home / "replica")]) as world:
        for number in range(3):
            await world.travel_to(FIRST + number * DAY)
            for tenant in (TENANT, OTHER_TENANT):
                await world.record(3, tenant=tenant)
                await world.record(2, tenant=tenant, category="ecrits")
        yield world


def check_signed(world: World, content: Path, signature: Path) -> dict[str, Any]:
    """Check a signed file with openssl, now, as its reader does; return what it says."""
    subprocess.run(
        ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", signature, "-content", content,
         "-CAfile", world.settings.trust_path, "-attime", str(int(world.clock.now().timestamp())),
         "-out", "/dev/null"],
        check=True, capture_output=True,
    )  # fmt: skip
    value: dict[str, Any] = json.loads(content.read_bytes())
    assert encode(value) == content.read_bytes()
    return value


def open_export(world: World, root: Path, *, tenant: str = TENANT, holder: Holder = HOLDER) -> dict[str, list[Report]]:
    """Open an export as the commune does, and verify all of it: by category, in the order of days."""
    directory = root / f"{tenant}.export"
    inventory = check_signed(world, directory / f"{tenant}_export.json", directory / f"{tenant}_export.json.p7s")
    assert (inventory["format"], inventory["service"], inventory["tenant"]) == (
        "openepm-journal/export/v1", SERVICE, tenant,
    )  # fmt: skip
    there = {path.name for path in directory.iterdir() if path.suffix == ".p7m"}
    assert there == {file["name"] for file in inventory["files"]}
    assert not list(directory.glob("*.part"))
    ends: dict[str, dict[str, Any]] = {}
    reports: dict[str, list[Report]] = {}
    for file in inventory["files"]:
        extract = opened(directory / file["name"], holder, root)
        report = world.verify(extract)
        found = report.manifest
        assert (found.origin, found.withheld, found.requester) == (file["origin"], 0, "remise en fin de contrat")
        assert (found.base.size, found.head.size) == (file["base"]["size"], file["head"]["size"])
        # Each begins where the one before ended.
        assert ends.get(found.origin, file["base"]) == file["base"]
        ends[found.origin] = file["head"]
        reports.setdefault(found.origin.rpartition("/")[2], []).append(report)
    for chain in inventory["chains"]:
        head = {"chain_hash": chain["chain_hash"], "size": chain["size"]}
        assert ends.get(chain["origin"], head) == head
    return reports


async def destroy(world: World, tenant: str = TENANT) -> dict[str, Any]:
    """Destroy a closed commune; return the record."""
    record = await world.installation.destruction.run(tenant, lambda _: None)
    value: dict[str, Any] = json.loads(record)
    assert encode(value) == record
    return value


async def rows_of(world: World, tenant: str = TENANT) -> int:
    """Count a commune's entries in the tables, independent of the heads."""
    async with world.superuser() as superuser:
        count: int = await superuser.fetchval("SELECT count(*) FROM journal.entry WHERE tenant = $1", tenant)
    return count


def make_no_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let extracts go without their documents, which takes a tenth of the time, and proves as much."""
    monkeypatch.setattr(makers, "start_origin", start_nothing)


class StopError(Exception):
    """A process ends here."""


@contextmanager
def interrupted(installation: Installation, step: str, *, happened: bool) -> Iterator[None]:
    """End the process at a step, `part.method`: before it happened, or after, and before anybody knows."""
    name, _, method = step.rpartition(".")
    part = {
        "store": installation.service.store,
        "writer": installation.service.writer,
        "sealer": installation.service.sealer,
        "keystore": installation.service.keyring.keystore,
        "outbox": Outbox,
    }[name]
    real = getattr(part, method)

    async def stop(*arguments: Any, **named: Any) -> None:
        if happened:
            await real(*arguments, **named)
        raise StopError

    def stop_at_once(*arguments: Any, **named: Any) -> None:
        if happened:
            real(*arguments, **named)
        raise StopError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(part, method, stop if iscoroutinefunction(real) else stop_at_once)
        yield
