"""What a superuser of the database does to chains and seals: the signer does not sign it, and says so.

The ids are those of KINDS.md.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import os
import shutil
from asyncio.subprocess import PIPE
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from journal.admin.administration import NewCategory
from journal.cli import signer
from journal.cli.installation import simulate_clock
from journal.clock import SimulatedClock
from journal.core.chain import genesis
from journal.core.entry import RESERVED_TENANT, Compartment
from journal.core.errors import BusyError, JournalError, OperatorError, SignerError
from journal.core.seal import parse_seal
from journal.database.store import Store
from journal.seals.dev_authority import make_development_authority
from journal.signer import memory
from journal.signer.identity import load
from journal.signer.memory import Memory
from tests.support.rewriting import HEAD, rewrite
from tests.support.world import (
    CATEGORY,
    DAY,
    OTHER_TENANT,
    SERVICE,
    START,
    TENANT,
    World,
    copied,
    new_world,
    settings_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    import asyncpg

    from journal.database.embedded import EmbeddedPostgres

BRIEF = "breve"
SEALED, OPEN_SEALED, UNSEALED = 20, 10, 5


@copied
@asynccontextmanager
async def a_morning(postgres: EmbeddedPostgres, home: Path) -> AsyncIterator[World]:
    """Make a world on its first morning: 20 entries sealed, 10 more in an open seal, 5 that no seal covers."""
    async with new_world(postgres, home) as made:
        for count in (SEALED, OPEN_SEALED):
            await made.record(count)
            await made.seal()
        await made.record(UNSEALED)
        yield made


pytestmark = pytest.mark.world(made_by=a_morning)


async def problem(world: World) -> str:
    """Return what readiness says of the seals."""
    return (await world.service.checks.run())["seals"] or ""


async def sealed_size(world: World, tenant: str = TENANT, category: str = CATEGORY) -> int:
    """Return the size of a chain in the last seal."""
    statement = await world.service.reader.latest(Compartment(SERVICE, tenant, category))
    return statement.head.size


async def alarms(world: World) -> list[str]:
    """Return the reasons of the alarms about chains that are not sealed as the database has them."""
    entries = [entry async for entry in world.service.chronicle.entries(RESERVED_TENANT, "alarm", since=world.today)]
    data = [entry.event["data"] for entry in entries]
    return [told["reason"] for told in data if told.get("alarm") == "chain not sealed"]


async def cut_short(superuser: asyncpg.Connection, size: int) -> None:
    """Delete a chain's newest entries and move its head back."""
    await superuser.execute(f"DELETE FROM journal.entry {HEAD} AND index >= $1::bigint", size)
    await superuser.execute(
        "UPDATE journal.head SET size = $1::bigint, chain_hash = "
        f"(SELECT chain_hash FROM journal.entry {HEAD} AND index = $1::bigint - 1) {HEAD}",
        size,
    )


async def shorten(_: World, superuser: asyncpg.Connection) -> None:
    """Delete today's newest 15 entries, of which an open seal covers 10."""
    await cut_short(superuser, SEALED)


async def rewrite_blindly(world: World, superuser: asyncpg.Connection) -> None:
    """Exchange the leaf of an entry that a seal covers."""
    await rewrite(world, superuser, 12, with_keys=False)


async def rewrite_with_keys(world: World, superuser: asyncpg.Connection) -> None:
    """Exchange an entry that a seal covers by one that opens."""
    await rewrite(world, superuser, 12, with_keys=True)


def statement(text: str) -> Callable[[World, asyncpg.Connection], Awaitable[None]]:
    """Return the harm of one statement about the head of the chain."""

    async def harm(_: World, superuser: asyncpg.Connection) -> None:
        await superuser.execute(f"{text} {HEAD}")

    return harm


HARMS = {
    "E10": (shorten, "it is shorter than it was"),
    "E17": (rewrite_blindly, "its stored entries do not lead to its head"),
    "E17-with-the-key-store": (rewrite_with_keys, "its stored entries do not lead to its head"),
    "H01": (statement("UPDATE journal.head SET size = size - 6"), "it is shorter than it was"),
    "H02": (statement("UPDATE journal.head SET size = size + 6"), "its stored entries do not lead to its head"),
    "H03": (
        statement("UPDATE journal.head SET chain_hash = sha256(chain_hash)"),
        "its stored entries do not lead to its head",
    ),
    "H06": (statement("DELETE FROM journal.head"), "its head is gone"),
    "H09": (
        statement("UPDATE journal.head SET recorded_at = recorded_at + interval '1 day'"),
        "its last entry is of a time that has not come",
    ),
}


@pytest.mark.parametrize("kind", HARMS)
async def test_a_head_that_does_not_follow(world: World, kind: str) -> None:
    """The chain stays as it was signed, an alarm and readiness name both heads, the other chains are sealed on."""
    harm, why = HARMS[kind]
    signed = (await world.service.reader.latest(Compartment(SERVICE, TENANT, CATEGORY))).head
    assert await problem(world) == ""
    async with world.superuser() as superuser:
        await harm(world, superuser)
    await world.record(3, tenant=OTHER_TENANT)
    await world.seal()
    heads = {(row.tenant, row.category): row for row in await world.service.store.read_seal_heads(3)}
    held = heads.get((TENANT, CATEGORY))
    assert held is not None
    assert (held.size, held.chain_hash) == (signed.size, signed.chain_hash)
    assert heads[OTHER_TENANT, CATEGORY].size == 3
    told = f"{TENANT} {CATEGORY}: {why} (signed: size {signed.size}, hash {signed.chain_hash.hex()[:8]}"
    assert told in await problem(world)
    [alarm] = await alarms(world)
    assert alarm.startswith(told)
    # It is told once, and the chain stays held when the process is another one.
    async with world.another_process() as other:
        await world.record(1, tenant=OTHER_TENANT)
        await other.service.sealer.seal_open(even_if_still=True)
        assert told in ((await other.service.checks.run())["seals"] or "")
    assert len(await alarms(world)) == 1


@pytest.mark.parametrize("size", [SEALED + OPEN_SEALED + UNSEALED - 1, SEALED + OPEN_SEALED])
async def test_a_chain_that_nobody_harmed(world: World, size: int) -> None:
    """What no seal covers is not the signer's to know: a chain that was cut no further is sealed."""
    async with world.superuser() as superuser:
        await cut_short(superuser, size)
    await world.seal()
    assert (await problem(world), await sealed_size(world)) == ("", size)


async def test_a_chain_that_is_put_right(world: World) -> None:
    """What was deleted is put back: the chain is sealed on, and readiness has nothing more to say."""
    async with world.superuser() as superuser:
        await superuser.execute(f"CREATE TABLE kept AS SELECT * FROM journal.head {HEAD}")
        await superuser.execute(f"UPDATE journal.head SET size = 25 {HEAD}")
        await world.seal()
        assert "shorter" in await problem(world)
        await superuser.execute(f"DELETE FROM journal.head {HEAD}")
        await superuser.execute("INSERT INTO journal.head SELECT * FROM kept")
    await world.seal()
    assert (await problem(world), await sealed_size(world)) == ("", SEALED + OPEN_SEALED + UNSEALED)


async def test_the_first_index_kept(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """H04, H05: it moves with a purge that the key store knows of, and with nothing else."""
    async with new_world(postgres, tmp_path) as world:
        await world.installation.administration.add_category(
            NewCategory(code=BRIEF, label="Brève", regime="LED", retention_days=3)
        )
        for number in range(6):
            await world.travel_to(START.date() + number * DAY)
            await world.record(2, category=BRIEF)
            await world.seal()
            await world.installation.purger.run()
        assert await problem(world) == ""
        (row,) = await world.service.store.read_heads([TENANT], [BRIEF])
        assert row.kept_from == 8
        connector: Any = world.service.signer._connector
        looked_up = connector._server._signer.judge._sizes_at
        assert len(looked_up) <= 1  # it does not grow day by day
        for kept_from in (0, 6, 9, 10):
            async with world.superuser() as superuser:
                await superuser.execute(
                    "UPDATE journal.head SET kept_from = $1 WHERE category = $2 AND tenant = 'albi'", kept_from, BRIEF
                )
            await world.record(1, category=BRIEF)
            await world.seal()
            assert "it begins where no purge that the key store knows of has ended" in await problem(world)
            head = (await world.service.reader.latest(Compartment(SERVICE, TENANT, BRIEF))).head
            # The entries of the moment are sealed nevertheless.
            assert (head.kept_from, head.size) == (8, await world.size(category=BRIEF))
        async with world.superuser() as superuser:
            await superuser.execute(
                "UPDATE journal.head SET kept_from = 8 WHERE category = $1 AND tenant = 'albi'", BRIEF
            )
        await world.seal()
        assert await problem(world) == ""
        # The other days are purged on time.
        await world.travel_to(START.date() + 7 * DAY)
        await world.installation.purger.run()
        assert await problem(world) == ""


@pytest.mark.parametrize("days", [5, pytest.param(50, marks=pytest.mark.campaign)])
async def test_a_rule_that_nothing_was_purged_by(world: World, days: int) -> None:
    """R01: a rule that the key store does not vouch for is not stated; the row is suspended, the entries are sealed."""
    await world.travel_to(START.date() + 58 * DAY)
    await world.seal()
    async with world.superuser() as superuser:
        await superuser.execute("UPDATE journal.category SET retention_days = $1 WHERE code = $2", days, CATEGORY)
    await world.record(1)
    await world.seal()
    checks = await world.service.checks.run()
    suspended = f"category {CATEGORY}: its row in the database is not the one the key store vouches for"
    assert f"its rule of {days} days is not that of its category" in (checks["seals"] or "")
    assert suspended in (checks["facts"] or "")
    head = (await world.service.reader.latest(Compartment(SERVICE, TENANT, CATEGORY))).head
    assert (head.retention_days, head.size) == (60, SEALED + OPEN_SEALED + UNSEALED + 1)
    # A process that has never read the vouched row knows no better.
    async with world.another_process() as other:
        await other.service.sealer.seal_open(even_if_still=True)
        assert suspended in ((await other.service.checks.run())["facts"] or "")
        head = (await other.service.reader.latest(Compartment(SERVICE, TENANT, CATEGORY))).head
        assert head.retention_days == 60
    # Nothing is purged by it.
    await world.installation.purger.run()
    assert await world.size() == SEALED + OPEN_SEALED + UNSEALED + 1
    (row,) = await world.service.store.read_heads([TENANT], [CATEGORY])
    assert row.kept_from == 0


async def test_a_chain_from_nowhere(world: World) -> None:
    """H08: a chain where the tenant has none, and one that does not begin at its genesis, are not sealed."""
    async with world.superuser() as superuser:
        hashes = {
            "ecrits": genesis(Compartment(SERVICE, RESERVED_TENANT, "ecrits").origin).chain_hash,
            CATEGORY: sha256(b"another beginning").digest(),
        }
        await superuser.execute("INSERT INTO journal.tenant VALUES ('nowhere', 'Nowhere', journal.now())")
        for tenant, category in ((RESERVED_TENANT, "ecrits"), ("nowhere", CATEGORY)):
            await superuser.execute("INSERT INTO journal.chain VALUES ($1, $2, $3)", tenant, category, hashes[category])
            await superuser.execute(
                "INSERT INTO journal.head (size, kept_from, tenant, category, chain_hash) VALUES (0, 0, $1, $2, $3)",
                tenant,
                category,
                hashes[category],
            )
    chains = parse_seal((await world.service.store.read_seals(0, 10))[-1].text).chains
    await world.seal()
    told = await problem(world)
    assert "(and 1 more)" in told
    assert "the service has a chain in journal only" in told or "does not lead from its genesis" in told
    assert len(await alarms(world)) == 2
    assert parse_seal((await world.service.store.read_seals(0, 10))[-1].text).chains == chains


async def refused(world: World, match: str, told: str | None = None, *, by_the_next: bool = False) -> None:
    """Check that no process seals, whether it ran before or not, and that readiness says why; entries are taken.

    `by_the_next`: only a process that starts now can see it.
    """
    before = await world.service.store.latest_seal()
    await world.record(1, tenant=OTHER_TENANT)
    async with world.another_process() as other:
        for service in (other.service,) if by_the_next else (world.service, other.service):
            with pytest.raises(JournalError, match=match):
                await service.sealer.seal_open(even_if_still=True)
        assert (told or match) in ((await other.service.checks.run())["seals"] or "")
    assert await world.service.store.latest_seal() == before


async def test_the_newest_seal_is_deleted(world: World) -> None:
    """S01."""
    async with world.superuser() as superuser:
        await superuser.execute(
            "DELETE FROM journal.seal_head WHERE number = 2; DELETE FROM journal.seal WHERE number = 2"
        )
    await refused(world, "from seal 2 to seal 1", "the database has lost seal 2")


async def test_everything_since_noon_is_taken_back(world: World) -> None:
    """S10: seals, entries and heads; and the key store's word of the last seal."""
    async with world.superuser() as superuser:
        await cut_short(superuser, SEALED)
        await superuser.execute(
            "DELETE FROM journal.seal_head WHERE number = 2; DELETE FROM journal.seal WHERE number = 2"
        )
    (world.settings.keystore_path / "seals" / "last").unlink()
    await refused(world, "from seal 2 to seal 1")


async def test_a_seal_of_the_future_is_inserted(world: World) -> None:
    """S09."""
    row = await world.service.store.latest_seal()
    assert row is not None
    last = parse_seal(row.text)
    forged = replace(last, number=3, sealed_at=last.sealed_at + DAY, previous=last.digest)
    async with world.superuser() as superuser:
        await superuser.execute(
            "INSERT INTO journal.seal VALUES (3, NULL, $1, $2, $3)", forged.sealed_at, forged.text, row.signature
        )
    await refused(world, "somebody else wrote the seal")
    with pytest.raises(OperatorError, match="the signer cannot learn from seal 3"):
        await world.service.sealer.learn()


async def test_the_newest_seal_is_exchanged(world: World) -> None:
    """A seal's text and heads that were never signed are not gone on from."""
    row = await world.service.store.latest_seal()
    assert row is not None
    forged = replace(parse_seal(row.text), sealed_at=row.sealed_at - timedelta(seconds=1))
    async with world.superuser() as superuser:
        await superuser.execute("UPDATE journal.seal SET text = $1 WHERE number = 2", forged.text)
    await refused(world, "is not the one that was signed")


async def test_the_closed_day_moves_back(world: World) -> None:
    """S12."""
    await world.travel_to(START.date() + 2 * DAY)
    await world.seal()
    async with world.superuser() as superuser:
        await superuser.execute("UPDATE journal.service SET closed_day = closed_day - 1")
    with pytest.raises(OperatorError, match="is sealed as closed"):
        await world.seal()


async def test_the_memory_is_deleted(world: World) -> None:
    """B08: nothing is sealed until a command learns from the stored seals; entries go on."""
    world.settings.signer_state_path.unlink()
    await refused(world, "is missing")
    assert "openepm-journal signer --learn" in await problem(world)
    assert await world.service.sealer.learn() == 2
    await world.seal()
    assert (await problem(world), await sealed_size(world)) == ("", SEALED + OPEN_SEALED + UNSEALED)


async def test_an_older_memory_is_put_back(world: World, tmp_path: Path) -> None:
    """B09."""
    shutil.copy(world.settings.signer_state_path, tmp_path / "yesterday")
    await world.seal()
    shutil.copy(tmp_path / "yesterday", world.settings.signer_state_path)
    await refused(world, "an older copy of that file was put back")


async def test_the_memory_is_altered(world: World) -> None:
    """Whoever writes the file without the signing key changes nothing that the signer believes."""
    path = world.settings.signer_state_path
    lines = path.read_bytes().split(b"\n")
    for altered in (
        [lines[0].replace(b'"number":0', b'"number":1'), *lines[1:]],
        [*lines[:1], *lines[2:]],
        [*lines[:-1], lines[-2], b""],
    ):
        path.write_bytes(b"\n".join(altered))
        await refused(world, "was altered", by_the_next=True)
    # What a process that was ended has left half written is no alteration.
    path.write_bytes(b"\n".join(lines) + b'{"kind":"si')
    await world.seal()
    assert await problem(world) == ""


async def test_the_clocks_differ(world: World) -> None:
    """T05: nothing is sealed while the database's clock is further off than appends allow."""
    await simulate_clock(world.dsn, world.clock.offset + timedelta(minutes=10))
    with pytest.raises(OperatorError, match="nothing is sealed until they agree to 2 seconds"):
        await world.seal()
    await simulate_clock(world.dsn, world.clock.offset)
    await world.seal()
    assert await problem(world) == ""


async def test_a_seal_of_the_future_is_left_for_good(world: World) -> None:
    """T06: after both clocks were three hours ahead, one command lets seals go on, and no start needs a flag."""
    true = datetime.now(UTC) + world.clock.offset
    await world.travel(true + timedelta(hours=3))
    async with world.another_process() as ahead:
        await ahead.service.sealer.seal_open(even_if_still=True)
    await world.travel(true)
    async with world.another_process(SimulatedClock(world.clock.offset)) as installation:
        sealer = installation.service.sealer
        with pytest.raises(OperatorError, match="signer --leave-future-seal"):
            await sealer.seal_open(even_if_still=True)
        with pytest.raises(OperatorError, match="signer --leave-future-seal"):
            await installation.check_clock(confirmed=False)
        until = await sealer.leave_future_seal()
        assert until is not None
        await sealer.seal_open(even_if_still=True)
    async with world.another_process(SimulatedClock(world.clock.offset)) as later:
        await later.check_clock(confirmed=False)
        row = await later.service.sealer.seal_open(even_if_still=True)
        assert row is not None
        assert row.sealed_at == until
    await world.travel(until + timedelta(minutes=1))
    async with world.another_process(SimulatedClock(world.clock.offset)) as later:
        row = await later.service.sealer.seal_open(even_if_still=True)
        assert row is not None
        assert row.sealed_at > until
        assert await later.service.sealer.leave_future_seal() is None


async def killed(*_: Any) -> None:
    """End here, as a process that is killed does."""
    raise OSError("killed")


@pytest.mark.parametrize("is_stored", [True, False])
async def test_a_process_killed_while_it_seals(
    world: World, monkeypatch: pytest.MonkeyPatch, *, is_stored: bool
) -> None:
    """Just before its seal is stored, or just after: the next one goes on, and refuses nothing."""
    with monkeypatch.context() as patch:
        if is_stored:
            patch.setattr(Memory, "done", lambda *_: os.open("/nowhere", os.O_RDONLY))
        else:
            patch.setattr(Store, "put_seal", killed)
        with pytest.raises((OSError, OperatorError), match=r"killed|nowhere"):
            await world.seal()
    assert await problem(world) == ""
    await world.record(1)
    async with world.another_process() as other:
        row = await other.service.sealer.seal_open(even_if_still=True)
    assert row is not None
    assert row.number == (4 if is_stored else 3)
    assert await sealed_size(world) == SEALED + OPEN_SEALED + UNSEALED + 1
    assert (await problem(world), await world.audit()) == ("", [])


async def test_what_was_signed_and_not_stored_counts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that keeps a signature and says that it stored nothing gets no other one over a shorter chain."""
    with monkeypatch.context() as patch:
        patch.setattr(Store, "put_seal", killed)
        with pytest.raises(OSError, match="killed"):
            await world.seal()
    async with world.superuser() as superuser:
        await cut_short(superuser, SEALED + OPEN_SEALED)
    await world.record(1, tenant=OTHER_TENANT)
    async with world.another_process() as other:
        await other.service.sealer.seal_open(even_if_still=True)
    assert "it is shorter than it was" in await problem(world)
    assert await sealed_size(world) == SEALED + OPEN_SEALED + UNSEALED


async def test_another_process_hangs_while_it_seals(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that holds the memory and does nothing is named after a while; entries are taken meanwhile."""
    monkeypatch.setattr(memory, "LOCK_SECONDS", 0.5)
    lock = f"{world.settings.signer_state_path}.lock"
    command = ["flock", "--no-fork", lock, "sh", "-c", "echo holds; exec sleep 600"]
    hung = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
    assert hung.stdout is not None
    await hung.stdout.readline()
    try:
        with pytest.raises(BusyError, match=r"has held the signer's memory for .* fuser"):
            await world.seal()
        await world.record(1)
    finally:
        hung.kill()
        await hung.wait()
    await world.seal()
    assert await sealed_size(world) == SEALED + OPEN_SEALED + UNSEALED + 1


async def test_the_memory_stays_small(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is written anew once its records outgrow what they say; other processes follow."""
    monkeypatch.setattr(memory, "COMPACTION_BYTES", 1000)
    async with world.another_process() as other:
        sizes = []
        for number in range(20):
            await world.record(1)
            sealer = (world, other)[number % 2].service.sealer
            await sealer.seal_open(even_if_still=False)
            sizes.append(world.settings.signer_state_path.stat().st_size)
    assert any(later < earlier for earlier, later in pairwise(sizes))
    assert max(sizes) < 4 * min(sizes) + 4000
    assert (await problem(world), await world.audit()) == ("", [])


async def test_the_memory_stays_small_while_no_seal_is_stored(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each seal that is made is remembered, the last ones are kept; what was signed counts, and sealing goes on."""
    monkeypatch.setattr(memory, "COMPACTION_BYTES", 1000)
    monkeypatch.setattr(memory, "PENDING_KEPT", 3)
    sizes = []
    with monkeypatch.context() as patch:
        patch.setattr(Store, "put_seal", killed)
        for _ in range(40):
            with pytest.raises(OSError, match="killed"):
                await world.seal()
            sizes.append(world.settings.signer_state_path.stat().st_size)
    assert sum(later < earlier for earlier, later in pairwise(sizes)) > 1
    async with world.superuser() as superuser:
        await shorten(world, superuser)
    async with world.another_process() as other:
        await other.service.sealer.seal_open(even_if_still=True)
    assert await sealed_size(world) == SEALED + OPEN_SEALED + UNSEALED
    assert "it is shorter than it was" in await problem(world)


async def test_a_memory_that_cannot_be_written(world: World, tmp_path: Path) -> None:
    """What must be done is said."""
    (tmp_path / "file").write_bytes(b"")
    settings = world.settings
    key = load(settings.signing_key_path, settings.signing_cert_path)
    other = Memory(tmp_path / "file" / "signer.state", key)
    with pytest.raises(OperatorError, match="make its directory writable for the service, or set JOURNAL_SIGNER_STATE"):
        async with other.held():
            pass


class Full:
    """The module `os` as the signer's memory has it on a full disk: one of its calls fails, the others do not."""

    def __init__(self, call: str) -> None:
        """Let this call fail, and a write after half of it; `open` for the memory alone, not for its lock."""
        self._call = call
        self.failed = 0

    def __getattr__(self, name: str) -> Any:
        """Return what the module has."""
        return getattr(os, name) if name != self._call else self._fail

    def _fail(self, *arguments: Any) -> Any:
        if self._call == "open" and arguments[1] != os.O_WRONLY:
            return os.open(*arguments)
        if self._call == "pwrite" and not self.failed:
            self.failed += 1
            descriptor, content, place = arguments
            return os.pwrite(descriptor, content[: len(content) // 2], place)
        self.failed += 1
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def seal_often(world: World) -> None:
    """Seal until the memory is written anew, if its records need be no longer than what they say."""
    for _ in range(5):
        await world.seal()


@pytest.mark.parametrize("call", ["open", "ftruncate", "pwrite", "fsync", "replace_durably"])
async def test_a_memory_without_room(world: World, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Wherever a write of it fails, nothing is signed; with room again it goes on, in every process, and is whole."""
    full = Full(call)
    async with world.superuser() as superuser:
        await shorten(world, superuser)
    with monkeypatch.context() as patch:
        if call == "replace_durably":
            patch.setattr(memory, call, full._fail)
            patch.setattr(memory, "COMPACTION_BYTES", 0)
        patch.setattr(memory, "os", full)
        for _ in range(3):
            await world.record(1, tenant=OTHER_TENANT)
            with pytest.raises(OperatorError, match="the signer cannot use its files"):
                await seal_often(world)
    assert full.failed >= 3
    for _ in range(2):
        await world.record(1, tenant=OTHER_TENANT)
        await world.seal()
    async with world.another_process() as other:
        assert "it is shorter than it was" in ((await other.service.checks.run())["seals"] or "")
        assert await other.service.sealer.seal_open(even_if_still=True) is not None
    assert len(await alarms(world)) == 1


async def test_a_new_signing_key(world: World) -> None:
    """Z22: the memory goes over to a new key where the stored seals say the same, else an operator decides."""
    identity = world.settings.signing_key_path
    path = world.settings.signer_state_path
    identity.unlink()
    make_development_authority(identity.parent, SERVICE, world.clock.now(), trust_path=world.settings.trust_path)
    older = path.read_bytes()
    async with world.another_process() as renewed:
        await renewed.service.sealer.seal_open(even_if_still=True)
        assert (await renewed.service.checks.run())["seals"] is None
        path.write_bytes(older)
        with pytest.raises(OperatorError, match="under another signing key and does not agree"):
            await renewed.service.sealer.seal_open(even_if_still=True)


async def test_a_seal_by_the_way(world: World) -> None:
    """What signs extracts and reports signs no text that begins like a seal."""
    row = await world.service.store.latest_seal()
    assert row is not None
    with pytest.raises(SignerError, match="signed in a sealing session alone"):
        await world.service.signer.sign(row.text, world.clock.now())


@pytest.mark.usefixtures("commands_on_the_clock_of_the_world")
async def test_the_commands(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """`signer` does what the messages say, and records it."""
    settings = settings_of(world)
    world.settings.signer_state_path.unlink()
    assert await signer.signer(settings, argparse.Namespace(learn=True, leave_future_seal=False)) == 0
    assert capsys.readouterr().out == "learned: the signer goes on from seal 2, as the database has it\n"
    with pytest.raises(OperatorError, match="not of the future"):
        await signer.signer(settings, argparse.Namespace(learn=False, leave_future_seal=True))
    entries = [entry async for entry in world.service.chronicle.entries(RESERVED_TENANT, "alarm", since=world.today)]
    assert [entry.event["data"] for entry in entries] == [{"alarm": "signer learned", "seal": 2}]
