"""The walk along an extract's entries, one by one: the strict path, which alone says what is wrong, and where."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from journal.core.chain import extend, leaf_hash
from journal.core.entry import JOURNAL_CATEGORY, RECORD_LIMIT_BYTES, parse_origin, parse_record
from journal.core.errors import (
    BrokenChainError,
    ForeignEntryError,
    ForkError,
    GapError,
    MismatchedPartError,
    VerificationError,
)
from journal.core.times import format_day
from journal.extract import table
from journal.extract.layout import ENTRIES, MANIFEST, PROOF, TABLE
from journal.extract.listing import PROOF_LINE_LIMIT_BYTES, parse_proof_line
from journal.extract.manifest import Filter, occurred

if TYPE_CHECKING:
    from collections.abc import Sequence

    from journal.core.entry import Entry
    from journal.extract.container import Parts
    from journal.extract.found import Found
    from journal.extract.history import History
    from journal.extract.listed_seal import CheckedSeal
    from journal.extract.manifest import Manifest

# A character made visible takes up to four times its bytes; quotation marks are doubled.
TABLE_LINE_LIMIT_BYTES = 16 * RECORD_LIMIT_BYTES

_EARLIEST = datetime(1, 1, 1, tzinfo=timezone.utc)


class Walk:
    """One pass over entries, proof and table together, along the chain from base to head."""

    def __init__(
        self, container: Parts, manifest: Manifest, history: History, seals: Sequence[CheckedSeal], found: Found
    ) -> None:
        """Walk past these seals, which have chain hashes at their sizes, and note what is to be noted in `found`."""
        self._found = found
        self._container = container
        self._manifest = manifest
        self._compartment = parse_origin(manifest.origin)
        self._discloses_all = manifest.filter == Filter()
        self._records = container.lines(ENTRIES, limit_bytes=RECORD_LIMIT_BYTES)
        self._rows = container.lines(TABLE, limit_bytes=TABLE_LINE_LIMIT_BYTES)
        self._day_limits = iter(history.day_limits)
        self._day_end, self._day = next(self._day_limits)
        self._recorded_at = _EARLIEST
        self._disclosed = 0
        self._here = 0
        self._checkpoints: dict[int, list[CheckedSeal]] = {}
        for checked in seals:
            self._checkpoints.setdefault(checked.head.size, []).append(checked)

    def check(self) -> None:
        """Walk the whole range; the first failure is raised."""
        index, chain_hash = self._manifest.base.size, self._manifest.base.chain_hash
        self._check_row(table.HEADER, "its first line")
        self._check_head(index, chain_hash)
        for line in self._container.lines(PROOF, limit_bytes=PROOF_LINE_LIMIT_BYTES):
            leaf = self._check_line(line, index)
            chain_hash = extend(chain_hash, leaf)
            if index in self._found.wanted:
                self._found.hashes[index] = (leaf, chain_hash)
            index += 1
            if index in self._checkpoints:
                self._check_head(index, chain_hash)
        if index != self._manifest.head.size:
            raise GapError(f"it ends before index {index}", part=PROOF)
        self._check_ends()

    def _check_line(self, line: bytes, index: int) -> bytes:
        """Check one line of the proof, and the entry it discloses; return the leaf hash."""
        try:
            found, disclosed, value = parse_proof_line(line)
        except VerificationError as error:
            raise error.within(f"{PROOF} index {index}") from error
        if index == self._manifest.head.size:
            raise MismatchedPartError(f"it continues after index {index - 1}, the last one", part=PROOF)
        if found > index:
            raise GapError(f"it has index {found} where index {index} is expected", part=PROOF)
        if found < index:
            raise ForeignEntryError(f"it has index {found} where index {index} is expected", part=PROOF)
        leaf = value
        if disclosed:
            record = next(self._records, None)
            if record is None:
                raise MismatchedPartError(f"it ends before index {index}", part=ENTRIES)
            self._check_record(record, index)
            leaf = leaf_hash(value, record)
        if index == self._manifest.request.index:
            self._check_request(leaf)
        return leaf

    def _check_record(self, record: bytes, index: int) -> None:
        try:
            entry = parse_record(record)
            self._check_entry(entry, index)
        except VerificationError as error:
            raise error.within(f"{ENTRIES} index {index}") from error
        self._disclosed += 1
        self._here += not self._manifest.first_day <= occurred(entry) <= self._manifest.last_day
        self._found.identities.add(index, entry.event)
        self._check_row(table.row(entry), f"index {index}")

    def _check_entry(self, entry: Entry, index: int) -> None:
        if (entry.tenant, entry.category) != (self._compartment.tenant, self._compartment.category):
            raise ForeignEntryError("it belongs to another compartment")
        if entry.index != index:
            raise ForeignEntryError(f"its index is {entry.index}")
        if entry.recorded_at < self._recorded_at:
            raise ForeignEntryError("it was recorded before the entry above it")
        self._recorded_at = entry.recorded_at
        while index >= self._day_end:
            self._day_end, self._day = next(self._day_limits)
        if entry.recorded_at.date() != self._day:
            raise ForeignEntryError(
                f"by the seals it was recorded on {format_day(self._day)}, by its own time on another day"
            )
        if not self._discloses_all and not self._manifest.filter.matches(entry):
            raise MismatchedPartError("it does not match the filter")

    def _check_request(self, leaf: bytes) -> None:
        """Check the entry that recorded the request, where it is in the extract itself."""
        if self._compartment.category == JOURNAL_CATEGORY and leaf != self._manifest.request.leaf:
            raise MismatchedPartError("the entry of its request is not the one at that index", part=MANIFEST)

    def _check_row(self, row: bytes, place: str) -> None:
        if next(self._rows, b"") + b"\n" != row:
            raise MismatchedPartError(f"{place} does not match the entries", part=TABLE)

    def _check_head(self, size: int, chain_hash: bytes) -> None:
        for checked in self._checkpoints.get(size, ()):
            if checked.head.chain_hash == chain_hash:
                continue
            if checked.known:
                raise ForkError(f"at size {size} the extract's chain has another chain hash", part=checked.name)
            raise BrokenChainError(
                f"at size {size} the chain does not have the chain hash of {checked.name}", part=PROOF
            )

    def _check_ends(self) -> None:
        """Check that no line is left over; this also reads each part to its end."""
        if next(self._records, None) is not None:
            raise MismatchedPartError("it holds more entries than the proof", part=ENTRIES)
        if next(self._rows, None) is not None:
            raise MismatchedPartError("it holds more lines than entries are disclosed", part=TABLE)
        if self._disclosed != self._manifest.disclosed:
            raise MismatchedPartError(
                f"it says that {self._manifest.disclosed} entries are disclosed; there are {self._disclosed}",
                part=MANIFEST,
            )
        here = self._manifest.lateness.here
        if here is not None and not self._here <= here <= self._here + self._manifest.withheld:
            raise MismatchedPartError(
                f"it says that {here} entries are of accesses outside the period; of those disclosed, {self._here} are",
                part=MANIFEST,
            )
