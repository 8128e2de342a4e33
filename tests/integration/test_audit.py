"""Every change to a stored column, row, head or seal, by somebody whom nothing stops, is named by the check."""

from __future__ import annotations

import multiprocessing
import random
import re
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from journal.audit.run import Audit
from journal.core.chain import extend, genesis, leaf_hash
from journal.core.entry import Compartment
from journal.core.seal import parse_seal
from journal.pki.certificates import der_to_pem
from journal.seals.dev_authority import make_development_authority
from journal.signer.identity import load
from tests.support.encrypting import encrypt
from tests.support.harm import Harm
from tests.support.stamps import ANCHORS, stamp
from tests.support.world import CATEGORY, SERVICE, START, World, new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence
    from pathlib import Path

    import asyncpg

    from journal.database.embedded import EmbeddedPostgres
    from tests.support.harm import Cell

pytestmark = pytest.mark.asyncio(loop_scope="module")

# One bit apart, so that a flipped bit can move a row from one commune's chain to the other's.
TENANT, NEIGHBOUR = "albi", "albh"
OTHER_CATEGORY = "ecrits"
CHAIN = f"{TENANT}/{CATEGORY}"
# Entries by day of the chain under attack: 200 in all, over six days, one of them empty, the last still open.
ENTRIES = (1, 3, 0, 90, 86, 20)
DAYS = [START.date() + timedelta(days=number) for number in range(len(ENTRIES))]
LEAVES = {day: f"journal.entry_1_{day:%Y%m%d}" for day in DAYS}
OTHER_LEAVES = {day: f"journal.entry_2_{day:%Y%m%d}" for day in DAYS}
COLUMNS = ("index", "day", "tenant", "category", "event_key", "leaf_hash", "chain_hash", "ciphertext")
TABLES = ("journal.head", "journal.seal", "journal.seal_head")


@dataclass(slots=True, kw_only=True)
class Attacked:
    """A store of 200 entries and their neighbours, somebody's hand in it, and a check that saw it untouched."""

    world: World
    harm: Harm
    audit: Audit
    rows: list[asyncpg.Record]

    async def leaves(self, *days: date, category: str = CATEGORY) -> str:
        """Return what the check of these days says, one finding a line: rows together or one by one, the same."""
        said = []
        for together in (1, sys.maxsize):
            with pytest.MonkeyPatch.context() as changed:
                changed.setattr("journal.audit.contents.TOGETHER", together)
                said.append([str(found) for day in days for found in await self.audit.check_leaf(category, day)])
        assert said[0] == said[1]
        return "\n".join(said[0])

    async def heads(self) -> str:
        """Return what the check of seals and heads says, one finding a line."""
        return "\n".join(map(str, await Audit(self.world.service).prepare()))

    async def after_heads(self, day: date) -> str:
        """Return what a check of seals and heads, then of one day against them, says."""
        audit = Audit(self.world.service)
        found = [*await audit.prepare(), *await audit.check_leaf(CATEGORY, day)]
        return "\n".join(map(str, found))

    async def whole(self) -> str:
        """Return what the check of everything says, one finding a line."""
        return "\n".join(map(str, await self.world.audit()))


def names(said: str, index: int, day: date, chain: str = CHAIN) -> bool:
    """Tell whether a finding points at this entry, alone or among others."""
    pattern = rf"^[a-z -]+: {re.escape(chain)} {day} entr(?:y|ies) (\d+)(?: to (\d+))?: "
    found = re.findall(pattern, said, re.MULTILINE)
    return any(int(first) <= index <= int(last or first) for first, last in found)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def attacked(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Attacked]:
    """Six days of three chains, sealed, then without any of the database's own defences."""
    home = tmp_path_factory.mktemp("attacked")
    async with new_world(postgres, home, tenants=(TENANT, NEIGHBOUR)) as world, world.superuser() as superuser:
        for day, entries in zip(DAYS, ENTRIES, strict=True):
            await world.travel_to(day)
            # Seals in the middle of a day, too.
            for part in (entries // 2, entries - entries // 2):
                if part:
                    await world.record(part, tenant=TENANT)
                await world.record(2, tenant=NEIGHBOUR)
                await world.record(1, tenant=TENANT, category=OTHER_CATEGORY)
                await world.seal()
        # What the service itself notices would be entries of the chains that are checked here.
        for task in world.service._tasks:
            if task.get_name() in {"alarms", "memory"}:
                task.cancel()
        harm = Harm(superuser)
        await harm.unlock("journal.entry", *TABLES, *LEAVES.values(), *OTHER_LEAVES.values())
        await harm.keep(*TABLES, *LEAVES.values(), *OTHER_LEAVES.values())
        assert await world.audit() == []
        audit = Audit(world.service)
        assert await audit.prepare() == []
        rows = await superuser.fetch(
            "SELECT * FROM journal.entry WHERE tenant = $1 AND category = $2 ORDER BY index", TENANT, CATEGORY
        )
        assert len(rows) == sum(ENTRIES)
        yield Attacked(world=world, harm=harm, audit=audit, rows=rows)


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def untouched(attacked: Attacked) -> AsyncIterator[None]:
    """Control: before the first test and after every one, nothing is found."""
    yield
    assert await attacked.whole() == ""


async def flip_in_rows(attacked: Attacked, cells: Iterable[tuple[Cell, Sequence[int]]]) -> int:
    """Change these bits, one at a time, asserting that each is named; return how many there were."""
    cases = 0
    for cell, bits in cells:
        index, day = cell.row["index"], cell.row["day"]
        async for bit in attacked.harm.flips(cell, bits):
            said = await attacked.leaves(day)
            # A value that Python has no word for ends the reading of its leaf: what is named is where.
            unreadable = cell.kind == "date" and re.search(rf"^malformed: {CATEGORY} {day} after ", said)
            assert names(said, index, day) or unreadable, (index, cell.column, bit, said)
            cases += 1
    return cases


async def cells_of(attacked: Attacked, days: Iterable[date], condition: str = "true") -> list[Cell]:
    """Return the cells of the chain's rows on these days."""
    return [
        cell for day in days for cell in await attacked.harm.cells(LEAVES[day], f"tenant = '{TENANT}' AND {condition}")
    ]


def attach(day: date) -> str:
    """Return the statement that puts a leaf back in its category."""
    limits = f"FROM ('{day}') TO ('{day + timedelta(1)}')"
    return f"ALTER TABLE journal.entry_1 ATTACH PARTITION {LEAVES[day]} FOR VALUES {limits}"


@asynccontextmanager
async def detached(attacked: Attacked) -> AsyncIterator[None]:
    """Take the leaves out of the journal for a while: nothing holds their rows to their category and day."""
    for leaf in LEAVES.values():
        await attacked.harm.superuser.execute(f"ALTER TABLE journal.entry_1 DETACH PARTITION {leaf}")
    try:
        yield
    finally:
        await attacked.harm.restore(*LEAVES.values())
        for day in DAYS:
            await attacked.harm.superuser.execute(attach(day))


def some_rows(attacked: Attacked, step: int) -> list[asyncpg.Record]:
    """Return the first and the last row of each day, and every `step`-th of the chain: all of them for a step of 1."""
    ends = {ends_of_days()[number] - 1 for number in range(len(DAYS))}
    firsts = {0, *(end + 1 for end in ends)}
    return [row for row in attacked.rows if row["index"] % step == 0 or row["index"] in ends | firsts]


@pytest.mark.parametrize("step", [53, pytest.param(1, marks=pytest.mark.campaign)])
async def test_a_bit_of_every_column(attacked: Attacked, step: int) -> None:
    """One bit, anywhere in any column of a row, is named at the row's chain and index."""
    draw = random.Random(1)
    rows = {row["index"] for row in some_rows(attacked, step)}
    async with detached(attacked):
        cells = [cell for cell in await cells_of(attacked, DAYS) if cell.row["index"] in rows]
        assert len(cells) == len(COLUMNS) * len(rows)
        for cell in cells:
            # Not every change of a text is a text, nor of a date a date: the first that can be stored.
            for bit in draw.sample(range(cell.bits), cell.bits):
                if await flip_in_rows(attacked, [(cell, [bit])]):
                    break
            else:
                pytest.fail(f"no bit of {cell.column} can be changed")


@pytest.mark.parametrize("step", [29, pytest.param(1, marks=pytest.mark.campaign)])
async def test_bits_of_three_rows(attacked: Attacked, step: int) -> None:
    """Bits of every column of the chain's first entry, of one in the middle and of the last are named."""
    async with detached(attacked):
        cells = [
            *await cells_of(attacked, DAYS[:1]),
            *await cells_of(attacked, DAYS[1:2], "index = 2"),
            *await cells_of(attacked, DAYS[5:], f"index = {sum(ENTRIES) - 1}"),
        ]
        cases = await flip_in_rows(attacked, [(cell, some_bits(cell, step)) for cell in cells])
        assert cases > (10_000 if step == 1 else 1_200 / step)


@pytest.mark.campaign
async def test_all_bits_of_all_rows(attacked: Attacked) -> None:
    """Every bit of every column of every row is named."""
    async with detached(attacked):
        cells = await cells_of(attacked, DAYS)
        assert await flip_in_rows(attacked, [(cell, range(cell.bits)) for cell in cells]) > 600_000


async def test_other_processes_say_the_same(attacked: Attacked, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows read in other processes lead to the same findings, also where one of these is killed."""
    monkeypatch.setattr("journal.audit.contents.TOGETHER", 1)
    others = set(multiprocessing.active_children())
    killed: list[int] = []

    def kill(_: int) -> None:
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
            killed.append(process.pid or 0)

    cell = next(cell for cell in await cells_of(attacked, DAYS[:1]) if cell.column == "ciphertext")
    async for _ in attacked.harm.flips(cell, [cell.bits - 1]):
        here = await attacked.whole()
        assert names(here, cell.row["index"], DAYS[0])
        for progress in (lambda _: None, kill):
            found = await Audit(attacked.world.service, processes=2).run(progress)
            assert "\n".join(map(str, found)) == here
    assert killed


def ends_of_days() -> list[int]:
    """Return the size of the chain at the end of each day."""
    return [sum(ENTRIES[: number + 1]) for number in range(len(ENTRIES))]


@pytest.mark.parametrize("step", [13, pytest.param(1, marks=pytest.mark.campaign)])
async def test_every_deletion(attacked: Attacked, step: int) -> None:
    """Each row taken out is named; a day of which nothing is left is an early deletion."""
    for row in some_rows(attacked, step):
        async with attacked.harm.done(LEAVES[row["day"]]) as superuser:
            statement = f"DELETE FROM {LEAVES[row['day']]} WHERE tenant = $1 AND index = $2"
            await superuser.execute(statement, TENANT, row["index"])
            said = await attacked.leaves(row["day"])
            assert names(said, row["index"], row["day"]), said
            alone = ENTRIES[DAYS.index(row["day"])] == 1
            assert said.startswith("early deletion" if alone else "gap")


@pytest.mark.parametrize("step", [53, pytest.param(1, marks=pytest.mark.campaign)])
async def test_every_copy(attacked: Attacked, step: int) -> None:
    """A copy of any row at the end of its day, at its own index or at the next one is named."""
    for row in some_rows(attacked, step):
        leaf, end = LEAVES[row["day"]], ends_of_days()[DAYS.index(row["day"])]
        for index in {end, row["index"], row["index"] + 1}:
            async with attacked.harm.done(leaf) as superuser:
                await insert(superuser, leaf, row, index=index)
                said = await attacked.leaves(row["day"])
                assert names(said, index, row["day"]), (index, said)


@pytest.mark.parametrize("step", [53, pytest.param(1, marks=pytest.mark.campaign)])
async def test_made_up_rows(attacked: Attacked, step: int) -> None:
    """A row made of nothing, though its hashes follow, is named wherever it is put."""
    draw = random.Random(2)
    for row in some_rows(attacked, step):
        leaf, place = LEAVES[row["day"]], DAYS.index(row["day"])
        leaf_hash = draw.randbytes(32)
        chain_hash = extend(row["chain_hash"], leaf_hash)
        made_up = {
            "leaf_hash": leaf_hash,
            "chain_hash": chain_hash,
            "ciphertext": draw.randbytes(len(row["ciphertext"])),
        }
        for index in (row["index"] + 1, ends_of_days()[place]):
            async with attacked.harm.done(leaf) as superuser:
                await insert(superuser, leaf, row, index=index, event_key=draw.randbytes(16), **made_up)
                said = await attacked.leaves(row["day"])
                assert names(said, index, row["day"]), (index, said)


async def test_swaps(attacked: Attacked) -> None:
    """Any two rows that change places are both named, neighbours and others, on one day or on two."""
    draw = random.Random(3)
    for first in some_rows(attacked, 29):
        if first["index"] + 1 < len(attacked.rows):
            await swap(attacked, first, attacked.rows[first["index"] + 1], chain_hash=first["index"] % 2 == 0)
    for _ in range(10):
        first, second = draw.sample(attacked.rows, 2)
        await swap(attacked, first, second, chain_hash=True)


@pytest.mark.campaign
async def test_all_swaps(attacked: Attacked) -> None:
    """All 19,900 pairs, both ways."""
    for first, second in combinations(attacked.rows, 2):
        await swap(attacked, first, second, chain_hash=False)
        await swap(attacked, first, second, chain_hash=True)


async def swap(attacked: Attacked, first: asyncpg.Record, second: asyncpg.Record, *, chain_hash: bool) -> None:
    """Give each of two rows the content of the other, or all of it but its place, and see both named."""
    columns = ("event_key", "leaf_hash", "ciphertext", "chain_hash")[: 4 if chain_hash else 3]
    given = ", ".join(f"{column} = ${place}" for place, column in enumerate(columns, 3))
    async with attacked.harm.done(*{LEAVES[first["day"]], LEAVES[second["day"]]}) as superuser:
        for to, of in ((first, second), (second, first)):
            statement = f"UPDATE {LEAVES[to['day']]} SET {given} WHERE tenant = $1 AND index = $2"
            await superuser.execute(statement, TENANT, to["index"], *(of[column] for column in columns))
        for row in (first, second):
            said = await attacked.leaves(row["day"])
            assert names(said, row["index"], row["day"]), (row["index"], said)


async def moves_of(attacked: Attacked, row: asyncpg.Record) -> list[tuple[str, str, dict[str, Any]]]:
    """Return where else a row could be put: the leaf, the chain, and what changes in the row."""
    [neighbour] = await attacked.world.service.store.read_heads([NEIGHBOUR], [CATEGORY])
    leaf, chain = LEAVES[row["day"]], f"{NEIGHBOUR}/{CATEGORY}"
    return [
        (leaf, chain, {"tenant": NEIGHBOUR}),
        (leaf, chain, {"tenant": NEIGHBOUR, "index": neighbour.size}),
        (OTHER_LEAVES[row["day"]], f"{TENANT}/{OTHER_CATEGORY}", {"category": OTHER_CATEGORY}),
        *((LEAVES[day], CHAIN, {"day": day}) for day in DAYS if day != row["day"]),
    ]


async def move(attacked: Attacked, row: asyncpg.Record, leaf: str, chain: str, changes: dict[str, Any]) -> None:
    """Move a row, asserting that it is named where it was and where it is."""
    day, index = row["day"], row["index"]
    async with attacked.harm.done(*{LEAVES[day], leaf}) as superuser:
        await superuser.execute(f"DELETE FROM {LEAVES[day]} WHERE tenant = $1 AND index = $2", TENANT, index)
        await insert(superuser, leaf, row, **changes)
        said = await attacked.leaves(day)
        assert names(said, index, day), said
        said = await attacked.leaves(changes.get("day", day), category=changes.get("category", CATEGORY))
        assert names(said, changes.get("index", index), changes.get("day", day), chain), said


async def test_moves(attacked: Attacked) -> None:
    """A row moved to another commune, category or day is named where it was and where it is."""
    draw = random.Random(4)
    for row in some_rows(attacked, 29):
        for place in draw.sample(await moves_of(attacked, row), 2):
            await move(attacked, row, *place)


@pytest.mark.campaign
async def test_all_moves(attacked: Attacked) -> None:
    """Every row, to everywhere."""
    for row in attacked.rows:
        for place in await moves_of(attacked, row):
            await move(attacked, row, *place)


async def test_whole_days_and_chains(attacked: Attacked) -> None:
    """A day or a chain of which every row is gone, or whose partition is, is an early deletion."""
    for number, day in enumerate(DAYS):
        if not ENTRIES[number]:
            continue
        first = sum(ENTRIES[:number])
        async with attacked.harm.done(LEAVES[day]) as superuser:
            await superuser.execute(f"DELETE FROM {LEAVES[day]} WHERE tenant = $1", TENANT)
            said = await attacked.whole()
            assert said.startswith("early deletion")
            assert names(said, first, day)
            assert names(said, ends_of_days()[number] - 1, day)
        hidden = "hidden"
        try:
            await attacked.harm.superuser.execute(f"ALTER TABLE journal.entry_1 DETACH PARTITION {LEAVES[day]}")
            assert f"mismatched part: {CATEGORY} {day}: " in await attacked.whole()
            await attacked.harm.superuser.execute(f"ALTER TABLE {LEAVES[day]} RENAME TO {hidden}")
            said = await attacked.whole()
            assert "early deletion" in said
            assert names(said, first, day)
        finally:
            leaf = LEAVES[day].partition(".")[2]
            await attacked.harm.superuser.execute(f"ALTER TABLE journal.{hidden} RENAME TO {leaf}")
            await attacked.harm.superuser.execute(attach(day))


@pytest.mark.parametrize("step", [23, pytest.param(1, marks=pytest.mark.campaign)])
async def test_truncation(attacked: Attacked, step: int) -> None:
    """Any number of entries taken from the end, the head put back to fit, is named: the seals saw more."""
    hashes = [genesis(Compartment(SERVICE, TENANT, CATEGORY).origin).chain_hash]
    hashes += [row["chain_hash"] for row in attacked.rows]
    for size in range(len(attacked.rows) - 1, -1, -step):
        async with attacked.harm.done("journal.head", *LEAVES.values()) as superuser:
            chain = (TENANT, CATEGORY, size)
            await superuser.execute(
                "DELETE FROM journal.entry WHERE tenant = $1 AND category = $2 AND index >= $3", *chain
            )
            await superuser.execute(
                "UPDATE journal.head SET size = $3, chain_hash = $4 WHERE tenant = $1 AND category = $2",
                *(*chain, hashes[size]),
            )
            said = await attacked.heads()
            assert f"fork: head of {CHAIN}: it is behind the last seal" in said


@pytest.mark.parametrize("step", [47, pytest.param(1, marks=pytest.mark.campaign)])
async def test_rewriting_with_the_keys(attacked: Attacked, step: int) -> None:
    """A rewrite from some entry on, made with every key, is found at the first seal after it."""
    for start in range(0, len(attacked.rows), step):
        async with attacked.harm.done("journal.head", *LEAVES.values()) as superuser:
            await rewrite(attacked, superuser, start)
            said = await attacked.whole()
            sealed = re.search(rf"^fork: {CHAIN} (\S+) entry (\d+): a seal or the head states", said, re.MULTILINE)
            assert sealed, said
            assert int(sealed[2]) >= start
            assert DAYS.index(date.fromisoformat(sealed[1])) == DAYS.index(attacked.rows[start]["day"])


async def rewrite(attacked: Attacked, superuser: asyncpg.Connection, start: int) -> None:
    """Rewrite every entry from `start` on with other words, and make every hash and the head agree."""
    compartment = Compartment(SERVICE, TENANT, CATEGORY)
    chain_hash = attacked.rows[start - 1]["chain_hash"] if start else genesis(compartment.origin).chain_hash
    for row in attacked.rows[start:]:
        box = attacked.world.service.keyring.box(compartment, row["day"])
        salt, record = box.open(row["index"], row["ciphertext"], row["leaf_hash"])
        record = record.replace(b'"success"', b'"denied"')
        leaf = leaf_hash(salt, record)
        chain_hash = extend(chain_hash, leaf)
        ciphertext = encrypt(box, row["index"], nonce=bytes(12), salt=salt, record=record)
        await superuser.execute(
            f"UPDATE {LEAVES[row['day']]} SET leaf_hash = $3, chain_hash = $4, ciphertext = $5 "
            "WHERE tenant = $1 AND index = $2",
            *(TENANT, row["index"], leaf, chain_hash, ciphertext),
        )
    await superuser.execute(
        "UPDATE journal.head SET chain_hash = $3 WHERE tenant = $1 AND category = $2", TENANT, CATEGORY, chain_hash
    )


async def insert(superuser: asyncpg.Connection, table: str, row: asyncpg.Record, **changes: Any) -> None:
    """Put a row in a table, with some of its columns changed."""
    values = dict(row) | changes
    columns = ", ".join(f'"{column}"' for column in values)
    places = ", ".join(f"${place}" for place in range(1, len(values) + 1))
    await superuser.execute(f"INSERT INTO {table} ({columns}) VALUES ({places})", *values.values())


async def flip_in_tables(attacked: Attacked, cells: Iterable[tuple[Cell, Sequence[int]]], expected: str) -> int:
    """Change these bits of heads and seals, asserting that a finding matches; return how many there were."""
    cases = 0
    for cell, bits in cells:
        pattern = re.compile(rf"^[a-z -]+: {expected.format(**cell.row)}", re.MULTILINE)
        async for bit in attacked.harm.flips(cell, bits):
            said = await attacked.heads()
            if not pattern.search(said):
                # Too small a change for the seals to see: the entries do.
                said = await attacked.after_heads(DAYS[-1])
            assert pattern.search(said), (cell.column, cell.value, bit, said)
            cases += 1
    return cases


@pytest.mark.parametrize("step", [16, pytest.param(1, marks=pytest.mark.campaign)])
async def test_bits_of_a_head(attacked: Attacked, step: int) -> None:
    """A bit of any column of a chain's head is named, at the head or at the entry it speaks of."""
    cells = await attacked.harm.cells("journal.head", f"tenant = '{TENANT}' AND category = '{CATEGORY}'")
    assert {cell.column for cell in cells} == {"size", "kept_from", "recorded_at", "tenant", "category", "chain_hash"}
    where = f"(head of {CHAIN}|{CHAIN} {DAYS[-1]} entr)"
    some = [(cell, some_bits(cell, step)) for cell in cells]
    assert await flip_in_tables(attacked, some, where) > 40


def some_bits(cell: Cell, step: int) -> list[int]:
    """Return every bit of small things, and of long ones one bit of every `step` bytes; all of them for a step of 1."""
    if step == 1 or cell.kind in ("int2", "date"):
        return list(range(cell.bits))
    step = step if cell.kind == "bytea" else 1
    return [8 * place + place // step % 8 for place in range(0, cell.bits // 8, step)]


SEAL = r"(seals? {number}\b|close seal of |seals? \d+)"


@pytest.mark.parametrize("step", [2039, pytest.param(1, marks=pytest.mark.campaign)])
async def test_bits_of_seals(attacked: Attacked, step: int) -> None:
    """A bit of any column of any seal, open or close, is named with a seal's number or day."""
    cells = await attacked.harm.cells("journal.seal")
    assert {cell.column for cell in cells} == {"number", "day", "sealed_at", "text", "signature"}
    some = [(cell, some_bits(cell, step)) for cell in cells if cell.row["number"] in (1, 4, 5)]
    every = [(cell, [cell.bits // 2]) for cell in cells if cell.row["number"] not in (1, 4, 5)]
    # Of the sample one in six, which meets each of the columns.
    every = every[:: 1 if step == 1 else 6]
    assert {cell.column for cell, _ in every} == {cell.column for cell in cells}
    assert await flip_in_tables(attacked, some + every, SEAL) > 50


@pytest.mark.parametrize("step", [127, pytest.param(1, marks=pytest.mark.campaign)])
async def test_bits_of_sealed_heads(attacked: Attacked, step: int) -> None:
    """A bit of any column of any head that a seal keeps is named with the seal that it contradicts."""
    cells = await attacked.harm.cells("journal.seal_head")
    numbers = sorted({cell.row["number"] for cell in cells})
    one = next(cell.row for cell in cells if cell.row["number"] == numbers[3])
    some = [(cell, some_bits(cell, step)) for cell in cells if cell.row == one]
    others = [(cell, [0]) for cell in cells if cell.row != one]
    # Of the sample one in thirteen, which meets each of the columns.
    stride = 1 if step == 1 else 13
    assert {cell.column for cell, _ in others[::stride]} == {cell.column for cell in cells}
    assert await flip_in_tables(attacked, some + others[::stride], r"(seals? \d+|heads of )") > 200 / stride


async def test_every_missing_seal(attacked: Attacked) -> None:
    """Each seal taken out with its heads is named, but for the last: only who kept a later one could tell."""
    numbers = [row.number for row in await attacked.world.service.store.read_seals(0, 1000)]
    for number in numbers[:-1]:
        async with attacked.harm.done("journal.seal", "journal.seal_head") as superuser:
            await superuser.execute("DELETE FROM journal.seal WHERE number = $1", number)
            await superuser.execute("DELETE FROM journal.seal_head WHERE number = $1", number)
            assert re.search(rf"^gap: seal {number}: ", await attacked.heads(), re.MULTILINE)
    # Without its heads' removal, the last one shows too.
    async with attacked.harm.done("journal.seal") as superuser:
        await superuser.execute("DELETE FROM journal.seal WHERE number = $1", numbers[-1])
        assert "heads of " in await attacked.heads()


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.campaign)])
async def test_every_missing_head(attacked: Attacked, step: int) -> None:
    """Each head taken out, of the chains or of a seal, is named."""
    heads = await attacked.harm.superuser.fetch("SELECT tenant, category FROM journal.head")
    for row in heads:
        async with attacked.harm.done("journal.head") as superuser:
            await superuser.execute("DELETE FROM journal.head WHERE tenant = $1 AND category = $2", *row)
            assert f"fork: head of {row['tenant']}/{row['category']}: " in await attacked.heads()
    sealed = await attacked.harm.superuser.fetch("SELECT tenant, category, number FROM journal.seal_head")
    for row in sealed[::step]:
        async with attacked.harm.done("journal.seal_head") as superuser:
            await superuser.execute(
                "DELETE FROM journal.seal_head WHERE tenant = $1 AND category = $2 AND number = $3", *row
            )
            assert f": seal {row['number']}" in await attacked.heads()


async def test_seals_of_somebody_else(attacked: Attacked, tmp_path: Path) -> None:
    """Seals that change places, and seals signed by a key of one's own making, are named."""
    seals = await attacked.world.service.store.read_seals(0, 1000)
    statement = "UPDATE journal.seal SET text = $2, signature = $3 WHERE number = $1"
    for first, second in pairwise(seals):
        async with attacked.harm.done("journal.seal") as superuser:
            await superuser.execute(statement, first.number, second.text, second.signature)
            await superuser.execute(statement, second.number, first.text, first.signature)
            said = await attacked.heads()
            assert f"mismatched part: seal {first.number}: " in said
            assert f"mismatched part: seal {second.number}: " in said
    make_development_authority(tmp_path, SERVICE, START)
    own = load(tmp_path / "signing.key", tmp_path / "signing.pem")
    for seal in seals:
        async with attacked.harm.done("journal.seal") as superuser:
            await superuser.execute(statement, seal.number, seal.text, own.sign_seal(parse_seal(seal.text)))
            assert f"untrusted: seal {seal.number}: " in await attacked.heads()


@pytest.mark.parametrize("step", [127, pytest.param(1, marks=pytest.mark.campaign)])
async def test_bits_of_time_stamps(postgres: EmbeddedPostgres, tmp_path: Path, step: int) -> None:
    """A bit of any column of a close seal's time-stamp is named, and the stamp of another seal in its place."""
    trust = tmp_path / "tsa.pem"
    trust.write_bytes(der_to_pem(ANCHORS))
    async with new_world(postgres, tmp_path, tsa_trust=str(trust)) as world, world.superuser() as superuser:
        await world.travel_to(DAYS[2])
        closes = await world.service.sealer.close_due_days()
        for row in closes:
            token = stamp(row.text, at=row.sealed_at)
            assert await world.service.store.put_timestamp(row.number, row.sealed_at, token)
        harm = Harm(superuser)
        await harm.unlock("journal.seal_timestamp")
        await harm.keep("journal.seal_timestamp")
        assert await world.audit() == []
        cells = await harm.cells("journal.seal_timestamp", f"number = {closes[0].number}")
        token = next(cell for cell in cells if cell.column == "token")
        cases = 0
        async for bit in harm.flips(token, some_bits(token, step)):
            said = "\n".join(map(str, await Audit(world.service).prepare()))
            assert f": time-stamp of seal {closes[0].number}: " in said, (bit, said)
            cases += 1
        assert cases > 800 / step
        async with harm.done("journal.seal_timestamp"):
            await superuser.execute("UPDATE journal.seal_timestamp SET number = 3 - number")
            said = "\n".join(map(str, await world.audit()))
            for row in closes:
                assert f"mismatched part: time-stamp of seal {row.number}: " in said
