"""Records read by the shapes that are known of them, or strictly: the same is said of them either way."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Union

from journal.core.entry import Entry, parse_record
from journal.core.errors import ForeignEntryError
from journal.core.times import format_time, parse_time
from journal.extract import table
from journal.extract.manifest import Filter, action_of
from journal.extract.shape import CLOSING, DAY_CHARACTERS, Kind, Shape, UnlearntError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from journal.core.entry import Compartment

SHAPES_LIMIT = 256


class Matched(NamedTuple):
    """A record as its shape gives it; `is_plain` where none of its texts was escaped."""

    shape: Shape
    groups: tuple[str, ...]
    is_plain: bool


Read = Union[Matched, Entry]


class Shapes:
    """The shapes that the records of one compartment come in."""

    def __init__(self, tenant: str, category: str) -> None:
        """Know none yet."""
        self._compartment = (tenant, category)
        # By the number of quotation marks, which tells most of them apart; the one met last is tried first.
        self._known: dict[int, list[Shape]] = {}
        self._tried = 0
        # The shape of all that was read together last, where it was one.
        self._only: Shape | None = None

    def read_together(self, records: Sequence[bytes], text: str) -> list[Read]:
        """Read records that hold no LF as `read` does, all alike ones in one search; `text` has an LF after each."""
        shape = self._only
        if shape is not None and "\\" not in text:
            found = shape.match_lines(text)
            if len(found) == len(records):
                return [Matched(shape, groups, True) for groups in found]
        read = self.read(records, text.split("\n"))
        shapes = {one.shape if isinstance(one, Matched) else None for one in read}
        self._only = shapes.pop() if len(shapes) == 1 else None
        return read

    def read(self, records: Sequence[bytes], lines: Sequence[str]) -> list[Read]:
        """Read records, given as bytes and as text. Raises VerificationError for one that `parse_record` refuses."""
        known = self._known
        found: list[Read] = []
        for record, line in zip(records, lines):
            if "\\" in line:
                found.append(self._read_escaped(record, line))
                continue
            shapes = known.get(line.count('"'), [])
            for shape in shapes:
                match = shape.match(line)
                if match:
                    if shape is not shapes[0]:
                        shapes.remove(shape)
                        shapes.insert(0, shape)
                    found.append(Matched(shape, match.groups(), True))
                    break
            else:
                found.append(self._read_strictly(record, line))
        return found

    def _read_escaped(self, record: bytes, line: str) -> Read:
        for shape in self._known.get(_marks(line), []):
            groups = shape.match_escaped(line)
            if groups:
                return Matched(shape, groups, False)
        return self._read_strictly(record, line)

    def _read_strictly(self, record: bytes, line: str) -> Entry:
        entry = parse_record(record)
        if (entry.tenant, entry.category) == self._compartment and self._tried < SHAPES_LIMIT:
            self._tried += 1
            with suppress(UnlearntError):
                self._known.setdefault(_marks(line), []).append(Shape(entry))
        return entry


def _marks(line: str) -> int:
    """Count the quotation marks that are not escaped: most shapes differ in them."""
    return line.count('"') - line.count('\\"')


def is_wanted(one: Read, wanted: Filter) -> bool:
    """Tell whether a filter matches what was read."""
    return wanted.matches(one) if isinstance(one, Entry) else one.shape.is_wanted(one.groups, wanted)


def attributes_of(one: Matched, compartment: Compartment) -> Entry:
    """Return an entry of its compartment with the attributes of its event, and not its data or its record.

    Raises MalformedError for a time that is not one.
    """
    shape, groups, _ = one
    event = shape.attributes(groups)
    parse_time(event["time"])
    return Entry(
        index=int(groups[-3]),
        recorded_at=parse_time(groups[-2]),
        tenant=compartment.tenant,
        category=compartment.category,
        submitted_by=groups[-1],
        event=event,
        record=b"",
    )


def facts_of(one: Read, compartment: Compartment) -> tuple[str, str, str, str, str]:
    """Return index and `recorded_at`, source, id and time of the event, as they are spelt.

    Raises ForeignEntryError for an entry of another compartment.
    """
    if not isinstance(one, Entry):
        index, recorded_at, source, identifier, time = one.shape.facts(one.groups)
        return index, recorded_at, source, identifier, time
    if (one.tenant, one.category) != (compartment.tenant, compartment.category):
        raise ForeignEntryError("it belongs to another compartment")
    return str(one.index), format_time(one.recorded_at), one.event["source"], one.event["id"], one.event["time"]


def numbered(one: Read) -> tuple[str, str, str] | None:
    """Return source, epoch and number; None for an entry without one."""
    if not isinstance(one, Entry):
        return one.shape.numbered(one.groups)
    event = one.event
    return (event["source"], event.get("epoch", ""), event["sequence"]) if "sequence" in event else None


def names_of(read: Sequence[Read]) -> list[int]:
    """Return the hashes of source and id, which are of this process and of those it was forked from or into."""
    return [
        hash((one.event["source"], one.event["id"])) if isinstance(one, Entry) else hash(one.shape.name(one.groups))
        for one in read
    ]


def count_kinds(read: Sequence[Read]) -> Counter[Kind]:
    """Count what is alike."""
    kinds = Counter([_kind(one) if isinstance(one, Entry) else one.shape.kind(one.groups) for one in read])
    return Counter({Kind(*kind): number for kind, number in kinds.items()})


def _kind(entry: Entry) -> tuple[str, str, str]:
    day, occurred = format_time(entry.recorded_at)[:DAY_CHARACTERS], entry.event["time"][:DAY_CHARACTERS]
    return action_of(entry), day, occurred


def write_rows(read: Sequence[Read]) -> bytes:
    """Return the lines of the table for what `Shapes.read` read."""
    lines = [one.shape.line(one.groups) if isinstance(one, Matched) and one.is_plain else "" for one in read]
    whole = table.safe_lines(lines)
    if whole is None:
        return b"".join([(line and table.safe_lines([line])) or _write_row(one) for one, line in zip(read, lines)])
    if all(lines):
        return whole
    written = iter(whole.splitlines(keepends=True))
    return b"".join([next(written) if line else _write_row(one) for one, line in zip(read, lines)])


def _write_row(one: Read) -> bytes:
    if isinstance(one, Entry):
        return table.row(one)
    opening, *texts = one.shape.line(one.groups).split(table.APART)
    texts[-1] = texts[-1][: -len(CLOSING)]
    return f'{opening}";"{table.join(texts)}{CLOSING}'.encode()
