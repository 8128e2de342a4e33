"""Accesses by the vendor's support: each needs the client's authorisation of that case (contract, art. 7.2).

An event of the category `assistance` says whose data it was about (`subject`), why (`data.justification`), and who
authorised it, when, under which reference (`data.authorisation`). Others are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from journal.core.errors import InvalidEventError
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


def check(category: str, events: Sequence[Event]) -> None:
    """Raise InvalidEventError, with every fault, for events of this category that say too little; of another, never."""
    if category != CATEGORY:
        return
    faults: list[tuple[int, str, str]] = []
    for position, event in enumerate(events):
        said = _DECODER.decode(event.canonical)
        members = {
            "/subject": said.subject,
            "/data/justification": said.data.justification,
            "/data/authorisation": said.data.authorisation,
        }
        faults += [(position, pointer, _WHY) for pointer, value in members.items() if not value]
        if said.data.authorisation and said.data.authorisation["date"] > format_day(event.time.date()):
            faults.append((position, "/data/authorisation/date", "is after the access"))
    if faults:
        raise InvalidEventError(faults)
