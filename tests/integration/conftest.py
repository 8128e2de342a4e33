"""The service behind HTTP: one for all the tests of a module, or one of its own for a test that changes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio

from tests.support.edge import RunningEdge, running_edge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import pytest

    from journal.database.embedded import EmbeddedPostgres


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def edge(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningEdge]:
    """Share one service among the module's tests, which leave it as usable as they found it."""
    async with running_edge(postgres, tmp_path_factory.mktemp("edge")) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def own_edge(postgres: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[RunningEdge]:
    """Give a test a service of its own, to be changed or broken."""
    async with running_edge(postgres, tmp_path) as running:
        yield running
