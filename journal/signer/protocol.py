"""What is said between the signer and its clients, over a Unix socket.

A message is a frame: its length (4 bytes, big-endian, at most 48 MiB), then JSON with sorted keys, bytes in base64.
`kind` says which message it is; a member too many, or of another type, is refused.

1. The signer greets: `greeting`, with the service's name and the SHA-256 of its certificate.
2. The client sends a request: `look`, `sign`, `sign-document` or `vouch-for-key`, answered at once; or `begin`, from
   which on it alone uses the signer's memory, until it closes the connection. Then come `compare` (the last stored
   seals), `offer` (some of the heads), `propose` (the signer makes, remembers and signs a seal over all that were
   offered), `done` (the seal is stored), `learn` and `leave`.
3. While it answers `compare`, `propose` or `learn`, the signer may send an `ask-…`; the client sends the `evidence`.
4. What cannot be done, a message that is none, and one out of turn are answered with `failure`, and the connection is
   closed.

Each side waits for the other a bounded time. A client that keeps the signer waiting loses its session.
"""

from __future__ import annotations

import asyncio
from datetime import date, datetime
from typing import Annotated, Any, TypeVar

import msgspec

from journal.core.errors import (
    BusyError,
    ExpiredCertificateError,
    JournalError,
    OperatorError,
    SignerError,
    StoreError,
)
from journal.database.heads import HeadRow, LeafRun, LeafSpan, SealHeadRow  # noqa: TC001 - msgspec reads these types
from journal.signer.evidence import HeldChain, Rule, StoredSeal, StoredSeals  # noqa: TC001

LENGTH_BYTES = 4
FRAME_LIMIT_BYTES = 48 * 1024 * 1024
CONTENT_LIMIT_BYTES = 4 * 1024 * 1024
DOCUMENT_LIMIT_BYTES = 32 * 1024 * 1024
# Of these, a message is encoded or decoded in a millisecond or two: the client's event loop stands still for no longer.
CHAINS_AT_ONCE = 1_000
# More than a country has chains: no client fills the signer's memory by what it offers.
HEADS_LIMIT = 1_000_000
# What they take in messages, together: a head has some 140 bytes, but the codes in it may be of any length.
HEADS_LIMIT_BYTES = 192 * 1024 * 1024

Moment = Annotated[datetime, msgspec.Meta(tz=True)]
Found = TypeVar("Found")


def _name(kind: str) -> str:
    """Return a message's kind by the name of its class: `SignDocument` is `sign-document`."""
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in kind).strip("-")


class Message(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag=_name):
    """What is sent, either way."""


class Greeting(Message):
    """The signer's first word."""

    service: str
    certificate: str


class Look(Message):
    """Ask what the memory says of the last stored seal."""

    number: int
    text: bytes | None


class Sign(Message):
    """Ask for a detached signature of a content that is no seal."""

    content: bytes
    at: Moment


class SignDocument(Message):
    """Ask for the bare signature of a PDF's signed attributes; `content` are the bytes that they cover."""

    attributes: bytes
    content: bytes
    at: Moment


class VouchForKey(Message):
    """Ask for the delegation of a receipt key, a SubjectPublicKeyInfo: the signer writes the text."""

    key: bytes


class Begin(Message):
    """Ask to use the memory alone; as if there were none, if `is_lost` and it was altered."""

    is_lost: bool


class Compare(Message):
    """Tell which seals are stored last."""

    stored: StoredSeals


class Offer(Message):
    """Add heads to those that are proposed next."""

    heads: list[HeadRow]


class Propose(Message):
    """Propose the offered heads for the next seal: the close seal of `day`, or an open one.

    An open one is made only if a head moved, or `even_if_still`.
    """

    day: date | None
    even_if_still: bool


class Done(Message):
    """Tell that the seal just made is stored."""


class Learn(Message):
    """Ask to go on from the last stored seal; `declares_loss`: everything after it is lost."""

    stored: StoredSeals
    declares_loss: bool


class Leave(Message):
    """Ask to accept that the last seal is of a time that has not come."""


class Ok(Message):
    """It is done."""


class Signature(Message):
    """A signature."""

    signature: bytes


class Delegation(Message):
    """The delegation of a receipt key, and its detached signature."""

    text: bytes
    signature: bytes


class View(Message):
    """What the memory says: its last seal, how the stored one differs, and the chains that are not sealed as stored."""

    number: int
    difference: str | None
    held: list[str]
    left_until: Moment | None


class Still(Message):
    """No head has moved, so no seal is made; or, `again`, day and clock do not fit now."""

    again: bool
    told: list[HeldChain]


class Made(Message):
    """A seal; `told` are chains newly held back.

    `moved` are the places, from 0, of the offered heads that are in it and not in the last stored one, `instead` such
    heads that were not offered.
    """

    text: bytes
    signature: bytes
    moved: list[Annotated[int, msgspec.Meta(ge=0)]]
    instead: list[SealHeadRow]
    told: list[HeldChain]


class Left(Message):
    """The time of the future up to which seals are accepted; None if the last seal is not of the future."""

    until: Moment | None


class Failure(Message):
    """What prevents it, as one of the project's errors."""

    error: str
    reason: str
    not_after: Moment | None = None
    retry_after_seconds: int = 1


class AskTenants(Message):
    """Ask for the codes of all tenants."""


class AskRules(Message):
    """Ask for every category's rule."""


class AskFences(Message):
    """Ask for the key store's fences."""

    categories: list[str]


class AskEnded(Message):
    """Ask for the destroyed tenants."""


class AskLeaves(Message):
    """Ask for stored leaf hashes."""

    spans: list[LeafSpan]
    since: date | None
    through: date | None


class AskCloses(Message):
    """Ask for close seals."""

    since: date


class AskHeads(Message):
    """Ask for the heads of a seal."""

    number: int


class AskSignature(Message):
    """Ask for the last stored seal's signature."""


class Tenants(Message, tag="evidence"):
    """Answer AskTenants or AskEnded."""

    found: list[str]


class Rules(Message, tag="evidence"):
    """Answer AskRules."""

    found: list[Rule]


class Fences(Message, tag="evidence"):
    """Answer AskFences."""

    found: dict[str, date]


class Leaves(Message, tag="evidence"):
    """Answer AskLeaves."""

    found: list[LeafRun]


class Closes(Message, tag="evidence"):
    """Answer AskCloses."""

    found: list[StoredSeal]


class Heads(Message, tag="evidence"):
    """Answer AskHeads."""

    found: list[SealHeadRow] | None


class LastSignature(Message, tag="evidence"):
    """Answer AskSignature."""

    found: bytes


Request = Look | Sign | SignDocument | VouchForKey | Begin | Compare | Offer | Propose | Done | Learn | Leave
Question = AskTenants | AskRules | AskFences | AskEnded | AskLeaves | AskCloses | AskHeads | AskSignature
Reply = Greeting | Ok | Signature | Delegation | View | Still | Made | Left | Failure | Question

_encoder = msgspec.json.Encoder(order="sorted")
_requests = msgspec.json.Decoder(Request)
_replies = msgspec.json.Decoder(Reply)


def encode(message: Message) -> bytes:
    """Return the message's frame. Raises SignerError if it is too long."""
    content = _encoder.encode(message)
    if len(content) > FRAME_LIMIT_BYTES:
        raise SignerError(f"a message for the signer takes {len(content)} bytes, more than {FRAME_LIMIT_BYTES}")
    return len(content).to_bytes(LENGTH_BYTES, "big") + content


async def receive(reader: asyncio.StreamReader, seconds: float) -> bytes:
    """Return the content of the next frame.

    Raises TimeoutError, SignerError if it is too long, asyncio.IncompleteReadError, OSError.
    """
    async with asyncio.timeout(seconds):
        length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
        if length > FRAME_LIMIT_BYTES:
            raise SignerError(f"a frame of {length} bytes, more than {FRAME_LIMIT_BYTES}")
        return await reader.readexactly(length)


def decode_request(content: bytes) -> Request:
    """Return what a client asks. Raises SignerError."""
    request: Request = _decode(_requests, content)
    return request


def decode_reply(content: bytes) -> Reply:
    """Return what the signer says. Raises SignerError."""
    reply: Reply = _decode(_replies, content)
    return reply


def decode_evidence(content: bytes, kind: type[Found]) -> Found:
    """Return the evidence that was asked for. Raises SignerError."""
    return _decode(msgspec.json.Decoder(kind), content)


def _decode(decoder: msgspec.json.Decoder[Found], content: bytes) -> Found:
    try:
        return decoder.decode(content)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        # msgspec's own words quote names of members at most, never values.
        raise SignerError(f"a message that is none: {error}") from error


_ERRORS: dict[str, type[JournalError]] = {
    "busy": BusyError,
    "expired": ExpiredCertificateError,
    "operator": OperatorError,
    "signer": SignerError,
    "store": StoreError,
}


def failure_of(error: JournalError) -> Failure:
    """Return an error as it is sent; one of a kind that clients do not know is a SignerError."""
    name = next((name for name, kind in _ERRORS.items() if type(error) is kind), "signer")
    extra: dict[str, Any] = {}
    if isinstance(error, ExpiredCertificateError):
        extra["not_after"] = error.not_after
    if isinstance(error, BusyError):
        extra["retry_after_seconds"] = error.retry_after_seconds
    return Failure(error=name, reason=str(error), **extra)


def error_of(failure: Failure) -> JournalError:
    """Return the error that was sent."""
    if failure.error == "busy":
        return BusyError(failure.reason, retry_after_seconds=failure.retry_after_seconds)
    if failure.error == "expired" and failure.not_after is not None:
        return ExpiredCertificateError(failure.reason, not_after=failure.not_after)
    return _ERRORS.get(failure.error, SignerError)(failure.reason)
