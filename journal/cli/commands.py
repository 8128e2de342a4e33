"""The operator's short commands: each opens the installation, does one thing and prints the result."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tqdm import tqdm

from journal.admin.credentials import person_of
from journal.audit.run import Audit
from journal.audit.watch import check_catalog, check_facts, check_keys, check_restored, check_rules
from journal.cli.installation import bring_up_to_date, open_database, opened
from journal.cli.listing import as_json, members_of, print_json
from journal.clock import SystemClock
from journal.core.entry import Compartment
from journal.core.errors import EmptyError, JournalError, NotStampedError, OperatorError
from journal.core.times import format_day, format_seconds
from journal.extract.grounds import Authorisation, Person
from journal.keys.files import appear_whole, create_all_durably
from journal.pki.timestamp import time_text
from journal.reading.plan import ExtractRequest
from journal.writing.chronicle import AUTOMATIC, SUBMITTED_BY
from retention.attestation import Attestations

if TYPE_CHECKING:
    import argparse
    from datetime import date

    from journal.admin.credentials import Token
    from journal.cli.installation import Installation
    from journal.seals.stamper import Stamper
    from journal.settings import Settings


# What the operator is in an extract that it makes for a commune.
OPERATOR_FUNCTION = "exploitant du service"


async def migrate(settings: Settings, _: argparse.Namespace) -> int:
    """Apply the missing migrations."""
    async with open_database(settings) as dsn:
        applied = await bring_up_to_date(dsn, settings, SystemClock())
    print(f"applied {', '.join(applied)}" if applied else "the schema is up to date")
    return 0


async def credential_add(settings: Settings, arguments: argparse.Namespace) -> int:
    """Make a credential; only its token goes to standard output, this once."""
    async with opened(settings) as installation:
        identifier, token = await installation.administration.credentials.add(
            role=arguments.role,
            tenant=arguments.tenant,
            categories=arguments.category,
            source_prefix=arguments.source_prefix,
            certificate_pem=read_file(Path(arguments.certificate)) if arguments.certificate else None,
            person=person_of(arguments.person, arguments.function),
            label=arguments.label,
            expires_at=arguments.expires_at,
        )
    print(f"credential {identifier} ({arguments.role}); its token, shown only now:", file=sys.stderr)
    print(token)
    return 0


def read_file(path: Path) -> bytes:
    """Read a file that the operator named. Raises OperatorError, which names it."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise OperatorError(f"{path} cannot be read: {error.strerror}") from error


async def credential_list(settings: Settings, arguments: argparse.Namespace) -> int:
    """List the credentials."""
    async with opened(settings, writes=False) as installation:
        rows = await installation.service.store.list_credentials()
        if as_json(arguments):
            members = (
                *("id", "role", "tenant", "categories", "source_prefix", "certificate_sha256", "label"),
                *("created_at", "expires_at", "revoked_at"),
            )
            print_json([members_of(row, members) for row in rows])
            return 0
        for row in rows:
            state = "revoked" if row.revoked_at else f"until {row.expires_at:%Y-%m-%d}" if row.expires_at else "valid"
            print(f"{row.id}\t{row.role}\t{row.tenant}\t{','.join(row.categories)}\t{state}\t{row.label}")
    return 0


async def credential_revoke(settings: Settings, arguments: argparse.Namespace) -> int:
    """Revoke a credential."""
    async with opened(settings) as installation:
        await installation.administration.credentials.revoke(arguments.id)
    print(f"credential {arguments.id} is refused from now on")
    return 0


async def credential_rotate(settings: Settings, arguments: argparse.Namespace) -> int:
    """Make a credential like another, which ends after the overlap; its token goes to a file or to standard output."""
    path = Path(arguments.token_file).absolute() if arguments.token_file is not None else None
    if path is not None:
        check_free(path, "--token-file", "a token")

    def keep(token: Token) -> None:
        if path is not None:
            create_all_durably({path: f"{token}\n".encode("ascii")})

    async with opened(settings) as installation:
        identifier, token, ends = await installation.administration.credentials.rotate(
            arguments.id, overlap=timedelta(hours=arguments.overlap_hours), expires_at=arguments.expires_at, keep=keep
        )
    print(f"credential {identifier} replaces {arguments.id}, which is valid until {format_seconds(ends)}",
          file=sys.stderr)  # fmt: skip
    if path is None:
        print(token)
    return 0


async def extract(settings: Settings, arguments: argparse.Namespace) -> int:
    """Make an extract; the file appears once it is complete."""
    output = Path(arguments.output)
    if arguments.requester in AUTOMATIC:
        raise OperatorError(f"--requester {arguments.requester!r} is what the service calls itself: name who asks")
    check_free(output, "-o", "an extract")
    async with opened(settings) as installation:
        await installation.check_clock(confirmed=arguments.clock_is_right)
        compartment = _compartment(installation, arguments.tenant, arguments.category)
        extraction = installation.service.extraction
        wanted = ExtractRequest(
            from_day=arguments.from_day,
            to_day=arguments.to_day,
            purpose=arguments.purpose,
            requester=arguments.requester,
            account=arguments.account,
            subject=arguments.subject,
            action=arguments.action,
            occurred_from=arguments.occurred_from,
            occurred_to=arguments.occurred_to,
            request_reference=arguments.request_reference,
            authorisation=_authorisation(arguments),
            person=Person(settings.operator, OPERATOR_FUNCTION) if settings.operator else None,
            even_if_empty=arguments.even_if_empty,
        )
        made = await extraction.open(compartment, wanted, requested_by=SUBMITTED_BY, disclose=True)
        with appear_whole(output.absolute()) as file, _progress("extract", "B") as progress:
            try:
                async for chunk in made.chunks():
                    file.write(chunk)
                    progress.update(len(chunk))
            except EmptyError as error:
                await extraction.record_empty(compartment, wanted, SUBMITTED_BY, made.request.index, error)
                raise OperatorError(f"{error.reason}: to have that signed, add --even-if-empty") from error
    print(f"{output}; check it with: journal-verify {output} --trust {settings.trust_path}")
    return 0


def _authorisation(arguments: argparse.Namespace) -> Authorisation | None:
    """Return the authorisation that was given. Raises OperatorError for a part of one."""
    reference, issuer, day = arguments.authorisation, arguments.authorisation_issuer, arguments.authorisation_date
    if reference is None and issuer is None and day is None:
        return None
    if not reference or not issuer or day is None:
        raise OperatorError(
            "an authorisation has an issuer, a date and a reference: --authorisation REF --authorisation-issuer WHO "
            "--authorisation-date DAY"
        )
    return Authorisation(issuer, day, reference)


async def attestation(settings: Settings, arguments: argparse.Namespace) -> int:
    """Make the attestation that a commune's entries of a day were purged; the file appears once it is complete."""
    output = Path(arguments.output) if arguments.output is not None else None
    if output is not None:
        check_free(output, "-o", "an attestation")
    async with opened(settings) as installation:
        await installation.check_clock(confirmed=arguments.clock_is_right)
        print(await write_attestation(installation, arguments.tenant, arguments.day, output))
    return 0


async def write_attestation(installation: Installation, tenant: str, day: date, output: Path | None) -> str:
    """Write the attestation (default: `attestation-<tenant>-<day>.pdf`, here); return a line about it."""
    attestations = Attestations(installation.service)
    attested = await attestations.gather(tenant, day)
    if output is None:
        output = Path(f"attestation-{tenant}-{format_day(day)}.pdf")
        check_free(output, "-o", "an attestation")
    document = await attestations.record(attested)
    with appear_whole(output.absolute()) as file:
        file.write(document)
    destroyed = attested.of_state("destroyed")
    count = sum(facts.count for facts in destroyed)
    said = f"{count} {'entry' if count == 1 else 'entries'} destroyed of {', '.join(facts.code for facts in destroyed)}"
    if untold := attested.of_state("untold"):
        said += f"; the number is no longer known for {', '.join(facts.code for facts in untold)}"
    if kept := attested.of_state("kept"):
        said += f"; not attested, because still kept: {', '.join(facts.code for facts in kept)}"
    return f"{output}: {said}; check its signature with: pdfsig {output}"


async def seal(settings: Settings, arguments: argparse.Namespace) -> int:
    """Close the days that are over, seal the heads, and time-stamp what waits."""
    async with opened(settings) as installation:
        await installation.check_clock(confirmed=arguments.clock_is_right)
        made = [*await installation.service.sealer.close_due_days()]
        if (row := await installation.service.sealer.seal_open(even_if_still=False)) is not None:
            made.append(row)
        if as_json(arguments):
            print_json([members_of(row, ("number", "sealed_at", "day")) for row in made])
        else:
            for row in made:
                kind = f"close {format_day(row.day)}" if row.day else "open"
                print(f"seal {row.number}\t{format_seconds(row.sealed_at)}\t{kind}")
            if not made:
                print("nothing has changed since the last seal")
        if installation.service.stamper is not None:
            await _stamp(installation.service.stamper, told=not as_json(arguments))
    return 0


async def _stamp(stamper: Stamper, *, told: bool) -> None:
    """Time-stamp what waits. A failure is only printed: seals are valid without a time-stamp."""
    try:
        async for stamped in stamper.stamp_waiting():
            at = time_text(stamped.timestamp.stamped_at)
            if told:
                print(f"seal {stamped.number}\ttime-stamped {at}\t{stamped.timestamp.authority}")
    except NotStampedError as error:
        waiting = len(await stamper.waiting())
        print(f"openepm-journal: {waiting} close seals not time-stamped yet: {error}", file=sys.stderr)


async def handover(settings: Settings, arguments: argparse.Namespace) -> int:
    """Hand over what is due; 1 if a hand-over fails."""
    async with opened(settings) as installation:
        await installation.check_clock(confirmed=arguments.clock_is_right)
        done = await installation.handover.run()
        faults = await installation.service.store.read_handover_faults()
    if as_json(arguments):
        print_json(
            {
                "faults": [members_of(fault, ("tenant", "since", "detail")) for fault in faults],
                "handed_over": [
                    {"path": handed.path, "tenant": handed.tenant}
                    | members_of(handed.file, ("category", "first_day", "last_day"))
                    for handed in done
                ],
            }
        )
        return int(bool(faults))
    for handed in done:
        days = f"{format_day(handed.file.first_day)} to {format_day(handed.file.last_day)}"
        print(f"{handed.tenant} {handed.file.category} {days}: {handed.path}")
    for fault in faults:
        print(f"openepm-journal: {fault.detail}", file=sys.stderr)
    if not done and not faults:
        print("nothing is due")
    return int(bool(faults))


async def verify_store(settings: Settings, arguments: argparse.Namespace) -> int:
    """Check everything in the database, or the entries of one category's day; 1 if something is wrong."""
    if (arguments.category is None) != (arguments.day is None):
        raise OperatorError("--category and --day must be given together")
    async with opened(settings, writes=False) as installation:
        processors = len(os.sched_getaffinity(0))
        audit = Audit(installation.service, processes=processors if processors > 1 else 0)
        if arguments.category is None:
            with _progress("verify-store", " entries") as progress:
                findings = [*await check_catalog(installation.service), *await check_restored(installation.service)]
                findings += await check_facts(installation.service)
                findings += await check_keys(installation.service)
                findings += await check_rules(installation.service)
                findings += await audit.run(progress.update)
        else:
            findings = [*await audit.prepare(), *await audit.check_leaf(arguments.category, arguments.day)]
    if as_json(arguments):
        counts = {"chains": audit.chains, "entries": audit.entries, "seals": audit.seals}
        print_json(counts | {"findings": [str(finding) for finding in findings], "notes": audit.notes})
        return int(bool(findings))
    for finding in findings:
        print(finding)
    for note in audit.notes:
        print(f"note: {note}")
    print(f"{audit.entries} entries in {audit.chains} chains, {audit.seals} seals: ", end="")
    print(f"{len(findings)} findings" if findings else "everything verifies")
    return int(bool(findings))


def _progress(title: str, unit: str) -> tqdm[NoReturn]:
    """Show the progress of a long command, on a terminal only."""
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


def check_free(output: Path, option: str, what: str) -> None:
    """Refuse an output file that exists, or whose directory does not. Raises OperatorError.

    `option` is the command's option for the file, `what` its content.
    """
    if output.exists() or output.is_symlink():
        raise OperatorError(f"{output} exists: choose another name with {option}; {what} is never overwritten")
    check_directory(output)


def check_directory(output: Path) -> None:
    """Refuse an output file whose directory does not exist. Raises OperatorError."""
    if not output.absolute().parent.is_dir():
        raise OperatorError(f"there is no directory {output.absolute().parent}: make it, or name another file")
