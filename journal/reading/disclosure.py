"""What an extract says of entries, made of their rows page by page: records, proof and table in one pass.

What the manifest and the document need is counted on the way.
"""

from __future__ import annotations

from itertools import compress
from typing import TYPE_CHECKING, NamedTuple

from journal.core import canonical
from journal.core.entry import parse_record
from journal.core.errors import BrokenChainError
from journal.core.times import format_day
from journal.document.content import Gathered
from journal.extract.listing import disclosed_line, disclosed_lines, withheld_line
from journal.extract.manifest import Filter
from journal.extract.shape import DAY_CHARACTERS
from journal.extract.shapes import Shapes, is_wanted, write_rows

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from journal.core.entry import Compartment
    from journal.core.envelope import Box, Row

_TIME = b'"time":"'


class Page(NamedTuple):
    """Consecutive lines of the three members."""

    entries: bytes
    proof: bytes
    table: bytes


class Disclosure:
    """Discloses the entries of one compartment that match a filter."""

    def __init__(self, compartment: Compartment, selection: Filter, first_day: date, last_day: date) -> None:
        """Begin; the days are those asked for."""
        self._selection = selection
        self._is_whole = selection == Filter()
        self._shapes = Shapes(compartment.tenant, compartment.category)
        self._period = format_day(first_day).encode(), format_day(last_day).encode()
        self.gathered = Gathered()
        self.disclosed = 0
        # How many entries, disclosed or not, are of accesses on other days than those asked for.
        self.here = 0

    def page(self, box: Box, rows: Sequence[Row]) -> Page:
        """Open the next entries. Raises BrokenChainError for one that is not what its row says."""
        if self._selection.withhold_all:
            return Page(b"", b"".join([withheld_line(index, leaf) for index, leaf, _ in rows]), b"")
        salts, records = box.open_all(rows)
        first, last = self._period
        self.here += sum([not first <= _occurred(record) <= last for record in records])
        indexes = [row[0] for row in rows]
        if self._is_whole:
            return self._disclose(indexes, records, disclosed_lines(indexes, salts))
        shown = self._select(records)
        proof = [
            disclosed_line(index, salt) if is_shown else withheld_line(index, leaf)
            for (index, leaf, _), salt, is_shown in zip(rows, salts, shown, strict=True)
        ]
        return self._disclose(list(compress(indexes, shown)), list(compress(records, shown)), b"".join(proof))

    def _disclose(self, indexes: list[int], records: list[bytes], proof: bytes) -> Page:
        entries = b"".join([record + b"\n" for record in records])
        if entries.count(b"\n") > len(records):
            raise BrokenChainError("a record holds a line feed")
        read = self._shapes.read_together(records, entries.decode())
        self.disclosed += len(records)
        place = 0
        while place < len(records) and self.gathered.has_room:
            self.gathered.add(parse_record(records[place]))
            place += 1
        self.gathered.count(read[place:], indexes[place:])
        return Page(entries, proof, write_rows(read))

    def _select(self, records: list[bytes]) -> list[bool]:
        """Tell which records match the filter. One that does not hold the value as it is spelt is not read."""
        wanted = self._selection
        texts = (wanted.account, wanted.subject, wanted.action)
        spelt = [canonical.encode(text)[1:-1] for text in texts if text is not None]
        likely = [all(text in record for text in spelt) for record in records]
        kept = list(compress(records, likely))
        read = iter(self._shapes.read(kept, [record.decode() for record in kept]))
        return [is_likely and is_wanted(next(read), wanted) for is_likely in likely]


def _occurred(record: bytes) -> bytes:
    """Return the day of the access, as the event's `time` spells it: of what follows, nothing has such a member."""
    start = record.rfind(_TIME) + len(_TIME)
    return record[start : start + DAY_CHARACTERS]
