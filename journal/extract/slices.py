"""Slices of an extract, checked at once: nothing but a fast yes.

A slice is accepted only where its lines of the proof are spelt as they must be, each record has a known shape or is
what `parse_record` accepts, and the table's lines are those of the records. Whatever is not so, right or wrong, is left
to the walk by entry (`journal.extract.walk`), which alone says what is wrong.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple, Union

from journal.core.chain import HASH_BYTES, SALT_BYTES
from journal.core.entry import RECORD_LIMIT_BYTES, Entry, parse_record
from journal.core.errors import VerificationError
from journal.core.times import format_time, parse_day, parse_time
from journal.extract import table
from journal.extract.manifest import Filter, action_of
from journal.extract.shape import CLOSING, Shape, UnlearntError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from journal.core.entry import Compartment

SHAPES_LIMIT = 256
DAY_CHARACTERS = len("YYYY-MM-DD")


class Slice(NamedTuple):
    """Consecutive lines of an extract: `size` of the proof from index `first` on, and those of what they disclose.

    Its entries are of one compartment, of one day, and match the filter.
    """

    tenant: str
    category: str
    filter: Filter
    day: str
    first: int
    size: int
    proof: bytes
    entries: bytes
    rows: bytes


class Checked(NamedTuple):
    """What connects a slice with others.

    Its leaf hashes, one after another; its first and last `recorded_at`; the indexes disclosed; the hashes of their
    source and id, which are of this process and of those it was forked from or into; how many occurred on each day.
    """

    leaves: bytes
    earliest: str
    latest: str
    disclosed: Sequence[int]
    names: list[int]
    occurred: dict[str, int]


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


def name_of(one: Read) -> tuple[str, str]:
    """Return source and id."""
    if isinstance(one, Entry):
        return one.event["source"], one.event["id"]
    return one.groups[one.shape.source_place], one.groups[one.shape.id_place]


def action_and_day(one: Read) -> tuple[str, str]:
    """Return the action and the day of recording, as it is spelt."""
    if isinstance(one, Entry):
        return action_of(one), format_time(one.recorded_at)[:DAY_CHARACTERS]
    return one.groups[one.shape.type_place], one.groups[-2][:DAY_CHARACTERS]


def write_rows(read: Sequence[Read]) -> bytes:
    """Return the lines of the table for what `Shapes.read` read."""
    lines = [one.shape.line(one.groups) if isinstance(one, Matched) and one.is_plain else "" for one in read]
    whole = table.safe_lines(lines)
    if whole is None:
        return b"".join([(line and table.safe_lines([line])) or _write_row(one) for one, line in zip(read, lines)])
    if all(lines):
        return whole
    return b"".join([table.finish(line).encode() if line else _write_row(one) for one, line in zip(read, lines)])


def _write_row(one: Read) -> bytes:
    if isinstance(one, Entry):
        return table.row(one)
    opening, *texts = one.shape.line(one.groups).split(table.APART)
    texts[-1] = texts[-1][: -len(CLOSING)]
    return f'{opening}";"{table.join(texts)}{CLOSING}'.encode()


def check(part: Slice, shapes: Shapes) -> Checked | None:
    """Check a slice; None where a closer look is needed. `shapes` are those of its compartment."""
    try:
        return _check(part, shapes)
    except (ValueError, VerificationError):
        return None


def _check(part: Slice, shapes: Shapes) -> Checked | None:
    proof = _read_proof(part)
    *records, rest = part.entries.split(b"\n")
    if proof is None or rest or max(map(len, records), default=0) > RECORD_LIMIT_BYTES:
        return None
    indexes, values = proof
    read = shapes.read(records, part.entries.decode().split("\n"))
    if len(read) != len(indexes) or write_rows(read) != part.rows:
        return None
    times, occurred = _check_members(part, read, indexes), Counter(map(_occurred, read))
    for day in occurred:
        parse_day(day)
    if times is None:
        return None
    leaves = _leaves(values, records)
    names = [hash(name_of(one)) for one in read]
    earliest, latest = (times[0], times[-1]) if times else ("", "")
    return Checked(leaves, earliest, latest, indexes, names, dict(occurred))


def _occurred(one: Read) -> str:
    time: str = one.event["time"] if isinstance(one, Entry) else one.groups[one.shape.time_place]
    return time[:DAY_CHARACTERS]


def _read_proof(part: Slice) -> tuple[Sequence[int], list[bytes]] | None:
    """Return the indexes disclosed and, of every index, its salt or leaf hash; None unless the lines are well spelt."""
    pieces = part.proof.split(b'"')
    kinds, texts, indexes = pieces[3::6], pieces[5::6], range(part.first, part.first + part.size)
    written = [b'{"index":%d,"%b":"%b"}\n' % line for line in zip(indexes, kinds, texts)]
    if b"".join(written) != part.proof or len(written) != part.size:
        return None
    values = [bytes.fromhex(text.decode()) for text in texts]
    lengths = {b"salt": SALT_BYTES, b"leaf": HASH_BYTES}
    if [lengths.get(kind) for kind in kinds] != list(map(len, values)) or [
        value.hex().encode() for value in values
    ] != texts:
        return None
    if b"leaf" not in kinds:
        return indexes, values
    return [index for index, kind in zip(indexes, kinds) if kind == b"salt"], values


def _leaves(values: list[bytes], records: list[bytes]) -> bytes:
    disclosed = iter(records)
    return b"".join(
        [value if len(value) == HASH_BYTES else sha256(b"\0" + value + next(disclosed)).digest() for value in values]
    )


def _check_members(part: Slice, read: Sequence[Read], indexes: Sequence[int]) -> list[str] | None:
    """Return when the entries were recorded, in order; None if one is not what and where it should be."""
    times: list[str] = []
    everything = part.filter == Filter()
    for one, index in zip(read, indexes):
        if isinstance(one, Entry):
            if (one.tenant, one.category, one.index) != (part.tenant, part.category, index):
                return None
            if not part.filter.matches(one):
                return None
            times.append(format_time(one.recorded_at))
            continue
        shape, groups, _ = one
        if groups[-3] != str(index) or not (everything or shape.is_wanted(groups, part.filter)):
            return None
        times.append(groups[-2])
    if times != sorted(times) or not all(time.startswith(part.day) for time in times[:1] + times[-1:]):
        return None
    return times


@lru_cache(maxsize=4)
def _shapes(tenant: str, category: str) -> Shapes:
    return Shapes(tenant, category)


def check_alone(part: Slice) -> Checked | None:
    """Check a slice with the shapes that this process knows of its compartment."""
    return check(part, _shapes(part.tenant, part.category))
