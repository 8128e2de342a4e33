"""What the fault tests share: a PostgreSQL of their own."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from journal.database.embedded import EmbeddedPostgres
from tests.support.memory import choose_directory

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def seed(pytestconfig: pytest.Config) -> int:
    """What `make campaign SEED=…` adds to each case's own seed."""
    added: int = pytestconfig.getoption("--seed", default=0)
    return added


@pytest.fixture
def cluster() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL of the test's own, on the disk, so that a commit takes the time it takes."""
    with tempfile.TemporaryDirectory(prefix="oej-faults-") as home, EmbeddedPostgres(Path(home)) as server:
        yield server


@pytest.fixture
def mortal_cluster() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that the test kills and starts again, in memory where there is room.

    What a killed process wrote stays written there as on a disk, and its recovery syncs every file in less time.
    """
    with (
        tempfile.TemporaryDirectory(prefix="oej-test-", dir=choose_directory()) as home,
        EmbeddedPostgres(Path(home)) as server,
    ):
        yield server
