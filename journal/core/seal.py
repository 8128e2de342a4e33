"""Seals: the text that is signed over the heads of all chains (FORMAT.md, "Seal").

Both texts are lines, so that a person can read them. Values are checked when they are built, and a text is
accepted only if its values give exactly the same bytes.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from journal.core.canonical import INTEGER_LIMIT
from journal.core.chain import HASH_BYTES
from journal.core.entry import is_service, parse_origin
from journal.core.errors import MalformedError
from journal.core.times import day_of, format_day, format_seconds, parse_day, parse_seconds

if TYPE_CHECKING:
    from datetime import date, datetime

NOTHING_HASH = sha256(b"").digest()
EMPTY_ROOT = bytes(HASH_BYTES)
SEAL_LIMIT_BYTES = 1024
RETENTION_DAYS = range(2, 61)

_FIRST_LINE = "openepm-journal/seal/v1"
_RECOVERED = "recovered-from "
_LINES = 9
_HEAD_MEMBERS = {"size", "chain_hash", "kept_from", "retention_days"}


@dataclass(frozen=True)
class SealedHead:
    """The head of a chain as a seal covers it, with what shows its purge. ValueError if it is not valid.

    `kept_from` is the first index still kept; `retention_days` the rule its category had.
    """

    origin: str
    size: int
    chain_hash: bytes
    kept_from: int
    retention_days: int

    def __post_init__(self) -> None:
        """Refuse values that have no text, or more than one."""
        try:
            parse_origin(self.origin)
        except MalformedError as error:
            raise ValueError("a head needs an origin") from error
        _check_head(self.size, self.chain_hash, self.kept_from, self.retention_days)

    @property
    def text(self) -> bytes:
        """The head text, five lines."""
        chain_hash = b64encode(self.chain_hash).decode()
        return f"{self.origin}\n{self.size}\n{chain_hash}\n{self.kept_from}\n{self.retention_days}\n".encode()

    @property
    def leaf(self) -> bytes:
        """Its leaf in the seal tree: SHA-256(0x02 ‖ SHA-256(origin) ‖ head text)."""
        return head_leaf(self.origin, self.size, self.chain_hash, self.kept_from, self.retention_days)[1]

    def as_json(self) -> dict[str, str | int]:
        """Return the "head" object of seals.json; the origin is given once, elsewhere."""
        return {
            "size": self.size,
            "chain_hash": self.chain_hash.hex(),
            "kept_from": self.kept_from,
            "retention_days": self.retention_days,
        }


def _check_head(size: int, chain_hash: bytes, kept_from: int, retention_days: int) -> None:
    if not 0 <= kept_from <= size <= INTEGER_LIMIT:
        raise ValueError("a head needs 0 <= kept_from <= size")
    if len(chain_hash) != HASH_BYTES:
        raise ValueError("a hash is 32 bytes")
    if retention_days not in RETENTION_DAYS:
        raise ValueError("a head needs a retention of 2 to 60 days")


def head_leaf(origin: str, size: int, chain_hash: bytes, kept_from: int, retention_days: int) -> tuple[bytes, bytes]:
    """Return the key, SHA-256(origin), and the leaf of a head; the origin is a valid one. ValueError as `SealedHead`.

    What `SealedHead.leaf` is, for the heads of all chains at once.
    """
    _check_head(size, chain_hash, kept_from, retention_days)
    raw = origin.encode()
    key = sha256(raw).digest()
    text = b"%b\n%d\n%b\n%d\n%d\n" % (raw, size, b64encode(chain_hash), kept_from, retention_days)
    return key, sha256(b"\x02" + key + text).digest()


def parse_head(origin: str, value: Any) -> SealedHead:
    """Read the "head" object of seals.json as the head of `origin`; MalformedError if it is not one."""
    if not isinstance(value, dict) or value.keys() != _HEAD_MEMBERS:
        raise MalformedError("not a head: its members are not the four of format v1")
    for name in ("size", "kept_from", "retention_days"):
        if type(value[name]) is not int:  # a boolean is an int to isinstance
            raise MalformedError("not an integer", part=f"/{name}")
    text = value["chain_hash"]
    try:
        chain_hash = bytes.fromhex(text)
        if chain_hash.hex() != text:
            raise MalformedError("not lower-case hexadecimal", part="/chain_hash")
        return SealedHead(origin, value["size"], chain_hash, value["kept_from"], value["retention_days"])
    except (TypeError, ValueError) as error:
        raise MalformedError("not a valid head") from error


@dataclass(frozen=True)
class Seal:
    """What a seal says. ValueError if it contradicts itself.

    `day` is the day a close seal closes, None for an open seal; `root` that of the tree over `chains` heads;
    `previous` and `previous_close` are digests of earlier seals, NOTHING_HASH where there is none;
    `recovered_from` the last seal that survived a declared loss, in the first ones after it.
    """

    service: str
    number: int
    sealed_at: datetime
    day: date | None
    chains: int
    root: bytes
    previous: bytes
    previous_close: bytes
    recovered_from: int | None = None

    def __post_init__(self) -> None:
        """Refuse values that have no text, and those that no correct sealer writes."""
        format_seconds(self.sealed_at)
        if not is_service(self.service):
            raise ValueError("a seal needs a service's name")
        if not (1 <= self.number <= INTEGER_LIMIT and 0 <= self.chains <= INTEGER_LIMIT):
            raise ValueError("a seal needs a number from 1 and a count of chains from 0")
        if not len(self.root) == len(self.previous) == len(self.previous_close) == HASH_BYTES:
            raise ValueError("a hash is 32 bytes")
        if (self.chains == 0) != (self.root == EMPTY_ROOT):
            raise ValueError("the empty tree, and no other, has the empty root")
        if (self.number == 1) != (self.previous == NOTHING_HASH):
            raise ValueError("the first seal, and no other, has none before it")
        if self.number == 1 and self.previous_close != NOTHING_HASH:
            raise ValueError("the first seal has no close seal before it")
        if self.day is not None and not self.day < day_of(self.sealed_at):
            raise ValueError("a close seal is made after its day")
        if self.recovered_from is not None and not 1 <= self.recovered_from < self.number:
            raise ValueError("a seal recovers from an earlier one")

    @property
    def text(self) -> bytes:
        """The exact bytes that are signed, every line ended by one LF."""
        lines = [
            _FIRST_LINE,
            self.service,
            str(self.number),
            format_seconds(self.sealed_at),
            "open" if self.day is None else f"close {format_day(self.day)}",
            str(self.chains),
            *(b64encode(value).decode() for value in (self.root, self.previous, self.previous_close)),
        ]
        if self.recovered_from is not None:
            lines.append(f"{_RECOVERED}{self.recovered_from}")
        return "".join(f"{line}\n" for line in lines).encode()

    @property
    def digest(self) -> bytes:
        """SHA-256 of the text, by which later seals refer to this one."""
        return sha256(self.text).digest()


def looks_like_seal(text: bytes) -> bool:
    """Return whether a text begins as the seals of any version do."""
    return text.startswith(_FIRST_LINE.rpartition("v")[0].encode())


def _read(lines: list[str]) -> Seal:
    kind = lines[4]
    return Seal(
        service=lines[1],
        number=int(lines[2]),
        sealed_at=parse_seconds(lines[3]),
        day=None if kind == "open" else parse_day(kind[len("close ") :]),
        chains=int(lines[5]),
        root=b64decode(lines[6]),
        previous=b64decode(lines[7]),
        previous_close=b64decode(lines[8]),
        recovered_from=int(lines[_LINES][len(_RECOVERED) :]) if len(lines) > _LINES else None,
    )


def parse_seal(text: bytes) -> Seal:
    """Read a seal's text; MalformedError unless it is the canonical text of a valid seal."""
    if len(text) > SEAL_LIMIT_BYTES:
        raise MalformedError(f"a seal is at most {SEAL_LIMIT_BYTES} bytes")
    try:
        seal = _read(text.decode("ascii").split("\n")[:-1])
    except MalformedError as error:
        raise MalformedError(f"not a seal: {error.reason}") from error
    except (ValueError, IndexError) as error:
        raise MalformedError("not a seal of format v1") from error
    # Numbers, base64 and lines were read leniently: written again, they must give the same bytes.
    if seal.text != text:
        raise MalformedError("not the canonical text of a seal")
    return seal
