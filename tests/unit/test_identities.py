"""Source and id of entries: what comes back is found, in little memory, and named exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from journal.core.entry import Entry, parse_record
from journal.core.times import format_time
from journal.extract.identities import NAMED, Identities, Repeated, describe, enumerate_indexes
from journal.extract.manifest import Filter
from journal.extract.verify import verify_extract
from tests.support.extracts import ANCHORS, Extract, World, march, noon, opened

if TYPE_CHECKING:
    from journal.extract.report import Report


def verified(extract: Extract) -> Report:
    """Return the report on an extract that the service signs."""
    return verify_extract(opened(extract.pack()), anchors=ANCHORS)


def named(source: str, id_: str) -> dict[str, Any]:
    """Return the members that identify an event, but for its time."""
    return {"source": source, "id": id_}


NAMES = st.tuples(st.sampled_from("ab"), st.sampled_from("123"))


@given(st.lists(st.tuples(NAMES, st.integers(1, 3)), max_size=30))
def test_what_comes_back_is_found_with_its_indexes(given_names: list[tuple[tuple[str, str], int]]) -> None:
    """Whatever the order and the indexes between, as with a list of all names."""
    identities, index = Identities(), 0
    expected: dict[tuple[str, str], list[int]] = {}
    for name, step in given_names:
        index += step
        identities.add(index, named(*name))
        expected.setdefault(name, []).append(index)
    assert identities.groups() == sorted(group for group in expected.values() if len(group) > 1)


def entries(*names: tuple[str, str]) -> list[Entry]:
    """Return entries of a chain with these sources and ids."""
    world = World()
    for minute, (source, id_) in enumerate(names):
        world.append(
            noon(march(1), minutes=minute), source=source, id=id_, time=format_time(noon(march(1), hour=minute))
        )
    return [parse_record(record) for record in world.records]


def test_what_only_looks_the_same_is_not_named() -> None:
    """The hashes choose what is looked at; the entries decide."""
    identities = Identities()
    made = entries(("a", "1"), ("b", "2"), ("a", "1"))
    for entry in made:
        identities.add(entry.index, named("s", "i"))
    assert identities.name(made) == []
    again = Identities()
    for entry in made:
        again.add(entry.index, entry.event)
    assert again.name(made) == [Repeated("a", "1", (0, 2))]


def test_the_sentence_and_its_lists_are_bounded() -> None:
    """A module that repeats all of its ids fills no screen."""
    few = [Repeated("/a", "1", (0, 2))]
    assert describe(few).startswith("1 repeated source and id, ")
    assert describe(few).endswith("recorded twice: /a 1 (entries 0, 2).")
    assert describe(few * 9).endswith("; and 4 more.")
    assert enumerate_indexes(range(NAMED + 2)).endswith(f", {NAMED - 1} and 2 more")


def test_a_verified_extract_names_what_comes_back() -> None:
    """As a remark, in the report and as JSON, of the entries disclosed alone; the extract stays verified."""
    world = World().live(1, 1)
    for hour in (9, 10, 11):
        world.append(noon(march(2), hour=hour), id="again", time=format_time(noon(march(2), hour=hour)))
    world.close(march(2))
    report = verified(world.extract(march(2), march(2), at=noon(march(3))))
    assert report.as_json()["repeated"] == [{"id": "again", "indexes": [2, 3, 4], "source": "/openepm/montreuil"}]
    assert any("/openepm/montreuil again (entries 2, 3, 4)" in remark for remark in report.remarks)
    filtered = verified(world.extract(march(2), march(2), at=noon(march(3), hour=14), selection=Filter(account="none")))
    assert "repeated" not in filtered.as_json()
