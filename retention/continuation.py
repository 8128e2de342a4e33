"""A commune comes from another installation: its journal begins by citing the chains that it left there.

Nothing is imported: what was recorded there stays verifiable by the extracts that were exported. The entries written
here tie the new chains to the heads that the old service has signed in the inventory of its export.
FORMAT.md, "End of a contract".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import msgspec

from journal.core import canonical
from journal.core.entry import parse_origin
from journal.core.errors import OperatorError, VerificationError
from journal.pki import cms
from journal.pki.certificates import pem_to_der
from journal.writing.chronicle import Happening
from retention.ending_texts import EXPORT_FORMAT

if TYPE_CHECKING:
    from pathlib import Path

    from journal.admin.administration import Administration
    from journal.service import Service

# A commune has a few categories, and one file for each of some sixty days.
LIMIT_BYTES: Final = 4 * 1024 * 1024
_DIGEST: Final = re.compile(r"[0-9a-f]{64}").fullmatch


class _Head(msgspec.Struct):
    origin: str
    kept_from: int
    size: int
    chain_hash: str


class _Seal(msgspec.Struct):
    number: int
    sha256: str


class _Inventory(msgspec.Struct):
    format: str
    service: str
    tenant: str
    closed_at: str
    seal: _Seal
    chains: list[_Head]
    files: list[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What another service signed of a commune whose contract ended there: the inventory of its export, read."""

    service: str
    tenant: str
    sha256: bytes
    seal_number: int
    seal_sha256: str
    heads: tuple[_Head, ...]


def read_ended(path: Path, trust_path: Path) -> Ended:
    """Read the inventory of an export (`TENANT_export.json`, its signature beside it) and verify who signed it.

    `trust_path` is the trust anchor of the old service (PEM). Raises OperatorError.
    """
    content, signature = _read(path), _read(path.with_name(f"{path.name}.p7s"))
    try:
        anchors = pem_to_der(_read(trust_path))
    except VerificationError as error:
        raise OperatorError(f"{trust_path} is no trust anchor: {error.reason}") from error
    try:
        inventory = msgspec.json.decode(content, type=_Inventory)
        _check(inventory, content)
    except RecursionError as error:
        raise OperatorError(
            f"{path} is nested too deep: give the inventory as tenant close or tenant move wrote it"
        ) from error
    except ValueError as error:  # also of msgspec
        raise OperatorError(f"{path}: {error}: give the inventory as tenant close or tenant move wrote it") from error
    digest = sha256(content).digest()
    try:
        cms.verify(signature, digest, anchors=anchors, service=inventory.service)
    except VerificationError as error:
        raise OperatorError(f"{path}: its signature does not verify with {trust_path}: {error.reason}") from error
    return Ended(
        service=inventory.service,
        tenant=inventory.tenant,
        sha256=digest,
        seal_number=inventory.seal.number,
        seal_sha256=inventory.seal.sha256,
        heads=tuple(inventory.chains),
    )


async def continue_tenant(service: Service, administration: Administration, code: str, ended: Ended) -> None:
    """Write what a commune's journal continues into it: the export, then each chain. Raises OperatorError.

    Repeated, it writes nothing more.
    """
    tenant = administration.find_tenant(code)
    if tenant.closed:
        raise OperatorError(f"the contract of {code} has ended here: nothing can be written into its journal")
    if (ended.service, ended.tenant) == (service.name, code):
        raise OperatorError(f"{code} of {service.name} cannot continue itself")
    told: list[dict[str, object]] = [
        {
            "name": f"{ended.service}/{ended.tenant}",
            "chains": len(ended.heads),
            "inventory": ended.sha256.hex(),
            "seal": ended.seal_number,
            "sha256": ended.seal_sha256,
        },
        *({"what": head.origin, "entries": head.size, "sha256": head.chain_hash} for head in ended.heads),
    ]
    now = service.clock.now()
    await service.chronicle.write_all(
        [
            Happening(
                kind="tenant",
                tenant=code,
                subject=code,
                data={"change": "continued", **data},
                event_id=f"continued-{ended.sha256.hex()[:32]}-{number}",
                at=now,
            )
            for number, data in enumerate(told)
        ]
    )


def _check(inventory: _Inventory, content: bytes) -> None:
    """Refuse what no service writes. Raises ValueError."""
    if inventory.format != EXPORT_FORMAT or canonical.encode(msgspec.json.decode(content)) != content:
        raise ValueError("is not the inventory of an export, as it was signed")
    digests = [inventory.seal.sha256, *(head.chain_hash for head in inventory.chains)]
    if inventory.seal.number < 1 or not all(map(_DIGEST, digests)):
        raise ValueError("its seal or a chain hash is malformed")
    if not inventory.chains or any(not 0 <= head.kept_from <= head.size for head in inventory.chains):
        raise ValueError("a chain in it is malformed")
    for head in inventory.chains:
        try:
            compartment = parse_origin(head.origin)
        except VerificationError as error:
            raise ValueError("the origin of a chain in it is malformed") from error
        if (compartment.service, compartment.tenant) != (inventory.service, inventory.tenant):
            raise ValueError("a chain in it is of another service or commune")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(LIMIT_BYTES + 1)
    except OSError as error:
        raise OperatorError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > LIMIT_BYTES:
        raise OperatorError(f"{path} is too large to be what is asked for")
    return content
