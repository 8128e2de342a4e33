"""What is noted of the entries while they are checked: where receipts stand, and which names come back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from journal.core.entry import RECORD_LIMIT_BYTES, parse_record
from journal.extract.identities import Identities, Repeated
from journal.extract.layout import ENTRIES

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from journal.extract.container import Parts


@dataclass(frozen=True)
class Found:
    """Leaf hash and chain hash of the indexes wanted; source and id of all entries disclosed."""

    wanted: AbstractSet[int]
    hashes: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    identities: Identities = field(default_factory=Identities)

    def repeated(self, container: Parts) -> list[Repeated]:
        """Return which source and id come back; only then the entries, which are checked, are read once more."""
        lines = container.lines(ENTRIES, limit_bytes=RECORD_LIMIT_BYTES)
        return self.identities.name(map(parse_record, lines))
