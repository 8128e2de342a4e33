"""Slices of an extract, checked at once: nothing but a fast yes.

A slice is accepted only where its lines of the proof are spelt as they must be, each record has a known shape or is
what `parse_record` accepts, and the table's lines are those of the records. Whatever is not so, right or wrong, is left
to the walk by entry (`journal.extract.walk`), which alone says what is wrong.
"""

from __future__ import annotations

from array import array
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from journal.core.chain import HASH_BYTES, SALT_BYTES
from journal.core.entry import RECORD_LIMIT_BYTES, Entry
from journal.core.errors import VerificationError
from journal.core.times import format_time, parse_day
from journal.extract.manifest import Filter
from journal.extract.shapes import Shapes, count_kinds, names_of, write_rows

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from journal.extract.shape import Kind
    from journal.extract.shapes import Read


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
    source and id (`names_of`); how many there are of each kind.
    """

    leaves: bytes
    earliest: str
    latest: str
    disclosed: Sequence[int]
    names: array[int]
    kinds: Counter[Kind]


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
    read = shapes.read_together(records, part.entries.decode())
    if len(read) != len(indexes) or write_rows(read) != part.rows:
        return None
    times, kinds = _check_members(part, read, indexes), count_kinds(read)
    for day in {kind.occurred for kind in kinds}:
        parse_day(day)
    if times is None:
        return None
    earliest, latest = (times[0], times[-1]) if times else ("", "")
    return Checked(_leaves(values, records), earliest, latest, indexes, array("q", names_of(read)), kinds)


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
