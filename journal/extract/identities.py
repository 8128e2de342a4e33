"""Source and id of entries: which of them come back, with another time (FORMAT.md, "Event").

They are no fault of the service: it takes another time for another event. Whoever reads the entries must know, for it
may be one access that a module sent twice.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from journal.core.entry import Entry

# A module that numbers its events anew every day repeats all of its ids: no more are named.
NAMED = 100
_SHOWN = 5
# So many hashes are compared at once.
_TOGETHER = 100_000


@dataclass(frozen=True)
class Repeated:
    """One source and id, and the indexes of the entries that have both."""

    source: str
    id: str
    indexes: tuple[int, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object."""
        return {"id": self.id, "indexes": list(self.indexes), "source": self.source}


class Identities:
    """Notes the source and id of each entry, in the order of their indexes, in 8 bytes each."""

    def __init__(self) -> None:
        """Start with none."""
        self._hashes = array("q")
        # Where indexes go on after others: the place among the entries noted, and the index there.
        self._places, self._indexes = array("q"), array("q")
        self._next = -1

    def add(self, index: int, event: dict[str, Any]) -> None:
        """Note an entry."""
        self.extend(index, [hash((event["source"], event["id"]))])

    def extend(self, first: int, names: Sequence[int]) -> None:
        """Note entries of consecutive indexes from `first` on, each by the hash of its source and id."""
        if names and first != self._next:
            self._places.append(len(self._hashes))
            self._indexes.append(first)
        self._next = first + len(names)
        self._hashes.extend(names)

    def groups(self) -> list[list[int]]:
        """Return the indexes of entries that share source and id, together, by first index.

        Two names are taken for one by chance alone, once in 2^64 pairs.
        """
        found: dict[int, list[int]] = {one: [] for one in self._again()}
        if not found:
            return []
        for place, one in enumerate(self._hashes):
            if one in found:
                run = bisect_right(self._places, place) - 1
                found[one].append(self._indexes[run] + place - self._places[run])
        return sorted(found.values())

    def name(self, entries: Iterable[Entry]) -> list[Repeated]:
        """Return what comes back among the same entries, given once more only if something may; by first index."""
        again = self._again()
        found: dict[tuple[str, str], list[int]] = defaultdict(list)
        for entry in entries if again else ():
            name = (entry.event["source"], entry.event["id"])
            if hash(name) in again:
                found[name].append(entry.index)
        return [Repeated(*name, tuple(indexes)) for name, indexes in found.items() if len(indexes) > 1]

    def _again(self) -> set[int]:
        # In parts, because a set takes ten times the memory of an array.
        found: set[int] = set()
        parts = 1 + len(self._hashes) // _TOGETHER
        for number in range(parts):
            part = [one for one in self._hashes if one % parts == number]
            if len(set(part)) < len(part):
                found.update(one for one, count in Counter(part).items() if count > 1)
        return found


def describe(repeated: list[Repeated]) -> str:
    """Say what comes back, in one sentence; `repeated` is not empty."""
    shown = "; ".join(f"{one.source} {one.id} (entries {enumerate_indexes(one.indexes)})" for one in repeated[:_SHOWN])
    more = f"; and {len(repeated) - _SHOWN} more" if len(repeated) > _SHOWN else ""
    return (
        f"{len(repeated)} repeated source and id, each time at another time, hence for another event; a module that "
        f"sets the time anew when it sends again has one access recorded twice: {shown}{more}."
    )


def enumerate_indexes(indexes: Iterable[int]) -> str:
    """Return the indexes with commas, at most NAMED of them."""
    given = list(indexes)
    more = f" and {len(given) - NAMED} more" if len(given) > NAMED else ""
    return ", ".join(map(str, given[:NAMED])) + more
