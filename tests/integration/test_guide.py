"""The commands of the operator's guide, typed as they stand there: they exist, succeed, and say what the guide says.

The install chapter is typed on a clean host (tests/deploy), and those about Barman beside one (tests/backup). Here is
what an operator does with the journal: provision, copy and replace keys, end a contract; and what the commune does.
"""

from __future__ import annotations

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
from tests.support.forks import write_program
from tests.support.guide import chapter, commands_in
from tests.support.rig import SERVICE
from tests.support.serving import SERVICE_PROGRAM, Site, found_site
from tests.support.shell import run
from tests.support.world import make_event

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.needs("openssl", "jq", "pdfsig")

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
    "tenant destroy": r"tenant albi destroyed: its key and its entries are deleted, which the seals show from now on\n",
}


class Operator:
    """Somebody at a shell, on a host whose paths are elsewhere."""

    def __init__(self, site: Site, root: Path) -> None:
        """Put the programs where the shell finds them."""
        self.root = root
        programs = root / "bin"
        programs.mkdir()
        for name, module in {"openepm-journal": SERVICE_PROGRAM[1], "journal-verify": "journal.verifier.cli"}.items():
            write_program(programs / name, module)
        self.environment = site.environment | {"PATH": f"{programs}:{site.environment['PATH']}"}
        self.places = {
            "/mnt/openepm-journal-keys/copy": str(root / "copy"),
            "/var/lib/openepm-journal/": f"{site.home}/",
            "/srv/": f"{root}/srv/",
            DAY_IN_THE_GUIDE: f"{datetime.now(UTC):%Y-%m-%d}",
        }

    def type(self, command: str, where: Path, **others: str) -> str:
        """Type a command of the guide, which must succeed; return what it says, which is what the guide says."""
        for old, new in (self.places | others).items():
            command = command.replace(old, new)
        done = run(command, self.environment, where)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        said = done.stdout + done.stderr
        name = " ".join(word for word in command.split()[1:3] if not word.startswith("-"))
        if name in SAID:
            assert re.search(SAID[name], said), said
        return said


async def test_what_the_guide_says_to_type(dsn: str, tmp_path: Path) -> None:
    """From the communes that are provisioned to the one that is destroyed."""
    site = await found_site(tmp_path / "var", dsn, tenants=())
    operator = Operator(site, tmp_path)
    work, export = tmp_path / "work", tmp_path / "srv" / "export"
    replica = tmp_path / "srv" / "openepm-journal" / "keys"
    for directory in (work, export, replica, tmp_path / "srv" / "jetons", tmp_path / "copy"):
        directory.mkdir(parents=True)
    ending = commands_in(chapter(8))
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

    typed = [one for one in commands_in(chapter(2)) if one.startswith("openepm-journal")]
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


def test_papers_as_the_guide_has_them() -> None:
    """Each is a command there is; `test_papers_cli` types them."""
    commands = commands_in(chapter(14))
    assert len(commands) == 4
    for command in commands:
        assert make_parser().parse_args(shlex.split(command)[1:]).tenant == "albi"
