"""A clean Debian and the package, made once in a test process: each test boots a copy of the one with the other."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.clean_host import make_root

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return its root directory: the one that TEST_DEBIAN names, or one made now."""
    if given := os.environ.get("TEST_DEBIAN"):
        yield Path(given)
        return
    root = tmp_path_factory.mktemp("clean") / "debian"
    make_root(root)
    yield root
    shutil.rmtree(root)


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the Debian package: the one that TEST_DEB names, or one made now."""
    if given := os.environ.get("TEST_DEB"):
        return Path(given)
    directory = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "deploy.release", directory], cwd=HERE, check=True)
    [made] = directory.glob("*.deb")
    return made
