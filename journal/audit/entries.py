"""The check of one leaf: the entries of a category and day, row by row, between the heads in the seals."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from journal.core.chain import HASH_BYTES, Head, extend, extend_all
from journal.core.entry import SERVICE_PREFIX, TYPE_PREFIX, Entry, event_key, identity_time, parse_record, source_key
from journal.core.errors import FencedDayError, ForeignEntryError, KeyStoreError, MismatchedPartError, VerificationError
from journal.core.times import day_of, format_day, format_time, parse_day, parse_time
from journal.extract.shapes import Shapes, attributes_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    from journal.audit.contents import Contents
    from journal.audit.expected import ExpectedChain
    from journal.audit.findings import Findings
    from journal.core.envelope import Box
    from journal.database.purge import StoredRow
    from journal.extract.identities import Identities
    from journal.keys.ring import Keyring

# A shape takes as long to learn as a hundred records to parse.
SHAPED_AFTER = 200

CUT_SHORT = "purged, but its head does not say so: run the purge"
WAITS = (
    "purged by a rule that is not in force yet, and its head does not say so: run openepm-journal handover, then "
    "openepm-journal purge"
)


class ChainDay:
    """One chain's rows of one day, in the order of their indexes.

    After a fault the walk continues both from what is stored and from what was expected, so that one fault is one
    finding, not one for each later entry.
    """

    def __init__(
        self,
        chain: ExpectedChain,
        day: date,
        limits: tuple[Head | None, Head | None],
        *,
        is_open: bool,
        is_fenced: bool,
        keyring: Keyring,
        findings: Findings,
        identities: Identities,
    ) -> None:
        """Begin before the first row; `limits` are the heads at the beginning and the end of the day.

        A day that `is_open` may have grown since its heads were read: `beyond` is the first such index. An interrupted
        purge may have deleted all entries of a chain on a day that `is_fenced`.
        """
        self._chain = chain
        self._day = day
        self._start, self._end = limits
        self._is_open = is_open
        self._is_fenced = is_fenced
        self._findings = findings
        self._keyring = keyring
        self._box: Box | None = None
        self._begun = False
        self._parsed = 0
        self._shapes = Shapes(chain.compartment.tenant, chain.compartment.category)
        self._recorded_at: datetime | None = None
        self._next = self._start.size if self._start is not None else None
        self._hashes = [self._start.chain_hash] if self._start is not None else []
        if self._next is not None and self._next < chain.kept_from:
            self._next, self._hashes = chain.kept_from, []
        self.beyond: int | None = None
        # What its entries say of the counters kept in clear: how many of each action, of each other day of access,
        # and the numbers of each source.
        self._identities = identities
        self.actions: Counter[str] = Counter()
        self.lateness: Counter[date] = Counter()
        self.numbers: dict[bytes, list[int]] = {}

    @property
    def name(self) -> str:
        """The chain and the day, as written in findings."""
        return f"{self._chain.name} {format_day(self._day)}"

    def check(self, row: StoredRow) -> None:
        """Check one row against its place, its content and the row before."""
        where = f"{self.name} entry {row.index}"
        if (row.category, row.day) != (self._chain.compartment.category, self._day):
            self._findings.report("foreign entry", where, "its columns are of another category or day")
            return
        if self._next is None:
            self._next = row.index
        if row.index < self._next:
            self._report_early(row, where)
            return
        if self._end is not None and row.index >= self._end.size:
            if not self._is_open:
                self._findings.report("foreign entry", where, "it is past the end of its day")
                return
            self.beyond = row.index if self.beyond is None else self.beyond
        if row.index > self._next:
            self._report_missing(self._next, row.index)
            self._hashes = []
        self._follow(row, where, opened=self._check_content(row, where))
        self._next = row.index + 1

    def check_all(self, rows: Sequence[StoredRow], contents: Contents | None) -> None:
        """Check rows that follow one another: at once where all is well, one by one where anything may not be."""
        if contents is None or not self._are_right(rows, contents):
            for row in rows:
                self.check(row)

    def finish(self) -> Head | None:
        """Report what is missing at the end; return the chain's head after the day, None if it is not known."""
        if self._next is None:
            return None
        if self._end is not None and self._next < self._end.size:
            self._report_missing(self._next, self._end.size)
            return self._end
        return Head(self._next, self._hashes[0]) if self._hashes else None

    def _are_right(self, rows: Sequence[StoredRow], contents: Contents) -> bool:
        """Tell whether rows are all as they should be, and go on from the last; nothing is noted if not."""
        if not self._are_in_place(rows) or not self._are_linked(rows):
            return False
        if self._recorded_at is not None and contents.earliest < format_time(self._recorded_at):
            return False
        try:
            latest = parse_time(contents.latest)
        except VerificationError:
            return False
        live = self._chain.live
        if live is not None and live.size - 1 == rows[-1].index and live.recorded_at != latest:
            return False
        self._note(rows[0].index, contents)
        self._recorded_at, self._next, self._hashes = latest, rows[-1].index + 1, [rows[-1].chain_hash]
        return True

    def _are_in_place(self, rows: Sequence[StoredRow]) -> bool:
        """Tell whether they are the next of their day."""
        place, size = (self._chain.compartment.category, self._day), rows[-1].index + 1
        if any((row.category, row.day) != place for row in rows) or (self._end is not None and size > self._end.size):
            return False
        return self._next is not None and [row.index for row in rows] == list(range(self._next, size))

    def _are_linked(self, rows: Sequence[StoredRow]) -> bool:
        """Tell whether the chain hashes follow, and are those that seals and head state."""
        if len(self._hashes) != 1:
            return False
        # A leaf hash of another length is seen where it is compared with its record.
        leaves = b"".join([row.leaf_hash for row in rows])
        if len(leaves) != HASH_BYTES * len(rows) or extend_all(self._hashes[0], leaves) != [
            row.chain_hash for row in rows
        ]:
            return False
        first, noted = rows[0].index, self._chain.hashes
        sizes = [size for size in noted if first < size <= first + len(rows)]
        return all(rows[size - 1 - first].chain_hash == noted[size] for size in sizes)

    def _note(self, first: int, contents: Contents) -> None:
        """Count entries as `_count` does."""
        self._identities.extend(first, contents.names)
        for (action, occurred), number in contents.kinds.items():
            self.actions[action] += number
            if occurred != self._day:
                self.lateness[occurred] += number
        for source, numbers in contents.numbers.items():
            self.numbers.setdefault(source, []).extend(numbers)

    def _find_box(self) -> Box | None:
        try:
            return self._keyring.box(self._chain.compartment, self._day)
        except FencedDayError:
            pass  # already reported for the leaf
        except KeyStoreError as error:
            self._findings.report("missing key", self.name, str(error))
        return None

    def _report_early(self, row: StoredRow, where: str) -> None:
        if row.index < self._chain.kept_from:
            self._findings.report("over-retention", where, "by its head it is purged")
        else:
            self._findings.report("foreign entry", where, "this index belongs to another day, or occurs twice")

    def _report_missing(self, first: int, end: int) -> None:
        whole = self._start is not None and self._end is not None and (first, end) == (self._start.size, self._end.size)
        where = f"{self.name} entries {first} to {end - 1}" if end - first > 1 else f"{self.name} entry {first}"
        if whole and self._is_fenced:
            self._findings.report("gap", where, CUT_SHORT)
        elif whole:
            self._findings.report("early deletion", where, "all entries that the seals cover on this day are missing")
        else:
            self._findings.report("gap", where, "missing")

    def _check_content(self, row: StoredRow, where: str) -> bool:
        """Open the row and compare its other columns with its record; False if it does not open."""
        if not self._begun:
            self._begun = True
            self._box = self._find_box()
        if self._box is None:
            return True  # reported once for the day
        try:
            _, record = self._box.open(row.index, row.ciphertext, row.leaf_hash)
        except VerificationError as error:
            self._findings.report(error.verdict, where, error.reason)
            return False
        try:
            self._check_record(row, self._parse(record))
        except VerificationError as error:
            self._findings.report_error(error, where)
        except KeyStoreError as error:
            self._findings.report("missing key", where, str(error))
        return True

    def _parse(self, record: bytes) -> Entry:
        """Read a record; where there are many of a day, those of a known shape without their data."""
        self._parsed += 1
        if self._parsed <= SHAPED_AFTER:
            return parse_record(record)
        (read,) = self._shapes.read([record], [record.decode()])
        return read if isinstance(read, Entry) else attributes_of(read, self._chain.compartment)

    def _check_record(self, row: StoredRow, entry: Entry) -> None:
        place = (row.tenant, row.category, row.index, self._day)
        if (entry.tenant, entry.category, entry.index, day_of(entry.recorded_at)) != place:
            raise ForeignEntryError("its record belongs to another chain, index or day")
        if self._recorded_at is not None and entry.recorded_at < self._recorded_at:
            raise ForeignEntryError("it was recorded before the entry above it")
        self._recorded_at = entry.recorded_at
        key = self._keyring.event_key_key(self._chain.compartment)
        time = identity_time(row.category, entry.event["time"])
        if event_key(key, entry.event["source"], entry.event["id"], time) != row.event_key:
            raise MismatchedPartError("its event key does not match its record")
        self._count(key, entry)
        live = self._chain.live
        if live is not None and row.index == live.size - 1 and live.recorded_at != entry.recorded_at:
            raise MismatchedPartError(f"the head of {self._chain.name} has another time for it")

    def _count(self, key: bytes, entry: Entry) -> None:
        self._identities.add(entry.index, entry.event)
        self.actions[entry.event["type"].removeprefix(TYPE_PREFIX).removeprefix(SERVICE_PREFIX)] += 1
        if (sequence := entry.event.get("sequence")) is not None:
            source = source_key(key, entry.event["source"], entry.event.get("epoch", ""))
            self.numbers.setdefault(source, []).append(int(sequence))
        if (occurred := parse_day(entry.event["time"][:10])) != self._day:
            self.lateness[occurred] += 1

    def _follow(self, row: StoredRow, where: str, *, opened: bool) -> None:
        """Compare the chain hash with the row before and with the seals."""
        # The leaf hash of a row that does not open may be what was altered: nothing can be computed from it.
        following = [extend(chain_hash, row.leaf_hash) for chain_hash in self._hashes] if opened else []
        noted = self._chain.hashes.get(row.index + 1)
        if following and row.chain_hash not in following:
            self._findings.report("broken chain", where, "its chain hash does not follow")
            self._hashes = [following[0], row.chain_hash]
            return
        if noted is not None and row.chain_hash != noted:
            self._findings.report("fork", where, "a seal or the head states another chain hash here")
        self._hashes = [row.chain_hash]
