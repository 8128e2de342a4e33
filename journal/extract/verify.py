"""The verification of an extract: offline, trusting only the trust anchors of the auditor (FORMAT.md, "Verdicts").

First the digests and their signature; then the seals, each by itself and all as one history; then every entry, its
proof and its line of the table, in one pass over the three in constant memory. Only the manifest, which names the
service whose signature is expected, is parsed before the signature is verified. The first failure ends it.
"""

from __future__ import annotations

from datetime import datetime, timezone
from hashlib import sha256
from typing import TYPE_CHECKING, BinaryIO, Callable

from journal.core.chain import extend, leaf_hash
from journal.core.entry import JOURNAL_CATEGORY, RECORD_LIMIT_BYTES, parse_origin, parse_record
from journal.core.errors import (
    BadSignatureError,
    BrokenChainError,
    ForeignEntryError,
    ForkError,
    GapError,
    MalformedError,
    MismatchedPartError,
    RewrittenError,
    VerificationError,
)
from journal.core.times import format_day
from journal.extract import table
from journal.extract.container import Container, Parts
from journal.extract.history import History
from journal.extract.identities import Identities, Repeated
from journal.extract.known import Known, compare
from journal.extract.layout import DIGESTS, ENTRIES, INSTRUCTIONS, MANIFEST, PROOF, SEALS, SIGNATURE, STREAMED, TABLE
from journal.extract.listed_seal import CheckedSeal, check_one_history, check_seal
from journal.extract.listing import PROOF_LINE_LIMIT_BYTES, parse_proof_line, parse_seals
from journal.extract.manifest import Filter, Manifest, occurred, parse_manifest
from journal.extract.receipt_verdicts import Shown, judge
from journal.extract.recognise import recognise
from journal.extract.report import Report, write_report
from journal.extract.rewritten import Rewritten
from journal.extract.texts import read_digests, signed_names, write_instructions
from journal.pki import cms

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from journal.core.entry import Entry
    from journal.extract.receipts import CheckedReceipts

# A character made visible takes up to four times its bytes; quotation marks are doubled.
TABLE_LINE_LIMIT_BYTES = 16 * RECORD_LIMIT_BYTES

_READINGS = 2  # once for the digests, once for the content
_EARLIEST = datetime(1, 1, 1, tzinfo=timezone.utc)


def verify_extract(
    file: BinaryIO,
    *,
    anchors: Sequence[bytes],
    tsa_anchors: Sequence[bytes] | None = None,
    known: Sequence[Known] = (),
    receipts: Sequence[CheckedReceipts] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Verify an extract and report what it proves, and what becomes in it of receipts.

    `file` is seekable and must not change; `anchors` are trusted certificates (DER), `tsa_anchors` those trusted to
    certify time-stamps, without which none is checked; `known` is what `read_known` read. `progress` is called with
    the bytes done and the bytes in all.
    Raises a child of VerificationError that names the part at fault, RewrittenError if none is but another program
    has packed them; OSError only as the file raises it.
    """
    counter = _Counter(progress)
    container = open_container(file, notify=counter.add)
    counter.total_bytes = _READINGS * sum(container.size_bytes(name) for name in STREAMED)
    report = _verify(container, anchors, tsa_anchors, known, receipts)
    if not isinstance(container, Container):
        raise RewrittenError(
            "every part is authentic, but another program has packed them again, or something was written around "
            "them; journal-verify --repair writes the extract as it was issued"
        )
    return report


def open_container(file: BinaryIO, *, notify: Callable[[int], None] = lambda _: None) -> Container | Rewritten:
    """Open an extract as it was issued, or as another program has packed it. Raises MalformedError for another file."""
    try:
        return Container(file, notify=notify)
    except MalformedError as error:
        if (sentence := recognise(file)) is not None:
            raise MalformedError(sentence) from error
        try:
            return Rewritten(file, notify=notify)
        except MalformedError as unreadable:
            raise (error if error.part else unreadable) from unreadable


def _verify(
    container: Parts,
    anchors: Sequence[bytes],
    tsa_anchors: Sequence[bytes] | None,
    known: Sequence[Known],
    receipts: Sequence[CheckedReceipts],
) -> Report:
    manifest, signature = _check_signature(container, anchors)
    seals = tuple(_check_seals(container, manifest, signature, anchors, tsa_anchors))
    check_one_history(seals)
    history = History(seals, manifest, signed_at=signature.signing_time)
    comparison = compare(known, manifest, seals, signer=signature, anchors=anchors, tsa_anchors=tsa_anchors)
    if container.read(INSTRUCTIONS) != write_instructions(manifest):
        raise MismatchedPartError("not the text that belongs to this manifest", part=INSTRUCTIONS)
    wanted = {receipt.index for checked in receipts for receipt in checked.receipts}
    walk = _Walk(container, manifest, history, (*seals, *comparison.seals), wanted)
    walk.check()
    shown = Shown(manifest.origin, (*seals, *comparison.held), walk.found)
    return write_report(
        manifest=manifest,
        signature=signature,
        names=container.names,
        seals=seals,
        history=history,
        comparison=comparison,
        receipts=tuple(judged for checked in receipts for judged in judge(checked, [shown])),
        repeated=walk.repeated(),
    )


class _Counter:
    """Turns bytes read into progress."""

    def __init__(self, progress: Callable[[int, int], None] | None) -> None:
        self._progress = progress
        self._done_bytes = 0
        self.total_bytes = 0

    def add(self, count: int) -> None:
        self._done_bytes += count
        if self._progress is not None:
            self._progress(self._done_bytes, self.total_bytes)


def _check_signature(container: Parts, anchors: Sequence[bytes]) -> tuple[Manifest, cms.Signature]:
    """Check that the parts are those that were signed; the long ones after the signature."""
    content = container.read(DIGESTS)
    digests = read_digests(content, signed_names(container.names))
    for name in digests:
        if name not in STREAMED:
            _check_digest(container, name, digests[name])
    try:
        manifest = parse_manifest(container.read(MANIFEST))
    except VerificationError as error:
        raise error.within(MANIFEST) from error
    try:
        signature = cms.verify(
            container.read(SIGNATURE),
            sha256(content).digest(),
            anchors=anchors,
            service=parse_origin(manifest.origin).service,
        )
    except BadSignatureError as error:
        raise BadSignatureError(f"{error.reason}; it must be the signature of {DIGESTS}", part=SIGNATURE) from error
    except VerificationError as error:
        raise error.within(SIGNATURE) from error
    # Times of signatures are in whole seconds.
    if signature.signing_time < manifest.issued_at.replace(microsecond=0):
        raise MismatchedPartError("its signing time is before the time of issue in the manifest", part=SIGNATURE)
    for name in STREAMED:
        _check_digest(container, name, digests[name])
    return manifest, signature


def _check_digest(container: Parts, name: str, digest: bytes) -> None:
    if container.digest(name) != digest:
        raise MismatchedPartError(f"its content does not have the digest in {DIGESTS}, which is signed", part=name)


def _check_seals(
    container: Parts,
    manifest: Manifest,
    signer: cms.Signature,
    anchors: Sequence[bytes],
    tsa_anchors: Sequence[bytes] | None,
) -> Iterator[CheckedSeal]:
    listed = parse_seals(container.read(SEALS), manifest.origin)
    while True:
        try:
            seal = next(listed, None)
        except VerificationError as error:
            raise error.within(SEALS) from error
        if seal is None:
            return
        yield check_seal(
            seal,
            anchors=anchors,
            part=SEALS,
            known=False,
            signer=signer,
            tsa_anchors=tsa_anchors,
            seen_at=manifest.issued_at,
        )


class _Walk:
    """One pass over entries, proof and table together, along the chain from base to head."""

    def __init__(
        self,
        container: Parts,
        manifest: Manifest,
        history: History,
        seals: Sequence[CheckedSeal],
        wanted: Collection[int],
    ) -> None:
        """Walk past these seals; of the wanted indexes, keep leaf hash and chain hash in `found`."""
        self._wanted = wanted
        self.found: dict[int, tuple[bytes, bytes]] = {}
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
        self._identities = Identities()
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
            if index in self._wanted:
                self.found[index] = (leaf, chain_hash)
            index += 1
            if index in self._checkpoints:
                self._check_head(index, chain_hash)
        if index != self._manifest.head.size:
            raise GapError(f"it ends before index {index}", part=PROOF)
        self._check_ends()

    def repeated(self) -> list[Repeated]:
        """Return which source and id come back; only then the entries, which are checked, are read once more."""
        lines = self._container.lines(ENTRIES, limit_bytes=RECORD_LIMIT_BYTES)
        return self._identities.name(map(parse_record, lines))

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
        self._identities.add(index, entry.event)
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
