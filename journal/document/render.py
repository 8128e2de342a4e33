"""From content to a signed document, made by a process of its own (`worker`)."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE
from base64 import b64encode
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import orjson

from journal.core.errors import JournalError

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Coroutine
    from datetime import datetime

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


class Spare:
    """A process that is started before it is asked for: half a second passes before one can make a document."""

    def __init__(self) -> None:
        """Start none yet."""
        self._process: Process | None = None
        self._starting = asyncio.Lock()
        # What nobody waits for: starts, and ends.
        self._later: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start one, unless there is one."""
        async with self._starting:
            if self._process is None or self._process.returncode is not None:
                self._process = await _start()

    def prepare(self) -> None:
        """Start one soon, as `start` does; one that cannot be started now is when it is asked for."""

        async def try_to() -> None:
            with suppress(OSError):
                await self.start()

        self._do_later(try_to())

    async def take(self) -> Process:
        """Return the one that was started, or another."""
        async with self._starting:
            process, self._process = self._process, None
            return process if process is not None and process.returncode is None else await _start()

    def dismiss(self, process: Process) -> None:
        """End one that was taken; nobody waits until it is gone."""
        if process.returncode is None:
            process.kill()
        self._do_later(_end(process))

    def _do_later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def close(self) -> None:
        """End the one that nobody took."""
        await asyncio.gather(*self._later)
        async with self._starting:
            process, self._process = self._process, None
            if process is not None:
                await _end(process)


async def _start() -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "journal.document.worker", stdin=PIPE, stdout=PIPE, stderr=DEVNULL
    )


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


async def render(
    content: dict[str, Any],
    signer: DocumentSigner,
    at: datetime,
    template: Template = EXTRACT,
    *,
    spare: Spare | None = None,
) -> bytes:
    """Return the document, a tagged PDF signed as PAdES-B-B at the time `at`; the spare process makes it, if given.

    Raises DocumentError, OperatorError, SignerError.
    """
    second = signer.identity.check_valid(at)
    process = await (_start() if spare is None else spare.take())
    assert process.stdin is not None
    assert process.stdout is not None
    request = {
        "certificates": [b64encode(certificate).decode() for certificate in signer.identity.certificates],
        "content": content,
        "has_block": template.has_block,
        "made_at": int(second.timestamp()),
        "reason": template.reason,
        "standards": template.standards,
        "template": template.name,
    }
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await _send(process.stdin, orjson.dumps(request))
            await _send(process.stdin, await _sign(process.stdout, signer, second))
            return await receive_frame(process.stdout)
    except (TimeoutError, EOFError, ValueError, ConnectionError) as error:
        raise DocumentError(f"the document could not be made ({type(error).__name__})") from error
    finally:
        if spare is None:
            await _end(process)
        else:
            spare.dismiss(process)


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
