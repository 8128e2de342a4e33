"""Known seals: seals an auditor kept from earlier, which the service cannot change (FORMAT.md, "Verdicts")."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from journal.core.chain import genesis
from journal.core.errors import BrokenChainError, MismatchedPartError, VerificationError
from journal.extract.container import Container
from journal.extract.layout import MANIFEST, SEALS
from journal.extract.listed_seal import CheckedSeal, check_one_history, check_seal, seal_text
from journal.extract.listing import LISTED_SEAL_LIMIT_BYTES, ListedSeal, parse_head_answer, parse_seals
from journal.extract.manifest import parse_manifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from journal.extract.manifest import Manifest
    from journal.pki.cms import Signature

_ZIP = b"PK\3\4"


@dataclass(frozen=True)
class Known:
    """The seals of one file that the auditor kept, not yet verified; `name` is the file's name."""

    name: str
    seals: tuple[ListedSeal, ...]


@dataclass(frozen=True)
class Comparison:
    """The known seals that the extract is compared with, the latest of each file, and which could not be compared.

    `held` are all that are not declared lost, of whatever size.
    """

    held: tuple[CheckedSeal, ...]
    seals: tuple[CheckedSeal, ...]
    latest: tuple[CheckedSeal, ...]
    unanswered: tuple[str, ...]


def read_known(file: BinaryIO, name: str) -> Known:
    """Read the answer of `GET …/head`, or all seals of an older extract.

    Only the form is checked: MalformedError, with `name` as its part. OSError as the file raises it.
    """
    file.seek(0)
    start = file.read(len(_ZIP))
    try:
        if start != _ZIP:
            return Known(name, (parse_head_answer(start + file.read(LISTED_SEAL_LIMIT_BYTES)),))
        container = Container(file)
        manifest = parse_manifest(container.read(MANIFEST))
        return Known(name, tuple(parse_seals(container.read(SEALS), manifest.origin)))
    except VerificationError as error:
        raise error.within(name) from error


def compare(
    known: Sequence[Known],
    manifest: Manifest,
    seals: Sequence[CheckedSeal],
    *,
    signer: Signature,
    anchors: Sequence[bytes],
    tsa_anchors: Sequence[bytes] | None = None,
) -> Comparison:
    """Verify the known seals and check that they and the extract's are of one history.

    Where the extract's range includes a known seal's size, the caller compares the chain hash there.
    """
    verified = {
        kept: [
            check_seal(listed, anchors=anchors, part=kept.name, known=True, signer=signer, tsa_anchors=tsa_anchors)
            for listed in _of_origin(kept, manifest.origin)
        ]
        for kept in known
    }
    signed = [*seals, *itertools.chain.from_iterable(verified.values())]
    held: list[CheckedSeal] = []
    compared: list[CheckedSeal] = []
    latest: list[CheckedSeal] = []
    unanswered: list[str] = []
    for kept, found in verified.items():
        surviving = [checked for checked in found if not is_declared_lost(checked, signed)]
        within = [s for s in surviving if manifest.base.size <= s.head.size <= manifest.head.size]
        held += surviving
        compared += within
        latest += within[-1:]
        if not within:
            unanswered.append(_why(kept.name, found, surviving, manifest))
    check_one_history([*seals, *held])
    return Comparison(tuple(held), tuple(compared), tuple(latest), tuple(unanswered))


def check_known(
    known: Sequence[Known], *, anchors: Sequence[bytes], tsa_anchors: Sequence[bytes] | None = None
) -> dict[str, tuple[CheckedSeal, ...]]:
    """Verify known seals without an extract; return, by origin, those that no other declares lost.

    Raises VerificationError; ForkError where those of one chain are not of one history, BrokenChainError for an empty
    one that does not begin as it should.
    """
    by_origin: dict[str, list[CheckedSeal]] = {}
    for kept in known:
        for listed in kept.seals:
            checked = check_seal(listed, anchors=anchors, part=kept.name, known=True, tsa_anchors=tsa_anchors)
            by_origin.setdefault(listed.head.origin, []).append(checked)
    found = {}
    for origin, seals in by_origin.items():
        found[origin] = tuple(checked for checked in seals if not is_declared_lost(checked, seals))
        check_one_history(found[origin])
        for checked in found[origin]:
            if checked.head.size == 0 and checked.head.chain_hash != genesis(origin).chain_hash:
                raise BrokenChainError("the empty chain has another chain hash", part=checked.name)
    return found


def _of_origin(known: Known, origin: str) -> Iterator[ListedSeal]:
    for listed in known.seals:
        if listed.head.origin != origin:
            raise MismatchedPartError(f"it is of {listed.head.origin}", part=known.name)
        yield listed


def is_declared_lost(known: CheckedSeal, seals: Sequence[CheckedSeal]) -> bool:
    """Tell whether one of these seals declares the known one lost in a disaster.

    Such a seal names the last one that survived. Seals made before it with higher numbers are lost, and their numbers
    are used again. A known seal that declares the same loss belongs to the same history, unless it was made earlier
    with an equal or higher number: then the loss was declared twice.
    """
    return any(
        checked.seal.recovered_from is not None
        and checked.seal.recovered_from < known.seal.number
        and known.seal.sealed_at < checked.seal.sealed_at
        and (known.seal.recovered_from != checked.seal.recovered_from or known.seal.number >= checked.seal.number)
        for checked in seals
    )


def _why(name: str, verified: Sequence[CheckedSeal], surviving: Sequence[CheckedSeal], manifest: Manifest) -> str:
    if not surviving:
        lost = ", ".join(seal_text(checked) for checked in verified)
        return f"{name}: cannot be compared: the service declares {lost} lost; ask it when and why"
    nearest = surviving[-1]
    return (
        f"{name}: cannot be compared: {seal_text(nearest)} covers size {nearest.head.size}, the extract goes "
        f"from {manifest.base.size} to {manifest.head.size}; nothing contradicts the seal, nothing confirms it"
    )
