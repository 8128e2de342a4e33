"""What was told already: each problem once, again after a day, and its end once; by channel, in a file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from journal.core.errors import OperatorError
from journal.keys.files import replace_durably

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

AGAIN_SECONDS = 24 * 3600


class Told:
    """The file's content: by channel, when each problem was told last (Unix time)."""

    def __init__(self, path: Path) -> None:
        """Read it; a file that is missing or damaged counts as empty, so that something is told twice, not never."""
        self._path = path
        self._at: dict[str, dict[str, float]] = {}
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
            self._at = {
                str(channel): {str(problem): float(at) for problem, at in problems.items()}
                for channel, problems in read.items()
            }
        except (OSError, ValueError, AttributeError, TypeError):
            pass

    def due(self, channel: str, problems: Iterable[str], now: float, again_seconds: float) -> list[str]:
        """Return the problems to tell: new ones, and those told so long ago."""
        at = self._at.get(channel, {})
        return [problem for problem in problems if not 0 <= now - at.get(problem, float("-inf")) < again_seconds]

    def over(self, channel: str, problems: Mapping[str, object]) -> list[str]:
        """Return the problems that were told and are no more; failures of units are events, and have no end."""
        return [
            problem
            for problem in self._at.get(channel, {})
            if problem not in problems and not problem.startswith("unit ")
        ]

    def note(self, channel: str, told: Iterable[str], over: Iterable[str], now: float) -> None:
        """Note what was told. Raises OperatorError if the file cannot be written."""
        at = self._at.setdefault(channel, {})
        at.update(dict.fromkeys(told, now))
        for problem in over:
            at.pop(problem, None)
        try:
            replace_durably(self._path, json.dumps(self._at).encode("ascii"), mode=0o600)
        except OSError as error:
            raise OperatorError(f"{self._path} cannot be written: {error.strerror}") from error
