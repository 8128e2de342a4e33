"""`doctor`: everything that must hold, looked at and not changed, then the status in an operator's words.

It goes on after a failure, and changes nothing: no migration, file or entry; the embedded PostgreSQL is not started.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from journal.cli import host_checks, store_checks
from journal.cli.finding import CODES, failure, note, ok
from journal.cli.installation import check_schema, is_made, open_still
from journal.cli.listing import as_json, print_json
from journal.core.errors import JournalError
from journal.core.times import format_day
from journal.database.catalog import find_catalog_faults, load_expected
from journal.database.embedded import EmbeddedPostgres
from journal.database.store import Store
from journal.keys.files import describe
from journal.signer.connect import NOT_SEPARATED

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from datetime import datetime, timedelta

    from journal.cli.finding import Finding
    from journal.cli.installation import Installation
    from journal.database.ingest import CategoryRow
    from journal.settings import Settings
    from journal.status.figures import CategoryStatus, Status

OF_THE_STORE: tuple[tuple[str, Callable[[Installation], AsyncIterator[Finding]]], ...] = (
    ("readiness", store_checks.check_readiness),
    ("schema", store_checks.check_schema),
    ("accounts", store_checks.check_accounts),
    ("credentials", store_checks.check_credentials),
    ("hand-over", store_checks.check_confirmations),
    ("hand-over", store_checks.check_longer),
    ("sources", store_checks.check_sources),
    ("time-stamping", store_checks.check_authority),
    ("backups", store_checks.check_backups),
)


async def doctor(settings: Settings, arguments: argparse.Namespace) -> int:
    """Print every finding, then the status; 0 if nothing is wrong, 1 at a warning, 2 at a failure."""
    findings = [*_look_at_host(settings)]
    lines: list[str] = []
    async with AsyncExitStack() as stack:
        dsn = settings.dsn or find_running(settings)
        if dsn is None:
            findings.append(_not_running(settings))
        else:
            installation = await _open(stack, dsn, settings, findings)
            if installation is not None:
                await _look_at_store(installation, findings)
                lines = await _status(installation, findings)
    code = max(CODES[finding.severity] for finding in findings)
    if as_json(arguments):
        members = ("name", "severity", "told", "mend")
        checks = [{member: getattr(finding, member) for member in members} for finding in findings]
        print_json({"checks": checks, "code": code, "home": str(settings.home_path), "status": lines})
        return code
    for finding in findings:
        print(finding)
    for line in lines:
        print(line)
    return code


async def look(installation: Installation) -> list[tuple[str, str]]:
    """Look at everything from a process that has the installation open; return names and severities.

    Files and sockets in a thread: the service may be this very process, and must go on answering.
    """
    findings = await asyncio.to_thread(lambda: [*_look_at_host(installation.service.settings)])
    await _look_at_store(installation, findings)
    return [(finding.name, finding.severity) for finding in findings]


def _look_at_host(settings: Settings) -> Iterator[Finding]:
    now = host_checks.now_of_host()
    looks: dict[str, Callable[[], Iterator[Finding]]] = {
        "service": lambda: host_checks.check_service(settings),
        "identity": lambda: host_checks.check_certificate(settings, now),
        "receipt key": lambda: host_checks.check_receipt_key(settings, now),
        "key store": lambda: host_checks.check_keystore(settings, now),
        "disk": lambda: host_checks.check_space(settings),
        "mails": lambda: host_checks.check_mails(settings),
    }
    for name, look in looks.items():
        try:
            yield from look()
        except (JournalError, OSError) as error:
            yield failure(name, describe(error))
    if settings.signer_socket_path is None:
        yield note("signer", NOT_SEPARATED)


def find_running(settings: Settings) -> str | None:
    """Return the address of the embedded PostgreSQL, None where it does not run."""
    if not is_made(settings):
        return None
    server = EmbeddedPostgres(settings.home_path)
    return server.dsn() if server.pid is not None else None


def _not_running(settings: Settings) -> Finding:
    if not is_made(settings):
        told = f"there is no journal in {settings.home_path}"
        return failure("database", told, "openepm-journal serve makes one; or set JOURNAL_HOME, or JOURNAL_DSN")
    told = "the embedded PostgreSQL does not run: nothing in the database was looked at"
    return failure("database", told, f"it starts with the service; its log is in {settings.home_path}/postgresql/log")


async def _open(stack: AsyncExitStack, dsn: str, settings: Settings, findings: list[Finding]) -> Installation | None:
    """Open the installation to read only; None, and why, if it cannot be."""
    try:
        await check_schema(dsn)
    except (JournalError, OSError) as error:
        findings.append(failure("database", describe(error)))
        return None
    try:
        return await stack.enter_async_context(open_still(dsn, settings))
    except (JournalError, OSError) as error:
        findings.append(failure("opening", describe(error)))
    # What the database says for itself, whatever keys and certificates say.
    try:
        async with await Store.connect(dsn, application="openepm-journal doctor", facts=None) as store:
            faults = await store.check_new_sessions()
            async with store.connect_anew("owner") as connection:
                altered = await find_catalog_faults(connection, load_expected())
        findings += [failure("database", fault) for fault in faults] or [ok("database", "every role connects")]
        findings += [
            failure("schema", fault, store_checks.BRING_BACK) for fault in altered[: store_checks.TOLD_AT_ONCE]
        ]
    except JournalError as error:
        findings.append(failure("database", describe(error)))
    return None


async def _look_at_store(installation: Installation, findings: list[Finding]) -> None:
    for name, look in OF_THE_STORE:
        try:
            findings += [finding async for finding in look(installation)]
        except (JournalError, OSError) as error:
            findings.append(failure(name, describe(error)))


async def _status(installation: Installation, findings: list[Finding]) -> list[str]:
    service = installation.service
    try:
        return [
            f"service {service.name} in {service.settings.home_path}",
            *tell_pending(service.snapshot.categories()),
            *tell(await service.status()),
        ]
    except (JournalError, OSError) as error:
        findings.append(failure("status", describe(error)))
        return []


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
