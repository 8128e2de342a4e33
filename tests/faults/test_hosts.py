"""Services on several hosts over one database: one history, one signer at a time, and one that is cut off says so.

Hosts are network namespaces, each with settings and a home of its own. What they share is what the guide says they must
share: the key store and the signer's memory, on a file system whose locks hold for all of them, as this machine's do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from journal.admin.administration import NewCategory
from tests.faults.auditing import SIGNER_STARTS, audit
from tests.faults.ledger import Ledger
from tests.faults.load import Load
from tests.faults.oracle import judge
from tests.support import forks
from tests.support.brief import BRIEF, key_files, leaves
from tests.support.forwarding import listening, socket_of
from tests.support.hosts import Hosts
from tests.support.rig import TENANTS, event_body
from tests.support.serving import Serving, Site, found_site, site_of
from tests.support.world import DAY, new_world

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

pytestmark = [
    pytest.mark.needs("ip"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root makes hosts of network namespaces"),
]

NAMES = ("a", "b", "c")
SEED = 20261129
CLIENTS = 3
PORT = 8470
PATIENCE_SECONDS = 120
LOOK_SECONDS = 0.2
# Commands are typed meanwhile: three services at full speed would leave them little of a processor.
PAUSE_SECONDS = 0.1


def place(shared: Site, hosts: Hosts, name: str, variables: Mapping[str, str] | None = None) -> Site:
    """Return the service of a host: a home of its own, and the shared key store, by a link that can be taken away."""
    home = shared.home / name
    home.mkdir()
    (home / "keys").symlink_to(shared.home / "keys")
    settings = shared.settings
    return replace(
        shared,
        home=home,
        port=PORT,
        host=hosts.addresses[name],
        space=hosts.space(name),
        variables={
            # Three that seal every second would wait for each other on a busy machine.
            "JOURNAL_SEAL_INTERVAL_SECONDS": "10",
            "JOURNAL_MASTER_KEY_FILE": str(settings.master_key_path),
            "JOURNAL_SIGNING_KEY": str(settings.signing_key_path),
            "JOURNAL_SIGNING_CERT": str(settings.signing_cert_path),
            "JOURNAL_SIGNER_STATE": str(settings.signer_state_path),
            "JOURNAL_TRUST": str(settings.trust_path),
            **(variables or {}),
        },
    )


async def type_on(site: Site, *arguments: str) -> str:
    """Type a command on a host, which must succeed; return what it says."""
    for _ in range(SIGNER_STARTS):
        status, out, err = await typed(site, arguments)
        if "the signer has not answered" not in err:  # on a busy machine it is long in starting
            break
    assert status == 0, err
    return out.strip()


async def typed(site: Site, arguments: Sequence[str]) -> tuple[int, str, str]:
    """Type a command on a host; return its status and what it says."""
    done = await asyncio.to_thread(forks.run, arguments, site.environment, space=site.space)
    return done.returncode, done.stdout, done.stderr


async def ask(site: Site, path: str) -> tuple[int, dict[str, Any]]:
    """Return the status and the answer of a probe."""
    async with aiohttp.ClientSession() as session, session.get(site.url + path) as answer:
        return answer.status, await answer.json(content_type=None)


async def become(site: Site, path: str, status: int, *failing: str) -> None:
    """Wait until a probe answers so, and names these checks."""
    told: object = None
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    told = found, answer = await ask(site, path)
                    named = {name for name, said in answer.get("checks", {}).items() if said == "failing"}
                    if found == status and named.issuperset(failing):
                        return
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        pytest.fail(f"{path} says {told}")


@pytest.mark.long
async def test_services_on_several_hosts(
    cluster: EmbeddedPostgres, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """All record, seal and change at once; a host without the database or the key store says so and harms nothing."""
    with Hosts(NAMES) as hosts:
        async with AsyncExitStack() as stack:
            shared = await found_site(tmp_path, cluster.dsn())
            address = await stack.enter_async_context(listening(socket_of(cluster.dsn()), hosts.other_address))
            shared = replace(shared, dsn=f"postgresql://journal_owner@{address}/journal")
            sites = {name: place(shared, hosts, name) for name in NAMES}
            servings = [await stack.enter_async_context(await Serving.start(site)) for site in sites.values()]
            ledger = Ledger(tmp_path / "ledger")
            loads = {
                name: await stack.enter_async_context(
                    Load(site, ledger, clients=CLIENTS, seed=SEED + number, first=CLIENTS * number)
                )
                for number, (name, site) in enumerate(sites.items())
            }
            for load in loads.values():
                load.pause_seconds = PAUSE_SECONDS
                await load.acknowledgements(3)
            # Changed anywhere, obeyed everywhere: a category with its keys, a commune with its key, a credential.
            await type_on(sites["a"], "category", "add", "patrouilles", "--label", "Patrouilles", "--regime", "LED")
            await type_on(sites["b"], "tenant", "add", "lodeve", "--name", "Lodève")
            token = await type_on(
                *(sites["c"], "credential", "add", "--role", "module", "--tenant", "lodeve"),
                *("--category", "patrouilles", "--source-prefix", "urn:openepm:test"),
            )
            await type_on(sites["b"], "purge")
            for site in sites.values():
                await recorded(site, token)

            hosts.part("b", [hosts.other_address])
            await loads["b"].answered_with(503)
            await become(sites["b"], "/readyz", 503, "database")
            for name in "ac":
                await loads[name].acknowledgements(3)
            hosts.mend("b")
            await loads["b"].acknowledgements(3)

            link = sites["c"].home / "keys"
            link.rename(link.with_name("away"))
            await become(sites["c"], "/readyz", 503, "keys")
            for name in "ab":
                await loads[name].acknowledgements(3)
            # Where it was mounted, nothing is written meanwhile: the mount would hide it.
            assert not link.exists()
            link.with_name("away").rename(link)
            await become(sites["c"], "/readyz", 200)
            for load in loads.values():
                await load.finish()
            for serving in servings:
                assert await serving.stop() == 0
        ledger.close()
        verdict = await judge(ledger=ledger.path, superuser_dsn=cluster.dsn("postgres"), home=tmp_path)
        requests = {name: load.requests for name, load in loads.items()}
        record_property(
            "evidence",
            f"services on {len(NAMES)} hosts over one database: {requests} requests, {verdict.acknowledged} events "
            f"acknowledged, {verdict.entries} stored: {len(verdict.lost)} lost, {len(verdict.duplicated)} duplicated, "
            f"{len(verdict.wrong)} otherwise wrong",
        )
        assert verdict.faults == []
        assert await audit(replace(shared, dsn=cluster.dsn())) == []


async def recorded(site: Site, token: str) -> None:
    """Wait until a host records with a credential that another has made: what is known may be a second old."""
    event = event_body(f"on {site.host}", datetime.now(UTC))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            async with (
                aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session,
                session.post(
                    f"{site.url}/v1/categories/patrouilles/events",
                    data=json.dumps(event),
                    headers={"Content-Type": "application/cloudevents+json"},
                ) as answer,
            ):
                if answer.status == 201:
                    return
            await asyncio.sleep(LOOK_SECONDS)


@pytest.mark.campaign
async def test_a_purge_from_any_host(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """A day that is due goes at the first start; its key, brought back, goes by whichever host purges, under load."""
    begin = datetime.now(UTC) - 2 * DAY
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(new_world(postgres, tmp_path / "home", start=begin, tenants=TENANTS))
        category = NewCategory(code=BRIEF, label="Brève", retention_days=2)
        await world.installation.administration.add_category(category)
        await world.installation.maintenance.prepare()
        await world.record(3, category=BRIEF)
        await world.seal()
        [key, *_] = key_files(world, begin.date())
        content = key.read_bytes()
        await world.travel(datetime.now(UTC))
        shared = await site_of(world)
        assert begin.date() in await leaves(world)
        hosts = stack.enter_context(Hosts(NAMES[:2]))
        sites = {name: place(shared, hosts, name) for name in NAMES[:2]}
        servings = [await stack.enter_async_context(await Serving.start(site)) for site in sites.values()]
        assert not key.exists()
        assert begin.date() not in await leaves(world)
        ledger = Ledger(tmp_path / "ledger")
        load = await stack.enter_async_context(Load(sites["a"], ledger, clients=CLIENTS, seed=SEED))
        load.pause_seconds = PAUSE_SECONDS
        for site in reversed(sites.values()):
            await load.acknowledgements(3)
            key.write_bytes(content)
            assert f"purged {BRIEF} {begin.date()}: 0 entries" in await type_on(site, "purge")
            assert not key.exists()
        await load.finish()
        for serving in servings:
            assert await serving.stop() == 0
        ledger.close()
        verdict = await judge(ledger=ledger.path, superuser_dsn=shared.superuser_dsn, home=shared.home)
        # The oracle knows no purge: where the purged chain's entries lead is for the audit to say.
        assert (verdict.lost, verdict.duplicated) == ([], [])
        assert await audit(shared) == []


async def test_a_host_takes_over(
    cluster: EmbeddedPostgres, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """The second host takes the replica's disk, makes its key store from it, and goes on; nothing is lost.

    The first, back with the key store it had, does not start without the disk. Told to do without, it obeys nothing
    that the second has changed, seals nothing, and says both.
    """
    with Hosts(NAMES[:2]) as hosts:
        shared = await found_site(tmp_path, cluster.dsn())
        disk = tmp_path / "disk"
        disk.mkdir()
        first = with_replica(place(shared, hosts, "a"))
        (first.home / "keys").unlink()
        shutil.move(tmp_path / "keys", first.home / "keys")
        (first.home / "disk").symlink_to(disk)
        await type_on(replace(first, variables=without_replica(first)), "keys", "backup", "--to", str(disk))
        ledger = Ledger(tmp_path / "ledger")
        async with await Serving.start(first), Load(first, ledger, clients=CLIENTS, seed=SEED) as load:
            await load.acknowledgements(3)
            await type_on(first, "tenant", "add", "lodeve", "--name", "Lodève")
            await become(first, "/readyz", 200)
            await load.finish()

        # The first is off, and its disk goes to the second: what the guide says to type there.
        (first.home / "disk").unlink()
        second = place(shared, hosts, "b", {"JOURNAL_SIGNER_STATE": str(tmp_path / "b.state")})
        (second.home / "keys").unlink()
        (second.home / "disk").symlink_to(disk)
        await type_on(second, "keys", "restore", "--from", str(disk))
        second = with_replica(second)
        await type_on(second, "verify-store")
        await type_on(second, "signer", "--learn")
        async with await Serving.start(second), Load(second, ledger, clients=CLIENTS, seed=1, first=CLIENTS) as load:
            await load.acknowledgements(3)
            await become(second, "/readyz", 200)
            await type_on(second, "tenant", "add", "gaillac", "--name", "Gaillac")
            with pytest.raises(RuntimeError, match="is not a copy of this key store: mount it"):
                async with await Serving.start(first):
                    pass
            alone = replace(first, variables=without_replica(first))
            async with await Serving.start(alone):
                await become(alone, "/readyz", 503, "facts", "seals")
                await become(second, "/readyz", 200)
            await load.finish()
        ledger.close()
        (tmp_path / "keys").symlink_to(second.home / "keys")
        verdict = await judge(ledger=ledger.path, superuser_dsn=cluster.dsn("postgres"), home=tmp_path)
        record_property(
            "evidence",
            f"a host takes over: {verdict.acknowledged} events acknowledged, {len(verdict.lost)} lost, "
            f"{len(verdict.duplicated)} duplicated, {len(verdict.wrong)} otherwise wrong",
        )
        assert verdict.faults == []
        shutil.copy(tmp_path / "b.state", shared.settings.signer_state_path)
        assert await audit(shared) == []


def with_replica(site: Site) -> Site:
    """Return the service with a replica of its key store on the disk."""
    return replace(site, variables={**site.variables, "JOURNAL_KEYSTORE_REPLICAS": str(site.home / "disk")})


def without_replica(site: Site) -> dict[str, str]:
    """Return its variables as they are before the replica is made."""
    return {name: value for name, value in site.variables.items() if name != "JOURNAL_KEYSTORE_REPLICAS"}


async def test_a_signer_with_an_older_memory(cluster: EmbeddedPostgres, tmp_path: Path) -> None:
    """A second signer that does not share the first one's memory seals nothing, and says so."""
    with Hosts(NAMES[:2]) as hosts:
        shared = await found_site(tmp_path, cluster.dsn())
        first, old = place(shared, hosts, "a"), tmp_path / "old.state"
        await type_on(first, "seal")
        shutil.copy(shared.settings.signer_state_path, old)
        second = place(shared, hosts, "b", {"JOURNAL_SIGNER_STATE": str(old)})
        ledger = Ledger(tmp_path / "ledger")
        async with await Serving.start(first), Load(first, ledger, clients=CLIENTS, seed=SEED) as load:
            await load.acknowledgements(3)
            await become(first, "/readyz", 200)
            await type_on(first, "seal")  # which the copy does not know of
            async with await Serving.start(second):
                await become(second, "/readyz", 503, "seals")
                await become(first, "/readyz", 200)
                await load.finish()
            assert "the database has seal" in (second.home / "serve.log").read_text(encoding="utf-8")
        ledger.close()
        verdict = await judge(ledger=ledger.path, superuser_dsn=cluster.dsn("postgres"), home=tmp_path)
        assert verdict.faults == []
        assert await audit(shared) == []
