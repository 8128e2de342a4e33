"""The project's error tree, whole. What is no JournalError is caught by the package that raises it.

Exception
├── JournalError
│   ├── VerificationError              bytes that do not prove what they claim; one child per verdict
│   │   ├── MalformedError             "malformed"
│   │   ├── RewrittenError             "rewritten"
│   │   ├── BadSignatureError          "bad signature"
│   │   ├── UntrustedError             "untrusted"
│   │   ├── MismatchedPartError        "mismatched part"
│   │   ├── BrokenChainError           "broken chain"
│   │   ├── GapError                   "gap"
│   │   ├── ForeignEntryError          "foreign entry"
│   │   ├── ForkError                  "fork"
│   │   ├── EarlyDeletionError         "early deletion"
│   │   ├── OverRetentionError         "over-retention"
│   │   └── NotCoveredError            "not covered"
│   ├── SubmissionError                an event cannot be recorded as submitted
│   │   ├── InvalidEventError          not the shape, the times or the words we accept
│   │   │   ├── MisshapenEventError    not of the published schema, whoever sends it and whenever
│   │   │   └── OversizeEventError     an event, or a batch, larger than we take
│   │   ├── KnownEventError            same (source, id, time), other content
│   │   ├── PurgedDayError             its first copy may be in a day already purged
│   │   └── LateEventError             longer ago than an access may be recorded, and not recorded before
│   ├── RequestError                   a request cannot be served as it was made
│   │   └── EmptyError                 no entry that is still kept matches a filter
│   ├── BusyError                      come back later: queue full, or a purge is being completed
│   ├── KeyStoreError                  a key cannot be had
│   │   ├── AbsentKeyError             it is not there
│   │   ├── EndedTenantError           its tenant's contract has ended, and it was destroyed
│   │   └── FencedDayError             its day is destroyed, for ever
│   ├── StoreError                     the database cannot do what was asked
│   │   ├── LockedError                another transaction holds it: ask again in a moment
│   │   ├── SuspendedError             an administrative row that the key store does not vouch for
│   │   └── UnavailableError           no definite answer: a write may have happened or not
│   │       └── NoRoomError            it answers that it lacks the room to write: disk, memory
│   ├── DocumentError                  the document could not be made; an extract is complete without it
│   ├── SignerError                    the signer cannot be asked, or signs no such thing
│   ├── NotStampedError                a time-stamping authority gave nothing to be used, this time
│   └── OperatorError                  a setting, a file or a clock the operator must put right
│       ├── ExpiredCertificateError    the service's own certificate has expired: nothing is signed
│       └── WrongCodeError             no hand-over has the confirmation code that was given
├── ProblemError                   a refusal decided at the edge, as the problem it is answered with
├── NotRunError                    what the verifier was given cannot be used
├── UnlearntError                      a record is of a form that is not learnt: it is read strictly
├── _NotUsualError                     an extract is to be walked entry by entry, which tells what is wrong
├── RefusedError                   what a person gives at the console does not sign in, or cannot be chosen
├── HeldError                      another run is at work in an outbox
└── LargeFileError                 a file outgrows what its recipient can open
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from journal.core.faults import Code, Fault


class JournalError(Exception):
    """Root of every error this project raises on purpose."""


class VerificationError(JournalError):
    """Bytes do not prove what they claim.

    `verdict` is the class of failure in the words of FORMAT.md; `part` names the member, seal or index
    at fault (empty where a caller above will name it).
    """

    verdict = "not verified"

    def __init__(self, reason: str, *, part: str = "") -> None:
        """Keep the reason (one sentence, no personal data) and the part at fault."""
        super().__init__(f"{part}: {reason}" if part else reason)
        self.reason = reason
        self.part = part

    def within(self, part: str) -> VerificationError:
        """Return the same failure seen from outside: `part` put before what was already named."""
        return type(self)(self.reason, part=f"{part} {self.part}".strip())


class MalformedError(VerificationError):
    """Not in the one accepted spelling."""

    verdict = "malformed"


class RewrittenError(VerificationError):
    """Every part is authentic, but the container is not the one that was issued: another program packed it again."""

    verdict = "rewritten"


class BadSignatureError(VerificationError):
    """The signature is not over these bytes, or not by this key."""

    verdict = "bad signature"


class UntrustedError(VerificationError):
    """The signature holds, but its certificate leads to nothing the auditor trusts."""

    verdict = "untrusted"


class MismatchedPartError(VerificationError):
    """Two parts that must agree (digest, count, CSV, manifest, seal) do not."""

    verdict = "mismatched part"


class BrokenChainError(VerificationError):
    """A hash does not follow from the one before."""

    verdict = "broken chain"


class GapError(VerificationError):
    """An index is missing inside the range."""

    verdict = "gap"


class ForeignEntryError(VerificationError):
    """An entry of another origin, index or day."""

    verdict = "foreign entry"


class ForkError(VerificationError):
    """Two histories: two heads at one size, or two seals under one number."""

    verdict = "fork"


class EarlyDeletionError(VerificationError):
    """Entries gone before their time, or that no seal excuses."""

    verdict = "early deletion"


class OverRetentionError(VerificationError):
    """Something kept past its limit."""

    verdict = "over-retention"


class NotCoveredError(VerificationError):
    """The seals do not reach the period asked."""

    verdict = "not covered"


class SubmissionError(JournalError):
    """An event cannot be recorded as submitted.

    `faults` lists the faults found, in the order of the events; `more` counts those that the list has no room for.
    """

    def __init__(self, faults: Sequence[Fault], *, more: int = 0) -> None:
        """Keep the faults; the message shows the first."""
        first = faults[0]
        super().__init__(f"event {first.position}{': ' + first.pointer if first.pointer else ''}: {first.reason}")
        self.faults = faults
        self.more = more


class InvalidEventError(SubmissionError):
    """Not the shape, the times or the words we accept."""


class MisshapenEventError(InvalidEventError):
    """Not of the published schema, whoever sends it and whenever."""


class OversizeEventError(InvalidEventError):
    """An event, or a batch, larger than we take."""


class KnownEventError(SubmissionError):
    """The same (source, id, time) is already recorded with other content."""


class PurgedDayError(SubmissionError):
    """The event is so old that an earlier copy may be in a day already purged."""


class LateEventError(SubmissionError):
    """The access is longer ago than the service records any, and was not recorded before."""


class RequestError(JournalError):
    """A request cannot be served as it was made; `pointer` is the JSON Pointer of the member at fault."""

    def __init__(self, pointer: str, code: Code, reason: str) -> None:
        """Keep which member is at fault, the code of the fault, and why."""
        super().__init__(f"{pointer}: {reason}")
        self.pointer = pointer
        self.code = code
        self.reason = reason


class EmptyError(RequestError):
    """No entry matches a filter, and an empty extract was not asked for."""


class BusyError(JournalError):
    """Nothing is wrong with the request; it must be made again later."""

    def __init__(self, reason: str, *, retry_after_seconds: int) -> None:
        """Keep how long the caller should wait."""
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


class KeyStoreError(JournalError):
    """A key cannot be had."""


class AbsentKeyError(KeyStoreError):
    """The key is not in the key store."""


class EndedTenantError(KeyStoreError):
    """The tenant's contract has ended and its key was destroyed: it is never made nor read again."""


class FencedDayError(KeyStoreError):
    """The day is destroyed: its key is never made nor read again."""


class StoreError(JournalError):
    """The database cannot do what was asked."""


class LockedError(StoreError):
    """Another transaction holds what this one needs; nothing was done, ask again in a moment."""


class UnavailableError(StoreError):
    """The database gave no definite answer: a write may have happened or not.

    Asking again on another connection, with the same events, finds out.
    """


class NoRoomError(UnavailableError):
    """The database answers that it has no room to write: its disk or its memory is full."""


class SignerError(JournalError):
    """The signer cannot be asked, or signs no such thing; the message says what to do."""


class NotStampedError(JournalError):
    """A time-stamping authority gave nothing to be used, this time; it is asked again."""


class OperatorError(JournalError):
    """A setting, a file or a clock the operator must put right; the message says how."""


class ExpiredCertificateError(OperatorError):
    """The service's own certificate has expired, at the end of `not_after`: nothing is signed."""

    def __init__(self, reason: str, *, not_after: datetime) -> None:
        """Keep since when."""
        super().__init__(reason)
        self.not_after = not_after
