"""The connector of modules: each act of its table reaches the journal, and the usual mistakes end well."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from ingest.problems import KINDS
from journal.core.entry import TYPE_PREFIX
from journal.core.faults import CODES
from journal.core.times import format_time
from tests.support import forks
from tests.support.databases import fresh_database
from tests.support.php import DIRECTORY, Connector
from tests.support.ports import free_port
from tests.support.rig import CATEGORY, SOURCE
from tests.support.serving import Serving, Site, found_site
from tests.support.variants import VARIANTS, variant

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres


pytestmark = [pytest.mark.needs("php"), pytest.mark.asyncio(loop_scope="module")]

VALUES = (
    "$reference = 'MC-1'; $a = 'MC-2'; $b = 'MC-3'; $compte = 'j.dupont'; $motif = 'Relecture'; $nombre = 3; $o = [];"
)
RECORD = (
    "import sys; sys.path.insert(0, sys.argv[1]); from openepm_journal import Journal;"
    "Journal.from_file(sys.argv[2]).record('consultation', sys.argv[3], account='c', justification='Relecture',"
    "category=sys.argv[4])"
)
# An event that the journal refuses for good, though the connector lets it pass.
REFUSED = """$j->spool('main-courante')->append(['specversion' => '1.0', 'id' => bin2hex(random_bytes(8)),
  'type' => 'fr.openepm.journal.access', 'source' => getenv('SOURCE'), 'time' => OpenepmJournal::now(),
  'subject' => 'MC-3', 'data' => ['actor' => ['account' => 'c.martin'], 'outcome' => '?']]);"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """One service for all: each test has a source of its own."""
    async with fresh_database(postgres) as name:
        founded = await found_site(tmp_path_factory.mktemp("service"), postgres.dsn(database=name))
        async with await Serving.start(founded):
            yield founded


@pytest.fixture
def connector(site: Site, tmp_path: Path) -> Connector:
    """A connector with a source of its own."""
    return Connector.install(site, tmp_path / "module", source=f"{SOURCE}:{tmp_path.name}")


async def run(connector: Connector, code: str) -> str:
    """Run PHP code; return what it printed."""
    return await asyncio.to_thread(connector.run, code.replace("getenv('SOURCE')", repr(connector.source)))


async def program(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""

    def act() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return await asyncio.to_thread(act)


async def flush(connector: Connector, emitter: str = "php", act: str = "flush") -> str:
    """Send what waits, with either connector; return what stopped it, but for what it says of events set aside."""
    said = (await command(connector, emitter, act)).stderr
    return "\n".join(line for line in said.splitlines() if not line.startswith("openepm-journal: "))


async def python(connector: Connector, subject: str, category: str = CATEGORY) -> str:
    """Record an event by the module in Python; return what it said of faults."""
    done = await program(sys.executable, "-c", RECORD, str(DIRECTORY), str(connector.config), subject, category)
    return done.stderr


async def command(connector: Connector, emitter: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of either connector; that in Python is forked, and run as it is where `python` records."""
    arguments = [*words, "--config", str(connector.config)]
    if emitter == "python":
        return await asyncio.to_thread(forks.run, arguments, os.environ, module="tests.support.emitter")
    return await program(str(DIRECTORY / "openepm-journal-php"), *arguments)


async def status(connector: Connector) -> str:
    """Return what the connector says of its health."""
    return (await asyncio.to_thread(connector.command, "status")).stdout


def rows() -> list[tuple[str, str, str]]:
    """Return the calls of the page's tables, with the action and the operation that their row announces."""
    found = []
    for line in (DIRECTORY / "EVENEMENTS.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 or (len(cells) == 4 and "(" in line):
            calls = re.findall(r"`([a-zA-Z]+\(.*?\))`", cells[-3])
            found += [(call, cells[-2].strip("`"), cells[-1].strip("`")) for call in calls[:1]]
    return found


def examples() -> list[dict[str, Any]]:
    """Return the examples of the page."""
    page = (DIRECTORY / "EVENEMENTS.md").read_text(encoding="utf-8")
    return [json.loads(line) for line in page.partition("```json\n")[2].partition("```")[0].splitlines()]


def table_lines() -> int:
    """Return how many rows the page's tables have."""
    lines = (DIRECTORY / "EVENEMENTS.md").read_text(encoding="utf-8").splitlines()
    bars = [line for line in lines if line.startswith("|")]
    return len(bars) - 2 * sum(line.startswith("|---") for line in bars)


async def test_every_row_of_the_table(connector: Connector) -> None:
    """Each call of EVENEMENTS.md is accepted, and found in an extract with the type and operation announced."""
    calls = rows()
    assert len(calls) == table_lines() > 25
    expected: dict[str, list[tuple[str, str]]] = {CATEGORY: [], "ecrits": []}
    code = VALUES
    for call, action, operation in calls:
        # The site gives no right to `comptes`: what is asked is the same in another category.
        said = call.replace("'comptes'", "'ecrits'")
        code += f"if ($j->{said} !== true) {{ echo {json.dumps(call)}, ' '; }}"
        both = 2 if call.startswith("rapprochement") else 1
        expected["ecrits" if "'ecrits'" in said else CATEGORY] += [(TYPE_PREFIX + action, operation)] * both
    assert await run(connector, code) == ""
    assert await flush(connector) == ""
    assert {(TYPE_PREFIX + action, operation) for _, action, operation in calls} == {
        (example["type"], example["data"]["operation"]) for example in examples()
    }
    for category, wanted in expected.items():
        events = await connector.entries(category)
        assert [(event["type"], event["data"].get("operation", "")) for event in events] == wanted
        assert [int(event["sequence"]) for event in events] == list(range(1, len(wanted) + 1))
    # What is in clear is for PHP's account alone.
    assert {stat.S_IMODE(path.stat().st_mode) for path in connector.spool.glob("*")} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in connector.spool.glob("*/[!ws]*")} == {0o600}
    assert (await asyncio.to_thread(connector.command, "status")).returncode == 0


async def test_every_example(connector: Connector) -> None:
    """Each example of EVENEMENTS.md, with what belongs to a sending, is accepted as it is written, and found again."""
    sent = [
        {"specversion": "1.0", "id": str(number), "time": format_time(datetime.now(UTC)), "source": connector.source}
        | example
        for number, example in enumerate(examples())
    ]
    url = f"{connector.site.url}/v1/categories/{CATEGORY}/events"
    headers = {
        "Authorization": f"Bearer {connector.site.modules[connector.tenant]}",
        "Content-Type": "application/cloudevents-batch+json",
    }
    async with aiohttp.ClientSession() as session, session.post(url, json=sent, headers=headers) as answer:
        assert answer.status == 201, await answer.text()
    assert await connector.entries() == sent


async def test_the_usual_mistakes(connector: Connector) -> None:
    """Nothing is lost, nothing doubled in silence, and the author is told what to do."""
    # Text that is not UTF-8 is converted; no motive, no name and no text at all stop no page.
    await run(
        connector, "$j->consultation('MC-1', \"Relev\\xe9\"); $j->agent('c.martin', ['name' => null, 'unit' => '']);"
    )
    # A token that is no longer valid: all waits; a new one in its file, and all is sent once.
    token = connector.token.read_text(encoding="ascii")
    connector.token.write_text("0" * len(token), encoding="ascii")
    assert "réponse 401 : jeton refusé" in await flush(connector)
    assert "1 en attente" in await status(connector)
    connector.token.write_text(token, encoding="ascii")
    # A category that the token has no right to: it waits, and the others pass.
    await run(connector, "$j->consultation('X', 'M', ['category' => 'comptes']); $j->connexion();")
    assert "réponse 404 : catégorie inconnue" in await flush(connector)
    assert "comptes : 1 en attente" in await status(connector)
    shutil.rmtree(connector.spool / "comptes")
    # Refused for good: set aside with the reason, and the others pass, in order.
    await run(connector, f"$j->connexion(); {REFUSED} $j->deconnexion();")
    assert await flush(connector) == ""
    assert "1 mis de côté" in await status(connector)
    (aside,) = connector.aside()
    assert aside["reason"] == "unknown-value /data/outcome"
    assert "issue : n'est pas une des valeurs admises (unknown-value)" in await status(connector)
    assert json.loads(aside["event"])["subject"] == "MC-3"
    # Too long ago: set aside, and its number counted as lost.
    await run(connector, "$j->consultation('MC-4', 'M', ['time' => gmdate('Y-m-d\\TH:i:s\\Z', time() - 8 * 86400)]);")
    assert await flush(connector) == ""
    assert re.search(r"perdus : 6 à 6 \(époque \S+\), trop anciens ; à déclarer", await status(connector))
    # A spool that is full: the page is told, the number is counted as lost, the next one follows it.
    Connector.install(connector.site, connector.home, source=connector.source, max_mib=0)
    assert await run(connector, "echo json_encode($j->connexion());") == "false"
    Connector.install(connector.site, connector.home, source=connector.source)
    await run(connector, "$j->deconnexion();")
    assert await flush(connector) == ""
    assert "perdus : 7 à 7" in await status(connector)
    # A spool that is deleted counts anew, under another name.
    for path in (connector.spool / CATEGORY).iterdir():
        path.unlink()
    await run(connector, "$j->deconnexion();")
    assert await flush(connector) == ""
    events = await connector.entries()
    assert [event["sequence"] for event in events] == ["1", "2", "3", "5", "8", "1"]
    assert len({event["epoch"] for event in events[:5]}) == 1
    assert events[5]["epoch"] != events[0]["epoch"]
    assert events[0]["data"]["justification"] == "Relevé"


@pytest.mark.parametrize("emitter", ["php", "python"])
async def test_a_time_to_come(connector: Connector, emitter: str) -> None:
    """An event that is dated ahead waits for its time, alone; its number is told; then it is sent."""
    ahead = "gmdate('Y-m-d\\TH:i:s\\Z', time() + 3600)"
    await run(connector, f"$j->connexion(); $j->consultation('MC-2', 'M', ['time' => {ahead}]); $j->deconnexion();")
    for _ in range(2):
        assert await flush(connector, emitter) == ""
        assert [event["sequence"] for event in await connector.entries()] == ["1", "3"]
    assert connector.aside() == []
    done = await command(connector, emitter, "status")
    assert re.search("n° 2 attend son heure|number 2 waits for its time", done.stdout)
    assert done.returncode == 1
    (held,) = (connector.spool / CATEGORY).glob("ahead.ndjson")
    line = held.read_text(encoding="utf-8")
    held.write_text(re.sub('"time":"[^"]+"', f'"time":"{format_time(datetime.now(UTC))}"', line), encoding="utf-8")
    assert await flush(connector, emitter) == ""
    assert [event["sequence"] for event in await connector.entries()] == ["1", "3", "2"]
    assert (await command(connector, emitter, "status")).returncode == 0
    # A day ahead, it is set aside.
    await run(connector, "$j->connexion(['time' => '2099-01-01T00:00:00Z']); $j->deconnexion();")
    assert await flush(connector, emitter) == ""
    assert len(connector.aside()) == 1
    assert [event["sequence"] for event in await connector.entries()] == ["1", "3", "2", "5"]


@pytest.mark.parametrize("emitter", ["php", "python"])
async def test_a_clock_ahead(connector: Connector, emitter: str) -> None:
    """What this host's clock has dated ahead, and no other, waits with all that follows, until the clock is right."""
    fault = {"position": 0, "pointer": "/time", "code": "time-ahead", "reason": "is ahead", "retryable": True}
    answers = iter([problem(422, faults=[fault])])
    runner, url, _ = await other_journal(lambda events: next(answers, None) or recorded(events))
    try:
        Connector.install(connector.site, connector.home, source=connector.source, url=url)
        await run(connector, "$j->connexion(); $j->deconnexion();")
        assert re.search("horloge|is ahead", await flush(connector, emitter))
        assert len(connector.waiting()) == 2
        assert await flush(connector, emitter) == ""
        assert (connector.waiting(), connector.aside()) == ([], [])
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("emitter", ["php", "python"])
async def test_a_source_that_is_not_the_tokens(connector: Connector, emitter: str) -> None:
    """All waits, as all are so; with the setting mended, the rest goes, and a token of the old prefix sends the old."""
    wrong = Connector.install(connector.site, connector.home, source="/elsewhere/web-1")
    await run(wrong, "$j->connexion(); $j->deconnexion();")
    assert "source" in await flush(wrong, emitter)
    assert len(wrong.waiting()) == 2
    Connector.install(connector.site, connector.home, source=connector.source)
    await run(connector, "$j->connexion();")
    assert await flush(connector, emitter) == ""
    kept = [one["event"] for one in connector.aside()]
    assert [event["sequence"] for event in await connector.entries()] == ["3"]
    done = await command(connector, emitter, "status")
    assert re.search(r"(n°|number) 1 (à|to) 2 .*/elsewhere/web-1.*again --token", done.stdout)
    # What waits meanwhile, of the present prefix, is not this token's.
    await run(connector, "$j->connexion();")
    other = connector.home / "other.token"
    other.write_text(connector.site.modules[connector.tenant], encoding="ascii")
    assert (await command(connector, emitter, "again", "--token", str(other))).returncode == 1
    assert [one["event"] for one in connector.aside()] == kept
    got: list[str] = []

    def take(events: list[dict[str, str]]) -> web.Response:
        got.extend(event["sequence"] for event in events)
        return recorded(events)

    runner, url, _ = await other_journal(take)
    try:
        Connector.install(connector.site, connector.home, source=connector.source, url=url)
        assert (await command(connector, emitter, "again", "--token", str(other))).returncode == 0
    finally:
        await runner.cleanup()
    assert got == ["1", "2"]
    assert connector.aside() == []
    assert [event["sequence"] for event in connector.waiting()] == ["4"]


@pytest.mark.parametrize("emitter", ["php", "python"])
async def test_what_was_set_aside_is_sent_again(connector: Connector, emitter: str) -> None:
    """By a command, byte for byte: what is still refused is set aside again, what is too old stays there."""
    old = "['time' => gmdate('Y-m-d\\TH:i:s\\Z', time() - 8 * 86400)]"
    await run(connector, f"$j->connexion({old}); {REFUSED} {REFUSED}")
    done = await command(connector, emitter, "flush")
    assert (done.returncode, done.stderr.count("openepm-journal: ")) == (1, 2)
    kept = connector.aside()
    assert len(kept) == 3
    # The journal has not changed its mind.
    await run(connector, "$j->connexion();")
    assert await flush(connector, emitter, "again") == ""
    assert sorted(one["event"] for one in connector.aside()) == sorted(one["event"] for one in kept)
    assert connector.waiting() == []
    got: list[str] = []

    def take(events: list[dict[str, str]]) -> web.Response:
        got.extend(event["sequence"] for event in events)
        return recorded(events)

    runner, url, _ = await other_journal(take)
    try:
        Connector.install(connector.site, connector.home, source=connector.source, url=url)
        assert await flush(connector, emitter, "again") == ""
    finally:
        await runner.cleanup()
    assert got == ["2", "3"]
    assert [json.loads(one["event"])["sequence"] for one in connector.aside()] == ["1"]
    assert connector.waiting() == []


@pytest.mark.parametrize("emitter", ["php", "python"])
async def test_what_goes_again_before_what_is_partly_sent(connector: Connector, emitter: str) -> None:
    """A stop within a segment, and what was set aside sent in front of it: each event is settled once."""
    fault = {"position": 0, "pointer": "/data", "code": "blank", "reason": "is empty", "retryable": False}
    answers = iter([problem(422, faults=[fault]), web.Response(status=503)])
    sent: list[list[str]] = []

    def take(events: list[dict[str, str]]) -> web.Response:
        sent.append([event["sequence"] for event in events])
        return next(answers, None) or recorded(events)

    runner, url, _ = await other_journal(take)
    try:
        Connector.install(connector.site, connector.home, source=connector.source, url=url)
        await run(connector, "for ($i = 0; $i < 3; $i++) { $j->connexion(); }")
        assert "503" in await flush(connector, emitter)
        assert await flush(connector, emitter, "again") == ""
        assert sent == [["1", "2", "3"], ["2", "3"], ["1"], ["2", "3"]]
        assert (connector.waiting(), connector.aside()) == ([], [])
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("emitter", ["php", "python"])
async def test_a_misspelt_category(connector: Connector, emitter: str) -> None:
    """It waits, with its cause; `drop` sets it aside, `declared` ends it: nothing is told, counted or sent any more."""
    Connector.install(connector.site, connector.home, source=connector.source, rhythm_minutes=1)
    await run(connector, "$o = ['category' => 'ecrit']; $j->connexion($o); $j->connexion(); $j->deconnexion($o);")
    assert re.search("ecrit ?: (réponse|answer) 404", await flush(connector, emitter))
    assert [event["sequence"] for event in await connector.entries()] == ["1"]
    assert (await command(connector, emitter, "drop", "ecrits")).returncode == 2
    assert (await command(connector, emitter, "drop", "ecrit")).returncode == 0
    assert await flush(connector, emitter) == ""
    assert len(connector.aside("ecrit")) == 2
    assert re.search(r"(n°|number) 1 (à|to) 2 .*drop", (await command(connector, emitter, "status")).stdout)
    assert (await command(connector, emitter, "declared", "ecrit", "2", "9")).returncode == 0
    assert len(connector.aside("ecrit")) == 1
    assert (await command(connector, emitter, "declared", "ecrit", "1", "1")).returncode == 0
    assert (await command(connector, emitter, "status")).returncode == 0
    os.utime(next((connector.spool / "ecrit").glob("0*")), times=(0, 0))
    assert await flush(connector, emitter, "again") == ""
    assert len(list((connector.spool / "ecrit").glob("declared-*.ndjson"))) == 1


@pytest.mark.parametrize("emitter", ["php", "python"])
async def test_a_loss_that_was_declared(connector: Connector, emitter: str) -> None:
    """It is told no more, also where no event has followed it, and its number is not used again."""
    await run(connector, "$j->connexion();")
    for _ in range(2):
        Connector.install(connector.site, connector.home, source=connector.source, max_mib=0)
        assert await run(connector, "echo json_encode($j->connexion());") == "false"
        Connector.install(connector.site, connector.home, source=connector.source)
        await run(connector, "$j->connexion();")
    Connector.install(connector.site, connector.home, source=connector.source, max_mib=0)
    assert await run(connector, "echo json_encode($j->connexion());") == "false"
    Connector.install(connector.site, connector.home, source=connector.source)
    assert await flush(connector, emitter) == ""
    for first, last, left in (("3", "9", ["2"]), ("4", "9", ["2"]), ("1", "2", [])):
        await command(connector, emitter, "declared", CATEGORY, first, last)
        done = await command(connector, emitter, "status")
        assert re.findall(r"(?:perdus|lost) ?: (\d+)", done.stdout) == left
    assert (await command(connector, emitter, "declared", CATEGORY, "1", "9")).returncode == 1
    assert (await command(connector, emitter, "status")).returncode == 0
    await run(connector, "$j->deconnexion();")
    assert await flush(connector, emitter) == ""
    assert [event["sequence"] for event in await connector.entries()] == ["1", "3", "5", "7"]


@pytest.mark.parametrize("emitter", ["php", "python"])
async def test_what_status_must_not_call_well(connector: Connector, emitter: str) -> None:
    """No spool, no token, nothing sent for long, a clock that is off: each is told, with code 1."""

    async def told() -> str:
        done = await command(connector, emitter, "status")
        assert done.returncode == 1, done.stdout
        return done.stdout

    assert (await command(connector, emitter, "status")).returncode == 0
    await run(connector, "$j->connexion(['time' => gmdate('Y-m-d\\TH:i:s\\Z', time() - 1000)]);")
    assert "flush" in await told()
    runner, url, _ = await other_journal(lambda events: recorded(events, Date="Sat, 01 Jan 2000 00:00:00 GMT"))
    try:
        Connector.install(connector.site, connector.home, source=connector.source, url=url)
        assert await flush(connector, emitter) == ""
    finally:
        await runner.cleanup()
    assert "NTP" in await told()
    connector.token.unlink()
    assert "token" in await told()
    Connector.install(connector.site, connector.home, source=connector.source, spool=str(connector.home / "elsewhere"))
    assert "install -d" in await told()


async def other_journal(answer: Callable[[list[dict[str, str]]], web.Response]) -> tuple[web.AppRunner, str, list[int]]:
    """Start what answers in the journal's place; return it, its address, and the sizes of the batches that it got."""
    sizes: list[int] = []

    async def handle(request: web.Request) -> web.Response:
        events = await request.json()
        sizes.append(len(events))
        return answer(events)

    app = web.Application()
    app.router.add_post("/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner, f"http://127.0.0.1:{port}", sizes


def problem(status: int, **members: object) -> web.Response:
    """Return a problem of the journal."""
    body = {"type": "urn:openepm-journal:problem:misshapen", "status": status, "detail": "…", **members}
    return web.json_response(body, status=status, content_type="application/problem+json")


def recorded(events: list[dict[str, str]], **headers: str) -> web.Response:
    """Return the answer to what is recorded."""
    receipts = [{"index": index, "id": event["id"], "source": event["source"]} for index, event in enumerate(events)]
    return web.json_response({"receipts": receipts}, status=201, headers=headers)


@pytest.mark.parametrize("emitter", ["php", "python"])
async def test_only_the_journal_refuses_for_good(connector: Connector, emitter: str) -> None:
    """A proxy's pages, statuses unknown and what may be retried set nothing aside; a code that is unknown keeps all."""
    answers = [
        *(
            web.Response(status=code, text="<h1>no</h1>", content_type="text/html")
            for code in (400, 403, 413, 422, 502)
        ),
        problem(418),
        problem(422, retryable=True, faults=[{"position": 0, "pointer": "", "code": "new", "retryable": True}]),
        problem(503, retryable=False),
    ]
    said = iter(answers)
    runner, url, _ = await other_journal(lambda _: next(said))
    try:
        Connector.install(connector.site, connector.home, source=connector.source, url=url)
        await run(connector, "$j->connexion();")
        for answer in answers:
            assert f" {answer.status}" in await flush(connector, emitter)
        assert connector.aside() == []
        assert len(connector.waiting()) == 1
    finally:
        await runner.cleanup()
    fault = {"position": 1, "pointer": "/data", "code": "of another year", "reason": "is not so", "retryable": False}
    runner, url, sizes = await other_journal(
        lambda events: problem(400, faults=[fault], retryable=False) if len(events) > 1 else recorded(events)
    )
    try:
        Connector.install(connector.site, connector.home, source=connector.source, url=url)
        await run(connector, "$j->agent('b'); $j->connexion(); $j->deconnexion();")
        assert await flush(connector, emitter) == ""
        (aside,) = connector.aside()
        assert json.loads(aside["event"])["sequence"] == "3"
        assert sizes == [1, 2, 1]
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("emitter", ["php", "python"])
async def test_what_is_no_acknowledgement(connector: Connector, emitter: str) -> None:
    """A portal, a page of maintenance, receipts of other events or of some: all waits, and the author is told why."""

    def receipts(events: list[dict[str, str]], **changed: object) -> list[dict[str, object]]:
        return [{"index": 1, "id": event["id"], "source": event["source"], **changed} for event in events]

    def answering(number: int, events: list[dict[str, str]]) -> web.Response:
        bodies = [
            *({"receipts": []}, [], "ok", {"receipts": {}}, {"receipts": [1, 2]}, {"dry_run": True}),
            *({"receipts": receipts(events)[:1]}, {"receipts": receipts(events) * 2}),
            {"receipts": receipts(events)[::-1]},
            *({"receipts": receipts(events, **changed)} for changed in ({"index": "1"}, {"source": "/elsewhere"})),
        ]
        if number < len(bodies):
            return web.json_response(bodies[number], status=201)
        answers = [
            web.Response(text="<h1>Portail</h1>", content_type="text/html"),
            web.Response(status=302, headers={"Location": "/portail"}),
            web.Response(status=201),
        ]
        return answers[number - len(bodies)] if number < cases else recorded(events)

    cases = 14
    runner, url, sizes = await other_journal(lambda events: answering(len(sizes) - 1, events))
    try:
        Connector.install(connector.site, connector.home, source=connector.source, url=url)
        await run(connector, "$j->connexion(); $j->deconnexion();")
        for _ in range(cases):
            assert re.search("à sa place|in the journal's place", await flush(connector, emitter))
        assert len(connector.waiting()) == 2
        assert "à sa place" in await status(connector) or emitter == "python"
        assert await flush(connector, emitter) == ""
        assert (connector.waiting(), connector.aside()) == ([], [])
        assert sizes == [2] * (cases + 1)
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("emitter", ["php", "python"])
async def test_an_outage_between_two_answers(connector: Connector, emitter: str) -> None:
    """What was settled before the journal fell silent is settled once: nothing is set aside or declared twice."""
    bad = {"position": 1, "pointer": "/data", "code": "blank", "reason": "is empty", "retryable": False}
    late = {"position": 0, "pointer": "/time", "code": "time-too-old", "reason": "too old", "retryable": False}
    answers = iter([problem(422, faults=[late, bad]), *(web.Response(status=503) for _ in range(3))])
    runner, url, sizes = await other_journal(lambda events: next(answers, None) or recorded(events))
    try:
        Connector.install(connector.site, connector.home, source=connector.source, url=url)
        await run(connector, "for ($i = 0; $i < 4; $i++) { $j->connexion(); }")
        for _ in range(3):
            assert "503" in await flush(connector, emitter)
        assert await flush(connector, emitter) == ""
        assert [json.loads(line["event"])["sequence"] for line in connector.aside()] == ["1", "2"]
        losses = (connector.spool / CATEGORY / "losses.ndjson").read_text(encoding="utf-8").splitlines()
        assert [(json.loads(loss)["first"], json.loads(loss)["last"]) for loss in losses] == [(1, 1)]
        assert sizes == [4, 2, 2, 2, 2]
        # Both write the same codes, and each reads what either wrote in its own language.
        assert {json.loads(loss)["reason"] for loss in losses} == {"time-too-old"}
        assert [line["reason"] for line in connector.aside()] == ["time-too-old", "blank /data"]
        told = await status(connector)
        for said in (") : trop ancien\n", ", trop anciens ; à déclarer", "/data : est vide (blank)"):
            assert said in told, told
        told = (await command(connector, "python", "status")).stdout
        for said in ("): too old\n", ", too old; to be declared", "/data: blank"):
            assert said in told, told
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("emitter", ["php", "python"])
async def test_where_nobody_answers(connector: Connector, emitter: str) -> None:
    """Each way that a network or an address is wrong has its own sentence, with what to do."""
    await run(connector, "$j->connexion();")
    port = connector.site.url.rpartition(":")[2]
    cases = {
        "http://journal.invalid": "DNS",
        f"http://127.0.0.1:{free_port()}": "refus",
        f"https://127.0.0.1:{port}": "TLS",
        f"{connector.site.url}/v1": "/v1",
        f"{connector.site.url}/v1/": "/v1",
    }
    for url, told in cases.items():
        Connector.install(connector.site, connector.home, source=connector.source, url=url)
        assert told in await flush(connector, emitter), url
    assert len(connector.waiting()) == 1


async def test_every_code_has_its_sentence(connector: Connector) -> None:
    """The connector in PHP says each code and kind of the service in French."""
    words = "OpenepmJournalWords"
    faults, kinds = json.loads(await run(connector, f"echo json_encode([{words}::FAULTS, {words}::KINDS]);"))
    assert set(faults) == {code.name for code in CODES}
    assert set(kinds) == {kind.name for kind in KINDS}


async def test_what_waits_too_long(connector: Connector) -> None:
    """While nobody answers, what is too old leaves the spool; where this clock may be wrong, the journal is asked."""
    old = "['time' => gmdate('Y-m-d\\TH:i:s\\Z', time() - 9 * 86400)]"
    Connector.install(connector.site, connector.home, source=connector.source, url=f"http://127.0.0.1:{free_port()}")
    await run(connector, f"for ($i = 0; $i < 3; $i++) {{ $j->connexion({old}); }} $j->deconnexion();")
    assert "aucune réponse" in await flush(connector)
    assert "perdus : 1 à 3" in await status(connector)
    # What was set aside is kept for a time, then removed.
    (aside,) = (connector.spool / CATEGORY).glob("quarantine-*.ndjson")
    aside.rename(aside.with_name("quarantine-2026-01-01.ndjson"))
    await flush(connector)
    assert connector.aside() == []
    runner, url, _ = await other_journal(
        lambda _: web.Response(status=503, headers={"Date": "Sat, 01 Jan 2000 00:00:00 GMT"})
    )
    try:
        Connector.install(connector.site, connector.home, source=connector.source, url=url)
        await run(connector, f"$j->connexion({old});")
        assert "l'horloge de cet hôte s'écarte" in await flush(connector)
        assert connector.aside() == []
    finally:
        await runner.cleanup()


async def test_a_sign_of_life(connector: Connector) -> None:
    """A source that is still beats the rhythm that it is to keep, and says that it is not a person's act."""
    Connector.install(connector.site, connector.home, source=connector.source, rhythm_minutes=30)
    await run(connector, "$j->connexion();")
    assert await flush(connector) == ""
    assert len(await connector.entries()) == 1
    for emitter in ("php", "python"):
        (segment,) = (connector.spool / CATEGORY).glob("0*.ndjson")
        os.utime(segment, times=(time.time() - 1801, time.time() - 1801))
        assert await flush(connector, emitter) == ""
        assert await flush(connector, emitter) == ""
    events = await connector.entries()
    assert [event["data"]["actor"]["account"] for event in events] == ["c.martin", "openepm-journal", "openepm-journal"]


# Calls as authors mistype them, and what PHP's error log then says.
MISTYPED = {
    "$j->recherche(null)": "nombre : un nombre entier est attendu",
    "$j->recherche('')": "nombre : un nombre entier est attendu",
    "$j->liste()": "nombre : un nombre entier est attendu",
    "$j->liste(-1)": "nombre : est hors des bornes",
    "$j->communication('MC-1', 'Parquet', 'M')": "destinataires : une liste est attendue",
    "$j->communication('MC-1', [], 'M')": "destinataires : est exigé",
    "$j->consultation('MC-1')": "motif : est exigé",
    "$j->consultation('MC-1', ' ')": "motif : est exigé",
    "$j->consultation('MC-1', ['M'])": "motif : est exigé",
    "$j->consultation(new stdClass(), 'M')": "référence : est exigé",
    "$j->consultation('MC-1', 'M', 'ecrits')": "options : un tableau est attendu",
    "$j->consultation('MC-1', 'M', ['category' => ['ecrits']])": "catégorie : de 1 à 63",
    "$j->consultation('MC-1', 'M', ['outcome' => 'ok'])": "issue : n'est pas une des valeurs admises",
    "$j->consultation('MC-1', 'M', ['motif' => 'M'])": "option inconnue : motif",
    "$j->consultation('MC-1', 'M', ['time' => 'hier'])": "heure : est mal formé",
    "$j->consultation('MC-1', str_repeat('M', 2001))": "motif : est trop long",
    "$j->modification('MC-1', ['fields' => 'faits'])": "champs : une liste est attendue",
    "$j->modification('MC-1', ['fields' => ['12, rue des Lices']])": "champs : est mal formé",
    "$j->rapprochement('MC-1', 'M')": "rapprochement : deux références",
    "$j->consulter('MC-1', 'M')": "appel inconnu : consulter()",
    "$j->record('vue')": "type : n'est pas une des valeurs admises",
    "$j->record('consultation', 'vue', 'MC-1', ['justification' => 'M'])": "opération : n'est pas une des",
    "$j->agent('c.martin', 'Martin')->connexion(['count' => 1.5])": "agent : un tableau est attendu",
    "$j->agent(['c.martin'])->connexion()": "aucun agent",
    "$j->agent('c.martin', ['nom' => 'Martin'])->connexion()": "/data/actor/nom : n'est pas attendu",
}


async def test_a_call_that_is_mistyped(connector: Connector) -> None:
    """None stops a page: each is false, and PHP's log says what is wrong; with `strict`, it is an exception."""
    code = "foreach ([" + ",".join(f"function ($j) {{ return {call}; }}" for call in MISTYPED) + "] as $call) {"
    code += "$j->agent('c.martin'); echo json_encode($call($j)); error_log('--'); }"
    done = await program(*connector.program(code))
    assert done.stdout == "false" * len(MISTYPED)
    for (call, told), said in zip(MISTYPED.items(), done.stderr.split("--\n"), strict=False):
        assert told in said, (call, said)
    assert list(connector.spool.iterdir()) == []
    Connector.install(connector.site, connector.home, source=connector.source, strict=True)
    thrown = "try { $j->recherche(null); } catch (OpenepmJournalException $e) { echo $e->getMessage(); }"
    assert "nombre : un nombre" in await run(connector, thrown)
    # Numbers as databases give them, and a page's own strict types, are no mistake.
    assert await run(connector, "echo json_encode([$j->recherche('3'), $j->consultation(4127, 'M')]);") == "[true,true]"


async def test_the_rules_are_those_of_the_journal(connector: Connector) -> None:
    """Both connectors find of an event what the service's dry run finds of it: the same codes, at the same places."""
    events = [variant(action, changed, connector.source) for action, changed in VARIANTS]
    url = f"{connector.site.url}/v1/categories/{CATEGORY}/events?dry_run=true"
    headers = {
        "Authorization": f"Bearer {connector.site.modules[connector.tenant]}",
        "Content-Type": "application/cloudevents+json",
    }
    found = []
    async with aiohttp.ClientSession(headers=headers) as session:
        for event in events:
            async with session.post(url, data=json.dumps(event)) as answer:
                said = await answer.json()
                assert answer.status in (200, 400), said
                found.append(sorted([fault["code"], fault["pointer"]] for fault in said.get("faults", [])))
    assert sum(faults == [] for faults in found) > 30
    assert len({fault[0] for faults in found for fault in faults}) >= 9
    asked = connector.home / "events.json"
    asked.write_text(json.dumps(events), encoding="utf-8")
    check = "array_map(['OpenepmJournalRules', 'check'], json_decode(file_get_contents($argv[1]), true))"
    by_php = await program(*connector.program(f"echo json_encode({check});"), "--", str(asked))
    code = "import json, sys; sys.path.insert(0, sys.argv[1]); from openepm_journal import faults_of;"
    code += "print(json.dumps([faults_of(event) for event in json.load(open(sys.argv[2]))]))"
    by_python = await program(sys.executable, "-c", code, str(DIRECTORY), str(asked))
    for output in (by_php.stdout, by_python.stdout):
        for (action, changed), faults, by_connector in zip(VARIANTS, found, json.loads(output), strict=True):
            assert sorted(by_connector) == faults, (action, changed)


async def test_settings_that_are_wrong(connector: Connector) -> None:
    """They stop no page: each call is false, the log says which file and setting; the command ends with code 2."""
    call = "echo json_encode([$j->connexion(), array_values($j->flush()), $j->health()]);"
    for text, told in (
        ('url = "a', "mal formé"),
        ('adresse = "a"', "réglage inconnu : adresse"),
        ('url = "a"', "réglage manquant : token_file"),
        ('url = "journal.example"\ntoken_file = "/t"\nsource = "/s"\nspool = "/s"', "https://"),
        ('url = "http://j"\ntoken_file = "/t"\nsource = "/s"\nspool = "s"', "chemin absolu"),
        ('url = "http://j"\ntoken_file = "/t"\nsource = "/s"\nspool = "/s"\nmax_mib = "x"', "max_mib : un nombre"),
        (None, "absent ou illisible"),
    ):
        if text is None:
            connector.config.unlink()
        else:
            connector.config.write_text(text, encoding="utf-8")
        done = await program(*connector.program(call))
        assert json.loads(done.stdout)[::2] == [False, []]
        assert told in json.loads(done.stdout)[1][0]
        assert f"{connector.config} : " in done.stderr
        assert told in done.stderr
        assert (await command(connector, "php", "flush")).returncode == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs commands as another account")
@pytest.mark.parametrize("emitter", ["php", "python"])
async def test_another_account(connector: Connector, emitter: str) -> None:
    """What root runs by mistake leaves nothing that pages cannot write; a disk's lost+found is no category."""
    (connector.spool / "lost+found").mkdir(parents=True)
    await run(connector, "$j->connexion();")
    # Only the category: whoever has made it, pages cannot write it.
    for path in (connector.spool / CATEGORY, *(connector.spool / CATEGORY).iterdir()):
        os.chown(path, 65534, 65534)
    done = await command(connector, emitter, "status")
    assert done.returncode == 1
    assert "chown -R --reference" in done.stdout
    before = sorted(path.name for path in (connector.spool / CATEGORY).iterdir())
    assert re.search("appartient à un autre compte|belongs to another account", await flush(connector, emitter))
    assert await run(connector, "echo json_encode($j->connexion());") == "false"
    # The whole spool is another account's: no category is made in it.
    os.chown(connector.spool, 65534, 65534)
    assert await run(connector, "echo json_encode($j->connexion(['category' => 'ecrits']));") == "false"
    assert "another account" in await python(connector, "MC-2", "ecrits")
    # No spool at all: root makes none.
    Connector.install(connector.site, connector.home, source=connector.source, spool=str(connector.home / "none"))
    assert await run(connector, "echo json_encode($j->connexion());") == "false"
    assert not (connector.home / "none").exists()
    assert sorted(path.name for path in (connector.spool / CATEGORY).iterdir()) == before
    assert sorted(path.name for path in connector.spool.iterdir()) == ["lost+found", CATEGORY]


async def test_two_at_once(connector: Connector) -> None:
    """Pages that begin together on a new spool share one count; senders beside them take nothing from each other."""
    code = "for ($i = 0; $i < 25; $i++) { $j->consultation(\"$argv[1]-$i\", 'M'); }"
    pages = [
        asyncio.create_task(asyncio.to_thread(subprocess.run, [*connector.program(code), "--", str(page)], check=True))
        for page in range(4)
    ]
    while not all(page.done() for page in pages):
        await flush(connector)
    await asyncio.gather(*pages)
    assert await flush(connector) == ""
    events = await connector.entries()
    assert [int(event["sequence"]) for event in events] == list(range(1, 101))
    assert len({event["epoch"] for event in events}) == 1
    for page in range(4):
        assert [event["subject"] for event in events if event["subject"].startswith(f"{page}-")] == [
            f"{page}-{number}" for number in range(25)
        ]


async def test_both_connectors_on_one_spool(connector: Connector) -> None:
    """What the Python module records follows what PHP has recorded, and either sends both."""
    await run(connector, "$j->consultation('MC-1', 'Relecture');")
    assert await python(connector, "MC-2") == ""
    assert "nothing is recorded: /subject: blank" in await python(connector, "")
    await run(connector, "$j->consultation('MC-3', 'Relecture');")
    assert await flush(connector, "python") == ""
    events = await connector.entries()
    assert [(event["subject"], event["sequence"]) for event in events] == [
        ("MC-1", "1"),
        ("MC-2", "2"),
        ("MC-3", "3"),
    ]
    receipts = next((connector.spool / CATEGORY).glob("receipts-*.ndjson")).read_text(encoding="utf-8")
    assert len(json.loads(receipts)["receipts"]) == 3
    assert (await asyncio.to_thread(connector.command, "status")).returncode == 0
