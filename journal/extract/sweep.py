"""The lines of an extract, checked slice by slice: the same chain as the walk by entry, at a fraction of its cost.

It says yes or nothing. Where it says nothing, the walk (`journal.extract.walk`) reads everything again and tells.
"""

from __future__ import annotations

from io import BufferedReader, RawIOBase
from itertools import islice
from typing import TYPE_CHECKING, Any, Callable

from journal.core.chain import HASH_BYTES, extend_all
from journal.core.entry import JOURNAL_CATEGORY, RECORD_LIMIT_BYTES, parse_origin
from journal.core.errors import VerificationError
from journal.core.times import format_day
from journal.extract import table
from journal.extract.layout import ENTRIES, PROOF, TABLE
from journal.extract.listing import PROOF_LINE_LIMIT_BYTES
from journal.extract.slices import Checked, Slice, check_alone
from journal.extract.walk import TABLE_LINE_LIMIT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from journal.extract.container import Parts
    from journal.extract.found import Found
    from journal.extract.history import History
    from journal.extract.listed_seal import CheckedSeal
    from journal.extract.manifest import Manifest

SLICE_ENTRIES = 2_000
SLICE_BYTES = 16 * 2**20
PIECE_BYTES = 128 * 2**10

# How slices are checked: in this process, like `map`, or in others; answers come in order.
Run = Callable[["Callable[[Slice], Checked | None]", "Iterable[Slice]"], "Iterator[Checked | None]"]


class _NotUsualError(Exception):
    """Something is not as usual, right or wrong."""


def sweep(
    container: Parts, manifest: Manifest, history: History, seals: Sequence[CheckedSeal], *, found: Found, run: Run
) -> bool:
    """Check entries, proof and table in one reading of each; False where that does not say yes to everything.

    The digests of the three are known to the container afterwards, and not compared here. `found` notes what is wanted.
    """
    try:
        return _Sweep(container, manifest, history, seals, found).check(run)
    except (_NotUsualError, VerificationError):
        return False


class _Sweep:
    """One pass along the chain from base to head."""

    def __init__(
        self, container: Parts, manifest: Manifest, history: History, seals: Sequence[CheckedSeal], found: Found
    ) -> None:
        self._manifest = manifest
        self._compartment = parse_origin(manifest.origin)
        self._day_limits = history.day_limits
        self._found = found
        self._heads: dict[int, set[bytes]] = {}
        for checked in seals:
            self._heads.setdefault(checked.head.size, set()).add(checked.head.chain_hash)
        self._proof = _Cutter(container.stream(PROOF), PROOF_LINE_LIMIT_BYTES)
        self._records = _Cutter(container.stream(ENTRIES), RECORD_LIMIT_BYTES)
        self._rows = _Cutter(container.stream(TABLE), TABLE_LINE_LIMIT_BYTES)
        self._disclosed = self._here = 0
        self._period = format_day(manifest.first_day), format_day(manifest.last_day)
        self._index = manifest.base.size
        self._chain_hash = manifest.base.chain_hash
        self._latest = ""

    def check(self, run: Run) -> bool:
        """Check all slices and what connects them."""
        if self._rows.take(1) != table.HEADER or not self._agrees():
            return False
        for checked in run(check_alone, self._slices()):
            if checked is None or not self._follows(checked):
                return False
        for cutter in (self._proof, self._records, self._rows):
            cutter.end()
        here = self._manifest.lateness.here
        is_counted = here is None or self._here <= here <= self._here + self._manifest.withheld
        return is_counted and self._disclosed == self._manifest.disclosed

    def _follows(self, checked: Checked) -> bool:
        """Extend the chain by a slice; tell whether it follows the one before, and holds what seals and request say."""
        if checked.earliest and checked.earliest < self._latest:
            return False
        self._latest = checked.latest or self._latest
        first, leaves = self._index, checked.leaves
        hashes = extend_all(self._chain_hash, leaves)
        self._index, self._chain_hash = first + len(hashes), hashes[-1]
        for index in self._found.wanted & set(range(first, self._index)) if self._found.wanted else ():
            place = index - first
            self._found.hashes[index] = leaves[HASH_BYTES * place :][:HASH_BYTES], hashes[place]
        self._note(checked)
        return self._holds_request(first, leaves) and self._agrees()

    def _note(self, checked: Checked) -> None:
        first, last = self._period
        self._here += sum(count for kind, count in checked.kinds.items() if not first <= kind.occurred <= last)
        indexes, names = checked.disclosed, checked.names
        if isinstance(indexes, range):
            self._found.identities.extend(indexes.start, names)
            return
        for index, name in zip(indexes, names):
            self._found.identities.extend(index, [name])

    def _slices(self) -> Iterator[Slice]:
        """Yield the extract in slices that end where a seal holds the chain hash, or a day ends."""
        index, end = self._manifest.base.size, self._manifest.head.size
        limits = iter(self._day_limits)
        day_end, day = next(limits)
        for stop in sorted(size for size in {*self._heads, end} if index < size <= end):
            while index < stop:
                while index >= day_end:
                    day_end, day = next(limits)
                count = min(SLICE_ENTRIES, stop - index, day_end - index)
                proof = self._proof.take(count)
                disclosed = proof.count(b'"salt":"')
                self._disclosed += disclosed
                yield Slice(
                    tenant=self._compartment.tenant,
                    category=self._compartment.category,
                    filter=self._manifest.filter,
                    day=format_day(day),
                    first=index,
                    size=count,
                    proof=proof,
                    entries=self._records.take(disclosed),
                    rows=self._rows.take(disclosed),
                )
                index += count

    def _agrees(self) -> bool:
        return self._heads.get(self._index, {self._chain_hash}) == {self._chain_hash}

    def _holds_request(self, first: int, leaves: bytes) -> bool:
        """Tell whether the entry that recorded the request, where a slice holds it, is the one the manifest names."""
        request = self._manifest.request
        leaf = leaves[HASH_BYTES * (request.index - first) :][:HASH_BYTES] if request.index >= first else b""
        return self._compartment.category != JOURNAL_CATEGORY or leaf in {b"", request.leaf}


class _Cutter:
    """Cuts the content of a member, given in pieces, after so many lines."""

    def __init__(self, pieces: Iterator[bytes], limit_bytes: int) -> None:
        self._content = _Content(pieces)
        self._lines = BufferedReader(self._content, PIECE_BYTES)
        self._limit_bytes = limit_bytes

    def take(self, count: int) -> bytes:
        """Return the next `count` lines, LF included. Raises _NotUsualError if they are not there, or too long."""
        self._content.left_bytes = SLICE_BYTES
        lines = list(islice(self._lines, count))
        data, longest = b"".join(lines), max(map(len, lines), default=0) - len(b"\n")
        is_cut_short = count > 0 and not data.endswith(b"\n")
        if len(lines) < count or longest > self._limit_bytes or is_cut_short:
            raise _NotUsualError
        return data

    def end(self) -> None:
        """Read the rest, which is to be nothing. Raises _NotUsualError otherwise."""
        self._content.left_bytes = SLICE_BYTES
        if self._lines.read(1):
            raise _NotUsualError


class _Content(RawIOBase):
    """The content of a member, for what cuts it into lines: it is not read on where one does not end."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__()
        self._pieces = filter(None, pieces)
        self._rest = memoryview(b"")
        self.left_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self.left_bytes <= 0:
            raise _NotUsualError
        rest = self._rest or memoryview(next(self._pieces, b""))
        count = min(len(rest), len(buffer))
        buffer[:count], self._rest = rest[:count], rest[count:]
        self.left_bytes -= count
        return count
