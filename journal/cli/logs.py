"""Log lines: JSON on standard error, those of one turn of the event loop in one write."""

from __future__ import annotations

import asyncio
import atexit
import sys
from collections import deque
from datetime import UTC, datetime
from typing import IO, Any

import orjson
import structlog


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

    def warning(self, line: bytes) -> None:
        """Write a line, and what waits before it."""
        self._waiting.append(line)
        self.flush()

    error = warning

    def flush(self) -> None:
        """Write what waits."""
        lines = []
        while self._waiting:
            lines.append(self._waiting.popleft() + b"\n")
        if lines:
            self._file.write(b"".join(lines))
            self._file.flush()


class Logger(structlog.BoundLoggerBase):
    """What structlog gives to whoever logs: its own takes six calls for a line, and there is one for every request."""

    def info(self, event: str, **fields: Any) -> None:
        """Write a line about something usual."""
        self._logger.info(_spell("info", event, fields))

    def warning(self, event: str, **fields: Any) -> None:
        """Write a line about something that the operator should know."""
        self._logger.warning(_spell("warning", event, fields))

    def error(self, event: str, **fields: Any) -> None:
        """Write a line about something that has to be put right."""
        self._logger.error(_spell("error", event, fields))


class QuietLogger(Logger):
    """One that tells nothing usual."""

    def info(self, event: str, **fields: Any) -> None:
        """Write nothing."""


def _spell(level: str, event: str, fields: dict[str, Any]) -> bytes:
    line = {**fields, "event": event, "level": level, "timestamp": datetime.now(UTC)}
    return orjson.dumps(line, default=repr, option=orjson.OPT_UTC_Z)


def configure_logs(*, quiet: bool) -> None:
    """Send log lines (JSON) to standard error; if `quiet`, warnings and errors only."""
    lines = Lines(sys.stderr.buffer)
    atexit.register(lines.flush)
    structlog.configure(
        wrapper_class=QuietLogger if quiet else Logger,
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )
