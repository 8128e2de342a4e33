"""What the two READMEs list: commands as they are typed, settings with their defaults, the members of `--json`."""

from __future__ import annotations

import os
import re
import shlex
import sys
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import orjson
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from journal.admin.confirmation import CODE_DIGITS, confirm_handover
from journal.cli.parser import make_parser
from journal.pki.certificates import der_to_pem, pem_to_der
from journal.settings import DEFAULT_SERVICE_NAME, PREFIX, SIGNER_SOCKET, Settings
from journal.verifier.arguments import make_parser as make_verifier_parser
from tests.support.addressees import add_person
from tests.support.commands import command
from tests.support.communes import SHORT, YEAR, commune, commune_world, receives
from tests.support.guide import install_commands
from tests.support.shell import run
from tests.support.world import CATEGORY, DAY, FIRST, OTHER_TENANT, SERVICE, TENANT, make_event

if TYPE_CHECKING:
    from journal.database.embedded import EmbeddedPostgres

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# As the text spells it.
NUMBERS = {8: "eight", 9: "nine", 10: "ten", 11: "eleven", 12: "twelve"}
# What is spelt in another way, and what follows from other settings or from the host.
FOLLOWS = {
    "dsn": "embedded",
    "home": f"`./{Settings().home}`",
    "notify_contact": "the host, by the contract",
    "queue_bytes": f"{Settings().queue_bytes // 2**20} MiB",
    "operator": "the system account",
    "service_name": f"`{DEFAULT_SERVICE_NAME}`; none with `JOURNAL_DSN`",
    "signing_cert": "`$JOURNAL_HOME/identity/…`",
    "signing_key": "`$JOURNAL_HOME/identity/…`",
    "signer_socket": f"`{SIGNER_SOCKET}` if `JOURNAL_DSN` is set, else `none`",
    "signer_state": "`signer.state` beside the signing key",
}
PLACES = {
    "handover_directory": "handover_path",
    "keystore": "keystore_path",
    "master_key_file": "master_key_path",
    "trust": "trust_path",
}
SEVERITIES = {"ok", "note", "warning", "failure"}


def rows_under(header: str) -> list[list[str]]:
    """Return the cells of a table, known by its header's first cell."""
    (body,) = re.findall(rf"^\| {re.escape(header)} \|.*\n\|[-|]+\n((?:\|.*\n)+)", README, re.MULTILINE)
    return [line.strip("|").strip().split(" | ") for line in body.splitlines()]


def test_what_is_shown_to_type_can_be_typed() -> None:
    """Every command under Use is one that the two programs take."""
    block = README.split("\n## Use\n\n```sh\n")[1].split("```")[0]
    typed = [shlex.split(line, comments=True) for line in block.replace("\\\n", " ").splitlines()]
    parsers = {"openepm-journal": make_parser(), "journal-verify": make_verifier_parser("en")}
    for program, *arguments in filter(None, typed):
        parsers[program].parse_args(arguments)


def test_as_many_commands_as_it_says_install_a_host() -> None:
    """README counts what the operator's guide has one type."""
    assert (
        f"extract in {NUMBERS[len(install_commands())]} commands, [deploy/GUIDE.fr.md](deploy/GUIDE.fr.md), § 1."
        in (" ".join(README.split()))
    )


def test_every_directory_has_its_place() -> None:
    """What is said of where things are leaves out no package and no kind of test, and names none that is gone."""
    said = README.split("\n## Where things are\n")[1]
    named = re.findall(r"`([a-z/_.]+)`", " ".join(re.findall(r"^\| (`.*?) \| ", said, re.MULTILINE)))
    (tests,) = re.findall(r"^\| `tests/` \| (.*) \|$", said, re.MULTILINE)
    assert set(re.findall(r"`([a-z]+)`", tests)) == _directories("tests")
    packages = {name.strip("/").removeprefix("journal/") for name in named}
    assert _directories("journal") <= packages
    assert [name for name in named if not (ROOT / name).exists() and not (ROOT / "journal" / name).exists()] == []


def _directories(parent: str) -> set[str]:
    """Return the names of the directories that hold something of ours."""
    return {path.parent.name for path in (ROOT / parent).glob("*/*") if path.is_file() and path.suffix != ".pyc"}


def test_every_setting_is_there_with_its_default() -> None:
    """Each has its row, no row is of another, and what the table says of each is so."""
    told: dict[str, str] = {}
    for names, defaults, _ in rows_under("setting"):
        spelt = [name.replace("…", f"{PREFIX}NOTIFY") for name in re.findall(r"`([A-Z_…]+)`", names)]
        each = [defaults] if len(spelt) == 1 else defaults.split(", ")
        told |= zip(spelt, each if len(each) > 1 else each * len(spelt), strict=True)
    assert told == {PREFIX + field.name.upper(): _default(field) for field in msgspec.structs.fields(Settings)}


def _default(field: msgspec.structs.FieldInfo) -> str:
    """Spell a default as the table does."""
    name, value = field.name, field.default
    if name in FOLLOWS:
        return FOLLOWS[name]
    if name in PLACES:
        settings = Settings()
        return f"`$JOURNAL_HOME/{getattr(settings, PLACES[name]).relative_to(settings.home_path)}`"
    if value is None or value == ():
        return "none"
    return f"`{str(value).lower()}`" if isinstance(value, (bool, str)) else f"{value:,g}"


async def test_members_of_json(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """Each command of the table prints one document, of these members and no other."""
    table = {name.strip("`"): set(re.findall(r"`([a-z_0-9]+)`", told)) for name, told in rows_under("Command")}
    table["doctor"] -= SEVERITIES
    communes = tmp_path / "communes.toml"
    communes.write_text('[[tenant]]\ncode = "gap"\nname = "Gap"\n', encoding="utf-8")
    file = ["provision", str(communes), "--tokens", str(tmp_path / "tokens")]
    found: dict[str, set[str]] = {}
    now = datetime.now(UTC).replace(microsecond=0)
    async with commune_world(postgres, tmp_path / "home", commune(end=now + YEAR), start=now - 3 * DAY) as world:
        administration = world.installation.administration
        await receives(world, commune(end=now + YEAR), tenant=OTHER_TENANT)
        (world.settings.handover_path / OTHER_TENANT).parent.mkdir()
        (world.settings.handover_path / OTHER_TENANT).write_text("what keeps its directory from being made")
        for tenant in (TENANT, OTHER_TENANT):
            event = make_event(world.clock.now(), sequence="2", epoch="a")._replace(sequence=2, epoch="a")
            await world.record(0, tenant=tenant, category=SHORT.code, events=[event])
        await administration.credentials.add(role="client", tenant=TENANT, categories=[CATEGORY])
        await add_person(world.service, "a.martin@albi.example", tenant=TENANT, categories=[CATEGORY])
        await world.travel(datetime.now(UTC))
        variables = {"JOURNAL_DSN": world.dsn, "JOURNAL_SERVICE_NAME": SERVICE}
        for line in [[*file, "--dry-run"], file, *(name.split() for name in table if name != "provision")]:
            done = command(world.settings.home_path, *line, "--json", **variables)
            name = next(each for each in table if line[: len(each.split())] == each.split())
            assert done.stdout, (line, done.returncode, done.stderr)
            found.setdefault(name, set()).update(_names(orjson.loads(done.stdout)))
    assert found == table


@pytest.mark.needs("openssl")
async def test_a_commune_opens_what_it_receives_without_a_browser(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """README.fr.md's commands, typed: the file opens and verifies, its SHA-256 begins with the code that confirms."""
    holder = commune()
    french = (ROOT / "README.fr.md").read_text(encoding="utf-8")
    (opens,) = re.findall(r"^openssl cms -decrypt .*$", french, re.MULTILINE)
    (verifies,) = re.findall(r"^journal-verify .*$", french, re.MULTILINE)
    (digest,) = set(re.findall(r"`(sha256sum extrait\.asice)`", french))
    (fingerprint,) = re.findall(r"`(openssl x509 [^`]*)`", french)
    async with commune_world(postgres, tmp_path / "home", holder, confirmed=False) as world:
        await world.record(1, category=SHORT.code)
        await world.travel_to(FIRST + 3 * DAY)
        (handed,) = [one for one in await world.installation.handover.run() if one.file.category == SHORT.code]
        key = holder.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for name, content in {
            "FICHIER.asice.p7m": (tmp_path / handed.path).read_bytes(),
            "certificat.pem": der_to_pem([holder.certificate]),
            "cle.pem": key,
            "trust.pem": world.settings.trust_path.read_bytes(),
        }.items():
            (tmp_path / name).write_bytes(content)
        environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        said = {command: run(command, environment, tmp_path) for command in (opens, verifies, digest, fingerprint)}
        assert {command: done.returncode for command, done in said.items()} == dict.fromkeys(said, 0)
        assert said[verifies].stdout.startswith("VÉRIFIÉ")
        trusted = sha256(pem_to_der(world.settings.trust_path.read_bytes())[0]).hexdigest().upper()
        assert trusted in said[fingerprint].stdout.replace(":", "")
        await confirm_handover(world.service, TENANT, said[digest].stdout[:CODE_DIGITS])


def _names(document: Any) -> set[str]:
    """Return the names of all members, however deep."""
    if isinstance(document, list):
        return set().union(*map(_names, document))
    if isinstance(document, dict):
        return set(document).union(*map(_names, document.values()))
    return set()
