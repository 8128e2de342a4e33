"""Every command, loaded: the program itself loads the one that runs, and what forks it has loaded them all."""

from __future__ import annotations

import importlib
import pkgutil

from journal import cli


def load_commands() -> None:
    """Load the modules of `journal.cli`, and with them the whole product."""
    for found in pkgutil.walk_packages(cli.__path__, f"{cli.__name__}."):
        importlib.import_module(found.name)
