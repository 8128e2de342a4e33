"""The connector in Python as a module, to be forked: its file is in no package; see `tests.support.forks`."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from typing import TYPE_CHECKING

from tests.support.php import DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "openepm_journal"


def main(arguments: Sequence[str]) -> int:
    """Run a command of it."""
    spec = spec_from_file_location(NAME, DIRECTORY / f"{NAME}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[NAME] = module
    spec.loader.exec_module(module)
    status: int = module.main(arguments)
    return status
