"""Clusters of the embedded PostgreSQL, made once in a test process and copied: `initdb` takes most of a first start.

`test_postgres` makes each of its own, and so does whatever is started as it is.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from journal.database import cluster
from journal.database.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Callable

    from journal.database.binaries import Binaries, Identity

# How the product makes one.
MAKE = Cluster.make


def copy_clusters(put: Callable[[object, str, object], None], find_place: Callable[[], Path]) -> None:
    """Let this process, and what is forked from it, copy the clusters kept in a place; `put` sets an attribute."""

    def make(made: Cluster, binaries: Binaries, identity: Identity) -> None:
        """Make a cluster: the first of its kind, which is then kept, or a copy."""
        place = find_place()
        kept = place / f"{identity.mode}{binaries.directory}".replace("/", "-")
        if kept.exists():
            new = made.root / "data.new"
            shutil.rmtree(new, ignore_errors=True)
            _copy(kept, new)
            if identity.mode == "drop":
                cluster._chown_tree(new, identity)
            new.rename(made.data)
            return
        MAKE(made, binaries, identity)
        with tempfile.TemporaryDirectory(dir=place) as directory:
            _copy(made.data, Path(directory) / "data")
            with suppress(OSError):  # another process was first
                Path(directory, "data").rename(kept)

    put(Cluster, "make", make)


def _copy(source: Path, target: Path) -> None:
    """Copy a cluster at rest; it is ours, whosever the first was."""
    subprocess.run(["cp", "-RT", "--preserve=mode", str(source), str(target)], check=True)
