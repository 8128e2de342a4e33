"""An extract in a file of the outbox, encrypted to its recipient: written whole, or not at all."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from hashlib import sha256
from typing import TYPE_CHECKING, cast

from journal.database.handover import HandoverFile
from retention.encryption import Encryption

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from datetime import date

    from journal.admin.recipient import Recipient
    from journal.reading.stream import ExtractStream
    from retention.outbox import Outbox, Part


class LargeFileError(Exception):
    """A file is larger than its recipient can open."""


async def write_extract_file(
    outbox: Outbox,
    name: str,
    open_extract: Callable[[], Awaitable[ExtractStream]],
    recipient: Recipient,
    *,
    category: str,
    days: tuple[date, date],
    limit_bytes: int | None = None,
) -> tuple[HandoverFile, bytes]:
    """Write the extract of these days, both included, into a file that `outbox.place(name)` then puts in place.

    Returns what the file holds and the SHA-256 of the extract in it. Raises LargeFileError past `limit_bytes`, OSError,
    and what `open_extract` raises; the file is then removed.
    """
    # The file first: where the directory cannot be written, no request is recorded again and again.
    part = await asyncio.to_thread(outbox.create, name)
    try:
        stream = await open_extract()
        extract_sha256 = await _write(part, stream, Encryption(recipient), limit_bytes)
    except BaseException:
        part.abandon()
        raise
    base, head = stream.plan.base, stream.plan.head
    file = HandoverFile(
        category=category,
        first_day=days[0],
        last_day=days[1],
        base_size=base.size,
        base_hash=base.chain_hash,
        head_size=head.size,
        head_hash=head.chain_hash,
        file_bytes=part.bytes,
        file_sha256=part.digest,
        recipient_sha256=recipient.sha256,
    )
    return file, extract_sha256


async def _write(part: Part, stream: ExtractStream, encryption: Encryption, limit_bytes: int | None) -> bytes:
    digest = sha256()
    await _finished(lambda: part.write(encryption.start()))
    # Closing the generator releases its resources, also after an error.
    async with aclosing(cast("AsyncGenerator[bytes, None]", stream.chunks())) as chunks:
        async for chunk in chunks:
            digest.update(chunk)
            await _finished(lambda chunk=chunk: part.write(encryption.update(chunk)))  # type: ignore[misc]  # bound now
            if limit_bytes is not None and part.bytes > limit_bytes:
                raise LargeFileError
    await _finished(lambda: part.write(encryption.finish()))
    if limit_bytes is not None and part.bytes > limit_bytes:
        raise LargeFileError
    await _finished(part.finish)
    return digest.digest()


async def _finished(work: Callable[[], None]) -> None:
    """Run in a thread and wait for its end, also when cancelled: only then may the file be closed."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
