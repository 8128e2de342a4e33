"""`provision`: a file of communes, categories, credentials and hand-overs; its faults, its plan, its second run."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson
import pytest
import pytest_asyncio

from journal.cli.parser import make_parser
from journal.pki.certificates import der_to_pem
from tests.support.commands import DONE, NOT_RUN
from tests.support.communes import commune
from tests.support.world import World, new_world, settings_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

STATEMENT = """
[[category]]
code = "fourriere"
label = "Fourrière"
regime = "GDPR"
retention_days = 30

[[tenant]]
code = "castres"
name = "Ville de Castres"

[[credential]]  # the module of the daybook
tenant = "castres"
label = "module-main-courante"
role = "module"
categories = ["main-courante", "fourriere"]
source_prefix = "/openepm/castres/"

[[credential]]
tenant = "albi"
label = "dpd"
role = "auditor"
categories = ["journal"]
expires_at = 2099-01-01T00:00:00Z

[[handover]]
tenant = "castres"
certificate = "castres.pem"
"""
FAULTY = """
[[tenant]]
code = "Castres"
name = "Ville de Castres"

[[tenant]]
code = "albi"
name = "Albi la Rouge"

[[category]]
code = "main-courante"
label = "Main courante"
regime = "LED"
retention_days = 12

[[credential]]
tenant = "nowhere"
label = "x"
role = "auditor"
categories = ["journal"]

[[credential]]
tenant = "albi"
label = "Agent Dupont"
role = "auditor"
categories = ["journal"]

[[credential]]
tenant = "albi"
label = "dpd"
role = "auditor"
categories = ["journal"]

[[credential]]
tenant = "albi"
label = "dpd"
role = "auditor"
categories = ["journal", "ghost"]

[[handover]]
tenant = "albi"
certificate = "none.pem"
"""


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def world(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """An installation with two communes, at the moment of now: the command has no other clock."""
    async with new_world(postgres, tmp_path_factory.mktemp("world"), start=datetime.now(UTC)) as made:
        yield made


async def run(world: World, capsys: pytest.CaptureFixture[str], *line: str) -> tuple[int, str, str]:
    """Run the command; return its status and what it printed."""
    arguments = make_parser().parse_args(["provision", *line])
    code = await arguments.run(settings_of(world), arguments)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


async def test_planned_added_and_there(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The plan changes nothing, the run does what the plan says, a second run nothing; tokens are in files alone."""
    file, tokens = tmp_path / "communes.toml", tmp_path / "tokens"
    file.write_text(STATEMENT)
    (tmp_path / "castres.pem").write_bytes(der_to_pem([commune().certificate]))
    line = (str(file), "--tokens", str(tokens))
    code, planned, _ = await run(world, capsys, *line, "--dry-run")
    assert code == DONE
    assert planned.splitlines()[:3] == [
        "add category fourriere, kept 30 days",
        "add tenant castres",
        (
            f"add credential castres module-main-courante (module: main-courante, fourriere); its token goes to "
            f"{tokens}/castres.module-main-courante.token"
        ),
    ]
    assert planned.endswith("to be added: 1 categories, 1 tenants, 2 credentials, 1 handovers; unchanged: 0\n")
    assert not tokens.exists()
    assert world.service.snapshot.tenant("castres") is None
    code, told, _ = await run(world, capsys, *line)
    assert (code, told.splitlines()[0]) == (
        DONE, "added: 1 categories, 1 tenants, 2 credentials, 1 handovers; unchanged: 0"
    )  # fmt: skip
    assert sorted(path.name for path in tokens.iterdir()) == ["albi.dpd.token", "castres.module-main-courante.token"]
    secrets = [path.read_text().strip() for path in tokens.iterdir()]
    assert not any(secret in told for secret in secrets)
    await world.service.snapshot.refresh()
    assert len(world.service.snapshot.categories()) == 6
    await world.record(1, tenant="castres", category="fourriere")
    size = await world.size("castres", "journal")
    code, told, _ = await run(world, capsys, *line, "--json")
    assert orjson.loads(told) == {
        "added": {"categories": 0, "credentials": 0, "handovers": 0, "tenants": 0},
        "notes": [],
        "steps": [],
        "unchanged": 5,
    }
    assert await world.size("castres", "journal") == size
    assert (await world.service.checks.run())["facts"] is None
    # What was revoked since stays so.
    (row,) = [row for row in await world.service.store.list_credentials() if row.label == "dpd"]
    await world.installation.administration.credentials.revoke(row.id)
    code, told, _ = await run(world, capsys, *line)
    assert told.startswith("note: credential albi dpd was revoked and stays so")
    assert await world.audit() == []


async def test_faults_with_their_lines(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every fault of the file is told at once, with its line, and nothing is changed."""
    file = tmp_path / "communes.toml"
    file.write_text(FAULTY)
    before = await world.service.store.snapshot_version()
    code, told, said = await run(world, capsys, str(file), "--tokens", str(tmp_path / "tokens"))
    assert (code, told) == (NOT_RUN, "")
    where = f"openepm-journal: {file}: "
    assert said.splitlines() == [
        f"{where}line 2: tenant 'Castres': use lower-case letters, digits and hyphens, for example albi",
        f"{where}line 6: tenant albi is there under another name: correct the file",
        f"{where}line 40: {tmp_path}/none.pem cannot be read: No such file or directory",
        (
            f"{where}line 10: category main-courante is there with another retention_days: a "
            "rule is changed on a written instruction, with openepm-journal category set"
        ),
        f"{where}line 16: there is no tenant nowhere, neither here nor in the journal",
        (
            f"{where}line 22: label 'Agent Dupont': it names the file of the token; use lower-case letters, digits and "
            "hyphens"
        ),
        f"{where}line 34: credential albi dpd is stated twice, first at line 28",
        f"openepm-journal: 7 faults in {file}; nothing was changed",
    ]
    assert await world.service.store.snapshot_version() == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[tenant]]\ncode = "a"\nname = \n', "line 3: no TOML: Invalid value"),
        ('[tenant]\ncode = "a"\n', "[tenant]: write [[tenant]] for each item"),
        ('[[commune]]\ncode = "a"\n', "line 1: 'commune' is no kind of item: they are category, tenant"),
        ('\n\n[[tenant]]\ncode = "a"\n', "line 3: tenant: object missing required field `name`"),
        ('[[tenant]]\ncode = "a"\nname = 3\n', "line 1: tenant: name: expected `str`, got `int`"),
        ('[[tenant]]\ncode = "a"\nname = "A"\nnom = "A"\n', "line 1: tenant: object contains unknown field `nom`"),
        ('tenant = [{code = "a"}]\n', "the tenant number 1: tenant: object missing"),
        ('{"kind": "tenant", "code": "a", "name": "A"}\n\n{"kind": "tenant",\n', "line 3: no JSON: "),
        ('{"kind": "tenant", "code": "a", "name": "A"}\n[1]\n', "line 2: an object is expected"),
        ('{"code": "a"}\n', "line 1: None is no kind of item"),
    ],
)
async def test_what_is_no_statement(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    """A file that cannot be read is refused before anything is opened, with the line."""
    file = tmp_path / "communes"
    file.write_text(text)
    code, _, told = await run(world, capsys, str(file))
    assert code == NOT_RUN
    assert said in told
    assert "nothing was changed" in told


@pytest.mark.campaign
async def test_three_hundred_communes(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], record_property: Callable[[str, object], None]
) -> None:
    """With four credentials each, in less than 30 seconds; the second run changes nothing."""
    lines = []
    for number in range(300):
        code = f"commune-{number}"
        lines.append({"kind": "tenant", "code": code, "name": f"Commune {number}"})
        for role, label in (("module", "mc"), ("module", "ecrits"), ("client", "portail"), ("auditor", "dpd")):
            prefix = f"/openepm/{code}/{label}/" if role == "module" else ""
            categories = ["journal"] if role == "auditor" else ["main-courante", "ecrits"]
            credential = {"kind": "credential", "tenant": code, "label": label, "role": role}
            lines.append(credential | {"categories": categories, "source_prefix": prefix})
    file = tmp_path / "communes.jsonl"
    file.write_bytes(b"\n".join(orjson.dumps(line) for line in lines))
    line = (str(file), "--tokens", str(tmp_path / "tokens"), "--json")
    took = []
    for added in (1500, 0):
        began = time.monotonic()
        status, told, _ = await run(world, capsys, *line)
        took.append(time.monotonic() - began)
        assert status == DONE
        assert sum(orjson.loads(told)["added"].values()) == added
    assert len(list((tmp_path / "tokens").iterdir())) == 1200
    assert max(took) < 30, took
    record_property("evidence", f"300 communes and 1,200 credentials in {took[0]:.1f} s, again in {took[1]:.1f} s")
