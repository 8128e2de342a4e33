"""An installation with PostgreSQL of its own that tests break, look at by `doctor` and readiness, and mend."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import urlopen

import orjson
import pytest

from tests.support.commands import command, environment
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# The audit, which looks every minute, may have looked while harm was done.
WAIT_SECONDS = 180


@dataclass(slots=True)
class Broken:
    """The installation: its home, its settings, the service, and what it has logged."""

    home: Path
    settings: dict[str, str]
    process: subprocess.Popen[str] | None = None
    log: list[str] | None = None

    def doctor(self) -> tuple[int, dict[str, list[dict[str, Any]]]]:
        """Return its code, and what it says by name."""
        done = command(self.home, "doctor", "--json", **self.settings)
        assert done.stderr == "", done.stderr
        found: dict[str, list[dict[str, Any]]] = {}
        for check in orjson.loads(done.stdout)["checks"]:
            found.setdefault(check["name"], []).append(check)
        return done.returncode, found

    def bad(self) -> dict[str, str]:
        """Return what is a warning or a failure, by name: the first of each, with its mend."""
        _, found = self.doctor()
        return {
            name: f"{check['told']}; {check['mend']}"
            for name, checks in found.items()
            for check in reversed(checks)
            if check["severity"] in {"warning", "failure"}
        }

    def failing(self) -> set[str]:
        """Return the checks that fail in readiness."""
        try:
            with urlopen(f"http://{self.settings['JOURNAL_LISTEN']}/readyz", timeout=20) as answer:
                body = answer.read()
        except HTTPError as error:
            body = error.read()
        return {name for name, result in orjson.loads(body)["checks"].items() if result != "ok"}

    def await_failing(self, *names: str) -> None:
        """Wait until readiness fails at these checks, and at no other."""
        wait_for(lambda: self.failing() == set(names), lambda: f"{self.failing()}, not {names}")

    def start(self) -> None:
        """Start the service."""
        line = [sys.executable, "-m", "journal.cli.main", "serve"]
        self.process = subprocess.Popen(
            line, env=environment(self.home, **self.settings), stderr=subprocess.PIPE, text=True
        )
        self.log = []
        Thread(target=self._read, args=(self.process, self.log), daemon=True).start()

    def await_listening(self) -> None:
        """Wait until it serves."""
        wait_for(lambda: any(" listens on " in line for line in self.log or ()), lambda: f"{self.log}")

    @staticmethod
    def _read(process: subprocess.Popen[str], log: list[str]) -> None:
        assert process.stderr is not None
        with process.stderr as stream:
            log.extend(stream)

    def stop(self) -> None:
        """Stop it."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=60)

    def refused(self) -> str:
        """Start it once the cause is there; return the line with which it refuses."""
        self.stop()
        done = command(self.home, "serve", **self.settings)
        assert done.returncode == 2, done.stderr
        return done.stderr.splitlines()[-1]


def wait_for(condition: Callable[[], bool], told: Callable[[], str]) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, told()
        time.sleep(0.2)


@contextmanager
def running(home: Path, **settings: str) -> Iterator[Broken]:
    """Give an installation whose service is ready; stop it at the end."""
    made = Broken(home, {"JOURNAL_LISTEN": f"127.0.0.1:{free_port()}"} | settings)
    made.start()
    try:
        made.await_listening()
        made.await_failing()
        yield made
    finally:
        made.stop()


@contextmanager
def small_disk(directory: Path, size: str = "1m") -> Iterator[None]:
    """Have a directory on a file system of its own, of this size; what is written there is kept."""
    away = directory.with_name("aside")
    shutil.copytree(directory, away)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory)], capture_output=True, check=False
    )
    if done.returncode != 0:
        shutil.rmtree(away)
        pytest.skip("may not mount")
    try:
        shutil.copytree(away, directory, dirs_exist_ok=True)
        yield
        shutil.rmtree(away)
        shutil.copytree(directory, away)
    finally:
        subprocess.run(["umount", str(directory)], check=True)
        shutil.copytree(away, directory, dirs_exist_ok=True)
        shutil.rmtree(away)
