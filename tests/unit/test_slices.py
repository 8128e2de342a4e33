"""The fast way to check an extract says yes only where the strict one does, and the same of what it accepts."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from journal.core.entry import Compartment, Entry, parse_record
from journal.core.errors import ForeignEntryError, VerificationError
from journal.extract import sweep, walk
from journal.extract.layout import ENTRIES, PROOF, TABLE
from journal.extract.manifest import Filter, action_of
from journal.extract.shape import GROUPS_LIMIT, RECORD_LIMIT_BYTES, Kind
from journal.extract.shapes import Matched, Shapes, attributes_of, count_kinds, facts_of, is_wanted, names_of, numbered
from journal.extract.slices import _shapes, check, check_alone
from journal.extract.verify import verify_extract
from tests.support import authority
from tests.support.extracts import ANCHORS, COMPARTMENT, World, event, march, noon, opened, sample
from tests.support.sliced import DAY, change_record, odd_event, record_of, slice_of, strictly, usual_event

if TYPE_CHECKING:
    from collections.abc import Callable

    from journal.extract.slices import Checked, Slice

SIZE = 8


def shapes() -> Shapes:
    """Return what is known before any record was met."""
    return Shapes(COMPARTMENT.tenant, COMPARTMENT.category)


def listed(checked: Checked | None) -> Any:
    """Return what can be compared: indexes are a range where all are disclosed."""
    return checked and (*checked[:3], list(checked.disclosed), *checked[4:])


def agree(part: Slice, known: Shapes) -> bool:
    """Tell whether a slice is accepted, and hold the fast way against the strict one."""
    fast, strict = listed(check(part, known)), listed(strictly(part))
    assert fast is None or fast == strict
    return fast is not None


@pytest.mark.untraced
def test_what_modules_submit_is_read_by_its_shape() -> None:
    """After the first record of each shape, none is parsed: that is what makes it fast."""
    random, known = Random(1), shapes()
    for _ in range(20):
        records = [record_of(usual_event(random, index), index) for index in range(100)]
        assert agree(slice_of(records), known)
    read = known.read(records, [record.decode() for record in records])
    assert all(isinstance(one, Matched) for one in read)


@pytest.mark.untraced
@pytest.mark.parametrize("trials", [1_000, pytest.param(300_000, marks=pytest.mark.campaign)])
def test_whatever_the_fast_way_accepts_the_strict_way_accepts(trials: int) -> None:
    """Records changed where a reader of patterns might be lenient, among others whose shapes are known."""
    random, known = Random(2), shapes()
    accepted = 0
    for _ in range(trials):
        first = random.choice((0, 7, 10**9, 10**11 - 4, 2**53 - 1 - SIZE))
        made = [random.choice((usual_event, usual_event, odd_event))(random, number) for number in range(SIZE)]
        records = [record_of(one, first + place, place) for place, one in enumerate(made)]
        for _ in range(random.randrange(3)):
            place = random.randrange(SIZE)
            records[place] = change_record(random, records[place])
        withheld = random.choice(((), (), (0,), (2, 3), range(SIZE)))
        part = slice_of(records, first=first, withheld=withheld)
        if random.random() < 0.2:
            name = random.choice(("proof", "entries", "rows"))
            part = part._replace(**{name: change_record(random, getattr(part, name) or b"x")})
        accepted += agree(part, known)
    assert trials / 4 < accepted < trials * 0.9


@pytest.mark.parametrize(
    "wanted",
    [
        Filter(account="agent-1"),
        Filter(subject="main-courante/3"),
        Filter(action="access"),
        Filter(occurred_from=march(2)),
        Filter(occurred_to=march(1), account="agent-1"),
        Filter(withhold_all=True),
    ],
)
def test_a_filter_is_obeyed(wanted: Filter) -> None:
    """Entries that match are accepted, and others are not, whichever way their records are read."""
    random, known = Random(3), shapes()
    records = [record_of(usual_event(random, index), index) for index in range(200)]
    assert agree(slice_of(records), known)
    outcomes = set()
    records = [
        record.replace(b"2026-03-01T", b"2026-03-02T") if number % 2 else record
        for number, record in enumerate(records)
    ]
    for index, record in enumerate(records):
        part = slice_of([record], first=index, wanted=wanted)
        outcomes.add(agree(part, known))
        assert agree(part, known) == agree(part, shapes()) == (strictly(part) is not None)
    assert outcomes == ({False} if wanted.withhold_all else {True, False})


def test_texts_with_escapes_are_read_by_the_shape_as_well() -> None:
    """Quotation marks and line breaks in a reason are usual; in the table they are made safe."""
    known = shapes()
    data = event(0)["data"]
    for reason in ("Relecture", 'dit "non"', "une\nligne", "\\", "\x1f", '"'):
        for index in range(2):
            record = record_of(event(index, data={**data, "justification": reason}), index)
            assert agree(slice_of([record], first=index), known)
    (read,) = known.read([record], [record.decode()])
    assert isinstance(read, Matched)


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": "x" * RECORD_LIMIT_BYTES},
        {"subject": "\ue0001\ue000"},
        {"data": {"fields": [str(number) for number in range(GROUPS_LIMIT)]}},
        {"data": {"count": 10**11}},
        {"data": {"count": "1"}},
        {"data": {"outcome": "unknown"}},
        {"data": {"reason": "x"}},
        {"type": "org.example.other"},
        {"outcome": "success"},
        {"other": {"a": 1}},
    ],
)
def test_what_is_unusual_is_read_strictly(changes: dict[str, Any]) -> None:
    """It is accepted all the same, and never learnt."""
    known = shapes()
    for index in range(2):
        assert agree(slice_of([record_of(event(index, **changes), index)], first=index), known)
    record = record_of(event(2, **changes), 2)
    (read,) = known.read([record], [record.decode()])
    assert not isinstance(read, Matched)


def test_no_more_shapes_are_learnt_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """An extract of nothing but new shapes costs what the strict way costs."""
    monkeypatch.setattr("journal.extract.shapes.SHAPES_LIMIT", 1)
    known = shapes()
    records = [record_of(event(index, subject=["a"] * index), index) for index in range(3)] * 2
    read = known.read(records, [record.decode() for record in records])
    assert [isinstance(one, Matched) for one in read] == [False, False, False, True, False, False]


def test_records_that_are_alike_are_read_in_one_search() -> None:
    """Whatever comes among them, what is read is the same as one by one: nothing that only a part of them matches."""
    random = Random(6)
    alike = [record_of(event(index, subject=f"MC-{index}"), index) for index in range(9)]
    others = [record_of(usual_event(random, index), index) for index in range(9)]
    escaped = record_of(event(3, subject='dit "non"'), 3)
    known, one_by_one = shapes(), shapes()
    assert known.read_together([], "") == []
    for records in (alike, alike, others, alike, [*alike[:3], escaped], alike, alike, [alike[0], *others[1:]], []):
        text = "".join(f"{record.decode()}\n" for record in records)
        found = known.read_together(records, text)
        expected = one_by_one.read(records, [record.decode() for record in records])
        assert [one[1:] if isinstance(one, Matched) else one for one in found] == [
            one[1:] if isinstance(one, Matched) else one for one in expected
        ]
    for change in (b"\n", b"x\n", b"", b"\r"):
        joined = b"%b\n%b" % (alike[0], alike[1].replace(b"MC-1", b"MC-1" + change))
        assert known.read_together(alike, "".join(f"{record.decode()}\n" for record in alike))
        part = slice_of(alike[:2])._replace(entries=joined + b"\n")
        assert (check(part, known) is None) == bool(change)


@pytest.mark.parametrize("trials", [300, pytest.param(100_000, marks=pytest.mark.campaign)])
def test_one_changed_among_records_that_are_alike_is_judged_as_strictly(trials: int) -> None:
    """Wherever it is changed: the search finds as many lines as there are records only where each is right."""
    random, known = Random(7), shapes()
    alike = [record_of(event(index, subject=f"MC-{index}"), index) for index in range(SIZE)]
    right, accepted = slice_of(alike), 0
    assert agree(right, known)
    for _ in range(trials):
        assert agree(right, known)
        assert known._only is not None
        records = alike.copy()
        place = random.randrange(SIZE)
        records[place] = change_record(random, records[place])
        part = slice_of(records)
        if random.random() < 0.2:
            part = part._replace(entries=change_record(random, right.entries))
        accepted += agree(part, known)
    assert trials / 20 < accepted < trials * 0.9


def test_a_foreign_entry_teaches_nothing() -> None:
    """The shapes of a compartment hold its name: a record of another one is refused, and not learnt."""
    known = shapes()
    foreign = record_of(event(0), 0).replace(b'"tenant":"montreuil"', b'"tenant":"bagnolet"')
    assert not agree(slice_of([foreign]), known)
    assert not agree(slice_of([foreign]), known)


def both(whole: bytes) -> Any:
    """Verify in both ways; return what both say."""
    said = []
    for run in (map, None):
        try:
            said.append(verify_extract(opened(whole), anchors=ANCHORS, run=run))
        except VerificationError as error:  # noqa: PERF203  (twice)
            said.append((type(error), error.part, error.reason))
    assert said[0] == said[1]
    return said[0]


@pytest.fixture
def no_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the walk by entry be missed where it is wanted."""

    def never(_: walk.Walk) -> None:
        raise AssertionError("the walk was needed")

    monkeypatch.setattr(walk.Walk, "check", never)


@pytest.mark.usefixtures("no_walk")
@pytest.mark.parametrize("wanted", [Filter(), Filter(account="agent-1"), Filter(withhold_all=True)])
def test_a_right_extract_needs_no_walk(wanted: Filter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices end at seals and days; there may be many to a day, or none."""
    monkeypatch.setattr(sweep, "SLICE_ENTRIES", 2)
    world = World().live(1, 2, entries=5).live(3, 3, entries=0).live(4, 4, entries=1)
    extract = world.extract(march(1), march(4), at=noon(march(5)), selection=wanted)
    assert verify_extract(opened(extract.pack()), anchors=ANCHORS).manifest.disclosed == len(extract.records)


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_lines_are_cut_wherever_the_pieces_end(size: int) -> None:
    """A member is read in pieces that hold no line, some, or all; what is left over at the end is not usual."""
    lines = [b"%d\n" % number for number in range(20)]
    whole = b"".join(lines)
    pieces = [whole[start : start + size] for start in range(0, len(whole), size)]
    cutter = sweep._Cutter(iter(pieces), 10)
    assert [cutter.take(count) for count in (1, 0, 15, 4)] == [
        lines[0],
        b"",
        b"".join(lines[1:16]),
        b"".join(lines[16:]),
    ]
    cutter.end()
    with pytest.raises(sweep._NotUsualError):
        cutter.take(1)
    rest = sweep._Cutter(iter([*pieces, b"x"]), 10)
    assert rest.take(20) == whole
    with pytest.raises(sweep._NotUsualError):
        rest.end()


@pytest.mark.parametrize("length", [9, 10, 11])
def test_a_line_is_as_long_as_the_limit_and_no_longer(length: int) -> None:
    """Its LF does not count."""
    line = b"x" * length + b"\n"
    cutter = sweep._Cutter(iter([b"a\n" + line]), 10)
    assert cutter.take(1) == b"a\n"
    if length > 10:
        with pytest.raises(sweep._NotUsualError):
            cutter.take(1)
    else:
        assert cutter.take(1) == line


@pytest.mark.usefixtures("no_walk")
def test_a_right_extract_of_the_journal_needs_no_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The entry of its own request is in one of its slices, and not in those before or after."""
    monkeypatch.setattr(sweep, "SLICE_ENTRIES", 1)
    journal = Compartment(authority.SERVICE, "montreuil", "journal")
    world = World(compartment=journal).live(1, 2, entries=4)
    extract = world.extract(march(2), march(2), at=noon(march(3)))
    request = replace(extract.manifest.request, index=5, leaf=world.leaf(5))
    named = replace(extract, manifest=replace(extract.manifest, request=request))
    assert verify_extract(opened(named.pack()), anchors=ANCHORS).manifest.disclosed == 4


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (PROOF, lambda content: content[:-1]),
        (PROOF, lambda content: content + content.splitlines(keepends=True)[0]),
        (PROOF, lambda content: content.replace(b"salt", b"leaf", 1)),
        (PROOF, lambda content: b" " * 200 + content),
        (ENTRIES, lambda content: content[: content.index(b"\n") + 1]),
        (ENTRIES, lambda content: content + content),
        (ENTRIES, lambda content: content + b"x"),
        (ENTRIES, lambda content: content[content.index(b"\n") + 1 :] + content[: content.index(b"\n") + 1]),
        (ENTRIES, lambda content: b"x" * sweep.SLICE_BYTES + content),
        (TABLE, lambda content: content + b"x\r\n"),
        (TABLE, lambda content: content[1:]),
        (TABLE, lambda content: content.replace("Noé".encode(), b"Noe", 1)),
        (TABLE, lambda content: content[:-1]),
    ],
)
def test_what_is_wrong_is_said_by_the_walk(name: str, change: Callable[[bytes], bytes]) -> None:
    """Where a slice is not as it should be, both ways end with the same verdict."""
    extract = sample()
    parts = {name: change(extract.contents()[name])}
    assert both(replace(extract, parts=parts).pack())[1]


def test_times_that_go_back_from_a_slice_to_the_next_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of times is checked within slices and between them."""
    monkeypatch.setattr(sweep, "SLICE_ENTRIES", 1)
    world = World().live(1, 1)
    for minutes in (5, 3):
        world.append(noon(march(2), minutes=minutes))
    world.close(march(2))
    kind, part, _ = both(world.extract(march(2), march(2), at=noon(march(3))).pack())
    assert (kind.verdict, part) == ("foreign entry", f"{ENTRIES} index 3")


def test_a_count_that_is_not_right_is_seen() -> None:
    """The manifest counts what is disclosed."""
    world = World().live(1, 2)
    extract = world.extract(march(2), march(2), at=noon(march(3)), selection=Filter(account="agent-2"))
    wrong = replace(extract.manifest, disclosed=extract.manifest.disclosed + 1, withheld=extract.manifest.withheld - 1)
    kind, _, _ = both(replace(extract, manifest=wrong).pack())
    assert kind.verdict == "mismatched part"


@pytest.mark.parametrize("size", [1, sweep.SLICE_ENTRIES])
@pytest.mark.parametrize("more", [-1, 1])
def test_a_count_of_accesses_of_other_days_is_seen(more: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manifest counts them, and the entries disclosed bound it, be they in one slice or in several."""
    monkeypatch.setattr(sweep, "SLICE_ENTRIES", size)
    world = World()
    for minutes, day in enumerate((1, 2, 1)):
        world.append(noon(march(2), minutes=minutes), time=f"2026-03-0{day}T08:00:00.000000Z")
    world.close(march(2))
    extract = world.extract(march(2), march(2), at=noon(march(3)))
    lateness = extract.manifest.lateness
    assert isinstance(lateness.here, int)
    wrong = replace(extract.manifest, lateness=replace(lateness, here=lateness.here + more))
    kind, part, _ = both(replace(extract, manifest=wrong).pack())
    assert (kind.verdict, part) == ("mismatched part", "manifest.json")


@pytest.mark.parametrize("named", [5, 6])
def test_the_entry_of_the_request_is_held_against_the_manifest(named: int) -> None:
    """In an extract of the category `journal` it may be there."""
    journal = Compartment(authority.SERVICE, "montreuil", "journal")
    world = World(compartment=journal).live(1, 2, entries=4)
    extract = world.extract(march(2), march(2), at=noon(march(3)))
    request = replace(extract.manifest.request, index=5, leaf=world.leaf(named))
    said = both(replace(extract, manifest=replace(extract.manifest, request=request)).pack())
    assert isinstance(said, tuple) is (named != 5)


def test_a_chain_that_passes_a_seal_by_is_seen() -> None:
    """A seal within the period, at the end of a slice, holds the chain hash there."""
    world = World().live(1, 2)
    world.close(march(3), chain_hash=bytes(32))
    world.live(4, 4)
    kind, _, _ = both(world.extract(march(2), march(4), at=noon(march(5))).pack())
    assert kind.verdict in {"broken chain", "fork"}


@pytest.mark.parametrize("rest", [b"", b"x"])
def test_progress_does_not_go_over_its_end(rest: bytes) -> None:
    """Members are read once where the fast way suffices, up to three times where it does not."""
    told: list[tuple[int, int]] = []
    extract = sample()
    whole = replace(extract, parts={TABLE: extract.contents()[TABLE] + rest}).pack()
    with suppress(VerificationError):
        verify_extract(opened(whole), anchors=ANCHORS, progress=lambda *pair: told.append(pair))
    assert rest or told[-1][0] == told[-1][1]
    assert all(done <= total for done, total in told)


def test_each_process_knows_the_shapes_of_a_compartment() -> None:
    """What `verify_extract` hands out needs nothing but the slice."""
    _shapes.cache_clear()  # as in a process that has met none
    records = [record_of(event(0), index) for index in range(3)]
    part = slice_of(records)
    assert listed(check_alone(part)) == listed(strictly(part))
    read = _shapes(part.tenant, part.category).read(records, [record.decode() for record in records])
    assert all(isinstance(one, Matched) for one in read)


def test_the_attributes_of_an_entry_are_those_that_the_strict_way_reads() -> None:
    """Whoever needs no data reads them by the shape."""
    random, known = Random(4), shapes()
    records = [record_of(usual_event(random, index), index) for index in range(100)]
    matched = [one for one in known.read(records, [record.decode() for record in records]) if isinstance(one, Matched)]
    assert len(matched) > len(records) / 4
    for read in matched:
        entry = parse_record(records[int(read.groups[-3])])
        texts = {name: value for name, value in entry.event.items() if name not in {"data", "specversion"}}
        assert attributes_of(read, COMPARTMENT) == replace(entry, event=texts, record=b"")
    groups = tuple("2026-02-30T00:00:00.000000Z" if "T08" in text else text for text in matched[0].groups)
    with pytest.raises(VerificationError):
        attributes_of(matched[0]._replace(groups=groups), COMPARTMENT)


def sequence_of(entry: Entry) -> tuple[str, str, str]:
    """Return source, epoch and number of an entry that has one."""
    return entry.event["source"], entry.event.get("epoch", ""), entry.event["sequence"]


def test_what_is_told_of_an_entry_is_the_same_whichever_way_it_is_read() -> None:
    """Its action, the day it was recorded, and whether a filter asks for it."""
    random, known = Random(5), shapes()
    records = [record_of(usual_event(random, index), index) for index in range(100)]
    filters = Filter(), Filter(account="agent-1"), Filter(action="access"), Filter(withhold_all=True)
    read = known.read(records, [record.decode() for record in records])
    assert {type(one) for one in read} == {Matched, Entry}
    actions = set()
    for one, record in zip(read, records, strict=True):
        entry = parse_record(record)
        kind = Kind(action_of(entry), DAY, entry.event["time"][:10])
        assert count_kinds([one]) == count_kinds([entry]) == {kind: 1}
        assert names_of([one]) == names_of([entry])
        assert facts_of(one, COMPARTMENT) == facts_of(entry, COMPARTMENT)
        assert numbered(one) == numbered(entry) == (sequence_of(entry) if "sequence" in entry.event else None)
        assert [is_wanted(one, wanted) for wanted in filters] == [wanted.matches(entry) for wanted in filters]
        actions.add(action_of(entry))
    assert actions == {"consultation", "access", "modification"}
    with pytest.raises(ForeignEntryError):
        facts_of(replace(entry, tenant="bagnolet"), COMPARTMENT)
