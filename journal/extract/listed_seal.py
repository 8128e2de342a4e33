"""One seal, verified by itself, and several as one history (FORMAT.md, "Verdicts")."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from journal.core.entry import parse_origin
from journal.core.errors import (
    BrokenChainError,
    ForkError,
    MalformedError,
    MismatchedPartError,
    UntrustedError,
    VerificationError,
)
from journal.core.seal import NOTHING_HASH, Seal, SealedHead, parse_seal
from journal.core.times import day_of, format_day, format_seconds
from journal.core.tree import root_from_path
from journal.pki import cms, timestamp

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    from journal.extract.listing import ListedSeal

_ONE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class CheckedSeal:
    """A listed seal that was verified, with the head it covers of one chain.

    `name` says where it was found, and its number. `known` is set if the auditor brought it; `timestamped` if it bears
    a time-stamp; `timestamp` is what that attests, if the auditor brought certificates to check it with.
    """

    name: str
    known: bool
    seal: Seal
    head: SealedHead
    signature: cms.Signature
    timestamped: bool
    timestamp: timestamp.Timestamp | None = None

    @property
    def day(self) -> date:
        """The day it was made on, in UTC."""
        return day_of(self.seal.sealed_at)


def check_seal(
    listed: ListedSeal,
    *,
    anchors: Sequence[bytes],
    part: str,
    known: bool,
    signer: cms.Signature | None = None,
    tsa_anchors: Sequence[bytes] | None = None,
    seen_at: datetime | None = None,
) -> CheckedSeal:
    """Verify one seal by itself: its text, its time-stamp, its signature, and this chain's head under its root.

    `signer` is the signature of the extract, if the seal is in one or held against one: all organisations' seals are
    of one organisation. `tsa_anchors` are the
    certificates (DER) trusted to certify time-stamps; without them none is checked. `seen_at` is a time at which the
    time-stamp existed, if one is known. Raises VerificationError.
    """
    try:
        seal = parse_seal(listed.text)
    except MalformedError as error:
        raise error.within(part) from error
    name = f"{part} seal {seal.number}"
    try:
        service = parse_origin(listed.head.origin).service
        if seal.service != service:
            raise MismatchedPartError(f"it is a seal of {seal.service}")
        stamp = _read_timestamp(listed, seal, tsa_anchors, seen_at)
        signature = cms.verify(
            listed.signature,
            sha256(listed.text).digest(),
            anchors=anchors,
            service=service,
            at=stamp.stamped_at if stamp else None,
        )
        if signer is not None and not cms.may_be_beside(signature, signer):
            raise UntrustedError(
                f"it is the seal of another organisation than that of the extract, {signer.organisation}",
                part=signature.subject,
            )
        if signature.signing_time != seal.sealed_at:
            raise MismatchedPartError("its signing time is not the time in its text")
        if root_from_path(listed.head, listed.path) != seal.root:
            raise BrokenChainError("the head and its path do not lead to the signed root")
    except VerificationError as error:
        raise error.within(name) from error
    return CheckedSeal(name, known, seal, listed.head, signature, listed.timestamp is not None, stamp)


def _read_timestamp(
    listed: ListedSeal, seal: Seal, tsa_anchors: Sequence[bytes] | None, seen_at: datetime | None
) -> timestamp.Timestamp | None:
    if listed.timestamp is None:
        return None
    if seal.day is None:
        raise MalformedError("an open seal bears a time-stamp")
    if tsa_anchors is None:
        return None
    try:
        return timestamp.verify(
            listed.timestamp, seal.digest, anchors=tsa_anchors, made_at=seal.sealed_at, seen_at=seen_at
        )
    except VerificationError as error:
        raise error.within("time-stamp") from error


def check_one_history(seals: Sequence[CheckedSeal]) -> None:
    """Check that seals, in any order, can belong to one history; ForkError or BrokenChainError names two.

    From one number to a higher one, nothing decreases: time, size, beginning of the chain, count of chains. One size
    has one chain hash, one number one text, one day one close seal, and each of two consecutive seals names the
    one before.
    """
    ordered = sorted(seals, key=lambda checked: checked.seal.number)
    for before, after in zip(ordered, ordered[1:]):
        reason = _disagreement(before, after)
        if reason:
            raise ForkError(reason, part=f"{before.name}, {after.name}")
        if after.seal.number == before.seal.number + 1:
            _check_following(before, after)
    # A seal that the auditor kept may also be in the extract: what follows needs it once.
    _check_closes([s for place, s in enumerate(ordered) if not place or s.seal != ordered[place - 1].seal])


def _disagreement(before: CheckedSeal, after: CheckedSeal) -> str:
    """Return why two seals, in the order of their numbers, belong to two histories; empty if they may belong to one."""
    if before.seal.number == after.seal.number:
        return "" if before.seal == after.seal else "two seals under one number"
    earlier, later = before.head, after.head
    forked = later.size == earlier.size and later.chain_hash != earlier.chain_hash
    reasons = (
        (after.seal.sealed_at < before.seal.sealed_at, "a later seal has an earlier time"),
        (after.seal.chains < before.seal.chains, "a later seal covers fewer chains"),
        (later.size < earlier.size, "the chain is shorter in the later seal"),
        (forked, f"two chain hashes at size {later.size}"),
        (later.kept_from < earlier.kept_from, "entries that the earlier seal says are purged are kept in the later"),
    )
    return next((reason for disagrees, reason in reasons if disagrees), "")


def _broken(before: CheckedSeal, after: CheckedSeal, reason: str) -> VerificationError:
    # Between two seals of the extract, a link is broken; against a seal that the auditor kept, there are two histories.
    kind = ForkError if before.known or after.known else BrokenChainError
    return kind(reason, part=f"{before.name}, {after.name}")


def _check_following(before: CheckedSeal, after: CheckedSeal) -> None:
    if after.seal.previous != before.seal.digest:
        raise _broken(before, after, "the second does not name the first as the seal before it")
    close = before.seal.previous_close if before.seal.day is None else before.seal.digest
    if after.seal.previous_close != close:
        raise _broken(before, after, "the second does not name the close seal before it")


def _check_closes(ordered: Sequence[CheckedSeal]) -> None:
    """Check the close seal that each seal names as the latest before it, as far as the list shows."""
    latest: tuple[date, CheckedSeal] | None = None
    superseded = {NOTHING_HASH}
    for checked in ordered:
        if latest is not None:
            _check_latest_close(*latest, checked, superseded)
        if checked.seal.day is not None:
            superseded |= {latest[1].seal.digest} if latest else set()
            latest = (checked.seal.day, checked)


def _check_latest_close(closed: date, latest: CheckedSeal, checked: CheckedSeal, superseded: set[bytes]) -> None:
    """Compare a seal with the latest close seal listed before it, and with the digests of older ones."""
    seal = checked.seal
    if seal.day is not None and seal.day <= closed:
        raise ForkError(
            f"{format_day(seal.day)} is closed after {format_day(closed)}",
            part=f"{latest.name}, {checked.name}",
        )
    # Days are closed in order, each after its end: there can be no other close seal between these two.
    none_between = closed + _ONE_DAY >= (seal.day or checked.day)
    if none_between and seal.previous_close != latest.seal.digest:
        raise _broken(latest, checked, "the second does not name the close seal before it")
    if seal.previous_close in superseded:
        raise _broken(latest, checked, "the second names an older close seal than the first")


def seal_text(checked: CheckedSeal) -> str:
    """Return the name of a seal for people: number, kind, time."""
    seal = checked.seal
    kind = "open" if seal.day is None else f"close of {format_day(seal.day)}"
    return f"seal {seal.number} ({kind}, {format_seconds(seal.sealed_at)})"
