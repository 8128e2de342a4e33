"""`signer`: run the signer, or decide what it goes on from."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from journal.cli.installation import opened
from journal.core.entry import RESERVED_TENANT
from journal.core.errors import OperatorError
from journal.core.times import format_seconds
from journal.settings import SIGNER_SOCKET

if TYPE_CHECKING:
    import argparse

    from journal.settings import Settings


async def signer(settings: Settings, arguments: argparse.Namespace) -> int:
    """Run the signer; or let it learn from the stored seals, or accept a last seal of the future: an `alarm` entry."""
    if not arguments.learn and not arguments.leave_future_seal:
        _become_signer(settings)
    async with opened(settings) as installation:
        service = installation.service
        if arguments.learn:
            number = await service.sealer.learn()
            data = {"alarm": "signer learned", "seal": number}
            said = f"learned: the signer goes on from seal {number}, as the database has it"
        else:
            until = await service.sealer.leave_future_seal()
            if until is None:
                raise OperatorError("the last seal is not of the future: there is nothing to leave")
            data = {"alarm": "future seal accepted", "until": format_seconds(until)}
            said = f"accepted: until {format_seconds(until)} seals bear that time"
        await service.chronicle.write("alarm", tenant=RESERVED_TENANT, subject="seal", data=data)
    print(said)
    return 0


def _become_signer(settings: Settings) -> None:
    """Replace this process by the signer, which loads nothing of the service."""
    files = (
        settings.signing_key_path,
        settings.signing_cert_path,
        settings.signer_state_path,
        settings.trust_path,
    )
    path = settings.signer_socket_path or SIGNER_SOCKET
    program = [sys.executable, "-P", "-m", "journal.signer", "--socket", str(path), *map(str, files)]
    if settings.service_name is not None:
        program += ["--service", settings.service_name]
    os.execv(sys.executable, program)  # noqa: S606 - this very Python
