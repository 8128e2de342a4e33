"""What `demo --keep-running` adds for authors of modules: the sample module in PHP, and what arrives, line by line.

Entries leave the journal by extracts alone; here they are shown as they come, since all of them are made up.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from journal.keys.files import make_private_directory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from journal.cli.installation import Installation
    from journal.core.entry import Compartment, Event
    from journal.writing.answers import Answer
    from journal.writing.writer import Writer

# Within the demo's directory; it outlives a demo, as what a module was told is recorded must.
DIRECTORY = "sandbox"
CONNECTOR = Path(__file__).parents[2] / "deploy" / "openepm"
SENDING_SECONDS = 1.0
SETTINGS = """\
url = "{url}"
token_file = "{home}/journal.token"
source = "/openepm/{tenant}/sandbox"
spool = "{home}/spool"
category = "{category}"
"""


class Watched:
    """A writer that shows what it has recorded."""

    def __init__(self, writer: Writer) -> None:
        """Record with this writer."""
        self._writer = writer

    def __getattr__(self, name: str) -> Any:
        """Do all else as the writer does."""
        return getattr(self._writer, name)

    async def submit(
        self, compartment: Compartment, submitted_by: str, events: Sequence[Event], *others: Any, **options: Any
    ) -> Answer:
        """Record the events, then print one line for each that is new."""
        answer = await self._writer.submit(compartment, submitted_by, events, *others, **options)
        for event, acknowledgement in zip(events, answer, strict=True):
            if acknowledgement.created:
                print(describe(compartment, acknowledgement.receipt.index, event), flush=True)
        return answer

    def offer(self, *_: Any, **__: Any) -> None:
        """Leave every event to `submit`."""


def describe(compartment: Compartment, index: int, event: Event) -> str:
    """Return an entry in a line: when, where, what, who, about what, why."""
    sent = msgspec.json.decode(event.canonical)
    data = sent["data"]
    told = [
        event.action,
        data.get("operation"),
        data["actor"]["account"],
        sent.get("subject"),
        data.get("justification"),
    ]
    words = "  ".join(str(word) for word in told if word)
    return f"{event.time_text[:19]}Z  {compartment.tenant}/{compartment.category} #{index}  {words}"


@asynccontextmanager
async def open_sandbox(
    installation: Installation, url: str, tenant: str, categories: Sequence[str]
) -> AsyncIterator[str]:
    """Show what is recorded, and serve the sample module where there is a PHP; give what to tell about it."""
    installation.service.writer = cast("Writer", Watched(installation.service.writer))
    php = shutil.which("php")
    if php is None or not CONNECTOR.is_dir():
        yield "There is no sample module here: it needs php (Debian: php-cli) and a checkout of this repository."
        return
    home = installation.service.settings.home_path.absolute() / DIRECTORY
    _, token = await installation.administration.credentials.add(
        role="module",
        tenant=tenant,
        categories=list(categories),
        source_prefix=f"/openepm/{tenant}/",
        label="logiciel d’essai",
    )
    configure(home, url, token, tenant, categories[0])
    address = f"127.0.0.1:{_free_port(int(url.rpartition(':')[2]) + 1)}"
    command = [php, "-S", address, "-t", str(CONNECTOR / "exemple")]
    environment = {"OPENEPM_JOURNAL": str(home / "journal.ini"), "TMPDIR": str(home)}
    with (home / "php.log").open("wb") as log:
        server = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log, env=environment)
    sending = asyncio.create_task(send(php, home))
    try:
        yield (
            f"The sample module in PHP: http://{address}/\nOpen it, click « Ouvrir », « Corriger », « Imprimer »: each "
            f"act appears below within seconds.\nIts calls are in {CONNECTOR}/exemple/index.php, its settings in "
            f"{home}/journal.ini.\nThe service alone stops with: kill -STOP $(cat {home}/service.pid)\n"
            f"and goes on with: kill -CONT $(cat {home}/service.pid)"
        )
    finally:
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending
        with contextlib.suppress(ProcessLookupError):
            server.terminate()
        await server.wait()


def configure(home: Path, url: str, token: str, tenant: str, category: str) -> None:
    """Write the settings of the sample module, whose spool stays as it is."""
    make_private_directory(home)
    (home / "journal.token").touch(mode=0o600)
    (home / "journal.token").write_text(token, encoding="ascii")
    settings = SETTINGS.format(url=url, home=home, tenant=tenant, category=category)
    (home / "journal.ini").write_text(settings, encoding="utf-8")
    make_private_directory(home / "spool")
    (home / "service.pid").write_text(f"{os.getpid()}\n", encoding="ascii")


def _free_port(wanted: int) -> int:
    """Return the port wanted, or one that is free."""
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind(("127.0.0.1", wanted))
        return wanted
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def send(php: str, home: Path) -> None:
    """Send what modules have spooled, as cron does elsewhere; what stops it is printed when it changes."""
    told = b""
    while True:
        await asyncio.sleep(SENDING_SECONDS)
        if any(path.stat().st_size for path in home.glob("spool/*/0*.ndjson")):
            command = [php, str(CONNECTOR / "openepm-journal-php"), "flush", "--config", str(home / "journal.ini")]
            process = await asyncio.create_subprocess_exec(*command, stderr=subprocess.PIPE)
            try:
                _, said = await process.communicate()
            finally:  # cancelled
                if process.returncode is None:
                    process.terminate()
                    await process.communicate()
            if said != told:
                sys.stderr.write(said.decode() or "openepm-journal: all is sent\n")
            told = said
