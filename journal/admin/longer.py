"""Categories whose legal basis wants entries kept for longer than the service keeps them.

The service keeps nothing for longer: the commune does, and so its days are handed over to it before they are purged. A
category of this kind is allowed where every open commune has registered a certificate for that; a commune that has none
gets no module's credential for it, and none ends its hand-over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from journal.core.entry import RESERVED_TENANT
from journal.core.errors import OperatorError
from journal.core.times import MAX_RETENTION_DAYS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from journal.database.ingest import CategoryRow
    from journal.service import Service

NAMED_AT_ONCE = 5
MAX_REQUIRED_DAYS = 36_500
_REGISTER = "openepm-journal tenant handover CODE --certificate PEM"


def asks_for_longer(category: CategoryRow) -> bool:
    """Tell whether a category's legal basis asks for more days than its shortest rule, in force or pending, keeps."""
    return category.required_days > min(category.rule_days, category.next_retention_days or category.rule_days)


def check_required(days: int) -> None:
    """Raise OperatorError unless a legal basis can ask for so many days; 0: it does not say."""
    if not 0 <= days <= MAX_REQUIRED_DAYS:
        raise OperatorError(
            f"--required-days {days}: give the days that the legal basis asks for, up to {MAX_REQUIRED_DAYS}, or 0 "
            "where it asks for none"
        )


def refuse_longer(category: str, required_days: int, kept_days: int, without: Collection[str]) -> None:
    """Refuse a category that is to be kept longer than it is, if there are communes without hand-over."""
    if required_days <= kept_days or not without:
        return
    named = sorted(without)
    more = f" and {len(named) - NAMED_AT_ONCE} more" if len(named) > NAMED_AT_ONCE else ""
    raise OperatorError(
        f"the legal basis of {category} asks for {required_days} days, and it is kept {kept_days} here "
        f"({MAX_RETENTION_DAYS} at most): its days must be handed over before they are purged, but nothing is handed "
        f"over to {', '.join(named[:NAMED_AT_ONCE])}{more}. Register their certificates first: {_REGISTER}"
    )


def refuse_module(tenant: str, categories: Iterable[str]) -> None:
    """Refuse a module of a commune without hand-over for categories that ask for one."""
    named = sorted(categories)
    if named:
        raise OperatorError(
            f"nothing is handed over to {tenant}, and the legal basis of {', '.join(named)} asks for longer than the "
            f"service keeps: register its certificate first: {_REGISTER}"
        )


async def communes_without_handover(service: Service) -> set[str]:
    """Return the open communes that have registered no certificate."""
    registered = {row.tenant for row in await service.store.list_recipients()}
    open_ones = {row.code for row in service.snapshot.tenants() if not row.closed and row.code != RESERVED_TENANT}
    return open_ones - registered


def longer_categories(service: Service) -> list[str]:
    """Return the categories that ask for longer than the service keeps, by code."""
    return sorted(row.code for row in service.snapshot.categories() if asks_for_longer(row))
