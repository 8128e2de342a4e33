"""The manifest of a night's hand-over to one commune: what was put there, and how it joins what came before (pure).

Canonical JSON, signed beside it. It holds codes, days, sizes and hashes: nothing personal. FORMAT.md, "Hand-over".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from journal.core import canonical
from journal.core.entry import Compartment
from journal.core.times import format_day, format_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from journal.store import HandoverFile

FORMAT = "openepm-journal/handover/v1"


def file_name(tenant: str, file: HandoverFile) -> str:
    """Return the name of a compartment's encrypted extract."""
    return period_name(tenant, file.category, file.first_day, file.last_day)


def period_name(tenant: str, category: str, first_day: date, last_day: date) -> str:
    """Return the name that the encrypted extract of a compartment's days will have."""
    return f"{tenant}_{category}_{format_day(first_day)}_{format_day(last_day)}.asice.p7m"


def list_name(tenant: str, night: date) -> str:
    """Return the name of a night's manifest; its signature has `.p7s` after it."""
    return f"{tenant}_manifest_{format_day(night)}.json"


def encode_list(*, service: str, tenant: str, night: date, files: Sequence[HandoverFile]) -> bytes:
    """Write the manifest of the files placed in a night (a UTC day), in order of category and days."""
    return canonical.encode(
        {
            "files": [_describe(service, tenant, file) for file in files],
            "format": FORMAT,
            "night": format_day(night),
            "service": service,
            "tenant": tenant,
        }
    )


def _describe(service: str, tenant: str, file: HandoverFile) -> dict[str, object]:
    assert file.placed_at is not None  # what has no name yet is in no manifest
    return {
        "base": {"chain_hash": file.base_hash.hex(), "size": file.base_size},
        "bytes": file.file_bytes,
        "from": format_day(file.first_day),
        "head": {"chain_hash": file.head_hash.hex(), "size": file.head_size},
        "name": file_name(tenant, file),
        "origin": Compartment(service, tenant, file.category).origin,
        "placed_at": format_time(file.placed_at),
        "recipient": file.recipient_sha256.hex(),
        "sha256": file.file_sha256.hex(),
        "to": format_day(file.last_day),
    }
