"""`openepm-journal category set`: what follows from a rule is said when it is asked for, and listed while pending."""

from __future__ import annotations

import pytest

from journal.choices import ANSWERS, DEFAULT_BASIS
from journal.cli.parser import make_parser
from journal.core.errors import OperatorError
from journal.database.admin import LEGAL_BASES
from tests.support.communes import receives
from tests.support.rule_changes import LONG, live, long_world
from tests.support.world import DAY, FIRST, TENANT, World, settings_of

pytestmark = [pytest.mark.world(made_by=long_world), pytest.mark.usefixtures("commands_on_the_clock_of_the_world")]

NAME = f"{LONG.code}\tLongue"
RESTS_ON = f"{DEFAULT_BASIS}\t{LEGAL_BASES['LED']}"


async def run(world: World, capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    """Run a command about categories on the world's installation; return the lines it printed."""
    arguments = make_parser().parse_args(["category", *options])
    assert await arguments.run(settings_of(world), arguments) == 0
    return capsys.readouterr().out.splitlines()


async def notes(world: World, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return what doctor says beside what is right and wrong."""
    arguments = make_parser().parse_args(["doctor"])
    await arguments.run(settings_of(world), arguments)
    said = capsys.readouterr().out.splitlines()
    assert "ok   retention" in said
    return [line for line in said if line.startswith("note retention")]


async def test_a_shorter_rule(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints what will be purged, how to purge it now, and which tenants delay it; then only the rule."""
    await live(world, 0, 7)
    await receives(world)
    first, *rest = await run(world, capsys, "set", LONG.code, "--instruction", "I-1", "--retention-days", "4")
    pending = f"10 days, 4 pending since {world.today}"
    assert first == f"category {NAME}\tdoes not need authorisation\t{pending}"
    assert rest[0] == (
        f"6 days are due ({FIRST} to {FIRST + 5 * DAY}): serve purges them within an hour, openepm-journal purge at "
        "once; seals then state the new retention, and older entries can no longer be read"
    )
    assert rest[1:] == [f"first they are handed over to {TENANT}: openepm-journal handover does it at once"]
    assert f"{NAME}\tLED\t{pending}\t{RESTS_ON}" in await run(world, capsys, "list")
    asked = f"note retention: {LONG.code}: 4 days asked for on {world.today}, not in force yet; now 10 days"
    assert await notes(world, capsys) == [asked]
    await world.installation.handover.run()
    await world.installation.purger.run()
    assert f"{NAME}\tLED\t4 days\t{RESTS_ON}" in await run(world, capsys, "list")
    assert await notes(world, capsys) == []


async def test_what_a_purge_says_while_a_rule_is_pending(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Days of which nothing is left are counted in a line, and are no failure."""

    async def purge(*options: str) -> tuple[str, str]:
        arguments = make_parser().parse_args(["purge", *options])
        assert await arguments.run(settings_of(world), arguments) == 0
        return tuple(capsys.readouterr())

    await live(world, 0, 3)
    await receives(world)
    await run(world, capsys, "set", LONG.code, "--instruction", "I-1", "--retention-days", "3")
    await world.installation.handover.run()
    # Then nobody hands over for three days: what came meanwhile waits, and keeps the rule from being in force.
    await world.record(1, category=LONG.code)
    await world.travel_to(FIRST + 7 * DAY)
    await world.seal()
    out, err = await purge()
    went, last = out.splitlines()[:4], FIRST + 3 * DAY
    assert [line.partition(":")[0] for line in went] == [f"purged {LONG.code} {FIRST + n * DAY}" for n in range(4)]
    told = out.splitlines()[4:]
    assert told[0] == (
        f"{LONG.code}: 4 days ({FIRST} to {last}) purged by a shorter retention, which seals state once all its due "
        "days are purged"
    )
    assert told[1].startswith(f"{LONG.code} {last + DAY} waits for the hand-over to {TENANT}, until ")
    assert told[2].startswith(f"{LONG.code} {last + 2 * DAY} waits for an earlier day")
    assert (len(told), err) == (3, "")
    for options in (["--dry-run"], []):
        assert await purge(*options) == ("".join(f"{line}\n" for line in told), "")


async def test_a_longer_rule(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """How far it is stated by now, and where it ends."""
    await run(world, capsys, "set", LONG.code, "--instruction", "I-1", "--retention-days", "4")
    await live(world, 0, 5)
    [said] = await run(
        world, capsys, "set", LONG.code, "--instruction", "I-1", "--retention-days", "8", "--needs-authorisation", "yes"
    )
    assert said == f"category {NAME}\tneeds authorisation\t4 days, one more each day up to 8"
    assert f"{NAME}\tLED\t4 days, one more each day up to 8\tneeds authorisation\t{RESTS_ON}" in await run(
        world, capsys, "list"
    )
    asked = f"note retention: {LONG.code}: 8 days asked for on {world.today}, not in force yet; now 4 days"
    assert await notes(world, capsys) == [f"{asked}, a day more each day"]
    await live(world, 6, 9)
    assert f"{NAME}\tLED\t8 days\tneeds authorisation\t{RESTS_ON}" in await run(world, capsys, "list")


async def test_by_a_wrong_clock(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A rule is not shortened by a clock that the last seal does not support; a label may be changed by any."""
    await world.seal()
    await world.travel_to(FIRST + 9 * DAY)
    with pytest.raises(OperatorError, match="--clock-is-right"):
        await run(world, capsys, "set", LONG.code, "--instruction", "I-1", "--retention-days", "4")
    [said] = await run(world, capsys, "set", LONG.code, "--instruction", "I-1", "--label", "Autre")
    assert said == f"category {LONG.code}\tAutre\tdoes not need authorisation\t10 days"
    assert ANSWERS == {"yes": True, "no": False}
    [said] = await run(
        world, capsys, "set", LONG.code, "--instruction", "I-1", "--retention-days", "60", "--clock-is-right"
    )
    assert said.endswith("\t60 days")
