"""What becomes of receipts in what is shown: covered, purged, missing … (FORMAT.md, "Receipts that were kept").

A receipt binds the host: it acknowledged that entry, at that place. An extract, or known seals, hold it, say why they
need not, or convict the host.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from journal.core.times import day_of, format_day, parse_time, purgeable_through
from journal.pki.cms import may_be_beside

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date

    from journal.core.receipt import Receipt
    from journal.extract.listed_seal import CheckedSeal
    from journal.extract.receipts import CheckedReceipts

# An entry acknowledged so long before an open seal is in it: clocks differ by less, and an append takes less.
OPEN_MARGIN = timedelta(minutes=15)

COVERED, PURGED, NOT_YET_SEALED, NOT_SHOWN = "covered", "purged", "not yet sealed", "not shown"
MISSING, DECLARED_LOST, FOREIGN, AUTHENTIC = "missing", "declared lost", "foreign", "authentic"
# What was asked of these receipts could not be answered.
UNANSWERED = frozenset({NOT_YET_SEALED, NOT_SHOWN, DECLARED_LOST, FOREIGN})
UPHELD = frozenset({COVERED, PURGED, AUTHENTIC})


@dataclass(frozen=True)
class Judged:
    """What is to be said of a receipt, or of a file that holds none that is authentic (`receipt` is None)."""

    name: str
    receipt: Receipt | None
    verdict: str
    reason: str

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        result: dict[str, Any] = {"file": self.name, "verdict": self.verdict, "reason": self.reason}
        if self.receipt is not None:
            names = ("origin", "index", "recorded_at", "source", "id", "time")
            result.update({name: getattr(self.receipt, name) for name in names})
        return result


@dataclass(frozen=True)
class Shown:
    """What receipts are held against: a chain's seals, and the entries shown, by index: leaf hash, chain hash after it.

    Seals that a seal declares lost are not among them.
    """

    origin: str
    seals: Sequence[CheckedSeal]
    entries: Mapping[int, tuple[bytes, bytes]] = field(default_factory=dict)


def judge(checked: CheckedReceipts, shown: Sequence[Shown]) -> list[Judged]:
    """Say of each receipt what becomes of it in what is shown, chain by chain; nothing shown: that it is authentic."""
    chains = {one.origin: one for one in shown}
    found = []
    for receipt in checked.receipts:
        chain = chains.get(receipt.origin)
        if not chains:
            verdict, reason = AUTHENTIC, _authentic(checked, receipt)
        elif chain is None:
            verdict, reason = FOREIGN, f"it is of {receipt.origin}, and nothing shown is"
        elif not all(may_be_beside(checked.signer, seal.signature) for seal in chain.seals):
            verdict, reason = FOREIGN, f"{checked.signer.organisation} vouches for its key, and not for what is shown"
        else:
            verdict, reason = _judge(receipt, chain)
        found.append(Judged(checked.name, receipt, verdict, reason))
    return found


def _authentic(checked: CheckedReceipts, receipt: Receipt) -> str:
    return (
        f"{checked.key.service} acknowledged it as entry {receipt.index} of {receipt.origin}; "
        f"{checked.signer.subject} vouches for its key"
    )


def _judge(receipt: Receipt, shown: Shown) -> tuple[str, str]:
    day = day_of(parse_time(receipt.recorded_at))
    contradiction = _contradiction(receipt, day, shown)
    if not contradiction:
        return _standing(receipt, day, shown)
    if loss := _declared_loss(receipt, shown):
        return DECLARED_LOST, f"{loss} declares a disaster in which it may have been lost; ask when and why"
    return MISSING, f"the host acknowledged what it does not show: {contradiction}"


def _standing(receipt: Receipt, day: date, shown: Shown) -> tuple[str, str]:
    """Return what is to be said of a receipt that nothing contradicts."""
    index = receipt.index
    if index in shown.entries:
        return COVERED, f"entry {index} is there, with its leaf hash and chain hash"
    if seal := next((seal for seal in _gone(receipt, shown) if _could_be_purged(seal, day)), None):
        return PURGED, f"{format_day(day)} is purged under the rule that {seal.name} states"
    held = [seal for seal in shown.seals if seal.head.size > index]
    if met := next((seal for seal in held if seal.head.size == index + 1), None):
        return COVERED, f"the chain hash in {met.name} is its own"
    if held:
        return NOT_SHOWN, f"its place is sealed: ask for an extract of {format_day(day)}"
    return NOT_YET_SEALED, "no seal shown was made after it was recorded"


def _gone(receipt: Receipt, shown: Shown) -> list[CheckedSeal]:
    return [seal for seal in shown.seals if receipt.index < seal.head.kept_from]


def _could_be_purged(checked: CheckedSeal, day: date) -> bool:
    return day <= purgeable_through(checked.day, checked.head.retention_days)


def _contradiction(receipt: Receipt, day: date, shown: Shown) -> str:
    """Return what, of all that is shown, cannot be if the receipt was kept; empty if everything can."""
    index = receipt.index
    if index in shown.entries and shown.entries[index] != (receipt.leaf_hash, receipt.chain_hash):
        return f"entry {index} is another one"
    recorded_at = parse_time(receipt.recorded_at)
    for checked in shown.seals:
        size, closed = checked.head.size, checked.seal.day
        if size == index + 1 and checked.head.chain_hash != receipt.chain_hash:
            return f"at size {size}, {checked.name} has another chain hash"
        if size <= index and _must_hold(checked, recorded_at):
            return f"{checked.name} holds {size} entries, and this is entry {index}, recorded before it was made"
        if closed is not None and index < size and closed < day:
            return f"by {checked.name} entry {index} was recorded on {format_day(closed)} or before"
    gone = [checked for checked in _gone(receipt, shown) if not checked.known]
    if gone and not any(_could_be_purged(checked, day) for checked in _gone(receipt, shown)):
        return f"{gone[0].name} says that it is purged, when its day could not be"
    return ""


def _must_hold(checked: CheckedSeal, recorded_at: datetime) -> bool:
    """Tell whether a seal was made when an entry recorded at this time was in the chain."""
    if checked.seal.day is not None:
        return day_of(recorded_at) <= checked.seal.day
    return checked.seal.sealed_at - recorded_at >= OPEN_MARGIN


def _declared_loss(receipt: Receipt, shown: Shown) -> str:
    """Return the seal that declares lost what the receipt is about; empty if none does."""
    recorded_at = parse_time(receipt.recorded_at)
    for checked in shown.seals:
        survived = checked.seal.recovered_from
        if survived is None or recorded_at >= checked.seal.sealed_at:
            continue
        sizes = [other.head.size for other in shown.seals if other.seal.number <= survived]
        if receipt.index >= max(sizes, default=0):
            return checked.name
    return ""


def summary(judged: Iterable[Judged]) -> str:
    """Return how many receipts there are of each verdict, in the order in which they were judged."""
    return ", ".join(f"{count} {verdict}" for verdict, count in Counter(one.verdict for one in judged).items())
