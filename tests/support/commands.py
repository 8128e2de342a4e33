"""The operator's command, run as a process: its results, its one line of error, a service that it serves."""

from __future__ import annotations

import os
import re
import signal
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING
from uuid import uuid4

import orjson

from tests.support import forks
from tests.support.ports import free_port

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator


DONE, FAILED, NOT_RUN = 0, 1, 2
SERVICE = "journal.example.fr"
VERIFY = str(Path(sys.executable).with_name("journal-verify"))


def environment(home: Path, **settings: str) -> dict[str, str]:
    """Return this process's environment with these settings and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JOURNAL_")}
    chosen = {"JOURNAL_HOME": str(home), "JOURNAL_SERVICE_NAME": SERVICE, "JOURNAL_SIGNER_SOCKET": "none"}
    return kept | chosen | settings


def command(home: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run openepm-journal to its end, in a process of its own."""
    return forks.run(arguments, environment(home, **settings))


def plain_line(done: subprocess.CompletedProcess[str], code: int = NOT_RUN) -> str:
    """Return the one line that says what is wrong; there is nothing else."""
    assert (done.returncode, done.stdout) == (code, ""), (done.stdout, done.stderr)
    assert re.fullmatch(r"openepm-journal: [^\n]+\n", done.stderr), done.stderr
    return done.stderr


@contextmanager
def serving(home: Path, **settings: str) -> Iterator[tuple[str, forks.Program]]:
    """Run the service; give its address once it listens. Ended by the caller, or at the block's end."""
    listen = f"127.0.0.1:{free_port()}"
    process = forks.Program(["serve"], environment(home, JOURNAL_LISTEN=listen, **settings))
    log = Log(process, f"{SERVICE} listens on http://{listen}")
    try:
        log.wait()
        yield f"http://{listen}", process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def post_event(address: str, token: str) -> int:
    """Post an event of its own, however often it is called; return the status."""
    event = {
        "specversion": "1.0",
        "type": "fr.openepm.journal.access",
        "source": "/openepm/albi/main-courante",
        "id": f"{uuid4()}",
        "time": datetime.now(UTC).isoformat(),
        "data": {"actor": {"account": "c.martin"}, "outcome": "success"},
    }
    request = urllib.request.Request(
        f"{address}/v1/categories/main-courante/events",
        data=orjson.dumps(event),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/cloudevents+json"},
    )
    return status_of(request)


def status_of(request: str | urllib.request.Request) -> int:
    """Send a request; return the status of its answer."""
    try:
        with urllib.request.urlopen(request) as answer:
            status: int = answer.status
    except urllib.error.HTTPError as error:
        status = error.code
        error.close()
    return status


class Log:
    """What a process writes, read to its end, so that a full pipe does not block it."""

    def __init__(self, process: forks.Program, awaited: str) -> None:
        """Begin to read."""
        self._process = process
        self._awaited = awaited
        self._last = ""
        self._decided = Event()
        self._is_found = False
        Thread(target=self._read, daemon=True).start()

    def wait(self) -> None:
        """Return once the awaited line is there; fail if the process ends without it."""
        assert self._decided.wait(timeout=120), "it neither starts nor ends"
        assert self._is_found, f"it did not start: {self._last}"

    def _read(self) -> None:
        with self._process.stderr as log:
            for line in log:
                self._last = line
                if self._awaited in line:
                    self._is_found = True
                    self._decided.set()
        self._decided.set()
