"""The PDFs beside the signed JSON of a hand-over, of an export and of a destruction: made from that JSON alone."""

from __future__ import annotations

import asyncio
import json
from hashlib import sha256
from typing import TYPE_CHECKING

import structlog

from journal.core.errors import OperatorError
from journal.core.times import format_day
from journal.document.render import (
    DESTRUCTION,
    EXPORT_SLIP,
    HANDOVER_SLIP,
    PRESERVATION_SLIP,
    DocumentError,
    Template,
    render,
)
from journal.document.slips import (
    Paper,
    destruction_content,
    export_content,
    handover_content,
    preservation_content,
)
from journal.papers.signing import signatory
from retention.inventory import encode_inventory, inventory_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from journal.service import Service
    from retention.outbox import Outbox

log = structlog.get_logger()

SUFFIX = ".pdf"
_CONTENT = {
    HANDOVER_SLIP: handover_content,
    PRESERVATION_SLIP: preservation_content,
    EXPORT_SLIP: export_content,
    DESTRUCTION: destruction_content,
}


def paper_name(json_name: str) -> str:
    """Return the name of the PDF beside a JSON file."""
    return json_name.removesuffix(".json") + SUFFIX


async def put_paper(
    service: Service,
    outbox: Outbox,
    template: Template,
    json_name: str,
    content: bytes,
    *remarks: str,
) -> None:
    """Put the PDF beside a JSON file; what is given is complete without it. Raises OSError, JournalError."""
    try:
        document = await make_paper(service, template, json_name, content, remarks)
    except DocumentError as error:
        log.error("a slip was not made", name=paper_name(json_name), reason=str(error))
        return
    await asyncio.to_thread(outbox.put, paper_name(json_name), document)


async def make_paper(
    service: Service, template: Template, json_name: str, content: bytes, remarks: Sequence[str] = ()
) -> bytes:
    """Return the signed PDF that says what the signed JSON says, and the remarks.

    Raises DocumentError, OperatorError, SignerError.
    """
    tenant = json.loads(content)["tenant"]
    row = service.snapshot.tenant(tenant)
    signed_at = service.clock.now().replace(microsecond=0)
    paper = Paper(
        tenant_name=row.name if row is not None else tenant,
        labels={category.code: category.label for category in await service.store.read_categories()},
        key_copies=1 + len(service.settings.keystore_replicas),
        signatory=signatory(service, signed_at),
        json_name=json_name,
        content=content,
        remarks=remarks,
    )
    return await render(_CONTENT[template](paper), service.signer, signed_at, template)


class Slips:
    """Makes the slips of hand-overs again, for whoever may have them."""

    def __init__(self, service: Service) -> None:
        """Make slips of this service's hand-overs."""
        self._service = service

    async def issue(self, tenant: str, night: date) -> bytes:
        """Return the signed slip of what a commune was handed in a night (UTC day); its making is recorded.

        Raises OperatorError where that was nothing, or is longer ago than a year; DocumentError, SignerError.
        """
        files = await self._service.store.placed_handovers(tenant, night)
        if not files:
            raise OperatorError(f"nothing was handed over to {tenant} in the night of {format_day(night)}")
        name = inventory_name(tenant, night)
        content = encode_inventory(service=self._service.name, tenant=tenant, night=night, files=files)
        document = await make_paper(self._service, HANDOVER_SLIP, name, content)
        data = {"change": "document made", "day": format_day(night), "sha256": sha256(document).hexdigest()}
        await self._service.chronicle.write("setting", tenant=tenant, subject="handover", data=data)
        return document
