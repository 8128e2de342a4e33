"""Requests that schemathesis generates from the published description: no answer is a failure, none is undocumented.

It sends what follows the description and what departs from it, with the credential of each role.
"""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from ingest.access import Limits
from tests.support.edge import RunningEdge, running_edge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from journal.database.embedded import EmbeddedPostgres

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("no_documents")]

ROLES = ("module", "client", "auditor", "operator")
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
CHECKS += "response_schema_conformance,unsupported_method"
SEED = "20261129"
GENERATED = re.compile(r"([0-9,]+) generated")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sealed(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningEdge]:
    """A service with a seal, which waits for nobody: no request is refused for its rate."""
    limits = Limits(requests_per_second=1e6, burst_requests=1e6)
    async with running_edge(postgres, tmp_path_factory.mktemp("edge"), limits=limits) as edge:
        await edge.service.sealer.seal_open(even_if_still=True)
        yield edge


async def generate(edge: RunningEdge, role: str, phases: str, examples: int, directory: Path) -> int:
    """Send generated requests of a role; return how many, after seeing that every answer is as described."""
    process = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"http://127.0.0.1:{edge.port}/v1/openapi.json"),
        *("--header", f"Authorization: Bearer {edge.tokens[role]}", "--checks", CHECKS, "--mode", "all"),
        *("--max-examples", str(examples), "--seed", SEED, "--generation-database", "none", "--no-color"),
        *("--phases", phases, "--continue-on-failure", "--max-failures", "20"),
        cwd=directory,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told = (await process.communicate())[0].decode()
    assert process.returncode == 0, told
    match = GENERATED.search(told)
    assert match, told
    return int(match.group(1).replace(",", ""))


@pytest.mark.long
async def test_a_sample(sealed: RunningEdge, tmp_path: Path) -> None:
    """Of the role that sends bodies of strangers."""
    assert await generate(sealed, "module", "fuzzing", 6, tmp_path) >= 100


@pytest.mark.campaign
@pytest.mark.parametrize("role", ROLES)
async def test_each_role(
    sealed: RunningEdge, role: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Two thousand and more."""
    count = await generate(sealed, role, "examples,fuzzing", 120, tmp_path)
    record_property("evidence", f"schemathesis as {role}: {count} requests, 0 failures, 0 undocumented answers")
    assert count >= 2_000
