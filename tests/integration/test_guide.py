"""The commands of the operator's guide, typed as they stand there: they exist, succeed, and say what the guide says.

The install chapter is typed on a clean host (tests/deploy), and those about Barman beside one (tests/backup). Here is
what an operator does with the journal: provision, copy and replace keys, end a contract; and what the commune does.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson
import pytest

from journal.cli.installation import open_service
from journal.cli.parser import make_parser
from journal.clock import SystemClock
from journal.core.entry import Compartment
from tests.support.databases import fresh_database
from tests.support.forks import write_program
from tests.support.guide import GUIDE, chapter, commands_in
from tests.support.rig import SERVICE
from tests.support.serving import SERVICE_PROGRAM, Site, found_site
from tests.support.shell import run
from tests.support.world import make_event

if TYPE_CHECKING:
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

pytestmark = pytest.mark.needs("openssl", "jq", "pdfsig")

# Of the chapter about the end of a contract, the sections that are for two hosts.
ELSEWHERE = "### Continuer ailleurs"
THERE = "journal2.example.fr"
DAY_IN_THE_GUIDE = "2026-11-26"
DOSSIER = r"\.json: \d+ entries could be read; entry \d+ of the journal of albi says that it was made"
# What the guide prints of one command, up to where figures and dates begin.
SAID = {
    "breach backup": DOSSIER,
    "breach credential": DOSSIER,
    "breach database": DOSSIER,
    "breach root": DOSSIER,
    "keys backup": r": \d+ keys copied, \d+ purged or destroyed keys shredded, \d+ fences raised; it holds \d+ ",
    "verify-store": r"\d+ entries in \d+ chains, \d+ seals: everything verifies\n",
    "tenant close": r"tenant albi closed: nothing more is accepted for it\n",
    "tenant continue": r"the journal of albi continues \d+ chains of albi at ",
    "tenant destroy": r"tenant albi destroyed: its key and its entries are deleted, which the seals show from now on\n",
    "tenant move": r"tenant albi moved to journal2.example.fr: here, nothing more is accepted from its modules\n",
}


class Operator:
    """Somebody at a shell, on a host whose paths are elsewhere."""

    def __init__(self, site: Site, root: Path) -> None:
        """Put the programs where the shell finds them."""
        self.root = root
        programs = root / "bin"
        programs.mkdir(parents=True)
        for name, module in {"openepm-journal": SERVICE_PROGRAM[1], "journal-verify": "journal.verifier.cli"}.items():
            write_program(programs / name, module)
        self.environment = site.environment | {"PATH": f"{programs}:{site.environment['PATH']}"}
        self.places = {
            "/mnt/openepm-journal-keys/copy": str(root / "copy"),
            "/var/lib/openepm-journal/": f"{site.home}/",
            "/srv/": f"{root}/srv/",
            DAY_IN_THE_GUIDE: f"{datetime.now(UTC):%Y-%m-%d}",
        }

    def type(self, command: str, where: Path, *, code: int = 0, **others: str) -> str:
        """Type a command of the guide, which must end with `code`; return what it says: what the guide says."""
        for old, new in (self.places | others).items():
            command = command.replace(old, new)
        done = run(command, self.environment, where)
        assert done.returncode == code, f"{command}\n{done.stdout}{done.stderr}"
        said = done.stdout + done.stderr
        words = command.partition("openepm-journal ")[2].split()[:2]
        name = " ".join(word for word in words if not word.startswith("-"))
        if name in SAID:
            assert re.search(SAID[name], said), said
        return said


@pytest.mark.long
async def test_what_the_guide_says_to_type(dsn: str, tmp_path: Path) -> None:
    """From the communes that are provisioned to the one that is destroyed."""
    site = await found_site(tmp_path / "var", dsn, tenants=())
    operator = Operator(site, tmp_path)
    work, export = tmp_path / "work", tmp_path / "srv" / "export"
    replica = tmp_path / "srv" / "openepm-journal" / "keys"
    for directory in (work, export, replica, tmp_path / "srv" / "jetons", tmp_path / "copy"):
        directory.mkdir(parents=True)
    ending = commands_in(chapter(8).partition(ELSEWHERE)[0])
    certificate = next(one for one in ending if one.startswith("openssl req"))
    operator.type(certificate, work)

    provisioning = chapter(9)
    [file] = re.findall(r"^```toml\n(.*?)^```$", provisioning, re.MULTILINE | re.DOTALL)
    (work / "communes.toml").write_text(file, encoding="utf-8")
    for command in commands_in(provisioning):
        operator.type(command, work)
    assert not (tmp_path / "srv" / "jetons" / "albi.token").exists()

    async with open_service(dsn, site.settings, SystemClock()) as installation:
        events = [make_event(datetime.now(UTC)) for _ in range(3)]
        await installation.service.writer.submit(Compartment(SERVICE, "albi", "main-courante"), "test", events, 3000)
        rows = await installation.service.store.list_credentials()
    [credential] = [row.id for row in rows if row.role == "module"]

    typed = [one for one in commands_in(chapter(2)) if "openepm-journal keys " in one]
    assert len(typed) == 2
    typed += commands_in(chapter(10))
    assert sum("keys rotate" in one for one in typed) == 4
    for command in typed:
        if not command.startswith("systemctl"):
            operator.type(command, work, **{"1f2e3d4c5b6a": credential})

    incident = chapter(12)
    documents = commands_in(incident[incident.index("### Violation de données") :])
    suspicions = [one for one in documents if " breach " in one]
    assert len(suspicions) == 5
    assert all("--known-at" in one for one in suspicions)
    told = {command: operator.type(command, work, **{"1f2e3d4c5b6a": credential}) for command in documents}
    dossier = orjson.loads((tmp_path / "srv" / "contrats" / "acces.json").read_bytes())
    assert dossier["known_at"] == told["date -u +%FT%TZ | tee /srv/contrats/connue-le"].strip()
    assert dossier["revoked_at"] is not None
    (token,) = [one for one in documents if "credential add" in one]
    assert "oej_" not in told[token]
    assert (tmp_path / "srv" / "contrats" / "nouvel-acces.token").read_text(encoding="ascii").startswith("oej_")
    (checked,) = [one for one in documents if one.startswith("pdfsig")]
    assert "Signature is Valid" in told[checked]
    assert "Certificate issuer is unknown" in told[checked]

    for command in ending[ending.index(certificate) + 1 :]:
        is_communes = not command.startswith("openepm-journal")
        where = export / "albi.export" if is_communes else work
        if is_communes and not (where / "trust.pem").exists():
            shutil.copy(site.settings.trust_path, where / "trust.pem")
            for name in ("albi.pem", "albi.key"):
                shutil.copy(work / name, where / name)
        said = operator.type(command, where)
        if command.startswith("journal-verify"):
            assert said.startswith("VERIFIED  authentic and complete: all 3 entries")
    listed = operator.type("openepm-journal tenant list --json", work)
    assert [row["destroyed_at"] is not None for row in orjson.loads(listed) if row["code"] == "albi"] == [True]


async def test_a_commune_goes_elsewhere(dsn: str, postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """It moves, then ends its contract here: there, its journal cites both, and the numbers given here are not lost."""
    ended, moved, continued, *numbers = commands_in(chapter(8).partition(ELSEWHERE)[2])
    assert [words.split()[2] for words in (ended, moved, continued)] == ["continue", "move", "continue"]
    source = "/openepm/albi/main-courante"
    async with fresh_database(postgres) as name:
        sites = {
            "here": await found_site(tmp_path / "here" / "var", dsn, tenants=()),
            "there": await found_site(tmp_path / "there" / "var", postgres.dsn(database=name), (), service=THERE),
        }
        operators = {place: Operator(site, tmp_path / place) for place, site in sites.items()}
        carried = tmp_path / "there" / "carried"
        for place, operator in operators.items():
            operator.type("openepm-journal tenant add albi --name Albi", operator.root)
            (operator.root / "srv" / "contrats").mkdir(parents=True)
            await number(sites[place], source, first := 41 if place == "there" else 1, first + 1)
        here, there = operators["here"], operators["there"]
        carried.mkdir()
        here.type(moved, here.root)
        here.type(
            "openepm-journal tenant handover albi --certificate albi.pem && "
            "openepm-journal tenant close albi --export-to /srv/contrats",
            with_certificate(here.root),
        )
        for inventory in (tmp_path / "here" / "srv").rglob("albi_*.json*"):
            shutil.copy(inventory, carried)
        shutil.copy(sites["here"].settings.trust_path, carried / "ancien-trust.pem")
        for command in (continued, ended):
            there.type(command, carried)
        look, declare = numbers
        assert "40 numbers are missing (1-40)" in there.type(look, carried, code=1)
        there.type(declare, carried)
        assert "40 are declared lost" in there.type(look, carried)


async def number(site: Site, source: str, *numbers: int) -> None:
    """Record an event of albi with each number."""
    async with open_service(site.dsn, site.settings, SystemClock()) as installation:
        await installation.maintenance.prepare()
        events = [
            make_event(datetime.now(UTC), source=source, sequence=f"{number}")._replace(sequence=number)
            for number in numbers
        ]
        compartment = Compartment(site.service, "albi", "main-courante")
        await installation.service.writer.submit(compartment, "test", events, 1000 * len(events))


def with_certificate(place: Path) -> Path:
    """Make the commune's certificate in a directory, and return that."""
    certificate = next(one for one in commands_in(chapter(8)) if one.startswith("openssl req"))
    assert run(certificate, os.environ, place).returncode == 0
    return place


def test_the_second_host_as_the_guide_has_it() -> None:
    """Each command is there, in an order that works; `tests/deploy` types them on two hosts."""
    several = chapter(17)
    relay = commands_in(several[several.index("### Le second hôte") : several.index("### Devant deux hôtes")])
    ours = [shlex.split(one.partition("openepm-journal ")[2]) for one in relay if " openepm-journal " in f" {one}"]
    ours = [words for words in ours if words and not words[0].startswith(("/", "-"))]
    for words in ours:
        make_parser().parse_args(words)
    assert [words[0] for words in ours] == ["keys", "verify-store", "signer", "setup", "doctor"]
    units = {path.name for path in (GUIDE.parent / "backup" / "systemd").iterdir()} | {
        path.name for path in GUIDE.parent.iterdir()
    }
    (enabled,) = [one for one in relay if one.startswith("systemctl enable")]
    assert set(enabled.split()[3:]) <= units


def test_papers_as_the_guide_has_them() -> None:
    """Each is a command there is; `test_papers_cli` types them."""
    commands = commands_in(chapter(14))
    assert len(commands) == 4
    for command in commands:
        assert make_parser().parse_args(shlex.split(command)[1:]).tenant == "albi"
