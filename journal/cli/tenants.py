"""`tenant`: add a commune, register its hand-over, move it, close its contract, destroy what is kept of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from journal.admin.confirmation import confirm_handover
from journal.admin.recipient import read_recipient
from journal.cli.commands import check_directory, check_free, read_file
from journal.cli.installation import opened
from journal.cli.listing import as_json, members_of, print_json
from journal.core.errors import OperatorError
from journal.core.times import format_day
from journal.document.render import DESTRUCTION
from journal.keys.files import replace_durably
from retention.continuation import continue_tenant, read_ended
from retention.moving import move_tenant
from retention.slips import make_paper, paper_name

if TYPE_CHECKING:
    import argparse

    from journal.database.handover import RecipientRow
    from journal.settings import Settings

# A report holds no personal data and no secret.
REPORT_MODE = 0o644


async def tenant_add(settings: Settings, arguments: argparse.Namespace) -> int:
    """Add a commune."""
    async with opened(settings, make=True) as installation:
        await installation.administration.add_tenant(arguments.code, arguments.name)
    print(
        f"tenant {arguments.code} added; next: openepm-journal credential add --role module --tenant {arguments.code} …"
    )
    return 0


async def tenant_continue(settings: Settings, arguments: argparse.Namespace) -> int:
    """Have a commune's journal cite what ended elsewhere."""
    ended = read_ended(Path(arguments.export), Path(arguments.trust))
    async with opened(settings) as installation:
        await continue_tenant(installation.service, installation.administration, arguments.code, ended)
    print(
        f"the journal of {arguments.code} continues {len(ended.heads)} chains of {ended.tenant} at {ended.service}: "
        "it cites each head, and the export that was signed there"
    )
    return 0


async def tenant_move(settings: Settings, arguments: argparse.Namespace) -> int:
    """Have a commune's modules record at another service, and sign the inventory that its journal there cites."""
    code, inventory = arguments.code, Path(arguments.inventory).absolute()
    check_directory(inventory)
    async with opened(settings) as installation:
        await installation.check_clock(confirmed=arguments.clock_is_right)
        former = installation.administration.find_tenant(code).moved_at
        chains = await move_tenant(installation.service, installation.administration, code, arguments.to, inventory)
    if former is None:
        print(f"tenant {code} moved to {arguments.to}: here, nothing more is accepted from its modules")
    else:
        print(f"tenant {code} moved on {format_day(former.date())}, where its journal says: only the inventory is new")
    print(f"{inventory}, signed in {_signature_of(inventory)}: the heads of its {chains} chains")
    print(
        f"there, with both files and {settings.trust_path} as old-trust.pem: openepm-journal tenant continue {code} "
        f"--export {inventory.name} --trust old-trust.pem; "
        "here its people go on asking for the days that are kept, until the last is purged"
    )
    return 0


async def tenant_list(settings: Settings, arguments: argparse.Namespace) -> int:
    """List the communes."""
    async with opened(settings, writes=False) as installation:
        rows = installation.service.snapshot.tenants()
        certificates = {row.tenant: row for row in await installation.service.store.list_recipients()}
        if as_json(arguments):
            members = ("code", "name", "created_at", "moved_at", "closed_at", "destroyed_at")
            print_json([members_of(row, members) | _handover_of(row.code, certificates) for row in rows])
            return 0
        for row in rows:
            state = "\tdestroyed" if row.destroyed else "\tclosed" if row.closed else "\tmoved" if row.moved else ""
            print(f"{row.code}\t{row.name}{state}")
    return 0


def _handover_of(code: str, recipients: dict[str, RecipientRow]) -> dict[str, object]:
    """Return the member `handover` of a commune: null where nothing is handed over."""
    row = recipients.get(code)
    if row is None:
        return {"handover": None}
    recipient = read_recipient(row.certificate)
    return {
        "handover": {
            "certificate_sha256": recipient.sha256.hex(),
            "confirmed_at": row.confirmed_at,
            "not_after": recipient.certificate.not_after,
            "registered_at": row.registered_at,
        }
    }


async def tenant_handover(settings: Settings, arguments: argparse.Namespace) -> int:
    """Register the certificate for a commune's hand-over, confirm that it opened one, or end the hand-over."""
    if arguments.none:
        async with opened(settings) as installation:
            await installation.administration.end_handover(arguments.code)
        print(f"nothing more is handed over to {arguments.code}")
        return 0
    if arguments.confirm is not None:
        async with opened(settings) as installation:
            file = await confirm_handover(installation.service, arguments.code, arguments.confirm)
        days = f"{format_day(file.first_day)} to {format_day(file.last_day)}"
        print(
            f"{arguments.code} has opened its hand-over of {file.category} {days}: the purge relies on hand-overs to it"
        )
        return 0
    try:
        pem = Path(arguments.certificate).read_bytes()
    except OSError as error:
        raise OperatorError(f"{arguments.certificate} cannot be read: {error.strerror}") from error
    async with opened(settings) as installation:
        recipient = await installation.administration.register_recipient(arguments.code, pem)
    print(f"before their purge, days of {arguments.code} are handed over in {settings.handover_path / arguments.code}")
    print(f"certificate {recipient.certificate.name}, valid until {recipient.certificate.not_after:%Y-%m-%d}")
    print(f"SHA-256 {recipient.sha256.hex()}: compare it with the commune over another channel")
    print(
        "the purge relies on no hand-over to it yet: once the commune has opened the first, it gives the confirmation "
        f"code in the console, or you do: openepm-journal tenant handover {arguments.code} --confirm CODE"
    )
    return 0


async def tenant_close(settings: Settings, arguments: argparse.Namespace) -> int:
    """Refuse further entries of a commune and export all that is kept of it."""
    code = arguments.code
    if arguments.without_export:
        if arguments.certificate is not None:
            raise OperatorError("--certificate cannot be combined with --without-export")
        async with opened(settings) as installation:
            await installation.check_clock(confirmed=arguments.clock_is_right)
            await installation.closing.close_without_export(code)
        print(f"tenant {code} closed without an export: nothing more is accepted; its days are purged as usual")
        return 0
    pem = read_file(Path(arguments.certificate)) if arguments.certificate is not None else None
    async with opened(settings) as installation:
        await installation.check_clock(confirmed=arguments.clock_is_right)
        exported = await installation.closing.close(code, Path(arguments.export_to).absolute(), pem)
    print(f"tenant {code} closed: nothing more is accepted for it")
    print(f"{exported.path.parent}: {exported.files} files, listed with their hashes in {exported.path.name}")
    print(
        f"once the commune has opened them: openepm-journal tenant destroy {code} --confirm {code} --report FILE; "
        "until then its days are purged as usual"
    )
    return 0


async def tenant_destroy(settings: Settings, arguments: argparse.Namespace) -> int:
    """Destroy what is kept of a closed commune and write the signed destruction report."""
    code, output = arguments.code, Path(arguments.report).absolute()
    if arguments.confirm != code:
        raise OperatorError(f"--confirm says {arguments.confirm}, not {code}: nothing was changed")
    check_directory(output)
    async with opened(settings) as installation:
        await installation.check_clock(confirmed=arguments.clock_is_right)
        ending = await installation.destruction.check(code)
        if ending.finished_at is None:
            for path in (output, _signature_of(output), _paper_of(output)):
                check_free(path, "--report", "a report")
        with tqdm(unit=" entries", disable=None, desc="tenant destroy") as progress:
            report = await installation.destruction.run(code, progress.update)
        service = installation.service
        _write(output, report, await service.signer.sign(report, service.clock.now()))
        await installation.vacuum_removed()
        _put(_paper_of(output), await make_paper(service, DESTRUCTION, output.name, report))
    signature = _signature_of(output)
    print(f"tenant {code} destroyed: its key and its entries are deleted, which the seals show from now on")
    print(f"{_paper_of(output)}: the same as pages, signed, for the commune")
    print(f"{output}, signed in {signature}; check it with: openssl cms -verify -binary -inform DER -in {signature} "
          f"-content {output} -CAfile {settings.trust_path} -purpose any -out /dev/null")  # fmt: skip
    return 0


def _signature_of(output: Path) -> Path:
    return output.with_name(f"{output.name}.p7s")


def _paper_of(output: Path) -> Path:
    return output.with_name(paper_name(output.name))


def _write(output: Path, report: bytes, signature: bytes) -> None:
    """Write the report and its signature; the same command, repeated, can write them elsewhere."""
    try:
        other = output.exists() and output.read_bytes() != report
    except OSError as error:
        raise _refused(error, output) from error
    if other:
        raise OperatorError(
            f"{output} has other content; the data is destroyed: repeat the command with another --report"
        )
    _put(_signature_of(output), signature)
    _put(output, report)


def _put(path: Path, content: bytes) -> None:
    try:
        replace_durably(path, content, mode=REPORT_MODE)
    except OSError as error:
        raise _refused(error, path) from error


def _refused(error: OSError, path: Path) -> OperatorError:
    where, what = error.filename or path, error.strerror or type(error).__name__
    return OperatorError(f"{where}: {what}; the data is destroyed: repeat the command with another --report")
