"""Accesses by the vendor's support: each needs the client's authorisation of that case (contract, art. 7.2).

An event of the category `assistance` says whose data it was about (`subject`), why (`data.justification`), and who
authorised it, when, under which reference (`data.authorisation`). Others are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from journal.core import faults
from journal.core.faults import Fault
from journal.core.times import format_day

if TYPE_CHECKING:
    from collections.abc import Sequence

    from journal.core.entry import Event

CATEGORY: Final = "assistance"
_WHY: Final = "is required in this category: the client authorises each access by its support (contract, art. 7.2)"


class _Data(msgspec.Struct):
    justification: str = ""
    authorisation: dict[str, str] = {}


class _Event(msgspec.Struct):
    data: _Data
    subject: str = ""


_DECODER = msgspec.json.Decoder(_Event)


def check(category: str, events: Sequence[Event]) -> list[Fault]:
    """Return every fault of events of this category that say too little; of another category, none."""
    if category != CATEGORY:
        return []
    found: list[Fault] = []
    for position, event in enumerate(events):
        said = _DECODER.decode(event.canonical)
        members = {
            "/subject": said.subject,
            "/data/justification": said.data.justification,
            "/data/authorisation": said.data.authorisation,
        }
        found += [
            Fault(position, pointer, faults.CATEGORY_RULE, _WHY) for pointer, value in members.items() if not value
        ]
        if said.data.authorisation and said.data.authorisation["date"] > format_day(event.time.date()):
            pointer = "/data/authorisation/date"
            found.append(Fault(position, pointer, faults.CATEGORY_RULE, "is after the access"))
    return found
