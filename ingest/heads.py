"""The head of a request for a single event: a connection's next one mostly differs in the length of the body alone.

What is so is read once for a connection: neither parsed nor looked at again, while all that comes of it may change
(whether the credential is still good, whether there is a place) is asked each time.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Self

from aiohttp import HttpVersion11, hdrs
from multidict import CIMultiDict, CIMultiDictProxy

from ingest import context
from ingest.access import read_bearer
from ingest.app import EVENTS
from ingest.events import SINGLE_LIMIT_BYTES
from ingest.submissions import SINGLE

if TYPE_CHECKING:
    from aiohttp.http_parser import RawRequestMessage

_BEFORE, _AFTER = EVENTS.split("{category}")
_KINDS: Final = frozenset({SINGLE, f"{SINGLE}; charset=utf-8", f"{SINGLE};charset=utf-8"})
_METHOD, _END = b"POST ", b"\r\n\r\n"
_LENGTH_DIGITS: Final = 6
_LENGTH: Final = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ([0-9]{1,6})\r\n").search


class Head:
    """What the head of a request for what is done in `direct` says."""

    __slots__ = ("_message", "bearer", "category", "request_id", "trace", "wait")

    def __init__(self, message: RawRequestMessage) -> None:
        """Look at everything that the answer needs."""
        headers = message.headers
        self._message = message
        self.category = message.path[len(_BEFORE) : -len(_AFTER)]
        self.bearer = read_bearer(headers.getall(hdrs.AUTHORIZATION, ()))
        # None for one to be made.
        self.request_id = context.given_identifier(headers)
        self.trace = context.traceparent(headers)
        self.wait = context.preferred_wait(headers)

    @classmethod
    def read(cls, message: RawRequestMessage) -> Self | None:
        """Return the head of a request for what is done in `direct`; None if it asks for anything else."""
        path, headers = message.path, message.headers
        kinds = headers.getall(hdrs.CONTENT_TYPE, ())
        if (
            message.method != "POST"
            or not path.startswith(_BEFORE)
            or not path.endswith(_AFTER)
            or message.version != HttpVersion11
            or message.should_close
            or len(kinds) != 1
            or kinds[0] not in _KINDS
            # What a head holds for `app` alone.
            or hdrs.UPGRADE in headers
            or hdrs.EXPECT in headers
            or hdrs.CONTENT_ENCODING in headers
            or hdrs.TRANSFER_ENCODING in headers
            or not 0 < int(headers.get(hdrs.CONTENT_LENGTH, 0)) <= SINGLE_LIMIT_BYTES
        ):
            return None
        return cls(message)

    def message(self, size_bytes: int) -> RawRequestMessage:
        """Return the message of a request with this head and a body of this size."""
        headers, size = self._message.headers, str(size_bytes)
        if headers[hdrs.CONTENT_LENGTH] == size:
            return self._message
        changed = CIMultiDict(headers)
        changed[hdrs.CONTENT_LENGTH] = size
        return self._message._replace(headers=CIMultiDictProxy(changed))


class Known:
    """The bytes of a head that was read, but for the length it announces."""

    __slots__ = ("_after", "_before", "head")

    def __init__(self, head: Head, before: bytes, after: bytes) -> None:
        """Keep what stands before and after the digits of the length."""
        self.head = head
        self._before = before
        self._after = after

    @classmethod
    def of(cls, data: bytes, head: Head, body: bytes) -> Self | None:
        """Return the head of a request in bytes that hold it from its first one to its last; None if they may not."""
        end = data.find(_END) + len(_END)
        length = _LENGTH(data, 0, end)
        if length is None or not data.startswith(_METHOD) or not len(body) == int(length[1]) == len(data) - end:
            return None
        return cls(head, data[: length.start(1)], data[length.end(1) : end])

    def body(self, data: bytes) -> bytes | None:
        """Return the body of a request in bytes that are this head and a body of the length it announces; else None."""
        if not data.startswith(self._before):
            return None
        start = len(self._before)
        end = data.find(b"\r", start, start + _LENGTH_DIGITS + 1)
        digits = data[start : max(end, start)]
        if not digits.isdigit() or not data.startswith(self._after, end):
            return None
        begins = end + len(self._after)
        size = int(digits)
        return data[begins:] if 0 < size <= SINGLE_LIMIT_BYTES and size == len(data) - begins else None
