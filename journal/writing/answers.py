"""Answers to submissions: receipts under one signature per append, of a key that the signer vouches for."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, NamedTuple, Protocol

from journal.core.receipt import receipt_leaf, receipts_paths, receipts_root

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from journal.core.receipt import Receipt
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


class Answer(list[Acknowledgement]):
    """What a submission gets back, an acknowledgement per event; `body` is the same for the caller."""

    def __init__(
        self,
        acknowledgements: Iterable[Acknowledgement],
        texts: Sequence[bytes] = (),
        path: Sequence[bytes] = (),
        signed: SignedRoot | None = None,
        *,
        recorded: int = 0,
    ) -> None:
        """Answer these, whose receipts are `texts` in JSON; `path` leads from their root to the signed one.

        `recorded` events are new; a second copy within a batch counts as known.
        """
        super().__init__(acknowledgements)
        self.recorded = recorded
        self._texts = texts
        self._path = path
        self._signed = signed

    @property
    def body(self) -> bytes:
        """The answer in canonical JSON (FORMAT.md, "Receipts"); without a signature, the receipts alone."""
        receipts = b'"receipts":[%b]' % b",".join(self._texts)
        signed = self._signed
        if signed is None:
            return b"{%b}" % receipts
        path = ",".join([f'"{sibling.hex()}"' for sibling in self._path]).encode()
        return b'{"key":%b,"path":[%b],%b,"signature":"%b","signed_at":"%b"}' % (
            signed.key,
            path,
            receipts,
            b64encode(signed.signature),
            signed.signed_at.encode(),
        )


def settle(settled: Iterable[tuple[Submission, dict[int, Receipt]]], notary: Notary | None) -> None:
    """Answer submissions, unless their callers have gone away: one signature for all.

    Each comes with the receipts of its events that were just recorded, by ordinal.
    """
    for submission, answer in make(settled, notary):
        submission.answer(answer)


def make(
    settled: Iterable[tuple[Submission, dict[int, Receipt]]], notary: Notary | None
) -> list[tuple[Submission, Answer]]:
    """Make the answers that `settle` gives."""
    waiting = [
        (submission, submission.acknowledgements(created), len(created))
        for submission, created in settled
        if not submission.future.done()
    ]
    texts = [[receipt.text for receipt, _ in answers] for _, answers, _ in waiting]
    roots = [receipts_root([receipt_leaf(text) for text in of_one]) for of_one in texts if of_one]
    root, paths = receipts_paths(roots) if roots else (b"", [])
    signed = notary.sign(root) if notary is not None and roots else None
    given = iter(paths)
    made: list[tuple[Submission, Answer]] = []
    for (submission, answers, recorded), of_one in zip(waiting, texts, strict=True):
        proof = (next(given), signed) if of_one else ((), None)
        made.append((submission, Answer(answers, of_one, *proof, recorded=recorded)))
    return made
