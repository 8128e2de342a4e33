"""When each day was last checked by the audit inside the service, in a file: a restart goes on where it was.

Trust sentence: whoever can write the file can have a day checked later than others; `verify-store` does not read it.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import structlog

from journal.core.errors import MalformedError
from journal.core.times import format_day, parse_day
from journal.keys.files import replace_durably

if TYPE_CHECKING:
    from datetime import date, datetime
    from pathlib import Path

    Leaf = tuple[str, date]

log = structlog.get_logger()


class Rounds:
    """The moment of the last check of each leaf, in seconds of the epoch."""

    def __init__(self, path: Path) -> None:
        """Read what an earlier process has left; a file that cannot be read is as good as none."""
        self._path = path
        self.checked: dict[Leaf, float] = {}
        try:
            for category, days in json.loads(path.read_bytes()).items():
                self.checked |= {(category, parse_day(day)): float(moment) for day, moment in days.items()}
        except (FileNotFoundError, NotADirectoryError):
            pass
        except (OSError, ValueError, TypeError, AttributeError, MalformedError) as error:
            log.warning("the audit begins anew: what it has checked cannot be read", kind=type(error).__name__)

    async def note(self, leaf: Leaf, now: datetime, *, is_sound: bool) -> None:
        """Note a check, and write everything down; what is not sound counts as never checked, and comes first."""
        if is_sound:
            self.checked[leaf] = now.timestamp()
        else:
            self.checked.pop(leaf, None)
        days: dict[str, dict[str, int]] = {}
        for (category, day), moment in self.checked.items():
            days.setdefault(category, {})[format_day(day)] = int(moment)
        try:
            await asyncio.to_thread(replace_durably, self._path, json.dumps(days).encode("ascii"))
        except OSError as error:
            log.warning("the audit cannot write down what it has checked", reason=error.strerror)

    def forget(self, kept: set[Leaf]) -> None:
        """Forget the leaves that are gone."""
        self.checked = {leaf: moment for leaf, moment in self.checked.items() if leaf in kept}
