"""Asks a time-stamping authority over HTTP: apart, so that only a service that has one loads a network library."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from journal.core.errors import NotStampedError
from journal.pki.timestamp_token import QUERY_TYPE, REPLY_LIMIT_BYTES, REPLY_TYPE

CHUNK_BYTES = 8 * 1024
OK = 200


class TsaClient:
    """One authority at one address, with limits on the duration and size of its answer."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        """Set address and timeout; this opens no connection."""
        self._url = url
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self.host = urlsplit(url).netloc.rpartition("@")[2]

    async def ask(self, query: bytes) -> bytes:
        """Post a TimeStampReq and return the body of the answer, of at most REPLY_LIMIT_BYTES.

        Raises NotStampedError, which never quotes the address (it may hold a password) or the answer.
        """
        try:
            # A new session each time: requests are rare, and no cookie or redirect may link them.
            async with (
                aiohttp.ClientSession(
                    timeout=self._timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
                ) as session,
                session.post(
                    self._url,
                    data=query,
                    headers={"Content-Type": QUERY_TYPE, "Accept": REPLY_TYPE, "User-Agent": "openepm-journal"},
                    allow_redirects=False,
                ) as response,
            ):
                return await _read(response)
        except TimeoutError as error:
            raise NotStampedError(f"the authority did not answer within {self._timeout.total:g} s") from error
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
            raise NotStampedError(f"the authority could not be asked ({_why(error)})") from error


def _why(error: Exception) -> str:
    """Return the system's reason, else the kind of error: other words may quote the address."""
    code = error.errno if isinstance(error, OSError) else None
    return os.strerror(code) if code is not None and code > 0 else type(error).__name__


async def _read(response: aiohttp.ClientResponse) -> bytes:
    if response.status != OK:
        raise NotStampedError(f"the authority answered with status {response.status}")
    if response.content_type != REPLY_TYPE or "Content-Encoding" in response.headers:
        raise NotStampedError(f"the authority answered something else than {REPLY_TYPE}")
    body = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        body += chunk
        if len(body) > REPLY_LIMIT_BYTES:
            raise NotStampedError(f"the authority answered more than {REPLY_LIMIT_BYTES} bytes")
    return bytes(body)
