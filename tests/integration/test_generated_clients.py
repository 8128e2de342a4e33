"""Clients that generators make of the published description: they compile, know what a type requires, and post."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.edge import BATCH
from tests.support.openapi import PATH
from tests.support.refused_events import SOURCE_PREFIX

if TYPE_CHECKING:
    from tests.support.edge import RunningEdge

pytestmark = pytest.mark.asyncio(loop_scope="module")

BIN = Path(sys.executable).parent
CONFIG = """content_type_overrides:
  application/vnd.etsi.asic-e+zip: application/octet-stream
  application/pem-certificate-chain: text/plain
"""
PYTHON = """
import sys
from datetime import datetime
from journal_client import AuthenticatedClient
from journal_client.api.credential import get_me
from journal_client.api.events import post_events
from journal_client.models import Actor, ConsultationData, ConsultationDataOutcome, ConsultationEvent
from journal_client.models import ConsultationEventSpecversion, ConsultationEventType, Problem, Receipts

url, token, source, moment = sys.argv[1:]
with AuthenticatedClient(base_url=url, token=token) as client:
    me = get_me.sync(client=client)
    category = me.categories[0].code
    try:
        ConsultationData(actor=Actor(account="c.martin"), outcome=ConsultationDataOutcome.SUCCESS)
    except TypeError as error:
        assert "justification" in str(error)
    else:
        sys.exit("a consultation without a justification was made")
    data = ConsultationData(
        actor=Actor(account="c.martin"), justification="Relecture", outcome=ConsultationDataOutcome.SUCCESS
    )

    def event(name):
        return ConsultationEvent(
            data=data, id=name, source=source, specversion=ConsultationEventSpecversion.VALUE_0, subject="MC-1",
            time=datetime.fromisoformat(moment),
            type_=ConsultationEventType.FR_OPENEPM_JOURNAL_CONSULTATION,
        )

    one = post_events.sync(category, client=client, body=event("one"))
    assert isinstance(one, Receipts), one
    again = post_events.sync(category, client=client, body=event("one"))
    assert isinstance(again, Receipts) and again.receipts[0].leaf_hash == one.receipts[0].leaf_hash, again
    refused = post_events.sync("ecrits", client=client, body=event("three"))
    assert isinstance(refused, Problem) and not refused.retryable, refused
"""
TYPESCRIPT = """
import type { paths, components } from "./client";
type Content = paths["/v1/categories/{category}/events"]["post"]["requestBody"]["content"];
type Body = Content["application/cloudevents+json"];
const [url, token, source, moment] = process.argv.slice(2);
const common = { specversion: "1.0", type: "fr.openepm.journal.consultation", source, time: moment } as const;
const actor = { account: "c.martin" };
const good: Body = {
  ...common, id: "typed", subject: "MC-1", data: { actor, justification: "Relecture", outcome: "success" },
};
// @ts-expect-error a consultation that took place needs a justification
export const bad: Body = { ...common, id: "bad", subject: "MC-1", data: { actor, outcome: "success" } };
// @ts-expect-error and a subject
export const worse: Body = { ...common, id: "worse", data: { actor, justification: "x", outcome: "success" } };
const answer = await fetch(`${url}/v1/categories/main-courante/events`, {
  method: "POST", body: JSON.stringify(good),
  headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/cloudevents+json" },
});
const receipts = await answer.json() as components["schemas"]["Receipts"];
if (receipts.receipts[0].id !== "typed") throw new Error(JSON.stringify(receipts));
"""
COMPILE = ("--strict", "--target", "es2022", "--module", "es2022", "--moduleResolution", "bundler", "--skipLibCheck")
PACKAGES = (
    "@redocly/cli@2.77.0",
    "@stoplight/spectral-cli@6.16.3",
    "@types/node@20.19.24",
    "openapi-typescript@7.13.0",
    "typescript@5.9.3",
)


async def run(*command: str, directory: Path) -> str:
    """Run a command that must succeed; return what it says."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=directory,
        env=os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told = (await process.communicate())[0].decode()
    assert process.returncode == 0, told
    return told


def arguments(edge: RunningEdge) -> tuple[str, ...]:
    """Return what a client is told: address, token, source, time."""
    moment = datetime.now(UTC).isoformat()
    return f"http://127.0.0.1:{edge.port}", edge.tokens["module"], f"{SOURCE_PREFIX}generated", moment


async def test_a_client_in_python(edge: RunningEdge, tmp_path: Path) -> None:
    """openapi-python-client: without a warning; one event, the same again, a problem.

    Of a call that takes two bodies, one of them a list, this generator makes code that Python refuses: it is given the
    document without the batch.
    """
    document = json.loads(PATH.read_text(encoding="utf-8"))
    del document["paths"]["/v1/categories/{category}/events"]["post"]["requestBody"]["content"][BATCH]
    (tmp_path / "openapi.json").write_text(json.dumps(document), encoding="utf-8")
    (tmp_path / "config.yaml").write_text(CONFIG, encoding="utf-8")
    where = ("--path", "openapi.json", "--output-path", "journal_client", "--meta", "none", "--config", "config.yaml")
    told = await run(str(BIN / "openapi-python-client"), "generate", *where, directory=tmp_path)
    assert "WARNING" not in told.upper(), told
    (tmp_path / "use.py").write_text(PYTHON, encoding="utf-8")
    before = await edge.size()
    await run(sys.executable, "use.py", *arguments(edge), directory=tmp_path)
    assert await edge.size() == before + 1


@pytest.mark.campaign
@pytest.mark.needs("npm", "node")
async def test_a_client_in_typescript(edge: RunningEdge, tmp_path: Path) -> None:
    """openapi-typescript: what compiles has its justification, and is posted; redocly and spectral find no error."""
    await run("npm", "install", "--no-audit", "--no-fund", *PACKAGES, directory=tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    (tmp_path / "use.ts").write_text(TYPESCRIPT, encoding="utf-8")
    (tmp_path / ".spectral.yaml").write_text('extends: ["spectral:oas"]\n', encoding="utf-8")
    await run("npx", "openapi-typescript", str(PATH), "-o", "client.ts", directory=tmp_path)
    await run("npx", "tsc", *COMPILE, "--lib", "es2022,dom", "--types", "node", "use.ts", directory=tmp_path)
    await run("node", "use.js", *arguments(edge), directory=tmp_path)
    await run("npx", "redocly", "lint", str(PATH), directory=tmp_path)
    await run("npx", "spectral", "lint", "--fail-severity", "error", str(PATH), directory=tmp_path)
