"""The operator's command as it is typed: results on standard output, mistakes in one plain line."""

from __future__ import annotations

import argparse
import asyncio
import inspect
import json
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zipfile import ZipFile

import asyncpg
import pytest

from journal.cli.main import main
from journal.cli.parser import make_parser
from journal.core.errors import OperatorError
from journal.database.embedded import SUPERUSER, EmbeddedPostgres
from journal.keys.files import appear_whole
from journal.settings import Settings, load_settings
from tests.support import commands
from tests.support.commands import (
    DONE,
    FAILED,
    NOT_RUN,
    command,
    environment,
    plain_line,
    post_event,
    serving,
    status_of,
)
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TODAY = datetime.now(UTC).date


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A running service with one commune: its home and its address."""
    home = tmp_path_factory.mktemp("cli") / "var"
    with serving(home) as (address, process):
        assert command(home, "tenant", "add", "albi", "--name", "Ville d'Albi").returncode == DONE
        yield home, address
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == DONE


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield a parser and all below it."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from parsers(below)


def test_every_help_shows_an_example_that_can_be_typed() -> None:
    """Each command and each group shows an example that the parser accepts unchanged."""
    seen = 0
    for parser in parsers(make_parser()):
        told = " ".join(parser.format_help().split())
        example = re.search(r"Example: (openepm-journal .*)$", told)
        assert example, told
        make_parser().parse_args(shlex.split(example[1])[1:])
        seen += 1
    assert seen > 20


def test_every_command_is_there() -> None:
    """Each is loaded only once it runs; the parser knows the name of its function."""
    found = [run for parser in parsers(make_parser()) if (run := parser.get_default("run"))]
    assert len(found) > 40
    for each in found:
        assert inspect.iscoroutinefunction(each.load())


def test_help_loads_no_command() -> None:
    """Nor does a mistake: neither network libraries, nor the database's driver, nor certificates."""
    code = "import sys, journal.cli.main; journal.cli.main.make_parser(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "journal.cli.main" in loaded
    assert not loaded & {"aiohttp", "asyncpg", "cryptography.x509", "jinja2", "journal.cli.serve", "journal.service"}


MISTAKES = [
    ((), "arguments are required: COMMAND"),
    (("tenants",), "invalid choice"),
    (("tenant",), "arguments are required: ACTION"),
    (("tenant", "add", "albi"), "arguments are required: --name"),
    (("tenant", "add", "albi", "--nam", "Albi"), "--name"),
    (("serve", "--workers", "0"), "must be 1 or more"),
    (("serve", "--workers", "two"), "invalid"),
    (("category", "add", "x", "--label", "X", "--regime", "RGPD"), "invalid choice"),
    (("credential", "add", "--role", "client", "--tenant", "albi", "--expires-at", "soon"), "is not a time"),
    (
        ("credential", "add", "--role", "client", "--tenant", "albi", "--expires-at", "2027-01-01T00:00:00"),
        "no time zone",
    ),
    (("extract", "--from", "01/03/2026"), "is not a day: write YYYY-MM-DD"),
    (("extract", "--from", "20260301"), "is not a day: write YYYY-MM-DD"),
    (("extract", "--action", "lecture"), "invalid choice"),
]


@pytest.mark.parametrize(("arguments", "reason"), MISTAKES)
def test_mistyped(arguments: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is mistyped is said in one line that points to the help, before anything is looked at."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, said = capsys.readouterr()
    assert (ended.value.code, out) == (NOT_RUN, "")
    assert re.fullmatch(r"openepm-journal: [^\n]+; see openepm-journal[a-z -]* --help\n", said), said
    assert reason in said


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"JOURNAL_LISTENS": "x"}, "setting listens (or JOURNAL_LISTENS) does not exist; did you mean listen"),
        ({"JOURNAL_COLOUR": "x"}, "setting colour (or JOURNAL_COLOUR) does not exist; the settings are home, listen,"),
        ({"JOURNAL_WORKERS": "many"}, "setting workers (JOURNAL_WORKERS)"),
        ({"JOURNAL_WORKERS": "0"}, "setting workers (JOURNAL_WORKERS)"),
        ({"JOURNAL_CONFIG": "/nowhere/journal.toml"}, "settings file /nowhere/journal.toml"),
        ({"JOURNAL_SERVICE_NAME": "Not A Name"}, "must be a lower-case DNS name"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, str], reason: str) -> None:
    """A wrong setting is named, and how to put it right."""
    with pytest.raises(OperatorError, match=re.escape(reason)) as refused:
        load_settings(settings)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"JOURNAL_LISTENS": "x"}, "did you mean listen"),
        ({"JOURNAL_LISTEN": "127.0.0.1:99999"}, "write it host:port"),
        ({"JOURNAL_LISTEN": "192.0.2.1:8470"}, "cannot listen on 192.0.2.1:8470"),
        ({"JOURNAL_DSN": "postgresql://journal_owner@127.0.0.1:1/journal"}, "the database cannot be reached"),
        ({"JOURNAL_DSN": "nonsense"}, ""),
        ({"JOURNAL_HOME": "/proc/var"}, "openepm-journal: /proc/var: No such file or directory\n"),
    ],
)
def test_a_service_that_cannot_start(tmp_path: Path, settings: dict[str, str], reason: str) -> None:
    """What keeps the service from starting is one line, without a traceback."""
    listen = {"JOURNAL_LISTEN": f"127.0.0.1:{free_port()}"}
    said = plain_line(command(tmp_path / "var", "serve", **listen | settings))
    assert reason in said
    assert "Errno" not in said


def test_a_settings_file(tmp_path: Path) -> None:
    """A misspelt key in the file is refused by its name too; what systemd says of its own journal is no setting."""
    config = tmp_path / "journal.toml"
    environ = {"JOURNAL_CONFIG": str(config), "JOURNAL_STREAM": "8:4242"}
    for text, reason in (
        (
            'master_key = "x"\n',
            "setting master_key (or JOURNAL_MASTER_KEY) does not exist; did you mean master_key_file",
        ),
        ("workers = 0\n", "setting workers"),
        ("listen = \n", "settings file"),
    ):
        config.write_text(text)
        with pytest.raises(OperatorError, match=re.escape(reason)):
            load_settings(environ)
    config.write_text('workers = 3\nhome = "/srv"\n')
    assert load_settings(environ | {"JOURNAL_HOME": "/var"}) == Settings(workers=3, home="/var")


def test_an_address_that_is_taken(tmp_path: Path) -> None:
    """It is said which address, before anything else is started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        said = plain_line(command(tmp_path / "var", "serve", JOURNAL_LISTEN=listen))
    assert f"cannot listen on {listen}" in said
    assert not (tmp_path / "var").exists()


def test_the_first_use(tmp_path: Path) -> None:
    """The first commune makes database, keys and certificates; a lost master key is asked for, not replaced."""
    home = tmp_path / "var"
    assert f"there is no journal in {home}" in plain_line(command(home, "category", "list"))
    assert not home.exists()
    assert command(home, "tenant", "add", "albi", "--name", "Ville d'Albi").returncode == DONE
    done = command(home, "category", "list")
    codes = [line.split("\t")[0] for line in done.stdout.splitlines()]
    assert codes == ["assistance", "comptes", "ecrits", "journal", "main-courante"]
    for name in ("master.key", "identity/signing.key"):
        assert (home / name).stat().st_mode & 0o077 == 0
    assert (home / "trust.pem").read_text().startswith("-----BEGIN CERTIFICATE-----")
    done = command(home, "migrate")
    assert (done.returncode, done.stdout) == (DONE, "the schema is up to date\n")
    master = (home / "master.key").rename(tmp_path / "elsewhere")
    said = plain_line(command(home, "tenant", "list"))
    assert "master.key is missing" in said
    assert "restore it" in said
    assert not (home / "master.key").exists()
    done = command(home, "tenant", "list", JOURNAL_MASTER_KEY_FILE=str(master))
    assert (done.returncode, done.stdout) == (DONE, "_service\tthe service itself\nalbi\tVille d'Albi\n")


def test_a_category_is_changed(running: tuple[Path, str]) -> None:
    """What was changed is printed, listed, and refused in one line where it cannot be."""
    home, _ = running
    done = command(
        home,
        "category",
        "set",
        "assistance",
        "--instruction",
        "I-1",
        "--retention-days",
        "30",
        "--needs-authorisation",
        "yes",
        JOURNAL_RULE_DELAY_DAYS="0",
    )
    said = "category assistance\tAccès d'assistance de l'hébergeur\tneeds authorisation\t30 days\n"
    assert (done.returncode, done.stdout) == (DONE, said), done.stderr
    done = command(
        home,
        "category",
        "set",
        "assistance",
        "--instruction",
        "I-1",
        "--label",
        "Support",
        "--needs-authorisation",
        "no",
    )
    assert done.stdout == "category assistance\tSupport\tdoes not need authorisation\t30 days\n"
    assert (
        "assistance\tSupport\tLED\t30 days\tcontrat, art. 13.2\tloi n° 78-17"
        in command(home, "category", "list").stdout
    )
    for asked, reason in (
        ((), "nothing to change: give --retention-days, --needs-authorisation, --label, --basis, --legal-basis or"),
        (("--retention-days", "61"), "retention of 61 days: choose 2 to 60"),
        (("--retention-days", "1"), "retention of 1 days: choose 2 to 60"),
        (("--needs-authorisation", "maybe"), "invalid choice"),
    ):
        assert reason in plain_line(command(home, "category", "set", "assistance", "--instruction", "I-1", *asked))
    assert "there is no category rien" in plain_line(
        command(home, "category", "set", "rien", "--instruction", "I-1", "--label", "x")
    )


def test_two_first_commands_at_once(tmp_path: Path) -> None:
    """Commands that are started together on nothing wait for one another."""
    line = [sys.executable, "-m", "journal.cli.main", "tenant", "add"]
    first = environment(tmp_path / "var")
    racers = [
        subprocess.Popen([*line, code, "--name", code], env=first, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for code in ("albi", "sete", "castres")
    ]
    for racer in racers:
        _, said = racer.communicate(timeout=120)
        assert racer.returncode == DONE, said
    done = command(tmp_path / "var", "tenant", "list")
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == ["_service", "albi", "castres", "sete"]


def test_a_credential(running: tuple[Path, str]) -> None:
    """Only the token is printed on standard output; the running service accepts it until it is revoked."""
    home, address = running
    done = command(
        home,
        *("credential", "add", "--role", "module", "--tenant", "albi", "--category", "main-courante"),
        *("--source-prefix", "/openepm/", "--label", "essai", "--expires-at", "2099-01-01T00:00:00+01:00"),
    )
    assert done.returncode == DONE
    token = done.stdout.removesuffix("\n")
    assert re.fullmatch(r"oej_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", token)
    assert token not in done.stderr
    identifier = token.split("_")[1]
    until(lambda: post_event(address, token) == 201)
    listed = command(home, "credential", "list").stdout
    assert f"{identifier}\tmodule\talbi\tmain-courante\tuntil 2098-12-31\tessai\n" in listed
    assert token.split("_", 2)[2] not in listed
    assert command(home, "credential", "revoke", identifier).returncode == DONE
    until(lambda: post_event(address, token) == 401)
    assert "revoked" in command(home, "credential", "list").stdout
    assert "there is no credential 0123" in plain_line(command(home, "credential", "revoke", "0123"))


def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds: the other process refreshes every second, and audits every minute."""
    deadline = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < deadline, "it never held"
        time.sleep(0.05)


def test_what_does_not_exist(running: tuple[Path, str]) -> None:
    """Names that are not there are said with the command that lists those that are."""
    home, _ = running
    extract = ["extract", "--from", "2026-03-01", "--to", "2026-03-01", "--purpose", "lawfulness", "--requester", "DPD"]
    extract += ["--request-reference", "R", "-o", str(home.parent / "x.asice")]
    asked = [
        (["credential", "add", "--role", "client", "--tenant", "albi", "--category", "rien"], "no category rien"),
        (["tenant", "add", "albi", "--name", "Albi"], "codes are never reused"),
        (["tenant", "close", "sete", "--without-export"], "tenant list"),
        ([*extract, "--tenant", "sete", "--category", "ecrits"], "tenant list"),
        ([*extract, "--tenant", "albi", "--category", "rien"], "category list"),
        (["verify-store", "--category", "rien", "--day", "2026-03-01"], "not a day that the category rien keeps"),
        (["recover"], "--declare-loss"),
    ]
    for arguments, reason in asked:
        assert reason in plain_line(command(home, *arguments)), arguments


def test_an_extract(running: tuple[Path, str], tmp_path: Path) -> None:
    """The file is there whole, for its owner's eyes, or not at all; never in place of another."""
    home, _ = running
    output = tmp_path / "albi.asice"
    asked = ["extract", "--tenant", "albi", "--category", "main-courante", "--purpose", "lawfulness"]
    asked += ["--requester", "DPD", "--request-reference", "R-1", "--from", f"{TODAY()}", "--to", f"{TODAY()}"]
    done = command(home, *asked, "-o", str(output))
    assert done.returncode == DONE, done.stderr
    assert done.stdout == f"{output}; check it with: journal-verify {output} --trust {home / 'trust.pem'}\n"
    assert output.stat().st_mode & 0o077 == 0
    verified = subprocess.run(
        [commands.VERIFY, str(output), "--trust", str(home / "trust.pem")], capture_output=True, text=True, check=False
    )
    assert verified.returncode == DONE, verified.stdout
    content = output.read_bytes()
    assert "is never overwritten" in plain_line(command(home, *asked, "-o", str(output)))
    assert output.read_bytes() == content
    assert "there is no directory" in plain_line(command(home, *asked, "-o", str(tmp_path / "no" / "x.asice")))
    refused = [
        (["--to", "2999-01-01"], "has not begun"),
        (["--from", "1980-01-01", "--to", "1980-01-01"], "did not exist"),
    ]
    for arguments, reason in refused:
        assert reason in plain_line(command(home, *asked, *arguments, "-o", str(tmp_path / "other")))
    assert list(tmp_path.iterdir()) == [output]


def test_who_ran_a_command(running: tuple[Path, str], tmp_path: Path) -> None:
    """The person of `--operator`, else of JOURNAL_OPERATOR, is in the command's entry, and in the extract it makes."""
    home, _ = running
    added = ("credential", "add", "--role", "auditor", "--tenant", "albi", "--category", "main-courante")
    since = TODAY()
    assert command(home, *added, JOURNAL_OPERATOR="Ana Sol").returncode == DONE
    assert command(home, *added, "--operator", "Paul Roux").returncode == DONE
    output = tmp_path / "journal.asice"
    asked = ["extract", "--tenant", "albi", "--category", "journal", "--purpose", "lawfulness", "--requester", "DPD"]
    asked += ["--request-reference", "R-2", "--from", f"{since}", "--to", f"{TODAY()}", "-o", str(output)]
    assert "add --even-if-empty" in plain_line(command(home, *asked, "--action", "erasure"))
    done = command(home, *asked, JOURNAL_OPERATOR="Ana Sol")
    assert done.returncode == DONE, done.stderr
    with ZipFile(output) as archive:
        assert json.loads(archive.read("manifest.json"))["person"]["name"] == "Ana Sol"
        data = [json.loads(line)["event"]["data"] for line in archive.read("entries.ndjson").splitlines()]
    assert [one["operator"] for one in data if one.get("role") == "auditor"] == ["Ana Sol", "Paul Roux"]
    assert any("matches it (request" in one.get("reason", "") for one in data)


def test_an_extract_that_fails_on_the_way(running: tuple[Path, str], tmp_path: Path) -> None:
    """Where a key does not open, nothing is left of the extract."""
    home, address = running
    done = command(
        home,
        *("credential", "add", "--role", "module", "--tenant", "albi", "--category", "main-courante"),
        *("--source-prefix", "/openepm/"),
    )
    until(lambda: post_event(address, done.stdout.strip()) == 201)
    key = home / "keys" / "days" / "main-courante" / f"{TODAY()}"
    content = key.read_bytes()
    asked = ["extract", "--tenant", "albi", "--category", "main-courante", "--purpose", "lawfulness"]
    asked += ["--requester", "DPD", "--request-reference", "R-1", "--from", f"{TODAY()}", "--to", f"{TODAY()}"]
    key.write_bytes(b"damaged")
    try:
        said = command(home, *asked, "-o", str(tmp_path / "x.asice"))
    finally:
        key.write_bytes(content)
    assert said.returncode == NOT_RUN
    assert "does not open" in said.stderr
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, sys
from pathlib import Path
from journal.keys.files import appear_whole
with appear_whole(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    os._exit(9)
"""


def test_a_file_that_is_not_finished(tmp_path: Path) -> None:
    """Nothing remains of a file if writing it fails or is killed, or if its name is taken meanwhile."""
    path = tmp_path / "x"
    with pytest.raises(ZeroDivisionError), appear_whole(path) as file:
        file.write(b"%d" % (1 // 0))
    assert subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False).returncode == 9
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileExistsError), appear_whole(path):
        path.write_bytes(b"another's")
    assert path.read_bytes() == b"another's"
    assert list(tmp_path.iterdir()) == [path]


def test_the_upkeep(running: tuple[Path, str]) -> None:
    """Sealing, purging and checking say what they did; what is in order ends with 0."""
    home, address = running
    done = command(home, "seal")
    assert done.returncode == DONE
    assert re.fullmatch(r"(seal \d+\t\S+\topen\n)+|nothing has changed since the last seal\n", done.stdout)
    for arguments in (["purge", "--dry-run"], ["purge"]):
        done = command(home, *arguments)
        assert (done.returncode, done.stdout) == (DONE, "nothing is due\n"), done.stderr
    done = command(home, "verify-store")
    assert done.returncode == DONE, done.stdout
    assert re.fullmatch(r"\d+ entries in 6 chains, \d+ seals: everything verifies\n", done.stdout)
    done = command(home, "verify-store", "--category", "main-courante", "--day", f"{TODAY()}")
    assert done.returncode == DONE, done.stdout
    # The audit looks every minute, and may have looked while another test did harm.
    until(lambda: status_of(f"{address}/readyz") == 200)
    listen = address.removeprefix("http://")
    done = command(home, "doctor", JOURNAL_LISTEN=listen)
    assert done.returncode == DONE, done.stdout
    assert done.stdout.startswith(f"ok   service: it answers on {listen}, and is ready\n")
    assert f"\nservice {commands.SERVICE} in {home}\n" in done.stdout
    assert "FAIL" not in done.stdout
    assert "\nnote signer: it runs as the service's own account, and keeps the signing key from nobody" in done.stdout
    assert re.search(r"^journal: the oldest entry is of \S+, at most [01] days", done.stdout, re.MULTILINE)


def test_what_is_wrong_in_the_store(running: tuple[Path, str]) -> None:
    """A change by hand is printed, one finding a line, and ends with 1."""
    home, _ = running
    dsn = EmbeddedPostgres(home).dsn(SUPERUSER)
    change = (
        "UPDATE journal.head SET chain_hash = set_bit(chain_hash, 5, 1 - get_bit(chain_hash, 5)) WHERE tenant = 'albi'"
    )
    change += " AND category = 'journal'"
    asyncio.run(execute(dsn, change))
    done = command(home, "verify-store")
    asyncio.run(execute(dsn, change))
    assert done.returncode == FAILED
    *findings, summary = done.stdout.splitlines()
    assert any(": head of albi/journal: " in line or "albi/journal" in line for line in findings)
    assert summary.endswith(f"{len(findings)} findings")
    assert command(home, "verify-store").returncode == DONE


async def execute(dsn: str, statement: str) -> None:
    """Run one statement."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.campaign)])
def test_stopping(tmp_path: Path, number: signal.Signals) -> None:
    """A service that is asked to stop ends with 0, its database with it."""
    with serving(tmp_path / "var", JOURNAL_WORKERS="2") as (address, process):
        with urllib.request.urlopen(f"{address}/healthz") as answer:
            assert answer.status == 200
        process.send_signal(number)
        assert process.wait(timeout=60) == DONE
    assert not (tmp_path / "var" / "postgresql" / "data" / "postmaster.pid").exists()


@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=pytest.mark.campaign), signal.SIGINT])
def test_stopping_a_start(tmp_path: Path, number: signal.Signals) -> None:
    """A service that is asked to stop while it starts ends with 0, and leaves no database behind."""
    home = tmp_path / "var"
    line = [sys.executable, "-m", "journal.cli.main", "serve", "--workers", "2"]
    started = environment(home, JOURNAL_LISTEN="127.0.0.1:0")
    with subprocess.Popen(line, env=started, stderr=subprocess.PIPE, text=True) as process:
        until((home / "postgresql" / "owner.lock").exists)
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
    assert process.returncode == DONE, said
    assert "listens" not in said
    assert not (home / "postgresql" / "data" / "postmaster.pid").exists()
