"""What a refused append means for each submission in its draft: which are known, which can never be recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from journal.core import canonical
from journal.core.chain import Receipt, leaf_hash
from journal.core.entry import parse_record
from journal.core.envelope import open_entry
from journal.core.errors import BrokenChainError, BusyError, JournalError, KnownEventError, PurgedDayError, StoreError
from journal.core.times import format_time

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping
    from datetime import date, datetime

    from journal.core.entry import Compartment
    from journal.draft import Draft
    from journal.keyring import Keyring
    from journal.store import KnownEntry
    from journal.submission import Submission

log = structlog.get_logger()

BUSY_RETRY_SECONDS = 5
# What the append itself tolerates between a chain's `recorded_at` and the database's clock.
CLOCK_TOLERANCE_SECONDS = 2.0
_OTHER_CONTENT = "already recorded with other content: no event is ever changed, another one has an id of its own"


def come_back(reason: str) -> BusyError:
    """Return what a caller is told who may succeed later with the same events."""
    return BusyError(reason, retry_after_seconds=BUSY_RETRY_SECONDS)


def recognise(draft: Draft, entries: Iterable[KnownEntry], keyring: Keyring) -> None:
    """Give known events their first receipt, and refuse whole what repeats an id with other content.

    A first copy that does not open any more concerns those who repeat it, and nobody else.
    """
    faults: dict[Submission, list[int]] = {}
    for known in entries:
        owners = draft.owners(known.position - 1)
        try:
            receipt, content = _open_known(owners[0][0].compartment, known, keyring)
        except JournalError as error:
            log.error("a recorded entry does not open", kind=type(error).__name__, reason=str(error))
            for submission, _ in owners:
                submission.fail(StoreError("an earlier copy of an event cannot be read: run verify-store"))
            continue
        for submission, ordinal in owners:
            if submission.events[ordinal].canonical == content:
                submission.known[ordinal] = receipt
            else:
                faults.setdefault(submission, []).append(ordinal)
    for submission, ordinals in faults.items():
        positions = submission.first_positions()
        found = sorted(positions[ordinal] for ordinal in ordinals)
        submission.fail(KnownEventError([(position, "/id", _OTHER_CONTENT) for position in found]))


def refuse_ahead(draft: Draft, database_now: datetime) -> None:
    """Put off chains whose last entry is ahead of the clock: it was set back, and has to catch up with them."""
    for compartment in draft.compartments:
        recorded_at = draft.base(compartment).recorded_at
        ahead_seconds = (recorded_at - database_now).total_seconds() if recorded_at else 0.0
        if ahead_seconds <= CLOCK_TOLERANCE_SECONDS:
            continue
        log.error("a chain is ahead of the clock", category=compartment.category, ahead_seconds=round(ahead_seconds))
        for submission in draft.submissions:
            if submission.compartment == compartment:
                submission.fail(come_back("the last entry is ahead of the clock, which was set back"))


def refuse_fenced(draft: Draft, fenced: Container[Compartment], fences: Mapping[str, date]) -> None:
    """Refuse events whose first copy would be in a day that was destroyed since they were submitted.

    `fences` are the categories' as the database has them now.
    """
    for submission in draft.submissions:
        fence = fences.get(submission.compartment.category)
        if submission.compartment not in fenced or fence is None:
            continue
        positions = submission.first_positions()
        if gone := sorted(positions[ordinal] for ordinal, since in enumerate(submission.since) if since <= fence):
            submission.fail(PurgedDayError([(position, "/time", f"too old: {fence} is purged") for position in gone]))


def refuse_absent(draft: Draft, absent: Container[Compartment]) -> None:
    """Refuse what belongs to no chain, or to one that takes nothing more."""
    for submission in draft.submissions:
        if submission.compartment in absent:
            submission.fail(StoreError("the compartment does not exist, or its contract has ended"))


def _open_known(compartment: Compartment, known: KnownEntry, keyring: Keyring) -> tuple[Receipt, bytes]:
    """Return the receipt and the event of an entry. Raises VerificationError, KeyStoreError."""
    cipher = keyring.cipher(compartment, known.day)
    prefix = compartment.origin.encode() + b"\0"
    salt, record = open_entry(cipher, known.sealed, origin_prefix=prefix, index=known.index)
    if leaf_hash(salt, record) != known.leaf_hash:
        raise BrokenChainError("its leaf hash is not of its record", part=str(known.index))
    entry = parse_record(record)
    recorded_at = format_time(entry.recorded_at)
    receipt = Receipt(compartment.origin, known.index, recorded_at, known.leaf_hash, known.chain_hash)
    return receipt, canonical.encode(entry.event)
