"""One of many communes leaves: what it wrote can be neither found nor read any more, what verified still does."""

from __future__ import annotations

from base64 import b64encode
from itertools import product
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from journal.core.entry import JOURNAL_CATEGORY, Compartment
from journal.core.envelope import Box, derive_data_key
from journal.core.errors import VerificationError
from journal.database.embedded import SUPERUSER, EmbeddedPostgres
from journal.database.migrate import migrate
from journal.extract.grounds import Authorisation
from tests.support.ending import PEM, check_signed, destroy, make_no_documents, open_export, rows_of
from tests.support.markers import Markers
from tests.support.world import CATEGORY, FIRST, SERVICE, World, make_event, new_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from journal.database.purge import StoredRow

LEAVING = "c07"


def marked(markers: Markers, world: World) -> Any:
    """Return an event with a marker wherever a module may write something of a person."""
    data = {
        "actor": {"account": markers.draw(), "name": markers.draw(), "unit": markers.draw()},
        "client": {"session": markers.draw(), "workstation": markers.draw()},
        "justification": f"Suite de {markers.draw()}",
        "outcome": "success",
        "recipients": [markers.draw()],
    }
    return make_event(world.clock.now(), data=data, id=markers.draw(), source=markers.draw(), subject=markers.draw())


def search(directories: Iterable[Path], find: Callable[[bytes], object]) -> set[str]:
    """Return the files in which something is found, whatever they are: tables, WAL, keys, extracts."""
    paths = [path for directory in directories for path in directory.rglob("*") if path.is_file()]
    assert len(paths) > 100
    return {path.name for path in paths if find(path.read_bytes())}


def shapes(*keys: bytes) -> list[bytes]:
    """Return how keys might be written: as they are, in hexadecimal, in base64."""
    return [shape for key in keys for shape in (key, key.hex().encode(), b64encode(key))]


@pytest.mark.parametrize("count", [10, pytest.param(50, marks=pytest.mark.campaign)])
async def test_one_of_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None], count: int
) -> None:
    """Its markers and its key are nowhere, nothing opens its ciphertext; the others and its earlier extracts verify."""
    make_no_documents(monkeypatch)
    cluster, export, replica = (tmp_path / name for name in ("cluster", "export", "replica"))
    export.mkdir()
    communes = [f"c{number:02}" for number in range(count)]
    # A cluster of its own: files of other tests are none of its business.
    with EmbeddedPostgres(cluster) as server:
        await migrate(server.dsn())
        async with new_world(
            server, tmp_path / "home", tenants=communes, afresh=True, keystore_replicas=[str(replica)]
        ) as world:
            everywhere = (cluster, tmp_path / "home", replica, export)
            markers = Markers()
            earlier = await live(world, communes, markers)
            kept_rows = await rows(world)
            keystore = world.service.keyring.keystore
            copies = [directory / "tenants" / LEAVING for directory in (world.settings.keystore_path, replica)]
            secrets = shapes(keystore.read_tenant_key(LEAVING), *(copy.read_bytes() for copy in copies))

            def has_key(content: bytes) -> bool:
                return any(secret in content for secret in secrets)

            await checkpoint(server)
            assert search(everywhere, markers.find) == set()
            assert search(everywhere, has_key) == {LEAVING}  # the two copies: the search finds what is there

            await world.installation.closing.close(LEAVING, export, PEM)
            reports = open_export(world, export, tenant=LEAVING)
            assert reports[CATEGORY][0].manifest.disclosed == 6
            # Opened as the commune does, in clear: it is not the operator's.
            (export / "opened.asice").unlink()
            record = await destroy(world, LEAVING)
            await world.installation.vacuum_removed()
            await checkpoint(server)

            assert await rows_of(world, LEAVING) == 0
            assert search(everywhere, markers.find) == set()
            assert search(everywhere, has_key) == set()
            tried = unreadable(world, kept_rows)
            for extract, head in earlier:
                origin = world.verify(extract, known=[head]).manifest.origin
                assert origin.split("/")[3] == LEAVING
                # What the seals say of it now agrees as well.
                compartment = Compartment(SERVICE, LEAVING, origin.rpartition("/")[2])
                world.verify(extract, known=[head, await world.service.reader.head(compartment)])
            for commune in communes:
                if commune != LEAVING:
                    report = world.verify(await world.extract(FIRST, world.today, tenant=commune))
                    assert (report.manifest.disclosed, report.manifest.withheld) == (3, 0)
            assert await world.audit() == []
            await check_record(world, tmp_path, record)

            # Both searches can find something, wherever it is.
            planted = markers.draw()
            async with world.superuser() as superuser:
                await superuser.execute("CREATE TABLE public.planted AS SELECT $1::text AS clear", planted)
                await superuser.execute("INSERT INTO public.planted VALUES (encode($1, 'base64'))", secrets[0])
            copies[1].write_bytes(kept_key(secrets))
            await checkpoint(server)
            # The table and the write-ahead log; there and in the replica.
            assert len(search([cluster], markers.find)) >= 2
            assert len(search(everywhere, has_key)) >= 3
    record_property(
        "evidence",
        f"end of a contract: 1 of {count} communes; {markers.count} markers and its key in no file of the cluster, "
        f"the key store and its replica; {len(kept_rows)} of its entries tried with {tried} keys that are left, none "
        f"opens; {count - 1} extracts of the others and {len(earlier)} earlier ones of its own verify",
    )


def kept_key(secrets: list[bytes]) -> bytes:
    """Return the wrapped key, as a backup of the key store has it."""
    return secrets[3]


async def live(world: World, communes: list[str], markers: Markers) -> list[tuple[bytes, bytes]]:
    """Record entries for all; return extracts that the leaving one got in its time, each with a head it kept."""
    for commune in communes:
        await world.record(3, tenant=commune)
    for category in (CATEGORY, "ecrits"):
        await world.record(3, tenant=LEAVING, category=category, events=[marked(markers, world) for _ in range(3)])
    earlier = []
    for category in (CATEGORY, "ecrits", JOURNAL_CATEGORY):
        words = {name: markers.draw() for name in ("requester", "request_reference")}
        given = Authorisation(markers.draw(), FIRST, markers.draw())
        extract = await world.extract(FIRST, FIRST, tenant=LEAVING, category=category, authorisation=given, **words)
        earlier.append((extract, await world.service.reader.head(Compartment(SERVICE, LEAVING, category))))
    return earlier


async def rows(world: World) -> list[StoredRow]:
    """Return the ciphertext of everything the leaving commune has, as a backup keeps it."""
    kept: list[StoredRow] = []
    for leaf in await world.service.store.partitions():
        found = await world.service.store.scan_entries(leaf.category, leaf.day, "", -1, 10_000)
        kept += [row for row in found if row.tenant == LEAVING]
    assert len(kept) == 6 + 3 + 4
    return kept


def unreadable(world: World, kept: list[StoredRow]) -> int:
    """Try to open its entries with every key that is left, each as any commune's; return how many there are."""
    keystore = world.service.keyring.keystore
    tenants = keystore.tenant_keys()
    assert LEAVING not in tenants
    for row, tenant in product(kept, tenants):
        origin = Compartment(SERVICE, LEAVING, row.category).origin
        key = derive_data_key(
            day_key=keystore.read_day_key(row.category, row.day),
            tenant_key=keystore.read_tenant_key(tenant),
            origin=origin,
            day=row.day,
        )
        with pytest.raises(VerificationError):
            Box(origin, key).open(row.index, row.ciphertext, row.leaf_hash)
    return len(tenants)


async def check_record(world: World, directory: Path, record: dict[str, Any]) -> None:
    """Hold the record against what openssl, the seals and the journal of the service say."""
    content = await world.installation.destruction.run(LEAVING, lambda _: None)
    (directory / "record.json").write_bytes(content)
    signature = await world.service.signer.sign(content, world.clock.now())
    (directory / "record.json.p7s").write_bytes(signature)
    assert check_signed(world, directory / "record.json", directory / "record.json.p7s") == record
    stated = {row.category: row for row in await world.service.store.read_seal_heads(record["seals"]["after"]["number"])
              if row.tenant == LEAVING}  # fmt: skip
    for chain in record["chains"]:
        row = stated[chain["origin"].rpartition("/")[2]]
        assert (row.size, row.kept_from, row.chain_hash.hex()) == (chain["size"], chain["size"], chain["chain_hash"])


async def checkpoint(server: EmbeddedPostgres) -> None:
    """Have everything written to the files."""
    superuser = await asyncpg.connect(server.dsn(SUPERUSER, database="postgres"))
    await superuser.execute("CHECKPOINT")
    await superuser.close()
