"""What `doctor` looks at through the database: the readiness checks, the catalog, accounts, credentials, silence."""

from __future__ import annotations

import os
from collections import defaultdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from journal.admin.longer import communes_without_handover, longer_categories
from journal.audit.watch import check_catalog
from journal.cli.finding import failure, note, ok, warning
from journal.clock import CLOCK_DEPARTURE_LIMIT
from journal.core.errors import NotStampedError, OperatorError
from journal.core.times import format_seconds
from journal.notices.host import is_local
from journal.reading.sources import read_silent, read_sources

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from datetime import datetime

    from journal.cli.finding import Finding
    from journal.cli.installation import Installation
    from journal.database.ingest import CredentialRow
    from journal.service import Service

SILENT: Final = timedelta(days=7)
EXPIRY_WARNING: Final = timedelta(days=30)
ARCHIVED_LATE: Final = timedelta(hours=1)
TOLD_AT_ONCE: Final = 5
ASKED_AGAIN: Final = (
    "nothing else waits for it, and it is asked again by itself, at least every ten minutes; see JOURNAL_TSA_URL and "
    "JOURNAL_TSA_TRUST, the way to it (curl -v), and what the authority announces"
)
ASK: Final = (
    "have it open a file and give the confirmation code, in the console or by openepm-journal tenant handover COMMUNE "
    "--confirm CODE"
)
BRING_BACK: Final = "bring it back from sql/schema.sql as the owner"


async def check_readiness(installation: Installation) -> AsyncIterator[Finding]:
    """Run every readiness check; those about the clock tell of the database's, and of the last seal."""
    service = installation.service
    answers = await service.checks.run()
    if await service.store.clock_is_simulated():
        answers["clock"] = "the database's clock is simulated: entries of this installation prove nothing"
    if answers["clock"] is None:
        try:
            await installation.check_clock(confirmed=False)
        except OperatorError as error:
            answers["clock"] = str(error)
    for name, problem in answers.items():
        yield failure(name, problem) if problem else ok(name)


async def check_schema(installation: Installation) -> AsyncIterator[Finding]:
    """Compare functions, tables and grants of the database with this version's."""
    found = await check_catalog(installation.service)
    if not found:
        yield ok("schema", "functions, tables and grants are this version's")
    for finding in found[:TOLD_AT_ONCE]:
        yield failure("schema", str(finding), BRING_BACK)
    if len(found) > TOLD_AT_ONCE:
        yield failure("schema", f"{len(found) - TOLD_AT_ONCE} more", "openepm-journal verify-store names them")


async def check_accounts(installation: Installation) -> AsyncIterator[Finding]:
    """Say whether PostgreSQL runs as another account than the service: its superuser reads what its account can."""
    service = installation.service
    if service.settings.dsn is None:
        yield note("accounts", "the embedded PostgreSQL is not separate from the service: for trials, not for communes")
        return
    if not is_local(service.settings.dsn):
        yield ok("accounts", "PostgreSQL is on another host")
        return
    async with service.store.connect_anew("read") as connection:
        pid = connection.get_server_pid()
    try:
        server = Path(f"/proc/{pid}").stat().st_uid
    except FileNotFoundError:
        yield note("accounts", "this process may not see PostgreSQL's processes: run doctor as root to compare them")
        return
    keys = service.settings.keystore_path.stat().st_uid
    if server in {keys, os.geteuid()}:
        yield warning(
            "accounts",
            f"PostgreSQL runs as the account {server}, which also owns {service.settings.keystore_path}: a superuser "
            "of PostgreSQL reads the keys",
            "run the service as an account of its own: openepm-journal setup makes it",
        )
    else:
        yield ok("accounts", "PostgreSQL and the service run as different accounts")


async def check_credentials(installation: Installation) -> AsyncIterator[Finding]:
    """Name the credentials that expire soon, and are not followed by another of the same commune and label."""
    service = installation.service
    now = service.clock.now()
    rows = [row for row in await service.store.list_credentials() if _is_valid(row, now)]
    last: dict[tuple[str, str, str], datetime | None] = {}
    for row in rows:
        key = (row.tenant, row.role, row.label)
        if key not in last or last[key] is not None:
            before = last.get(key)
            last[key] = None if row.expires_at is None else max(row.expires_at, before or row.expires_at)
    soon = [
        row
        for row in rows
        if row.expires_at is not None
        and row.expires_at - now < EXPIRY_WARNING
        and last[row.tenant, row.role, row.label] == row.expires_at
    ]
    for row in soon:
        assert row.expires_at is not None
        told = (
            f"{row.id} of {row.tenant} ({row.role}) expires on {format_seconds(row.expires_at.replace(microsecond=0))}"
        )
        yield warning("credentials", told, f"openepm-journal credential rotate {row.id}")
    if not soon:
        yield ok("credentials", f"{len(rows)} are valid, none expires within {EXPIRY_WARNING.days} days")


async def check_confirmations(installation: Installation) -> AsyncIterator[Finding]:
    """Name the communes that were handed days over and have not confirmed that they can open them."""
    store = installation.service.store
    recipients = await store.read_recipients()
    unsure = 0
    for row in recipients:
        if row.confirmed_at is None and (files := await store.placed_handovers(row.tenant)):
            unsure += 1
            categories = ", ".join(sorted({file.category for file in files}))
            told = f"{row.tenant} has not confirmed that it can open its hand-overs ({categories})"
            yield warning("hand-over", f"{told}: the purge does not rely on them, and keeps each day to its limit", ASK)
    if recipients and not unsure:
        yield ok("hand-over", "every commune that was handed days over can open them")


async def check_longer(installation: Installation) -> AsyncIterator[Finding]:
    """Name the communes without hand-over, where a category is to be kept for longer than the service keeps it."""
    service = installation.service
    longer = longer_categories(service)
    without = sorted(await communes_without_handover(service)) if longer else []
    if without:
        named = ", ".join(without[:TOLD_AT_ONCE]) + (" and others" if len(without) > TOLD_AT_ONCE else "")
        told = f"{', '.join(longer)} must be kept for longer than here, and nothing is handed over to {named}"
        yield warning("hand-over", told, "openepm-journal tenant handover COMMUNE --certificate PEM")


async def check_sources(installation: Installation) -> AsyncIterator[Finding]:
    """Name the chains into which a module may post, and that have recorded nothing for a week; sources out of rhythm.

    Readiness does not tell of them: the service is well, and somebody else's module is not.
    """
    service = installation.service
    now = service.clock.now()
    since: dict[tuple[str, str], datetime] = {}
    for row in await service.store.list_credentials():
        tenant = service.snapshot.tenant(row.tenant)
        if row.role == "module" and _is_valid(row, now) and tenant is not None and not tenant.closed:
            for category in row.categories:
                known = since.get((row.tenant, category), row.created_at)
                since[row.tenant, category] = min(known, row.created_at)
    silent = await _find_silent(service, since, now)
    for category, tenants in sorted(silent.items()):
        named = ", ".join(tenants[:TOLD_AT_ONCE]) + (" and others" if len(tenants) > TOLD_AT_ONCE else "")
        told = f"{len(tenants)} communes have recorded nothing in {category} for {SILENT.days} days: {named}"
        yield warning("sources", told, "ask their module's operator; credential list shows what may post")
    sources = await read_sources(service.store, service.keyring, service.name)
    late = await read_silent(service.store, service.keyring, service.name, sources)
    for one in late[:TOLD_AT_ONCE]:
        told = f"{one.tenant} {one.category}: {one.describe()}"
        yield warning("sources", told, "ask its module's operator; if its rhythm has changed: openepm-journal rhythm")
    if len(late) > TOLD_AT_ONCE:
        yield warning("sources", f"{len(late) - TOLD_AT_ONCE} more are silent", "openepm-journal sources names them")
    if not silent and not late:
        yield ok("sources", f"each of {len(since)} chains with a module has recorded something this week")


async def _find_silent(service: Service, since: dict[tuple[str, str], datetime], now: datetime) -> dict[str, list[str]]:
    chains = sorted(since)
    heads = await service.store.read_heads([tenant for tenant, _ in chains], [category for _, category in chains])
    last = {(head.tenant, head.category): head.recorded_at for head in heads}
    silent: dict[str, list[str]] = defaultdict(list)
    for chain in chains:
        recorded = last.get(chain)
        if now - (recorded or since[chain]) > SILENT:
            silent[chain[1]].append(chain[0])
    return silent


async def check_backups(installation: Installation) -> AsyncIterator[Finding]:
    """Say how the database's WAL leaves the server, and since when it does not."""
    service = installation.service
    if service.settings.dsn is None:
        yield note("backups", "the embedded PostgreSQL is not backed up: for trials, not for communes")
        return
    row = await service.store.read_archiving()
    archives = row["archive_mode"] != "off"
    if not archives and not row["slots"]:
        yield note("backups", "the WAL is neither archived (archive_mode) nor read by a slot: nothing backs it up")
    if archives:
        yield judge_archive(row, service.clock.now())
    for slot in row["slots"]:
        if slot in row["unread"]:
            told = f"the slot {slot} is read by nobody: backups stand still, and WAL collects on the server"
            yield warning("backups", told, "on the host of the backups: barman check openepm-journal")
        else:
            yield ok("backups", f"the WAL is read by the slot {slot}")


def judge_archive(row: Mapping[str, Any], now: datetime) -> Finding:
    """Return what the archiver's last success and last failure say."""
    last, failed = row["last_archived_time"], row["last_failed_time"]
    mend = "see archive_command, or archive_library, and the log of PostgreSQL"
    if failed is not None and (last is None or failed > last):
        since = f"the last success is of {format_seconds(last)}" if last else "none has succeeded"
        return warning(
            "backups", f"archiving the WAL fails, at {format_seconds(failed)} for the last time; {since}", mend
        )
    if last is None:
        return warning("backups", "no WAL has been archived yet", mend)
    told = f"the last WAL was archived at {format_seconds(last)}"
    # A segment is ended after archive_timeout, while anything is written.
    return warning("backups", told, mend) if now - last > ARCHIVED_LATE else ok("backups", told)


async def check_authority(installation: Installation) -> AsyncIterator[Finding]:
    """Say whether the time-stamping authority answers, by whose clock, and how many close seals wait for it."""
    service = installation.service
    stamper = service.stamper
    if stamper is None:
        yield note("time-stamping", "no time-stamping authority is configured (JOURNAL_TSA_URL)")
        return
    wait = f"{len(await stamper.waiting())} close seals wait for a time-stamp"
    try:
        theirs = await stamper.ask_time()
    except NotStampedError as error:
        since = await service.store.stamping_failed_since()
        known = f", since {format_seconds(since.replace(microsecond=0))}" if since is not None else ""
        yield warning("time-stamping", f"{stamper.authority}: {error}{known}; {wait}", ASKED_AGAIN)
        return
    departure = abs(theirs - service.clock.now())
    if departure > CLOCK_DEPARTURE_LIMIT:
        told = f"this machine's clock and that of {stamper.authority} differ by {departure.total_seconds():.0f} s"
        yield failure("time-stamping", told, "correct the clock of this machine: timedatectl")
    else:
        yield ok("time-stamping", f"{stamper.authority} answers; {wait}")


def _is_valid(row: CredentialRow, now: datetime) -> bool:
    return row.revoked_at is None and (row.expires_at is None or row.expires_at > now)
