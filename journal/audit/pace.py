"""How the audit keeps to its share of a processor, however busy the machine is.

What counts is the time in which its own code runs, in the event loop and in threads. Time in which it waits, for the
database or for its turn, is rest: on a busy machine the audit is not slowed by the load a second time.
"""

from __future__ import annotations

import asyncio
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

Given = ParamSpec("Given")
Result = TypeVar("Result")

# PostgreSQL works for the audit as well; python -m tests.bench.audit measures how much.
DATABASE_FACTOR: Final = 1.5

_PACE: ContextVar[Pace | None] = ContextVar("pace", default=None)


class Pace:
    """Keeps work to a share of one processor: after each piece it waits in proportion to how long that took."""

    def __init__(self, share: float) -> None:
        """Allow this share, 0 < share <= 1."""
        self._share = share
        self._seconds = 0.0
        self._since = time.monotonic()

    async def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Do the work, which awaits this pace between its pieces; return its result."""
        _PACE.set(self)
        self._since = time.monotonic()
        result: Result = await _Metered(self, work)
        return result

    def add(self, seconds: float) -> None:
        """Count processor time."""
        self._seconds += seconds

    async def __call__(self) -> None:
        """Wait for as long as the work since the last call demands, less what it has waited already."""
        took, self._seconds = DATABASE_FACTOR * self._seconds, 0.0
        await asyncio.sleep(max(0.0, took / self._share - (time.monotonic() - self._since)))
        self._since = time.monotonic()


class _Metered:
    """An awaitable that counts the time of each step of a coroutine."""

    def __init__(self, pace: Pace, work: Coroutine[Any, Any, Any]) -> None:
        self._pace = pace
        self._work = work

    def __await__(self) -> Generator[Any, Any, Any]:
        """Step the coroutine as the event loop would, and pass on what it yields and is sent or thrown."""
        step: Callable[[], Any] = lambda: self._work.send(None)  # noqa: E731
        while True:
            started = time.thread_time()
            try:
                waited_for = step()
            except StopIteration as end:
                return end.value
            finally:
                self._pace.add(time.thread_time() - started)
            try:
                yield waited_for
            except BaseException as error:  # noqa: BLE001  (a cancellation, too, is for the coroutine)
                step = lambda error=error: self._work.throw(error)  # type: ignore[misc]  # noqa: E731
            else:
                step = lambda: self._work.send(None)  # noqa: E731


async def in_thread(work: Callable[Given, Result], *given: Given.args, **named: Given.kwargs) -> Result:
    """Do it in a thread, and count its time."""
    pace = _PACE.get()

    def timed() -> Result:
        started = time.thread_time()
        try:
            return work(*given, **named)
        finally:
            if pace is not None:
                pace.add(time.thread_time() - started)

    return await asyncio.to_thread(timed)
