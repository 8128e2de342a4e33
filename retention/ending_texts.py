"""The documents signed at the end of a contract: the inventory of the export and the destruction report (pure).

Both are canonical JSON with a detached signature. They hold codes, days, sizes and hashes: nothing personal.
FORMAT.md, "End of a contract".
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from journal.core import canonical
from journal.core.entry import Compartment
from journal.core.times import format_day, format_time
from journal.database.handover import file_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from journal.database.ending import EndedChain, Ending
    from journal.database.handover import HandoverFile
    from journal.database.heads import SealHeadRow
    from journal.database.seal import SealRow

EXPORT_FORMAT = "openepm-journal/export/v1"
DESTRUCTION_FORMAT = "openepm-journal/destruction/v1"
SUMMARY = (
    "Le contrat a pris fin. Les entrées de ces chaînes encore conservées ont été supprimées de la base de données, et "
    "la clé sans laquelle aucune copie n'en est lisible a été détruite dans chaque copie du magasin de clés. Les "
    "scellés et les extraits remis auparavant restent vérifiables."
)


def inventory_name(tenant: str) -> str:
    """Return the name of an export's inventory; its signature has `.p7s` after it."""
    return f"{tenant}_export.json"


def encode_inventory(
    *,
    service: str,
    tenant: str,
    closed_at: datetime,
    seal: SealRow,
    heads: Sequence[SealHeadRow],
    files: Sequence[HandoverFile],
) -> bytes:
    """Write the inventory of an export: its files, and each chain as in `seal`, the last seal of its extracts.

    That of a move has no files; `closed_at` is when the commune moved.
    """
    return canonical.encode(
        {
            "chains": [_chain(service, tenant, head) for head in heads],
            "closed_at": format_time(closed_at),
            "files": [_file(service, tenant, file) for file in files],
            "format": EXPORT_FORMAT,
            "seal": _seal(seal.number, sha256(seal.text).digest()),
            "service": service,
            "tenant": tenant,
        }
    )


def encode_report(*, service: str, ending: Ending, chains: Sequence[EndedChain]) -> bytes:
    """Write the destruction report of a finished destruction: the same bytes each time."""
    assert ending.destroyed_at is not None
    assert ending.finished_at is not None
    report = {
        "chains": [_chain(service, ending.tenant, chain) for chain in chains],
        "closed_at": format_time(ending.closed_at),
        "destroyed_at": format_time(ending.destroyed_at),
        "entries": sum(chain.size - chain.kept_from for chain in chains),
        "finished_at": format_time(ending.finished_at),
        "format": DESTRUCTION_FORMAT,
        "seals": {
            "after": _seal(ending.seal_after, ending.seal_after_sha256),
            "before": _seal(ending.seal_before, ending.seal_before_sha256),
        },
        "service": service,
        "summary": SUMMARY,
        "tenant": ending.tenant,
    }
    if ending.exported_at is not None and ending.export_sha256 is not None:
        report["export"] = {"exported_at": format_time(ending.exported_at), "inventory": ending.export_sha256.hex()}
    return canonical.encode(report)


def _chain(service: str, tenant: str, chain: EndedChain | SealHeadRow) -> dict[str, object]:
    return {
        "chain_hash": chain.chain_hash.hex(),
        "kept_from": chain.kept_from,
        "origin": Compartment(service, tenant, chain.category).origin,
        "size": chain.size,
    }


def _file(service: str, tenant: str, file: HandoverFile) -> dict[str, object]:
    return {
        "base": {"chain_hash": file.base_hash.hex(), "size": file.base_size},
        "bytes": file.file_bytes,
        "from": format_day(file.first_day),
        "head": {"chain_hash": file.head_hash.hex(), "size": file.head_size},
        "name": file_name(tenant, file),
        "origin": Compartment(service, tenant, file.category).origin,
        "recipient": file.recipient_sha256.hex(),
        "sha256": file.file_sha256.hex(),
        "to": format_day(file.last_day),
    }


def _seal(number: int | None, digest: bytes | None) -> dict[str, object]:
    assert number is not None
    assert digest is not None
    return {"number": number, "sha256": digest.hex()}
