"""How the service and the process that makes a document speak: a length (4 bytes, big-endian), then the bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import asyncio

LENGTH_BYTES = 4
FRAME_LIMIT_BYTES = 64 * 1024 * 1024


def frame(content: bytes) -> bytes:
    """Return the content with its length before it."""
    return len(content).to_bytes(LENGTH_BYTES, "big") + content


def read_frame(stream: BinaryIO) -> bytes:
    """Read one frame. Raises EOFError where the other side has gone."""
    length = stream.read(LENGTH_BYTES)
    content = stream.read(int.from_bytes(length, "big")) if len(length) == LENGTH_BYTES else b""
    if len(length) != LENGTH_BYTES or len(content) != int.from_bytes(length, "big"):
        raise EOFError
    return content


async def receive_frame(reader: asyncio.StreamReader) -> bytes:
    """Read one frame. Raises asyncio.IncompleteReadError (an EOFError) or ValueError where it is too long."""
    length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
    if length > FRAME_LIMIT_BYTES:
        raise ValueError(f"a frame of {length} bytes")
    return await reader.readexactly(length)
