"""Answers to submissions: receipts under one signature per append, of a key that the signer vouches for."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from journal.core.receipt import Receipt, receipt_leaf, receipt_text, receipts_paths, receipts_root

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from journal.core.receipt import Members
    from journal.seals.receipt_key import SignedRoot
    from journal.writing.queue import Submission


class Acknowledgement(NamedTuple):
    """The result of one event: its receipt, and whether this submission recorded it."""

    receipt: Receipt
    created: bool


class Notary(Protocol):
    """Signs the roots of receipts."""

    def sign(self, root: bytes) -> SignedRoot | None:
        """Sign a root; None if no key is vouched for now."""
        ...


class Answer(Sequence[Acknowledgement]):
    """What a submission gets back, an acknowledgement per event; `body` is the same for the caller."""

    def __init__(
        self,
        receipts: Sequence[Members],
        texts: Sequence[bytes],
        path: Sequence[bytes] = (),
        signed: SignedRoot | None = None,
        *,
        known: Container[int] = (),
        recorded: int = 0,
    ) -> None:
        """Answer these receipts, which are `texts` in JSON; `path` leads from their root to the signed one.

        Those at the positions `known` are of earlier submissions. `recorded` events are new; a second copy within a
        batch counts as known.
        """
        self.recorded = recorded
        self._receipts = receipts
        self._known = known
        self._texts = texts
        self._path = path
        self._signed = signed

    # Few ask: what goes over HTTP is the body.
    @cached_property
    def _acknowledgements(self) -> list[Acknowledgement]:
        return [
            Acknowledgement(Receipt._make(receipt), position not in self._known)
            for position, receipt in enumerate(self._receipts)
        ]

    def __getitem__(self, place: Any) -> Any:
        """Return an acknowledgement, or some."""
        return self._acknowledgements[place]

    def __len__(self) -> int:
        """Return how many events were submitted."""
        return len(self._receipts)

    @property
    def body(self) -> bytes:
        """The answer in canonical JSON (FORMAT.md, "Receipts"); without a signature, the receipts alone."""
        receipts = b",".join(self._texts)
        signed = self._signed
        if signed is None:
            return b"".join((b'{"receipts":[', receipts, b"]}"))
        path = ",".join([f'"{sibling.hex()}"' for sibling in self._path]).encode()
        before = b'{"key":%b,"path":[%b],"receipts":[' % (signed.key, path)
        after = b'],"signature":"%b","signed_at":"%b"}' % (b64encode(signed.signature), signed.signed_at.encode())
        return b"".join((before, receipts, after))


def settle(settled: Iterable[tuple[Submission, dict[int, Members]]], notary: Notary | None) -> None:
    """Answer submissions, unless their callers have gone away: one signature for all.

    Each comes with the receipts of its events that were just recorded, by ordinal.
    """
    for submission, answer in make(settled, notary):
        submission.answer(answer)


def make(
    settled: Iterable[tuple[Submission, dict[int, Members]]], notary: Notary | None
) -> list[tuple[Submission, Answer]]:
    """Make the answers that `settle` gives."""
    waiting = [
        (submission, submission.receipts(created), len(created))
        for submission, created in settled
        if not submission.future.done()
    ]
    texts = [[receipt_text(receipt) for receipt in receipts] for _, receipts, _ in waiting]
    roots = [receipts_root([receipt_leaf(text) for text in of_one]) for of_one in texts if of_one]
    root, paths = receipts_paths(roots) if roots else (b"", [])
    signed = notary.sign(root) if notary is not None and roots else None
    given = iter(paths)
    made: list[tuple[Submission, Answer]] = []
    for (submission, receipts, recorded), of_one in zip(waiting, texts, strict=True):
        proof = (next(given), signed) if of_one else ((), None)
        known = submission.known_positions()
        made.append((submission, Answer(receipts, of_one, *proof, known=known, recorded=recorded)))
    return made
