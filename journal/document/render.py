"""Content to signed document, by a process of its own that asks for the signature."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import orjson

from journal.core.errors import JournalError
from journal.document.frames import frame, receive_frame
from journal.document.templates import EXTRACT

if TYPE_CHECKING:
    from datetime import datetime

    from journal.document.templates import Template
    from journal.identity import SigningIdentity

DEADLINE_SECONDS = 120.0


class DocumentError(JournalError):
    """The document could not be made; an extract is complete without it."""


async def render(
    content: dict[str, Any], identity: SigningIdentity, at: datetime, template: Template = EXTRACT
) -> bytes:
    """Return the document (PDF/A-3, signed as PAdES-B-B at the time `at`). Raises DocumentError, OperatorError."""
    second = identity.check_valid(at)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "journal.document.worker", stdin=PIPE, stdout=PIPE, stderr=DEVNULL
    )
    assert process.stdin is not None
    assert process.stdout is not None
    request = {
        "certificates": [b64encode(certificate).decode() for certificate in identity.certificates],
        "content": content,
        "made_at": int(second.timestamp()),
        "reason": template.reason,
        "template": template.name,
    }
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            process.stdin.write(frame(orjson.dumps(request)))
            await process.stdin.drain()
            to_sign = await receive_frame(process.stdout)
            process.stdin.write(frame(identity.sign_raw(to_sign)))
            await process.stdin.drain()
            return await receive_frame(process.stdout)
    except (TimeoutError, EOFError, ValueError, ConnectionError) as error:
        raise DocumentError(f"the document could not be made ({type(error).__name__})") from error
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
