"""The protocols as small models, searched exhaustively by spin: no property fails, but for each planted fault."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.models import BEGIN, FAULTY, PROPERTIES, SOUND, TABLE, Run, check, row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.needs("spin", "gcc")


def given(run: Run, *, is_long: bool) -> object:
    """Return a run as a parameter; the long ones are the campaign's."""
    return pytest.param(run, id=run.name.replace(" ", "-"), marks=[pytest.mark.campaign] if is_long else [])


def faulty() -> Iterator[object]:
    """Give the planted faults; those that break what one before them has broken, to the campaign."""
    broken: set[tuple[str, ...]] = set()
    for run in FAULTY:
        yield given(run, is_long=(run.model, *run.fails) in broken)
        broken.add((run.model, *run.fails))


@pytest.mark.parametrize("run", [given(run, is_long=run.is_long) for run in SOUND])
def test_no_property_fails(run: Run, record_property: Callable[[str, object], None]) -> None:
    """In no state that is reached; the table of README has the figures."""
    found = check(run)
    assert found.violated is None
    assert row(run, found) in TABLE.read_text(encoding="utf-8")
    record_property("evidence", f"model {run.name}: {found.states} states, {found.transitions} transitions, no error")


@pytest.mark.parametrize("run", list(faulty()))
def test_a_planted_fault_is_found(run: Run) -> None:
    """By the property that it breaks; what is never to be reached is reached."""
    violated = check(run).violated
    assert violated is not None
    assert violated.startswith("assertion violated")
    assert any(name in violated for name in run.fails), violated


def test_no_property_is_empty() -> None:
    """A planted fault breaks each; the table has every run."""
    for model, properties in PROPERTIES.items():
        broken = {name for run in FAULTY if run.model == model for name in run.fails}
        assert broken - {"crashes"} == set(properties)
    assert TABLE.read_text(encoding="utf-8").partition(BEGIN)[2].count("\n") == len(SOUND)
