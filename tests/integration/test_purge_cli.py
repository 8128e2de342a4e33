"""`openepm-journal purge`: what it says would go is what goes, what stays is told, and the exit status says which."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from journal.cli import purge as purge_command
from journal.cli.parser import make_parser
from journal.core.errors import BusyError
from journal.core.times import format_seconds
from journal.keys.store import open_keystore
from tests.support.brief import BRIEF, BRIEF_DAYS, LEAF, brief_world, key_files, leaves, live
from tests.support.communes import receives
from tests.support.relations import table_files
from tests.support.world import DAY, FIRST, OTHER_TENANT, START, TENANT, World, settings_of

if TYPE_CHECKING:
    from datetime import date

pytestmark = [pytest.mark.world(made_by=brief_world), pytest.mark.usefixtures("no_documents")]

DONE, FAILED = 0, 1


async def purge(world: World, *options: str) -> int:
    """Run the command on the world's installation; what it says is printed."""
    arguments = make_parser().parse_args(["purge", *options])
    return await purge_command.purge(settings_of(world), arguments)


async def disk(world: World, day: date) -> tuple[int, int, int]:
    """Return a day's rows, communes and bytes, counted one by one: rows by the database, bytes by the file system."""
    leaf = LEAF.format(day)
    async with world.superuser() as superuser:
        count, tenants = await superuser.fetchrow(f"SELECT count(*), count(DISTINCT tenant) FROM {leaf}")
        files = await table_files(superuser, leaf)
    return count, tenants, sum(file.stat().st_size for file in files)


@pytest.mark.usefixtures("commands_on_the_clock_of_the_world")
async def test_what_would_go_is_what_goes(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """The dry run counts rows, communes, bytes and keys as they are and changes nothing; the run then says the same."""
    for number in range(3):
        await world.travel_to(FIRST + number * DAY)
        await world.record(2 + 30 * number, category=BRIEF)
        if number:
            await world.record(5, tenant=OTHER_TENANT, category=BRIEF)
        await world.seal()
    await world.travel_to(FIRST + 3 * DAY)
    await world.seal()
    days = [FIRST, FIRST + DAY]
    for path in key_files(world, FIRST + DAY):
        path.unlink()
    expected = []
    for day in days:
        count, tenants, size = await disk(world, day)
        assert size > 0
        key = "no key" if day == FIRST + DAY else "its key"
        limit = format_seconds(START.replace(hour=0) + (day - FIRST) + BRIEF_DAYS * DAY)
        expected.append(
            f"{BRIEF} {day}: {count} entries in {tenants} compartments, {size} bytes on disk, {key}; "
            f"kept {BRIEF_DAYS} days, must be purged before {limit}"
        )
    assert [" 2 entries in 1 " in expected[0], " 37 entries in 2 " in expected[1]] == [True, True]
    before = await leaves(world)
    assert await purge(world, "--dry-run") == DONE
    assert capsys.readouterr().out.splitlines() == [f"would purge {line}" for line in expected]
    assert await leaves(world) == before
    assert all(path.exists() for path in key_files(world, FIRST))
    assert await purge(world) == DONE
    assert capsys.readouterr() == ("".join(f"purged {line}\n" for line in expected), "")
    assert await leaves(world) == [day for day in before if day not in days]
    assert not any(path.exists() for day in days for path in key_files(world, day))
    assert await world.audit() == []
    for options in (["--dry-run"], []):
        assert await purge(world, *options) == DONE
        assert capsys.readouterr() == ("nothing is due\n", "")


@pytest.mark.usefixtures("commands_on_the_clock_of_the_world")
async def test_what_waits_for_its_hand_over(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A day that waits says for whom and until when; that is no failure. Once its time is up it goes."""
    await receives(world)
    await live(world, 2)
    until = START.replace(hour=22) + 2 * DAY
    limit = START.replace(hour=0) + 3 * DAY
    waits = (
        f"{BRIEF} {FIRST} waits for the hand-over to {TENANT}, until {format_seconds(until)}; it must be purged before "
    )
    waits += f"{format_seconds(limit)}\n"
    assert await purge(world, "--dry-run") == DONE
    assert capsys.readouterr() == (waits, "")
    assert await purge(world) == DONE
    out, _ = capsys.readouterr()
    assert out == waits
    assert FIRST in await leaves(world)
    await world.travel(until + timedelta(minutes=1))
    assert await purge(world, "--dry-run") == DONE
    assert f"would purge {BRIEF} {FIRST}: 2 entries" in capsys.readouterr().out
    assert await purge(world) == DONE
    assert f"purged {BRIEF} {FIRST}: 2 entries" in capsys.readouterr().out


@pytest.mark.usefixtures("commands_on_the_clock_of_the_world")
async def test_what_is_behind_a_day_that_waits(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """It stays as well, and says so; a day that is over and not yet sealed is named, for its hand-over is not known."""
    await receives(world)
    await world.travel_to(FIRST)
    await world.record(1, category=BRIEF)
    await world.installation.administration.set_category(BRIEF, instruction="I-1", retention_days=2)
    await world.travel_to(FIRST + DAY)
    assert await purge(world, "--dry-run") == DONE
    out, err = capsys.readouterr()
    assert out.startswith(f"would purge {BRIEF} {FIRST}: 1 entries")
    assert f"{BRIEF} {FIRST} has no close seal yet" in err
    await world.seal()
    assert await purge(world, "--dry-run") == DONE
    out, err = capsys.readouterr()
    assert (f"{BRIEF} {FIRST} waits for the hand-over to {TENANT}" in out, err) == (True, "")


@pytest.mark.usefixtures("commands_on_the_clock_of_the_world")
async def test_what_is_due_and_could_not_go(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Beyond three days of a category, and where something fails: it is told on standard error, and the status is 1."""
    await live(world, 6)
    await world.seal()
    days = [FIRST + number * DAY for number in range(5)]
    limits = [format_seconds(START.replace(hour=0) + (number + BRIEF_DAYS) * DAY) for number in range(5)]
    beyond = [
        f"{BRIEF} {day} is left: a run purges 3 days of a category; run purge again, or with --all; "
        f"it must be purged before {limit}"
        for day, limit in zip(days, limits, strict=True)
    ][3:]
    assert await purge(world, "--dry-run") == DONE
    told = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in told[:3]] == [f"would purge {BRIEF} {day}" for day in days[:3]]
    assert told[3:] == beyond
    fences = world.settings.home_path / "replica" / "fences" / BRIEF
    fences.mkdir(parents=True)
    assert await purge(world) == FAILED
    out, err = capsys.readouterr()
    assert out == ""
    assert f"openepm-journal: the fence of {BRIEF} in " in err
    assert f"{BRIEF} {FIRST} is due but could not be purged; it must be purged before {limits[0]}" in err
    fences.rmdir()
    assert await purge(world) == FAILED
    out, err = capsys.readouterr()
    assert "an interrupted run has begun it" in out.splitlines()[0]
    # The day that was begun is behind its fence, and does not count towards the three.
    assert [line.partition(":")[0] for line in out.splitlines()] == [f"purged {BRIEF} {day}" for day in days[:4]]
    assert err.splitlines() == [
        f"{BRIEF} {days[4]} is due but could not be purged; it must be purged before {limits[4]}"
    ]
    assert await purge(world, "--all") == DONE
    assert await world.audit() == []


@pytest.mark.usefixtures("commands_on_the_clock_of_the_world")
async def test_what_a_backup_brought_back(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A key that is there again goes again, and why is said."""
    await live(world, 2)
    [copy, *_] = key_files(world, FIRST)
    content = copy.read_bytes()
    await world.installation.purger.run()
    copy.write_bytes(content)
    line = f"{BRIEF} {FIRST}: 0 entries in 0 compartments, 0 bytes on disk, its key; "
    line += "it was purged before and has come back, for example from a backup"
    assert await purge(world, "--dry-run") == DONE
    assert await purge(world) == DONE
    assert capsys.readouterr().out == f"would purge {line}\npurged {line}\n"
    assert not copy.exists()


@pytest.mark.usefixtures("commands_on_the_clock_of_the_world")
async def test_beside_another_run(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service's own run is waited for, so that the nightly one does not fail for it; but not for ever."""
    await live(world, 2)
    with open_keystore(world.settings).destroying():
        waiting = asyncio.create_task(purge(world))
        said = ""
        while "another purge is running: waiting for it" not in said:
            await asyncio.sleep(0.01)
            said += capsys.readouterr().err
    assert await waiting == DONE
    assert capsys.readouterr().out.startswith(f"purged {BRIEF} {FIRST}: 2 entries")
    monkeypatch.setattr(purge_command, "WAIT_ATTEMPTS", 1)
    with open_keystore(world.settings).destroying(), pytest.raises(BusyError, match="another purge is running"):
        await purge(world)
