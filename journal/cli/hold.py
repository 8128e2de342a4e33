"""`hold`: what an authority asks to preserve is handed over at once; the rule of retention is not bent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from journal.admin.recipient import read_recipient, read_recipient_pem
from journal.admin.texts import check_text
from journal.cli.commands import read_file
from journal.cli.installation import opened
from journal.core.errors import OperatorError
from journal.core.times import format_day
from journal.extract.grounds import Authorisation
from journal.keys.files import make_private_directory
from retention.preservation import Hold, preserve

if TYPE_CHECKING:
    import argparse

    from journal.admin.recipient import Recipient
    from journal.service import Service
    from journal.settings import Settings
    from retention.preservation import Held

NOT_BENT = (
    "the rule is not bent: what the service itself keeps of these days is destroyed when it would have been, and no "
    "request delays that. Else whoever can write a request could have everything kept, and every seal would lie about "
    "the rule. What is preserved is the file: give it to its recipient, and have its SHA-256 confirmed"
)


async def hold(settings: Settings, arguments: argparse.Namespace) -> int:
    """Hand over at once what an authority asks to preserve, and say why the purge goes on."""
    for option, text in (("--issuer", arguments.issuer), ("--reference", arguments.reference)):
        if not text.strip():
            raise OperatorError(f"{option} is blank")
        check_text(option, text)
    if arguments.certificate is not None and arguments.directory is None:
        raise OperatorError(
            "--certificate needs --directory: the commune's people fetch what is in the directory of its hand-over"
        )
    asked = Hold(
        tenant=arguments.tenant,
        categories=tuple(dict.fromkeys(arguments.category)),
        first_day=arguments.from_day,
        last_day=arguments.to_day,
        authorisation=Authorisation(arguments.issuer, arguments.date, arguments.reference),
    )
    pem = read_file(Path(arguments.certificate)) if arguments.certificate is not None else None
    async with opened(settings) as installation:
        await installation.check_clock(confirmed=arguments.clock_is_right)
        service = installation.service
        tenant = service.snapshot.tenant(asked.tenant)
        if tenant is None or tenant.closed:
            raise OperatorError(
                f"there is no commune {asked.tenant} whose contract runs: see openepm-journal tenant list"
            )
        recipient = read_recipient_pem(pem) if pem is not None else await _registered(service, asked.tenant)
        try:
            made = await preserve(service, asked, recipient, _root(settings, arguments.directory))
        except OSError as error:
            where, what = error.filename or "the directory", error.strerror or type(error).__name__
            raise OperatorError(f"{where}: {what}: nothing more was preserved; make room, then repeat") from error
    for held in made:
        _tell(held)
    print(f"encrypted to {recipient.certificate.name}, SHA-256 {recipient.sha256.hex()}")
    print(f"recorded in the journal of {asked.tenant}, where its référents alone are shown it")
    print(NOT_BENT)
    return 0


async def _registered(service: Service, tenant: str) -> Recipient:
    for row in await service.store.list_recipients():
        if row.tenant == tenant:
            return read_recipient(row.certificate)
    raise OperatorError(
        f"{tenant} has registered no certificate: openepm-journal tenant handover {tenant} --certificate PEM, or give "
        "the authority's with --certificate and --directory"
    )


def _root(settings: Settings, directory: str | None) -> Path:
    if directory is not None:
        return Path(directory).absolute()
    if settings.handover_directory is None:
        make_private_directory(settings.handover_path)
    return settings.handover_path


def _tell(held: Held) -> None:
    if held.gone_through is not None:
        print(
            f"{held.category}: the days up to {format_day(held.gone_through)} are destroyed already: nobody can bring "
            "them back"
        )
    if held.file is not None:
        days = f"{format_day(held.first_day)} to {format_day(held.last_day)}"
        print(f"{held.category}: {days}: {held.path}, SHA-256 {held.file.file_sha256.hex()}")
        print(
            f"{held.category}: the service destroys these days from {format_day(held.purged_from)} to "
            f"{format_day(held.purged_by)}, at the latest"
        )
