"""A commune of a service that listens, handed what there is of this day: long before it is due."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from journal.core.times import day_of
from journal.keys.files import make_private_directory
from retention.delivery import Delivery, DuePeriod
from retention.outbox import Outbox
from tests.support.authority import Holder, issue, key_usage, new_key
from tests.support.edge import CATEGORY, TENANT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.edge import RunningEdge


def holder_of(edge: RunningEdge) -> Holder:
    """A commune's certificate and key, valid for a year."""
    begin = edge.clock.now().replace(microsecond=0)
    return issue(
        "Mairie d'Albi", new_key(21), issuer=issue("AC", new_key(9)), extensions=(key_usage(0x08),),
        begin=begin, end=begin.replace(year=begin.year + 1),
    )  # fmt: skip


async def hand_over(edge: RunningEdge, pem: bytes) -> Path:
    """Register a certificate (PEM), and hand over what there is of the day; return the file."""
    service = edge.service
    recipient = await edge.installation.administration.register_recipient(TENANT, pem)
    make_private_directory(service.settings.handover_path)
    (category,) = [row for row in await service.store.read_categories() if row.code == CATEGORY]
    today = day_of(edge.clock.now())
    with closing(Outbox.hold(service.settings.handover_path, TENANT)) as outbox:
        delivery = Delivery(service, outbox, TENANT)
        handed = await delivery.hand_over(recipient, DuePeriod(category=category, first_day=today, last_day=today))
        await delivery.write_inventories()
    assert handed is not None
    return handed.path
