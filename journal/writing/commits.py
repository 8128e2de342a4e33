"""The drafts of a lane that are not answered yet: one that is being appended, others on their way to the disk."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from journal.writing.append import Appender
    from journal.writing.draft import Draft

# From here on a draft is appended while others are on their way to the disk, so many at most: what follows the append,
# up to the answers, then takes no time from the database. Smaller ones would cost more than that.
LARGE_DRAFT_EVENTS = 16
FLUSHES_UNDER_WAY = 2


class Commits:
    """Commits drafts, each once the one before is appended, whose head it begins with."""

    def __init__(self, appender: Appender, ended: Callable[[], None]) -> None:
        """Start with none; `ended` is called after each."""
        self._appender = appender
        self._ended = ended
        self._tasks: list[asyncio.Task[None]] = []
        self._appended = asyncio.Event()

    def start(self, draft: Draft) -> None:
        """Append a draft; `wait` has returned since the one before."""
        appended = self._appended = asyncio.Event()

        def end(_: asyncio.Task[None]) -> None:
            appended.set()
            self._ended()

        task = asyncio.create_task(self._appender.commit(draft, appended=appended.set))
        task.add_done_callback(end)
        self._tasks.append(task)

    async def wait(self, draft: Draft, fill: Callable[[], Awaitable[None]]) -> None:
        """Wait until the draft may follow, and fill it with what arrives meanwhile.

        A small one waits until those before it are answered: each append costs something, however small.
        """
        if not self._tasks:
            return
        await self._appended.wait()
        await fill()
        while len(self._tasks) > (FLUSHES_UNDER_WAY - 1 if draft.events >= LARGE_DRAFT_EVENTS else 0):
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            self.raise_errors()
            await fill()

    def raise_errors(self) -> None:
        """Forget what is done; an unexpected error is raised here."""
        done = [task for task in self._tasks if task.done()]
        self._tasks = [task for task in self._tasks if not task.done()]
        for task in done:
            task.result()

    async def finish(self) -> None:
        """Wait until everything is answered."""
        await asyncio.gather(*self._tasks)

    def cancel(self) -> None:
        """End those under way: what becomes of their drafts is not known."""
        for task in self._tasks:
            task.cancel()
