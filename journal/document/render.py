"""From content to a signed document, made by a process of its own (`makers`, `worker`)."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import orjson

from journal.core.errors import JournalError
from journal.document.makers import Makers

if TYPE_CHECKING:
    from datetime import datetime

    from journal.document.makers import Maker
    from journal.signer.identity import Certified


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A template of this package, by file name, and the reason stated in the signature.

    `standards` are those that typst holds its PDF to, and that the PDF then claims: none, as no validator has confirmed
    one. One with a block has a place labelled `signature`, where the signature is seen.
    """

    name: str
    reason: str
    standards: tuple[str, ...] = ()
    has_block: bool = False


EXTRACT = Template(name="extrait", reason="Extrait du journal des accès")
ATTESTATION = Template(name="attestation", reason="Attestation de destruction")
HANDOVER_SLIP = Template(name="bordereau", reason="Bordereau de remise", has_block=True)
PRESERVATION_SLIP = Template(name="bordereau", reason="Bordereau de conservation", has_block=True)
EXPORT_SLIP = Template(name="bordereau", reason="Bordereau d’export", has_block=True)
DESTRUCTION = Template(name="bordereau", reason="Procès-verbal de destruction", has_block=True)


def paper_template(title: str) -> Template:
    """Return the template of papers, for one of this title."""
    return Template(name="papier", reason=title)


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


async def render(
    content: dict[str, Any],
    signer: DocumentSigner,
    at: datetime,
    template: Template = EXTRACT,
    *,
    makers: Makers | None = None,
) -> bytes:
    """Return the document, a tagged PDF signed as PAdES-B-B at the time `at`; one of the makers makes it, if given.

    Raises DocumentError, OperatorError, SignerError.
    """
    second = signer.identity.check_valid(at)
    request = {
        "certificates": [b64encode(certificate).decode() for certificate in signer.identity.certificates],
        "content": content,
        "has_block": template.has_block,
        "made_at": int(second.timestamp()),
        "reason": template.reason,
        "standards": template.standards,
        "template": template.name,
    }
    if makers is not None:
        return await _ask(await makers.take(), orjson.dumps(request), signer, second)
    makers = Makers()
    try:
        return await _ask(await makers.take(), orjson.dumps(request), signer, second)
    finally:
        await makers.close()


async def _ask(maker: Maker, request: bytes, signer: DocumentSigner, second: datetime) -> bytes:
    """Have a maker make what is requested."""
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await _send(maker.input, request)
            await _send(maker.input, await _sign(maker.output, signer, second))
            return await receive_frame(maker.output)
    except (TimeoutError, EOFError, ValueError, ConnectionError) as error:
        raise DocumentError(f"the document could not be made ({type(error).__name__})") from error
    finally:
        maker.dismiss()


async def _send(stream: asyncio.StreamWriter, content: bytes) -> None:
    """Write one frame. Raises ConnectionError."""
    # Of a process that has ended, the service's event loop (uvloop) says RuntimeError.
    if stream.is_closing():
        raise BrokenPipeError
    stream.write(frame(content))
    await stream.drain()


async def _sign(output: asyncio.StreamReader, signer: DocumentSigner, second: datetime) -> bytes:
    """Return the signature of what the process sends; a long document is held no longer than that."""
    covered, attributes = await receive_frame(output), await receive_frame(output)
    return await signer.sign_document(attributes, covered, second)


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
