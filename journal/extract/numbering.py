"""What the numbers of sources say, in the manifest: which never came, came twice, or are declared lost.

It is the service's word, of all that the compartment ever received (FORMAT.md, "`manifest.json`"). The constructor
raises ValueError, the reader MalformedError.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from journal.core.canonical import INTEGER_LIMIT
from journal.core.errors import MalformedError
from journal.extract.grounds import check_text, take

SOURCES_LIMIT, GAPS_LIMIT = 30, 10

_COUNTS = ("declared", "last", "missing", "repeated")


@dataclass(frozen=True)
class SourceNumbers:
    """One source in one epoch of its counter; both are None where an extract withholds all, `epoch` if there is none.

    `last` is the highest number received; `missing` how many below it were neither received nor declared lost, and
    `gaps` the first ranges of those, both ends included; `declared` how many are declared lost; `repeated` how many
    events came with a number that an earlier one has.
    """

    last: int
    missing: int
    gaps: tuple[tuple[int, int], ...]
    declared: int
    repeated: int
    source: str | None = None
    epoch: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no service counts."""
        check_text("numbering.source", self.source)
        check_text("numbering.epoch", self.epoch)
        if not all(0 <= getattr(self, name) <= INTEGER_LIMIT for name in _COUNTS):
            raise ValueError("numbers of a source are not negative")
        ends = [end for low, high in self.gaps for end in (low, high + 1)]
        is_apart = ends == sorted(set(ends)) and min(ends, default=0) >= 0
        if len(self.gaps) > GAPS_LIMIT or not is_apart or sum(ends[1::2]) - sum(ends[::2]) > self.missing:
            raise ValueError(f"the gaps of a source are ranges apart and in their order, {GAPS_LIMIT} at most")

    def as_json(self) -> dict[str, Any]:
        """Return the object in the manifest."""
        names = {name: text for name in ("epoch", "source") if (text := getattr(self, name)) is not None}
        return {name: getattr(self, name) for name in _COUNTS} | {"gaps": [list(gap) for gap in self.gaps]} | names

    def describe(self) -> str:
        """Say in one sentence what is not in order."""
        name = "A source" if self.source is None else f"The source {self.source}"
        epoch = "" if self.epoch is None else f" in the epoch {self.epoch} of its counter"
        parts = []
        if self.missing:
            more = "" if self.missing == sum(high - low + 1 for low, high in self.gaps) else ", and others"
            parts.append(f"{self.missing} numbers are missing ({ranges_text(self.gaps)}{more})")
        if self.declared:
            parts.append(f"{self.declared} are declared lost")
        if self.repeated:
            parts.append(f"{self.repeated} events repeat a number")
        return f"{name}{epoch} gave numbers up to {self.last}: {', '.join(parts) or 'none is missing'}."


def ranges_text(gaps: tuple[tuple[int, int], ...]) -> str:
    """Return ranges as people write them: 3, 5-7."""
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in gaps)


def parse_numbering(value: list[Any]) -> tuple[SourceNumbers, ...]:
    """Read the member `numbering`: 1 to 30 sources."""
    if not 1 <= len(value) <= SOURCES_LIMIT:
        raise MalformedError(f"not 1 to {SOURCES_LIMIT} sources", part="/numbering")
    found = []
    for place, one in enumerate(value):
        pointer = f"/numbering/{place}"
        members = take(one, {**dict.fromkeys(_COUNTS, int), "gaps": list}, {"epoch": str, "source": str}, pointer)
        for gap in members["gaps"]:
            if type(gap) is not list or [type(end) for end in gap] != [int, int]:
                raise MalformedError("not two numbers", part=f"{pointer}/gaps")
        gaps = tuple((low, high) for low, high in members["gaps"])
        found.append(SourceNumbers(**{**members, "gaps": gaps}))
    return tuple(found)
