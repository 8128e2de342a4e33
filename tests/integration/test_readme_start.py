"""The five-minute start of README.md, typed as it stands there, in the order it stands there."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from typing import Any

    from tests.support.edge import RunningEdge

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.needs("curl", "jq")]

README = Path(__file__).parents[2] / "README.md"


def start() -> str:
    """Return what the chapter has one type."""
    chapter = README.read_text(encoding="utf-8").split("### Five minutes to the first event\n")[1]
    return chapter.split("```sh\n")[1].split("```")[0]


async def test_the_five_minute_start(edge: RunningEdge, tmp_path: Path) -> None:
    """One event, the same again, a batch; two mistakes in one answer."""
    environment = os.environ | {"TOKEN": edge.tokens["module"], "URL": f"http://127.0.0.1:{edge.port}"}
    process = await asyncio.create_subprocess_exec(
        *("bash", "-euo", "pipefail", "-c", start()),
        cwd=tmp_path,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")

    def read(name: str) -> Any:
        return json.loads((tmp_path / name).read_text(encoding="utf-8"))

    lines = out.decode().replace("}201\n", "}\n201\n").splitlines()
    assert [line[-3:] for line in lines if line[-3:].isdecimal()] == ["201", "200", "201"]
    assert '{"dry_run":true,"outcomes":["new"]}' in out.decode()
    assert read("me.json")["role"] == "module"
    assert read("receipt.json")["receipts"] == read("again.json")["receipts"]
    assert len(read("batch.json")["receipts"]) == 2
    found = [(fault["position"], fault["code"]) for fault in read("problem.json")["faults"]]
    assert found == [(0, "missing"), (1, "id-reused")]
    assert await edge.size() == 3
