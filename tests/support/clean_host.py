"""A clean Debian 12 with systemd, made by debootstrap and booted in a container of its own: root only.

Its network is a loopback of its own, so that it meets no service of this machine; the packages that it may be asked to
install are fetched before, into its own cache, from wherever this machine's apt gets Debian.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

SUITE = "bookworm"
# What a Debian with systemd has; nothing of ours, nothing that a guide installs.
BASE = ("systemd", "systemd-sysv", "dbus", "ca-certificates", "apt-utils")
HERE = Path(__file__).parents[2]
BOOT_LIMIT_SECONDS = 120
LOOK_SECONDS = 0.2
SHELL_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A command that has ended: its exit code, all it said, how long it took."""

    code: int
    said: str
    seconds: float


def mirror() -> str:
    """Return where this machine's apt gets Debian."""
    told = subprocess.check_output(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian"], text=True
    )
    return told.splitlines()[0]


def make_root(root: Path) -> None:
    """Make a clean Debian in a directory, which knows the packages there are."""
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(BASE)}", SUITE, str(root), mirror()]
    _log(root, command)
    _log(root, ["chroot", str(root), "apt-get", "update", "-qq"])


def copy_root(root: Path, to: Path, *, fetched: Sequence[str]) -> None:
    """Copy a clean Debian that runs nowhere, with these packages, and what they need, in its apt's cache."""
    subprocess.run(["cp", "--archive", "--reflink=auto", root, to], check=True)
    _log(to, ["chroot", str(to), "apt-get", "install", "-y", "-qq", "--download-only", *fetched])


def fetch_wheels(directory: Path) -> None:
    """Fetch what `make install` installs, and what it builds with, from wherever this machine's pip gets it."""
    project = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary", ":all:", "--dest", str(directory)]
    _log(directory, [*pip, "--require-hashes", "--no-deps", "--requirement", str(HERE / "requirements.lock")])
    _log(directory, [*pip, *project["build-system"]["requires"], "editables"])


def _log(place: Path, command: Sequence[str]) -> None:
    """Run a command that must succeed; what it says is beside the directory that it fills."""
    with place.with_name(place.name + ".log").open("a", encoding="utf-8") as log:
        subprocess.run(command, stdout=log, stderr=log, check=True)


class CleanHost:
    """A booted root; every command runs as its root, in one shell's directory, and with what earlier ones set."""

    def __init__(self, root: Path, log: Path) -> None:
        """Boot nothing yet; what is run, and what it says, goes to the log."""
        self.root = root
        self._log = log
        self._container: subprocess.Popen[bytes] | None = None
        self._leader = 0
        self.variables: dict[str, str] = {}

    def __enter__(self) -> Self:
        """Boot, and wait until systemd says that everything it starts is started; one host at a time."""
        # Without a unit of its own each systemd takes this process's control group: two would meet in it.
        self._alone = (Path(tempfile.gettempdir()) / "openepm-journal-clean-host.lock").open("w", encoding="ascii")
        fcntl.flock(self._alone, fcntl.LOCK_EX)
        console = self.root.with_name(self.root.name + ".console")
        command = ["systemd-nspawn", "--quiet", "--directory", str(self.root), "--boot", "--register=no", "--keep-unit"]
        command += ["--private-network", "--console=read-only", f"--machine={self.root.name}"]
        with console.open("wb") as said:
            self._container = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        deadline = time.monotonic() + BOOT_LIMIT_SECONDS
        while not self._is_up():
            assert self._container.poll() is None, f"the container ended: see {console}"
            assert time.monotonic() < deadline, f"systemd is not up after {BOOT_LIMIT_SECONDS} s: see {console}"
            time.sleep(LOOK_SECONDS)
        return self

    def _is_up(self) -> bool:
        assert self._container is not None
        children = Path(f"/proc/{self._container.pid}/task/{self._container.pid}/children").read_text(encoding="ascii")
        if not children.split():
            return False
        self._leader = int(children.split()[0])
        return self.run("systemctl is-system-running").said.strip() in {"running", "degraded"}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Power off."""
        assert self._container is not None
        self._container.send_signal(signal.SIGTERM)
        self._container.wait(timeout=BOOT_LIMIT_SECONDS)
        self._alone.close()

    def start(self, command: str) -> subprocess.Popen[str]:
        """Start a command of a shell, in root's home."""
        environment = SHELL_ENVIRONMENT | self.variables
        inside = ["nsenter", "--target", str(self._leader), "--all", "env", "-i"]
        inside += [f"{name}={value}" for name, value in environment.items()]
        return subprocess.Popen(
            [*inside, "bash", "-c", f"cd /root\n{command}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd="/",
        )

    def run(self, command: str) -> Done:
        """Run a command of a shell to its end."""
        began = time.monotonic()
        process = self.start(command)
        said, _ = process.communicate()
        done = Done(code=process.returncode, said=said, seconds=time.monotonic() - began)
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"[{done.seconds:.1f} s, ended with {done.code}] $ {command}\n{said}\n")
        return done

    def must(self, command: str) -> str:
        """Run a command that must succeed; return what it says."""
        done = self.run(command)
        assert done.code == 0, f"{command}\nended with {done.code}:\n{done.said}"
        return done.said


def can_run() -> str | None:
    """Return why no clean host can be made here; None if one can."""
    return "only root can boot a container" if os.geteuid() != 0 else None
