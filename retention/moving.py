"""A commune changes deployment: its chains take nothing more here, and go on elsewhere, tied to the heads left here.

In this order, each step safe to repeat: revoke the credentials of modules → write in the commune's journal where it
goes → move, so that only that journal takes entries → seal → sign the inventory of its chains. What was acknowledged
before is in these chains; what is refused afterwards is the other deployment's to record. This service goes on
answering the commune: extracts, papers, hand-overs and purges, until its last day is purged and `tenant close` ends its
stay.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from journal.core.entry import is_service
from journal.core.errors import OperatorError, StoreError
from journal.keys.files import replace_durably
from retention.ending_texts import encode_inventory

if TYPE_CHECKING:
    from pathlib import Path

    from journal.admin.administration import Administration
    from journal.service import Service

INVENTORY_MODE = 0o644  # it holds codes, sizes and hashes: nothing personal


async def move_tenant(service: Service, administration: Administration, code: str, to: str, inventory: Path) -> int:
    """Move a commune to the service named `to`, write the signed inventory, and return how many chains it names.

    The same command, repeated, writes the inventory again: the chains in it are as they were, but for `journal`.
    Raises OperatorError, StoreError, SignerError.
    """
    # There is no way back from a slip of the pen.
    if not is_service(to) or to == service.name:
        raise OperatorError(
            f"--to says {to!r}: give the name of the other service, its JOURNAL_SERVICE_NAME, for example "
            "journal2.example.fr; nothing was changed"
        )
    tenant = administration.find_tenant(code)
    if tenant.closed:
        raise OperatorError(f"the contract of {code} has ended: tenant continue cites the inventory of its export")
    # First: a commune that is moved and has no inventory could cite nothing until the certificate is renewed.
    service.identity.check_valid(service.clock.now())
    await administration.move_tenant(code, to)
    moved_at = administration.find_tenant(code).moved_at
    assert moved_at is not None
    seal = await service.sealer.seal_open(even_if_still=True)
    if seal is None:
        raise StoreError("no seal was made: repeat the command")
    heads = [row for row in await service.store.read_seal_heads(seal.number) if row.tenant == code]
    content = encode_inventory(service=service.name, tenant=code, closed_at=moved_at, seal=seal, heads=heads, files=[])
    signature = await service.signer.sign(content, service.guard.check())
    # Its signature first: an inventory that is there is complete.
    for path, written in ((inventory.with_name(f"{inventory.name}.p7s"), signature), (inventory, content)):
        try:
            await asyncio.to_thread(replace_durably, path, written, mode=INVENTORY_MODE)
        except OSError as error:
            raise OperatorError(
                f"{path}: {error.strerror}; {code} is moved: repeat the command with another --inventory"
            ) from error
    return len(heads)
