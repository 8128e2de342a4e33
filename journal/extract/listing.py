"""The lists an extract carries for its proof: the seals with this chain's head, and one line per index.

Both are canonical JSON, written and read one item at a time. The answer of `GET …/head`, which an auditor keeps as
a known seal, holds one seal with the same members as in `seals.json`.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from journal.core import canonical
from journal.core.chain import HASH_BYTES, SALT_BYTES
from journal.core.errors import MalformedError
from journal.core.seal import SEAL_LIMIT_BYTES, SealedHead, parse_head
from journal.core.tree import DEPTH_LIMIT
from journal.pki.cms import SIGNATURE_LIMIT_BYTES
from journal.pki.timestamp_token import TIMESTAMP_LIMIT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# The longest path, a signature and a time-stamp in base64, and room for the rest.
LISTED_SEAL_LIMIT_BYTES = DEPTH_LIMIT * (2 * HASH_BYTES + 3) + 2 * (
    SIGNATURE_LIMIT_BYTES + TIMESTAMP_LIMIT_BYTES + SEAL_LIMIT_BYTES
)
PROOF_LINE_LIMIT_BYTES = 128

_OPENING, _CLOSING = b'{"seals":[', b"]}"
# The boundary between two seals. Inside a string, the quotation mark would follow a backslash.
_BETWEEN = b'},{"head":'
_PROOF_LINE = re.compile(
    rb'\{"index":(0|[1-9][0-9]{0,15}),"(?:salt":"([0-9a-f]{%d})|leaf":"([0-9a-f]{%d}))"\}'
    % (2 * SALT_BYTES, 2 * HASH_BYTES)
)


@dataclass(frozen=True)
class ListedSeal:
    """A seal as an extract carries it: enough to verify it, and this chain's head in it, with nothing else.

    `text` and `signature` are the exact bytes; `timestamp` is an RFC 3161 token over the text, where a close
    seal has one.
    """

    text: bytes
    signature: bytes
    head: SealedHead
    path: tuple[bytes, ...]
    timestamp: bytes | None = None


def unbase64(text: Any, limit_bytes: int, pointer: str) -> bytes:
    """Read base64 in its one spelling; MalformedError, whose part is the pointer."""
    try:
        data = b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise MalformedError("not base64", part=pointer) from error
    if len(data) > limit_bytes:
        raise MalformedError(f"longer than {limit_bytes} bytes", part=pointer)
    if b64encode(data).decode() != text:
        raise MalformedError("not canonical base64", part=pointer)
    return data


def parse_text(text: Any, pointer: str) -> bytes:
    """Read ASCII text; MalformedError, whose part is the pointer."""
    if not isinstance(text, str) or not text.isascii():
        raise MalformedError("not ASCII text", part=pointer)
    return text.encode()


def parse_path(value: Any) -> tuple[bytes, ...]:
    """Read the member `path`, a list of hashes; MalformedError."""
    try:
        path = tuple(map(bytes.fromhex, value))
    except (TypeError, ValueError) as error:
        raise MalformedError("not a list of hashes", part="/path") from error
    if [sibling.hex() for sibling in path] != value or any(len(sibling) != HASH_BYTES for sibling in path):
        raise MalformedError("not a list of 32-byte hashes in lower-case hexadecimal", part="/path")
    return path


def _parse_timestamp(value: dict[str, Any], pointer: str) -> bytes | None:
    if "timestamp" not in value:
        return None
    return unbase64(value["timestamp"], TIMESTAMP_LIMIT_BYTES, f"{pointer}/timestamp")


def _parse_seal_head(origin: str, value: Any) -> SealedHead:
    try:
        return parse_head(origin, value)
    except MalformedError as error:
        raise MalformedError(error.reason, part=f"/head{error.part}") from error


def _encode_seal(listed: ListedSeal) -> bytes:
    members: dict[str, Any] = {
        "head": listed.head.as_json(),
        "path": [sibling.hex() for sibling in listed.path],
        "signature": b64encode(listed.signature).decode(),
        "text": listed.text.decode("ascii"),
    }
    if listed.timestamp is not None:
        members["timestamp"] = b64encode(listed.timestamp).decode()
    return canonical.encode(members)


def encode_seals(seals: Iterable[ListedSeal]) -> bytes:
    """Write seals.json."""
    return _OPENING + b",".join(map(_encode_seal, seals)) + _CLOSING


def parse_seals(data: bytes, origin: str) -> Iterator[ListedSeal]:
    """Read seals.json one seal at a time; MalformedError names the seal by its position, from 0."""
    if not data.startswith(_OPENING) or not data.endswith(_CLOSING):
        raise MalformedError('not {"seals":[…]}')
    start, end = len(_OPENING), len(data) - len(_CLOSING)
    place = 0
    while start < end:
        stop = data.find(_BETWEEN, start, end)
        stop = end if stop < 0 else stop + 1
        try:
            yield _parse_listed_seal(data[start:stop], origin)
        except MalformedError as error:
            raise MalformedError(error.reason, part=f"/seals/{place}{error.part}") from error
        start = stop + 1
        place += 1
    if not place:
        raise MalformedError("no seal", part="/seals")


def _parse_listed_seal(data: bytes, origin: str) -> ListedSeal:
    value = canonical.decode(data, limit_bytes=LISTED_SEAL_LIMIT_BYTES)
    required = {"head", "path", "signature", "text"}
    if not isinstance(value, dict) or not required <= value.keys() <= required | {"timestamp"}:
        raise MalformedError("its members are not those of the format")
    return ListedSeal(
        text=parse_text(value["text"], "/text"),
        signature=unbase64(value["signature"], SIGNATURE_LIMIT_BYTES, "/signature"),
        head=_parse_seal_head(origin, value["head"]),
        path=parse_path(value["path"]),
        timestamp=_parse_timestamp(value, ""),
    )


def encode_head_answer(listed: ListedSeal) -> bytes:
    """Write the answer of `GET …/head`."""
    seal = {"signature": b64encode(listed.signature).decode(), "text": listed.text.decode("ascii")}
    if listed.timestamp is not None:
        seal["timestamp"] = b64encode(listed.timestamp).decode()
    return canonical.encode(
        {
            "head": listed.head.as_json(),
            "origin": listed.head.origin,
            "path": [sibling.hex() for sibling in listed.path],
            "seal": seal,
        }
    )


def parse_head_answer(data: bytes) -> ListedSeal:
    """Read what `GET …/head` answered, in any spelling of JSON: an editor or a proxy may have reformatted it."""
    value = canonical.parse(data, limit_bytes=LISTED_SEAL_LIMIT_BYTES)
    if not isinstance(value, dict) or value.keys() != {"head", "origin", "path", "seal"}:
        raise MalformedError("not the answer of GET …/head")
    seal = value["seal"]
    required = {"signature", "text"}
    if not isinstance(seal, dict) or not required <= seal.keys() <= required | {"timestamp"}:
        raise MalformedError("its members are not those of the format", part="/seal")
    if not isinstance(value["origin"], str):
        raise MalformedError("not a string", part="/origin")
    return ListedSeal(
        text=parse_text(seal["text"], "/seal/text"),
        signature=unbase64(seal["signature"], SIGNATURE_LIMIT_BYTES, "/seal/signature"),
        head=_parse_seal_head(value["origin"], value["head"]),
        path=parse_path(value["path"]),
        timestamp=_parse_timestamp(seal, "/seal"),
    )


def disclosed_line(index: int, salt: bytes) -> bytes:
    """Write the line of a disclosed entry, its LF included."""
    return disclosed_lines([index], [salt])


def disclosed_lines(indexes: Iterable[int], salts: Iterable[bytes]) -> bytes:
    """Write the lines of disclosed entries."""
    lines = [f'{{"index":{index},"salt":"{salt.hex()}"}}\n' for index, salt in zip(indexes, salts)]
    return "".join(lines).encode()


def withheld_line(index: int, leaf: bytes) -> bytes:
    """Write the line of a withheld entry, its LF included."""
    return b'{"index":%d,"leaf":"%b"}\n' % (index, leaf.hex().encode())


def parse_proof_line(line: bytes) -> tuple[int, bool, bytes]:
    """Read a line of proof.ndjson, without its LF: its index, whether it is disclosed, and its salt or leaf hash."""
    match = _PROOF_LINE.fullmatch(line)
    if not match:
        raise MalformedError("not a line of proof.ndjson")
    index, salt, leaf = match.groups()
    return int(index), leaf is None, bytes.fromhex((leaf or salt).decode())
