"""A clean Debian, made once in a test process: each test boots a copy of it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.support.clean_host import make_root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return its root directory."""
    root = tmp_path_factory.mktemp("clean") / "debian"
    make_root(root)
    yield root
    shutil.rmtree(root)
