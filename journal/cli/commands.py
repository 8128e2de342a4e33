"""The operator's short commands: each opens the installation, does one thing, says what it did."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tqdm import tqdm

from journal.admin.administration import NewCategory
from journal.audit.run import Audit
from journal.cli.installation import Installation, check_restored, is_made, open_database, open_service, prepare
from journal.cli.outputs import check_free
from journal.cli.status import tell, tell_pending
from journal.clock import SystemClock
from journal.core.entry import Compartment
from journal.core.errors import JournalError, NotStampedError, OperatorError
from journal.core.times import format_day, format_seconds
from journal.database.migrate import migrate as run_migrations
from journal.database.pools import translated
from journal.keys.files import appear_whole
from journal.pki.timestamp import time_text
from journal.reading.plan import ExtractRequest
from journal.writing.chronicle import SUBMITTED_BY

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator

    from journal.database.ingest import CategoryRow
    from journal.seals.stamper import Stamper
    from journal.settings import Settings


@asynccontextmanager
async def opened(
    settings: Settings, *, make: bool = False, writes: bool = True, recovers: bool = False
) -> AsyncIterator[Installation]:
    """Open the configured installation beside whatever else uses it.

    It is made where there is none only if `make`: a command typed in the wrong directory must not find an empty
    journal in order. What only looks (`writes` false) prepares no days, and may look at a database that has forgotten
    a purge; of the others, only what `recovers` it may open such a database. Raises OperatorError.
    """
    if not make and settings.dsn is None and not is_made(settings):
        raise OperatorError(
            f"there is no journal in {settings.home_path}: start one with openepm-journal serve, or set JOURNAL_HOME "
            "(or JOURNAL_DSN) to the one you mean"
        )
    clock = SystemClock()
    async with open_database(settings) as dsn:
        await prepare(dsn, settings, clock)
        if writes and not recovers:
            await check_restored(dsn, settings)
        async with open_service(dsn, settings, clock) as installation:
            if writes:
                await installation.maintenance.prepare()
            yield installation


async def migrate(settings: Settings, _: argparse.Namespace) -> int:
    """Apply what is missing of the schema."""
    async with open_database(settings) as dsn:
        with translated():
            applied = await run_migrations(dsn)
    print(f"applied {', '.join(applied)}" if applied else "the schema is up to date")
    return 0


async def doctor(settings: Settings, _: argparse.Namespace) -> int:
    """Print every check and its result, then where the service stands; 1 if a check fails."""
    async with opened(settings, writes=False) as installation:
        service = installation.service
        checks = await service.readiness()
        if await service.store.clock_is_simulated():
            checks["clock"] = "the database's clock is simulated: this installation proves nothing"
        print(f"service {service.name} in {settings.home_path}")
        print(f"its certificate is valid until {service.identity.not_after:%Y-%m-%d}")
        for name, problem in checks.items():
            print(f"{'FAIL' if problem else 'ok  '} {name}{': ' + problem if problem else ''}")
        for line in (*tell_pending(service.snapshot.categories()), *tell(await service.status())):
            print(line)
        if service.stamper is not None:
            print(f"{len(await service.stamper.waiting())} close seals wait for a time-stamp")
    return int(any(checks.values()))


async def tenant_add(settings: Settings, arguments: argparse.Namespace) -> int:
    """Add a commune."""
    async with opened(settings, make=True) as installation:
        await installation.administration.add_tenant(arguments.code, arguments.name)
    print(
        f"tenant {arguments.code} added; next: openepm-journal credential add --role module --tenant {arguments.code} …"
    )
    return 0


async def tenant_list(settings: Settings, _: argparse.Namespace) -> int:
    """List the communes."""
    async with opened(settings, writes=False) as installation:
        for row in installation.service.snapshot.tenants():
            state = "\tdestroyed" if row.destroyed else "\tclosed" if row.closed else ""
            print(f"{row.code}\t{row.name}{state}")
    return 0


async def tenant_handover(settings: Settings, arguments: argparse.Namespace) -> int:
    """Register the certificate of a commune's hand-over, or end it."""
    if arguments.none:
        async with opened(settings) as installation:
            await installation.administration.end_handover(arguments.code)
        print(f"nothing more is handed over to {arguments.code}")
        return 0
    try:
        pem = Path(arguments.certificate).read_bytes()
    except OSError as error:
        raise OperatorError(f"{arguments.certificate} cannot be read: {error.strerror}") from error
    async with opened(settings) as installation:
        recipient = await installation.administration.register_recipient(arguments.code, pem)
    print(f"days of {arguments.code} are handed over below {settings.handover_path / arguments.code} before they go")
    print(f"certificate {recipient.certificate.name}, valid until {recipient.certificate.not_after:%Y-%m-%d}")
    print(f"SHA-256 {recipient.sha256.hex()}: have the commune read it out to you, by another way than the file came")
    return 0


async def category_add(settings: Settings, arguments: argparse.Namespace) -> int:
    """Add a category."""
    async with opened(settings) as installation:
        await installation.administration.add_category(
            NewCategory(
                code=arguments.code,
                label=arguments.label,
                regime=arguments.regime,
                retention_days=arguments.retention_days,
                needs_authorisation=arguments.needs_authorisation,
            )
        )
        await installation.maintenance.prepare()
    print(f"category {arguments.code} added, kept {arguments.retention_days} days")
    return 0


async def category_list(settings: Settings, _: argparse.Namespace) -> int:
    """List the categories."""
    async with opened(settings, writes=False) as installation:
        for row in installation.service.snapshot.categories():
            authorisation = "\tneeds authorisation" if row.needs_authorisation else ""
            print(f"{row.code}\t{row.label}\t{row.regime}\t{rule_text(row)}{authorisation}")
    return 0


def rule_text(row: CategoryRow) -> str:
    """Return the rule in force, and the one that is pending."""
    days, since = row.next_retention_days, row.next_since
    if days is None or since is None:
        return f"{row.stated_days} days"
    if days < row.stated_days:
        return f"{row.stated_days} days, {days} pending since {format_day(since)}"
    return f"{row.stated_days} days, a day more each day up to {days}"


async def credential_add(settings: Settings, arguments: argparse.Namespace) -> int:
    """Make a credential; the token alone goes to standard output, once."""
    async with opened(settings) as installation:
        identifier, token = await installation.administration.add_credential(
            role=arguments.role,
            tenant=arguments.tenant,
            categories=arguments.category,
            source_prefix=arguments.source_prefix,
            label=arguments.label,
            expires_at=arguments.expires_at,
        )
    print(f"credential {identifier} ({arguments.role}); its token, shown this once:", file=sys.stderr)
    print(token)
    return 0


async def credential_list(settings: Settings, _: argparse.Namespace) -> int:
    """List the credentials."""
    async with opened(settings, writes=False) as installation:
        for row in await installation.service.store.list_credentials():
            state = "revoked" if row.revoked_at else f"until {row.expires_at:%Y-%m-%d}" if row.expires_at else "valid"
            print(f"{row.id}\t{row.role}\t{row.tenant}\t{','.join(row.categories)}\t{state}\t{row.label}")
    return 0


async def credential_revoke(settings: Settings, arguments: argparse.Namespace) -> int:
    """Revoke a credential."""
    async with opened(settings) as installation:
        await installation.administration.revoke_credential(arguments.id)
    print(f"credential {arguments.id} is refused from now on")
    return 0


async def extract(settings: Settings, arguments: argparse.Namespace) -> int:
    """Make an extract; the file appears only once it is whole."""
    output = Path(arguments.output)
    check_free(output, "-o", "an extract")
    async with opened(settings) as installation:
        await installation.check_clock(confirmed=arguments.clock_is_right)
        compartment = _compartment(installation, arguments.tenant, arguments.category)
        chunks = await installation.service.extraction.extract(
            compartment,
            ExtractRequest(
                from_day=arguments.from_day,
                to_day=arguments.to_day,
                purpose=arguments.purpose,
                requester=arguments.requester,
                account=arguments.account,
                subject=arguments.subject,
                action=arguments.action,
                request_reference=arguments.request_reference,
                authorisation=arguments.authorisation,
            ),
            requested_by=SUBMITTED_BY,
            disclose=True,
        )
        with appear_whole(output.absolute()) as file, _progress("extract", "B") as progress:
            async for chunk in chunks:
                file.write(chunk)
                progress.update(len(chunk))
    print(f"{output}; check it with: journal-verify {output} --trust {settings.trust_path}")
    return 0


async def seal(settings: Settings, arguments: argparse.Namespace) -> int:
    """Close the days that are over, seal the heads, and have time-stamped what waits for it."""
    async with opened(settings) as installation:
        await installation.check_clock(confirmed=arguments.clock_is_right)
        made = [*await installation.service.sealer.close_due_days()]
        if (row := await installation.service.sealer.seal_open(even_if_still=False)) is not None:
            made.append(row)
        for row in made:
            kind = f"close {format_day(row.day)}" if row.day else "open"
            print(f"seal {row.number}\t{format_seconds(row.sealed_at)}\t{kind}")
        if not made:
            print("nothing moved since the last seal")
        if installation.service.stamper is not None:
            await _stamp(installation.service.stamper)
    return 0


async def _stamp(stamper: Stamper) -> None:
    """Have time-stamped what waits; without its authority a seal holds as well, so that is no failure."""
    try:
        async for stamped in stamper.stamp_waiting():
            at = time_text(stamped.timestamp.stamped_at)
            print(f"seal {stamped.number}\ttime-stamped {at}\t{stamped.timestamp.authority}")
    except NotStampedError as error:
        waiting = len(await stamper.waiting())
        print(f"openepm-journal: {waiting} close seals not time-stamped yet: {error}", file=sys.stderr)


async def handover(settings: Settings, arguments: argparse.Namespace) -> int:
    """Hand over what is due; 1 if something that should be cannot."""
    async with opened(settings) as installation:
        await installation.check_clock(confirmed=arguments.clock_is_right)
        done = await installation.handover.run()
        faults = await installation.service.store.read_handover_faults()
    for handed in done:
        days = f"{format_day(handed.file.first_day)} to {format_day(handed.file.last_day)}"
        print(f"{handed.tenant} {handed.file.category} {days}: {handed.path}")
    for fault in faults:
        print(f"openepm-journal: {fault.detail}", file=sys.stderr)
    if not done and not faults:
        print("nothing is due")
    return int(bool(faults))


async def verify_store(settings: Settings, arguments: argparse.Namespace) -> int:
    """Check everything in the database, or one category's day of it; 1 if something is wrong."""
    if (arguments.category is None) != (arguments.day is None):
        raise OperatorError("--category and --day belong together")
    async with opened(settings, writes=False) as installation:
        audit = Audit(installation.service)
        if arguments.category is None:
            with _progress("verify-store", " entries") as progress:
                findings = await audit.run(progress.update)
        else:
            findings = [*await audit.prepare(), *await audit.check_leaf(arguments.category, arguments.day)]
    for finding in findings:
        print(finding)
    print(f"{audit.entries} entries in {audit.chains} chains, {audit.seals} seals: ", end="")
    print(f"{len(findings)} findings" if findings else "everything verifies")
    return int(bool(findings))


def _progress(title: str, unit: str) -> tqdm[NoReturn]:
    """Show how far a long work has come, on a terminal only."""
    return tqdm(unit=unit, unit_scale=unit == "B", disable=None, desc=title)


def _compartment(installation: Installation, tenant: str, category: str) -> Compartment:
    snapshot = installation.service.snapshot
    if snapshot.tenant(tenant) is None:
        raise OperatorError(f"there is no tenant {tenant}: see openepm-journal tenant list")
    if snapshot.category(category) is None:
        raise OperatorError(f"there is no category {category}: see openepm-journal category list")
    try:
        return Compartment(installation.service.name, tenant, category)
    except JournalError as error:
        raise OperatorError(str(error)) from error
