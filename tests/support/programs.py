"""Copies of PostgreSQL's programs, which a test may replace."""

from __future__ import annotations

import shutil
from pathlib import Path

from journal.database.binaries import Binaries, find_binaries


def copy_programs(root: Path) -> Binaries:
    """Copy the server's programs; what they need is found from where they are."""
    found = find_binaries()
    directory = root / found.directory.relative_to("/")
    directory.mkdir(parents=True)
    for name in ("postgres", "initdb"):
        shutil.copy2(found.directory / name, directory / name)
    for beside in found.directory.parent.iterdir():
        if beside.name != "bin":
            (directory.parent / beside.name).symlink_to(beside)
    share = Path("/usr/share/postgresql") / str(found.major)
    if share.exists():
        (root / "usr/share/postgresql").mkdir(parents=True)
        (root / "usr/share/postgresql" / str(found.major)).symlink_to(share)
    return Binaries(directory=directory, major=found.major)


def replace_program(directory: Path) -> None:
    """Put another file in the place of the server's program, as a package manager does."""
    newer = directory / "postgres.new"
    shutil.copy2(directory / "postgres", newer)
    newer.rename(directory / "postgres")
