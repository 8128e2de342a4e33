"""Programs that a test needs beside Python: `@pytest.mark.needs("openssl")`.

A test whose program is not here is not run, and the last lines say so, with what to install. Where CI is set,
a missing program fails the run: nothing may be left out there.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

# Program to Debian package.
PACKAGES = {
    "amtool": "prometheus-alertmanager",
    "barman": "barman",
    "caddy": "caddy",
    "chromium": "chromium",
    "composer": "composer",
    "curl": "curl",
    "debootstrap": "debootstrap",
    "dpkg-deb": "dpkg",
    "etcd": "etcd-server",
    "gcc": "gcc",
    "ip": "iproute2",
    "jq": "jq",
    "mkfs.ext4": "e2fsprogs",
    "nginx": "nginx",
    "node": "nodejs",
    "npm": "npm",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "patroni": "patroni",
    "php": "php-cli",
    "php-fpm": "php-fpm",
    "pdfinfo": "poppler-utils",
    "pdfsig": "poppler-utils",
    "pdftotext": "poppler-utils",
    "promtool": "prometheus",
    "psql": "postgresql-client",
    "setpriv": "util-linux",
    "soffice": "libreoffice-calc",
    "spin": "spin",
    "strace": "strace",
    "systemd-analyze": "systemd",
    "systemd-nspawn": "systemd-container",
}
CAMPAIGN_ONLY = {"composer", "debootstrap", "mkfs.ext4", "node", "npm", "soffice", "strace", "systemd-nspawn"}
# Debian names these by their version, outside a user's PATH.
VERSIONED = {"php-fpm": "php-fpm[0-9]*"}
LEFT_OUT = pytest.StashKey[dict[str, int]]()


def is_here(program: str) -> bool:
    """Tell whether a program is on this machine."""
    return shutil.which(program) is not None or versioned(program) is not None


def versioned(program: str) -> Path | None:
    """Return the newest program of this name with a version."""
    found = sorted(Path("/usr/sbin").glob(VERSIONED[program])) if program in VERSIONED else []
    return found[-1] if found else None


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line("markers", "needs(*programs): programs that must be on this machine's PATH")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take out what cannot run here; in CI, refuse to go on."""
    missing: dict[str, int] = {}
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        needed = [program for mark in item.iter_markers("needs") for program in mark.args]
        absent = [program for program in needed if not is_here(program)]
        for program in absent:
            missing[program] = missing.get(program, 0) + 1
        (left_out if absent else kept).append(item)
    if missing and os.environ.get("CI"):
        raise pytest.UsageError(f"tests need programs that are not here: install {_packages(missing)}")
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept
    config.stash[LEFT_OUT] = missing


def pytest_report_header() -> list[str]:
    """Say at the beginning which programs are missing, as xdist's workers cannot."""
    absent = {program: 0 for program in PACKAGES if not is_here(program)}
    if not absent:
        return []
    return [f"NOT RUN HERE: tests that need {', '.join(absent)} (Debian: apt-get install {_packages(absent)})"]


def pytest_terminal_summary(terminalreporter: TerminalReporter, config: pytest.Config) -> None:
    """Say at the end what was not run, and why."""
    for program, count in config.stash.get(LEFT_OUT, {}).items():
        package = PACKAGES.get(program, program)
        terminalreporter.write_line(f"NOT RUN: {count} tests, for want of {program} (apt-get install {package})")


def _packages(programs: dict[str, int]) -> str:
    return " ".join(sorted({PACKAGES.get(program, program) for program in programs}))


if __name__ == "__main__":
    # For `make tools`: the packages that are missing, but for the campaign's own.
    wanted = {program: 0 for program in PACKAGES if program not in CAMPAIGN_ONLY and not is_here(program)}
    if wanted:
        print(_packages(wanted))
