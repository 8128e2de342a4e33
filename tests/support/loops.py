"""The event loop of the service, uvloop, for tests: closed at once, whatever a failed test has left open."""

from __future__ import annotations

import asyncio
import warnings

import uvloop


class Loop(uvloop.Loop):
    """Uvloop's loop, where warnings are errors."""

    def close(self) -> None:
        """Close it and all that is still open; then warn of that.

        Uvloop warns of each open handle before it closes it. Where the warning is an error, the handle stays open, and
        uvloop waits for it without end.
        """
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            super().close()
        for warning in told:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


class Policy(asyncio.DefaultEventLoopPolicy):
    """What makes such loops."""

    _loop_factory = Loop
