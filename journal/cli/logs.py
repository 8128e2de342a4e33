"""Log lines: JSON on standard error, those of one turn of the event loop in one write."""

from __future__ import annotations

import asyncio
import atexit
import logging
import sys
from collections import deque
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING

import orjson
import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict


class Lines:
    """Writes lines to a file: warnings and errors at once, others with the next turn of the event loop."""

    def __init__(self, file: IO[bytes]) -> None:
        """Write to this file."""
        self._file = file
        # Its methods may be called in threads too.
        self._waiting: deque[bytes] = deque()

    def info(self, line: bytes) -> None:
        """Write a line soon."""
        is_first = not self._waiting
        self._waiting.append(line)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
        else:
            if is_first:
                loop.call_soon(self.flush)

    debug = info

    def warning(self, line: bytes) -> None:
        """Write a line, and what waits before it."""
        self._waiting.append(line)
        self.flush()

    error = exception = critical = warning

    def flush(self) -> None:
        """Write what waits."""
        lines = []
        while self._waiting:
            lines.append(self._waiting.popleft() + b"\n")
        if lines:
            self._file.write(b"".join(lines))
            self._file.flush()


def _spell(_: object, level: str, line: EventDict) -> bytes:
    """Return a line; one processor in the place of structlog's four, as there is one for every request."""
    line["level"] = "error" if level == "exception" else level
    line["timestamp"] = datetime.now(UTC)
    return orjson.dumps(line, default=repr, option=orjson.OPT_UTC_Z)


def configure_logs(*, quiet: bool) -> None:
    """Send log lines (JSON) to standard error; if `quiet`, warnings and errors only."""
    lines = Lines(sys.stderr.buffer)
    atexit.register(lines.flush)
    structlog.configure(
        processors=[_spell],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING if quiet else logging.INFO),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )
