"""A replacement of the master key in a process of its own, killed before or after each file it puts in place."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from journal.keys.rotation import rotate
from journal.keys.store import KeyStore
from journal.keys.wrapped import MasterKey

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

Kill = tuple[int, str]


def stores_in(home: Path) -> list[KeyStore]:
    """Open the key store, its replica if there is one, and its copy, as a new process does."""
    master, replica = home / "master.key", home / "replica"
    return [
        KeyStore(home / "keys", MasterKey.read(master), [replica] if replica.exists() else []),
        KeyStore(home / "copy", MasterKey.read(master)),
    ]


def main(home: str, kill: Kill | None) -> None:
    """Be the process; its status is the number of files put in place."""
    count = 0

    def counted(work: Any) -> Any:
        def run(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if kill == (count, "before"):
                os.kill(os.getpid(), signal.SIGKILL)
            result = work(*arguments, **options)
            if kill == (count, "after"):
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return run

    Path.replace = counted(Path.replace)  # type: ignore[method-assign]
    os.link = counted(os.link)
    rotate(Path(home) / "master.key", stores_in(Path(home)))
    raise SystemExit(count)


def start(home: Path, kill: Kill | None = None) -> ForkServerProcess:
    """Start a replacement."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=main, args=(str(home), kill), daemon=True)
    process.start()
    return process
