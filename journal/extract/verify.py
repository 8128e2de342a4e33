"""The verification of an extract: offline, trusting only the trust anchors of the auditor (FORMAT.md, "Verdicts").

First the digests and their signature; then the seals, each by itself and all as one history; then every entry, its
proof and its line of the table, in one pass over the three in constant memory. Only the manifest, which names the
service whose signature is expected, is parsed before the signature is verified. The first failure ends it.

Entries are checked slice by slice (`journal.extract.sweep`), which can only say yes; what is wrong is said by the walk
along them one by one (`journal.extract.walk`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Callable

from journal.core.entry import parse_origin
from journal.core.errors import (
    BadSignatureError,
    MalformedError,
    MismatchedPartError,
    RewrittenError,
    VerificationError,
)
from journal.extract.container import Container, Parts
from journal.extract.found import Found
from journal.extract.history import History
from journal.extract.known import Known, compare
from journal.extract.layout import DIGESTS, INSTRUCTIONS, MANIFEST, SEALS, SIGNATURE, STREAMED
from journal.extract.listed_seal import CheckedSeal, check_one_history, check_seal
from journal.extract.listing import parse_seals
from journal.extract.manifest import Manifest, parse_manifest
from journal.extract.receipt_verdicts import Shown, judge
from journal.extract.recognise import recognise
from journal.extract.report import Report, write_report
from journal.extract.rewritten import Rewritten
from journal.extract.sweep import Run, sweep
from journal.extract.texts import read_digests, signed_names, write_instructions
from journal.extract.walk import Walk
from journal.pki import cms

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from journal.extract.receipts import CheckedReceipts


def verify_extract(
    file: BinaryIO,
    *,
    anchors: Sequence[bytes],
    tsa_anchors: Sequence[bytes] | None = None,
    known: Sequence[Known] = (),
    receipts: Sequence[CheckedReceipts] = (),
    progress: Callable[[int, int], None] | None = None,
    run: Run | None = map,
) -> Report:
    """Verify an extract and report what it proves, and what becomes in it of receipts.

    `file` is seekable and must not change; `anchors` are trusted certificates (DER), `tsa_anchors` those trusted to
    certify time-stamps, without which none is checked; `known` is what `read_known` read. `progress` is called with
    the bytes done and the bytes in all. `run` says where slices of the entries are checked, like `map`; with None, and
    where that does not say yes to all of them, entries are read one by one.
    Raises a child of VerificationError that names the part at fault, RewrittenError if none is but another program
    has packed them; OSError only as the file raises it.
    """
    counter = _Counter(progress)
    container = open_container(file, notify=counter.add)
    report = _Verification(container, anchors, tsa_anchors, counter).report(known, receipts, run)
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


class _Verification:
    """The verification of one extract."""

    def __init__(
        self, container: Parts, anchors: Sequence[bytes], tsa_anchors: Sequence[bytes] | None, counter: _Counter
    ) -> None:
        self._container = container
        self._anchors = anchors
        self._tsa_anchors = tsa_anchors
        self._counter = counter
        self._streamed_bytes = sum(container.size_bytes(name) for name in STREAMED)

    def report(self, known: Sequence[Known], receipts: Sequence[CheckedReceipts], run: Run | None) -> Report:
        """Verify it; what is said of a part that is not the one signed is that it is not."""
        container = self._container
        digests = _read_digests(container)
        manifest, signature = _check_signature(container, self._anchors)
        self._counter.total_bytes = self._streamed_bytes
        try:
            seals = tuple(_check_seals(container, manifest, signature, self._anchors, self._tsa_anchors))
            check_one_history(seals)
            history = History(seals, manifest, signed_at=signature.signing_time)
            comparison = compare(
                known, manifest, seals, signer=signature, anchors=self._anchors, tsa_anchors=self._tsa_anchors
            )
            if container.read(INSTRUCTIONS) != write_instructions(manifest):
                raise MismatchedPartError("not the text that belongs to this manifest", part=INSTRUCTIONS)
        except VerificationError:
            _check_streamed(container, digests)
            raise
        wanted = {receipt.index for checked in receipts for receipt in checked.receipts}
        parts = container, manifest, history, (*seals, *comparison.seals)
        found = Found(wanted)
        is_swept = run is not None and sweep(*parts, found=found, run=run)
        if not is_swept:
            # For their digests and for the walk, besides what was swept.
            self._counter.total_bytes += self._streamed_bytes if run is None else 2 * self._streamed_bytes
        _check_streamed(container, digests)
        if not is_swept:
            found = Found(wanted)
            Walk(*parts, found).check()
        shown = Shown(manifest.origin, (*seals, *comparison.held), found.hashes)
        return write_report(
            manifest=manifest,
            signature=signature,
            names=container.names,
            seals=seals,
            history=history,
            comparison=comparison,
            receipts=tuple(judged for checked in receipts for judged in judge(checked, [shown])),
            repeated=found.repeated(container),
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


def _read_digests(container: Parts) -> dict[str, bytes]:
    """Return the digests that are signed, by member; those of members that are read whole are checked."""
    digests = read_digests(container.read(DIGESTS), signed_names(container.names))
    for name in digests:
        if name not in STREAMED:
            _check_digest(container, name, digests[name])
    return digests


def _check_signature(container: Parts, anchors: Sequence[bytes]) -> tuple[Manifest, cms.Signature]:
    """Check the signature, of the service in the manifest, over the digests."""
    try:
        manifest = parse_manifest(container.read(MANIFEST))
    except VerificationError as error:
        raise error.within(MANIFEST) from error
    try:
        signature = cms.verify(
            container.read(SIGNATURE),
            container.digest(DIGESTS),
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
    return manifest, signature


def _check_streamed(container: Parts, digests: dict[str, bytes]) -> None:
    for name in STREAMED:
        _check_digest(container, name, digests[name])


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
