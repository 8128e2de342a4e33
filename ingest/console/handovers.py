"""The hand-overs of a commune: its certificate, what was handed over each night, and the confirmation that it opens."""

from __future__ import annotations

import asyncio
import os
import stat
from collections import defaultdict
from datetime import date, timedelta
from typing import TYPE_CHECKING

from aiohttp import web

from ingest.extracts import stream
from ingest.problems import ABSENT, ProblemError
from journal.admin.confirmation import CODE_DIGITS, confirm_handover
from journal.admin.recipient import read_recipient
from journal.core.entry import JOURNAL_CATEGORY
from journal.core.errors import OperatorError
from journal.core.times import day_of
from journal.database.handover import file_name

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from ingest.console.pages import Visit
    from journal.database.handover import HandoverFile, RecipientRow

SHOWN_DAYS = 60
READ_BYTES = 1024 * 1024


async def get_handovers(seen: Visit, _: dict[str, str]) -> web.StreamResponse:
    """Show the commune's certificate, whether it has confirmed a hand-over, and the files of the last nights."""
    return await _page(seen)


async def post_confirm(seen: Visit, fields: dict[str, str]) -> web.StreamResponse:
    """Confirm that the commune has opened a hand-over; only so many wrong codes are looked at."""
    if seen.console.attempts.wait_seconds(f"hand-over {seen.row.tenant}"):
        return await _page(seen, refused="attempts", status=429)
    who = {"function": seen.identity.function, "name": seen.identity.name}
    service = seen.console.edge.service
    try:
        await confirm_handover(
            service, seen.row.tenant, fields.get("code", "")[:200], person=who, submitted_by=seen.row.id
        )
    except OperatorError:
        return await _page(seen, refused="code", status=422)
    return await _page(seen, is_new=True)


async def get_slip(seen: Visit, fields: dict[str, str]) -> web.StreamResponse:
    """Answer the signed slip of a night to whoever may see every category in it; its making is recorded."""
    night = _night(fields)
    files = await seen.console.edge.service.store.placed_handovers(seen.row.tenant, night)
    if seen.console.slip is None or not files or any(_is_hidden(seen, file) for file in files):
        raise ProblemError(ABSENT, "")
    async with seen.turn():
        document = await seen.console.slip(seen.row.tenant, night)
    headers = {"Content-Disposition": f'attachment; filename="bordereau-{seen.row.tenant}-{night.isoformat()}.pdf"'}
    return web.Response(body=document, content_type="application/pdf", headers=headers)


async def get_file(seen: Visit, fields: dict[str, str]) -> web.StreamResponse:
    """Answer an encrypted file that was handed over, while it is where it was put."""
    files = await seen.console.edge.service.store.placed_handovers(seen.row.tenant)
    named = {file_name(seen.row.tenant, file): file for file in files if not _is_hidden(seen, file)}
    name = fields.get("nom", "")
    if name not in named:
        raise ProblemError(ABSENT, "")
    descriptor = await asyncio.to_thread(_open, _directory(seen) / name, named[name].file_bytes)
    if descriptor is None:
        raise ProblemError(ABSENT, "")
    size_bytes = named[name].file_bytes
    blocks = _blocks(descriptor, size_bytes)
    kind = "application/pkcs7-mime"
    return await stream(seen.request, blocks, name, seen.console.edge, seen.row.id, kind=kind, size_bytes=size_bytes)


async def _blocks(descriptor: int, size_bytes: int) -> AsyncGenerator[bytes, None]:
    """Yield a file of this size. Raises OSError where it became shorter meanwhile."""
    with os.fdopen(descriptor, "rb") as file:
        while size_bytes > 0:
            block = await asyncio.to_thread(file.read, min(READ_BYTES, size_bytes))
            if not block:
                raise OSError("the file has become shorter")
            size_bytes -= len(block)
            yield block


def _open(path: Path, size_bytes: int) -> int | None:
    """Open a file as it was put there; None if it is gone, or something else: others may write to the directory."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_size == size_bytes:
        return descriptor
    os.close(descriptor)
    return None


def _night(fields: dict[str, str]) -> date:
    try:
        return date.fromisoformat(fields.get("nuit", ""))
    except ValueError as error:
        raise ProblemError(ABSENT, "") from error


def _is_hidden(seen: Visit, file: HandoverFile) -> bool:
    return file.category not in {*seen.row.categories, JOURNAL_CATEGORY}


def _directory(seen: Visit) -> Path:
    return seen.console.edge.service.settings.handover_path / seen.row.tenant


async def is_unconfirmed(seen: Visit) -> bool:
    """Tell whether the commune was handed files for its present certificate, and has not confirmed that they open."""
    row = await _recipient(seen)
    if row is None or row.confirmed_at is not None:
        return False
    files = await seen.console.edge.service.store.placed_handovers(seen.row.tenant)
    present = read_recipient(row.certificate).sha256
    return any(file.recipient_sha256 == present for file in files)


async def _recipient(seen: Visit) -> RecipientRow | None:
    rows = await seen.console.edge.service.store.read_recipients()
    return next((row for row in rows if row.tenant == seen.row.tenant), None)


async def _page(seen: Visit, *, refused: str = "", is_new: bool = False, status: int = 200) -> web.Response:
    service = seen.console.edge.service
    row = await _recipient(seen)
    recipient = read_recipient(row.certificate) if row is not None else None
    present = recipient.sha256 if recipient is not None else b""
    files = await service.store.placed_handovers(seen.row.tenant)
    there = await asyncio.to_thread(_names, _directory(seen))
    first = day_of(service.clock.now()) - timedelta(days=SHOWN_DAYS)
    nights: dict[date, list[HandoverFile]] = defaultdict(list)
    for file in files:
        if file.placed_at is not None and day_of(file.placed_at) >= first:
            nights[day_of(file.placed_at)].append(file)
    shown = [
        {
            "files": [_describe(seen, file, there, present) for file in found if not _is_hidden(seen, file)],
            "has_slip": seen.console.slip is not None and not any(_is_hidden(seen, file) for file in found),
            "night": night,
        }
        for night, found in sorted(nights.items(), reverse=True)
    ]
    return seen.page(
        "remises.html",
        status=status,
        confirmed_at=row.confirmed_at if row is not None else None,
        digits=CODE_DIGITS,
        fingerprint=present.hex(),
        has_files=any(file.recipient_sha256 == present for file in files),
        is_new=is_new,
        nights=[night for night in shown if night["files"]],
        refused=refused,
        registered_at=row.registered_at if row is not None else None,
        shown_days=SHOWN_DAYS,
        until=recipient.certificate.not_after.date() if recipient is not None else None,
    )


def _names(directory: Path) -> set[str]:
    try:
        return {path.name for path in directory.iterdir()}
    except OSError:
        return set()


def _describe(seen: Visit, file: HandoverFile, there: set[str], present: bytes) -> dict[str, object]:
    labels = {row.code: row.label for row in seen.console.edge.service.snapshot.categories()}
    name = file_name(seen.row.tenant, file)
    return {
        "count": file.head_size - file.base_size,
        "first_day": file.first_day,
        "is_of_older_key": file.recipient_sha256 != present,
        "is_there": name in there,
        "label": labels.get(file.category, file.category),
        "last_day": file.last_day,
        "name": name,
    }
