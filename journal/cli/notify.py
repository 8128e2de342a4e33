"""`notify`: tell by mail and webhook what is wrong; run by a timer, and by systemd when a unit has failed."""

from __future__ import annotations

import asyncio
import re
import socket
import sys
import time
from typing import TYPE_CHECKING

from journal.cli.communes_told import look_and_tell
from journal.core.errors import OperatorError
from journal.notices.channels import Notice, channels, deliver
from journal.notices.host import problems
from journal.notices.progress import progress_of
from journal.notices.told import AGAIN_SECONDS, Told
from journal.settings import DEFAULT_SERVICE_NAME

if TYPE_CHECKING:
    import argparse

    from journal.notices.channels import Channel
    from journal.settings import Settings

TOLD = "notices.json"
UNIT_AGAIN_SECONDS = 3600
_IS_UNIT = re.compile(r"[A-Za-z0-9:_.@\\-]{1,255}").fullmatch


async def notify(settings: Settings, arguments: argparse.Namespace) -> int:
    """Tell what is new, what has lasted for a day, and what is over; 1 if a channel failed."""
    ways = channels(settings)
    is_asked = bool(arguments.unit or arguments.test)
    # Persons of communes are told neither of units nor of tests.
    if not ways and (is_asked or settings.notify_mail_from is None):
        raise OperatorError(
            "nobody is told: set notify_mail_from (persons of communes get mail), and notify_mail_to or notify_webhook "
            "(this host's operators are told)"
        )
    of_store, failure = ({}, None) if is_asked else await look_and_tell(settings)
    if failure is not None:
        print(f"openepm-journal: the communes were not told: {failure}", file=sys.stderr)
    found, again_seconds = await _found(settings, arguments)
    status = await _tell_host(ways, settings, arguments, found | of_store, again_seconds)
    return status | int(failure is not None)


async def _tell_host(
    ways: list[Channel],
    settings: Settings,
    arguments: argparse.Namespace,
    found: dict[str, str],
    again_seconds: float,
) -> int:
    told = Told(settings.home_path / TOLD)
    failures = await asyncio.gather(
        *(
            _tell(way, settings, told, found, again_seconds, only_new=bool(arguments.unit or arguments.test))
            for way in ways
        )
    )
    for way, failure in zip(ways, failures, strict=True):
        if failure:
            print(f"openepm-journal: nothing was told by {way.name}: {failure}", file=sys.stderr)
    return int(any(failures))


async def _found(settings: Settings, arguments: argparse.Namespace) -> tuple[dict[str, str], float]:
    """Return the problems, and how soon each is told again."""
    if arguments.test:
        return {"test": "this is a test, asked for by the operator: nothing is wrong"}, 0
    if unit := arguments.unit:
        if not _IS_UNIT(unit):
            raise OperatorError("--unit is no name of a unit")
        return {f"unit {unit}": f"{unit} has failed: journalctl -u {unit} says why"}, UNIT_AGAIN_SECONDS
    return await problems(settings) | progress_of(settings).waiting(time.time()), AGAIN_SECONDS


async def _tell(
    way: Channel, settings: Settings, told: Told, found: dict[str, str], again_seconds: float, *, only_new: bool
) -> str | None:
    now = time.time()
    due = told.due(way.name, found, now, again_seconds)
    over = [] if only_new else told.over(way.name, found)
    if not due and not over:
        return None
    lines = [found[problem] for problem in due] + [f"over: {problem}" for problem in over]
    service, host = settings.service_name or DEFAULT_SERVICE_NAME, socket.gethostname()
    count = f"{len(due)} problem{'s' if len(due) > 1 else ''}" if due else "in order again"
    subject = f"[{service}] {count} on {host}"
    failure = await deliver(way, Notice(service=service, host=host, subject=subject, lines=lines))
    if failure is None and "test" not in found:
        told.note(way.name, due, over, now)
    return failure
