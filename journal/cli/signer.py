"""`signer`: what an operator decides about the signer's memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from journal.cli.installation import opened
from journal.core.entry import RESERVED_TENANT
from journal.core.errors import OperatorError
from journal.core.times import format_seconds

if TYPE_CHECKING:
    import argparse

    from journal.settings import Settings


async def signer(settings: Settings, arguments: argparse.Namespace) -> int:
    """Let the signer learn from the stored seals, or accept a last seal of the future; either is an `alarm` entry."""
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
