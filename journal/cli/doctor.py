"""`doctor`: every readiness check with its result, then the status in an operator's words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from journal.cli.installation import opened
from journal.core.times import format_day
from journal.signer.connect import NOT_SEPARATED

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator
    from datetime import datetime, timedelta

    from journal.database.ingest import CategoryRow
    from journal.settings import Settings
    from journal.status.figures import CategoryStatus, Status


async def doctor(settings: Settings, _: argparse.Namespace) -> int:
    """Print every check and its result, then the status; 1 if a check fails."""
    async with opened(settings, writes=False) as installation:
        service = installation.service
        checks = await service.checks.run()
        if await service.store.clock_is_simulated():
            checks["clock"] = "the database's clock is simulated: entries of this installation prove nothing"
        print(f"service {service.name} in {settings.home_path}")
        print(f"its certificate is valid until {service.identity.not_after:%Y-%m-%d}")
        if settings.signer_socket_path is None:
            print(f"note signer: {NOT_SEPARATED}")
        for name, problem in checks.items():
            print(f"{'FAIL' if problem else 'ok  '} {name}{': ' + problem if problem else ''}")
        for line in (*tell_pending(service.snapshot.categories()), *tell(await service.status())):
            print(line)
        if service.stamper is not None:
            print(f"{len(await service.stamper.waiting())} close seals wait for a time-stamp")
    return int(any(checks.values()))


def tell(status: Status) -> Iterator[str]:
    """Yield a line for the seals, one for the time-stamps, and one for each category."""
    row = status.row
    if row.number is not None and row.sealed_at is not None:
        yield f"seal {row.number} is the last, of {_moment(row.sealed_at)}; {row.unsealed_heads} heads changed since"
    if status.unsealed_days:
        yield f"{status.unsealed_days} days are over and have no close seal yet"
    yield _timestamps(status)
    for category in status.categories:
        yield f"{category.category}: {_oldest(category)}; {_last_purge(category)}; {_next_purge(category)}"


def tell_pending(categories: Iterable[CategoryRow]) -> Iterator[str]:
    """Yield a line for each change of retention that is not in force yet, which is no fault."""
    for row in categories:
        days, since = row.next_retention_days, row.next_since
        if days is not None and since is not None:
            step = ", a day more each day" if days > row.stated_days else ""
            asked = f"{days} days asked for on {format_day(since)}"
            yield f"note retention: {row.code}: {asked}, not in force yet; now {row.stated_days} days{step}"


def _timestamps(status: Status) -> str:
    if not status.is_stamping:
        return "no time-stamping authority is configured (JOURNAL_TSA_URL)"
    if status.unstamped_since is None:
        return "every close seal of the last two months is time-stamped"
    told = f"the oldest close seal without a time-stamp is of {_moment(status.unstamped_since)}"
    failing = status.stamping_failed_since
    return f"{told}; the authority has failed since {_moment(failing)}" if failing else told


def _oldest(category: CategoryStatus) -> str:
    if category.oldest_day is None:
        return "no entry is kept"
    return (
        f"the oldest entry is of {format_day(category.oldest_day)}, at most {_span(category.oldest_age)} old; "
        f"the limit is {_span(category.retention)}"
    )


def _last_purge(category: CategoryStatus) -> str:
    if category.purged_day is None:
        return "nothing has been purged yet"
    done = f" at {_moment(category.purged_at)}" if category.purged_at else ""
    return f"the last day purged is {format_day(category.purged_day)}{done}"


def _next_purge(category: CategoryStatus) -> str:
    if category.next_day is None or category.next_at is None or category.next_limit is None:
        return "no day is on disk"
    told = f"the next is {format_day(category.next_day)}, from {_moment(category.next_at)}"
    if category.overdue_days:
        return f"{told}: {category.overdue_days} days are kept past their limit"
    if category.handover_days:
        return f"{told}: {category.handover_days} days wait for their hand-over"
    return f"{told}, before {_moment(category.next_limit)}"


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _span(span: timedelta) -> str:
    hours = span.seconds // 3600
    return f"{span.days} days" + (f" {hours} h" if hours else "")
