"""From content to a signed document, made by a process of its own (`worker`)."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import orjson

from journal.core.errors import JournalError

if TYPE_CHECKING:
    from datetime import datetime

    from journal.signer.identity import Certified


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A template of this package, by file name, and the reason stated in the signature."""

    name: str
    reason: str


EXTRACT = Template(name="extrait", reason="Extrait du journal des accès")
ATTESTATION = Template(name="attestation", reason="Attestation de destruction")


DEADLINE_SECONDS = 120.0


class DocumentError(JournalError):
    """The document could not be made; an extract is complete without it."""


class DocumentSigner(Protocol):
    """What signs a document, and its certificates."""

    @property
    def identity(self) -> Certified:
        """Return the certificates."""
        ...

    async def sign_document(self, attributes: bytes, content: bytes, at: datetime) -> bytes:
        """Return the bare signature of signed attributes that cover `content`."""
        ...


async def render(content: dict[str, Any], signer: DocumentSigner, at: datetime, template: Template = EXTRACT) -> bytes:
    """Return the document (PDF/A-3, signed as PAdES-B-B at the time `at`).

    Raises DocumentError, OperatorError, SignerError.
    """
    second = signer.identity.check_valid(at)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "journal.document.worker", stdin=PIPE, stdout=PIPE, stderr=DEVNULL
    )
    assert process.stdin is not None
    assert process.stdout is not None
    request = {
        "certificates": [b64encode(certificate).decode() for certificate in signer.identity.certificates],
        "content": content,
        "made_at": int(second.timestamp()),
        "reason": template.reason,
        "template": template.name,
    }
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            process.stdin.write(frame(orjson.dumps(request)))
            await process.stdin.drain()
            covered, attributes = await receive_frame(process.stdout), await receive_frame(process.stdout)
            process.stdin.write(frame(await signer.sign_document(attributes, covered, second)))
            await process.stdin.drain()
            return await receive_frame(process.stdout)
    except (TimeoutError, EOFError, ValueError, ConnectionError) as error:
        raise DocumentError(f"the document could not be made ({type(error).__name__})") from error
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


LENGTH_BYTES = 4
FRAME_LIMIT_BYTES = 64 * 1024 * 1024


def frame(content: bytes) -> bytes:
    """Return the content with its length before it."""
    return len(content).to_bytes(LENGTH_BYTES, "big") + content


def read_frame(stream: BinaryIO) -> bytes:
    """Read one frame. Raises EOFError if the stream ends first."""
    length = stream.read(LENGTH_BYTES)
    content = stream.read(int.from_bytes(length, "big")) if len(length) == LENGTH_BYTES else b""
    if len(length) != LENGTH_BYTES or len(content) != int.from_bytes(length, "big"):
        raise EOFError
    return content


async def receive_frame(reader: asyncio.StreamReader) -> bytes:
    """Read one frame. Raises asyncio.IncompleteReadError (an EOFError), or ValueError if it is too long."""
    length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
    if length > FRAME_LIMIT_BYTES:
        raise ValueError(f"a frame of {length} bytes")
    return await reader.readexactly(length)
