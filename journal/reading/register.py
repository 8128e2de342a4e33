"""The register of requests: who asked for which extract, when and why.

Each request is an entry of the tenant's `journal` category, written before its extract is made and purged with its
day. There is no other list. A page reads a bounded number of entries, however few requests are among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from journal.core.times import format_time
from journal.extract.manifest import Filter
from journal.writing.chronicle import is_of_preservation

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import date

    from journal.core.entry import Entry
    from journal.writing.chronicle import Chronicle

SCANNED_ENTRIES = 10_000
_WITHHELD_ALL = Filter(withhold_all=True).as_json()


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterPage:
    """Requests in the order of their indexes; `next_after` continues, None where there is no more."""

    extracts: list[dict[str, Any]]
    next_after: int | None


class Register:
    """Reads the register of requests; writes nothing."""

    def __init__(self, chronicle: Chronicle) -> None:
        """Read from this chronicle."""
        self._chronicle = chronicle

    async def page(
        self, tenant: str, categories: Collection[str], *, after: int, limit: int, values: bool
    ) -> RegisterPage:
        """Return at most `limit` requests about these categories with an index above `after` (-1: from the start).

        With `values`, the values of the filters; without, only their names, since accounts and subjects are content,
        and nothing of an authority's request to preserve. A page may be short, or empty, and not the last. Raises
        StoreError.
        """
        found: list[tuple[date, dict[str, Any]]] = []
        scanned = 0
        async for page in self._chronicle.pages(tenant, "extract", after=after):
            for entry in page.entries:
                if entry.event["data"].get("category") not in categories or (not values and is_of_preservation(entry)):
                    continue
                found.append((page.day, _describe(entry, values=values)))
                if len(found) == limit:
                    return await self._answer(found, entry.index)
            scanned += page.rows
            if scanned >= SCANNED_ENTRIES:
                return await self._answer(found, page.last_index)
        return await self._answer(found, None)

    async def _answer(self, found: list[tuple[date, dict[str, Any]]], next_after: int | None) -> RegisterPage:
        """Leave out what reached its limit while the page was read: midnight may have passed."""
        first = await self._chronicle.first_day()
        return RegisterPage(extracts=[request for day, request in found if day >= first], next_after=next_after)


_TOLD = ("authorisation", "from", "person", "purpose", "reference", "requester", "to")


def _describe(entry: Entry, *, values: bool) -> dict[str, Any]:
    """Return what is told of a request; of one that was refused, what could be recorded, and why it was."""
    data = entry.event["data"]
    asked = data.get("filter", {})
    withheld_all = asked == _WITHHELD_ALL
    chosen = {} if withheld_all else asked
    said = {name: data[name] for name in _TOLD if name in data}
    if values:
        said["filter"] = chosen
    if data.get("outcome") == "denied":
        said["refused"] = data["reason"]
    return said | {
        "category": data["category"],
        "filtered_by": sorted(chosen),
        "index": entry.index,
        "recorded_at": format_time(entry.recorded_at),
        "requested_by": entry.submitted_by,
        "withheld_all": withheld_all,
    }
