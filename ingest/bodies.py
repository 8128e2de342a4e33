"""The body of a request: announced, bounded, uncompressed, in time, and of the media type wanted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from ingest.problems import BAD_REQUEST, LENGTH, MEDIA, OVERSIZE, TIMEOUT, ProblemError

if TYPE_CHECKING:
    from ingest.limits import Limits, Shares


def media_type(request: web.Request, accepted: tuple[str, ...]) -> str:
    """Return which of the accepted media types the body says it is. Raises ProblemError (415)."""
    if hdrs.CONTENT_ENCODING in request.headers:
        # Also "identity": what is not unpacked cannot be a bomb, and nobody needs to try.
        raise ProblemError(MEDIA, "Send the body without Content-Encoding: compressed bodies are not taken.")
    given = request.headers.getall(hdrs.CONTENT_TYPE, [])
    kind = request.content_type.lower()
    if len(given) == 1 and kind in accepted and (request.charset or "utf-8").lower() == "utf-8":
        return kind
    wanted = " or ".join(accepted)
    if any(name.lower().startswith("ce-") for name in request.headers):
        raise ProblemError(
            MEDIA, f"CloudEvents in binary mode (ce-… headers) are not taken: use structured mode, {wanted}."
        )
    raise ProblemError(MEDIA, f"Send {wanted}, in UTF-8.", headers={"Accept": ", ".join(accepted)})


async def read_body(
    request: web.Request, *, limit_bytes: int, limits: Limits, bodies: Shares, credential: str
) -> bytes:
    """Read the whole body. Raises ProblemError (400, 408, 411, 413), or BusyError where memory is short."""
    length = request.content_length
    if length is None:
        raise ProblemError(LENGTH, "Send Content-Length: bodies in chunks are not taken.", close=True)
    if length > limit_bytes:
        reason = f"is larger than {limit_bytes // 1024} KiB"
        raise ProblemError(OVERSIZE, f"The body {reason}.", faults=[(0, "", reason)], close=True)
    with bodies.hold(credential, length):
        try:
            async with asyncio.timeout(limits.body_seconds):
                return await request.read()
        except TimeoutError as error:
            detail = f"The body did not arrive within {limits.body_seconds:g} s."
            raise ProblemError(TIMEOUT, detail, close=True) from error
        except web.RequestPayloadError as error:
            raise ProblemError(BAD_REQUEST, "The body cannot be read.", close=True) from error
