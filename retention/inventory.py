"""The inventory of the files that a commune was handed in a night (FORMAT.md, section 13)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from journal.core import canonical
from journal.core.entry import Compartment
from journal.core.times import format_day, format_time
from journal.database.handover import HandoverFile, file_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date

FORMAT = "openepm-journal/handover/v1"


def inventory_name(tenant: str, night: date) -> str:
    """Return the name of a night's inventory; its signature has `.p7s` after it."""
    return f"{tenant}_inventory_{format_day(night)}.json"


def encode_inventory(
    *,
    service: str,
    tenant: str,
    night: date,
    files: Sequence[HandoverFile],
    name_of: Callable[[str, HandoverFile], str] = file_name,
) -> bytes:
    """Write the inventory of the files placed in a night (a UTC day), in order of category and days."""
    return canonical.encode(
        {
            "files": [_describe(service, tenant, file, name_of(tenant, file)) for file in files],
            "format": FORMAT,
            "night": format_day(night),
            "service": service,
            "tenant": tenant,
        }
    )


def _describe(service: str, tenant: str, file: HandoverFile, name: str) -> dict[str, object]:
    assert file.placed_at is not None  # only placed files are in an inventory
    return {
        "base": {"chain_hash": file.base_hash.hex(), "size": file.base_size},
        "bytes": file.file_bytes,
        "from": format_day(file.first_day),
        "head": {"chain_hash": file.head_hash.hex(), "size": file.head_size},
        "name": name,
        "origin": Compartment(service, tenant, file.category).origin,
        "placed_at": format_time(file.placed_at),
        "recipient": file.recipient_sha256.hex(),
        "sha256": file.file_sha256.hex(),
        "to": format_day(file.last_day),
    }
