"""The files for containers: they name the package's paths, accounts and port; the database is what it needs."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from journal.cli.parser import make_parser
from journal.database.embedded import SUPERUSER, EmbeddedPostgres
from journal.database.migrate import migrate
from journal.settings import SIGNER_SOCKET

if TYPE_CHECKING:
    from collections.abc import Iterator

DEPLOY = Path(__file__).parents[2] / "deploy"
CONTAINER = DEPLOY / "container"


def containerfile() -> dict[str, list[str]]:
    """Return the instructions by name."""
    text = re.sub(r"^#.*\n", "", (CONTAINER / "Containerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    found: dict[str, list[str]] = {}
    for line in text.replace("\\\n", " ").splitlines():
        if line:
            name, _, value = line.partition(" ")
            found.setdefault(name, []).append(" ".join(value.split()))
    return found


def services() -> dict[str, str]:
    """Return the text of each service of the compose file, which is indented by two."""
    text = (CONTAINER / "compose.yaml").read_text(encoding="utf-8")
    block = text[text.index("services:\n") : text.index("\nnetworks:\n")]
    parts = re.split(r"^  ([a-z]+):\n", block, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_the_image_is_the_package() -> None:
    """Its accounts are those of the package, its program and settings where the package and the units have them."""
    made = containerfile()
    accounts = (DEPLOY / "debian" / "sysusers.conf").read_text(encoding="utf-8")
    names = re.findall(r"^u (\S+)", accounts, re.MULTILINE)
    [creation, *_] = made["RUN"]
    for name in names:
        assert re.search(rf"groupadd --system --gid \d+ {name}(?!-)", creation), name
        assert f"--home-dir /var/lib/{name} --shell /usr/sbin/nologin {name}" in creation
    assert made["USER"] == ["openepm-journal:openepm-journal"]
    unit = (DEPLOY / "openepm-journal.service").read_text(encoding="utf-8")
    [program] = re.findall(r"^ExecStart=(/\S+) serve$", unit, re.MULTILINE)
    assert made["ENTRYPOINT"] == [f'["{program}"]']
    for variable in re.findall(r"\S+=\S+", made["ENV"][0]):
        assert f"Environment={variable}\n" in unit
    example = (DEPLOY / "journal.toml.example").read_text(encoding="utf-8")
    assert f'listen = "127.0.0.1:{made["EXPOSE"][0]}"' in example


def test_each_part_sees_what_is_its_own() -> None:
    """The signer has no network, no master key, no password; the service reads the certificates and not the key."""
    parts = services()
    assert parts.keys() == {"database", "signer", "journal"}
    creation = containerfile()["RUN"][0]
    uid = {name: number for number, name in re.findall(r"--gid (\d+) (openepm-\S+)", creation)}
    account, signer = uid["openepm-journal"], uid["openepm-journal-signer"]
    assert f'user: "{account}:{account}"' in parts["journal"]
    assert f'user: "{signer}:{account}"' in parts["signer"]
    assert "network_mode: none" in parts["signer"]
    assert not re.search(r"master\.key|pgpass|password", parts["signer"])
    assert "signer:/var/lib/openepm-journal-signer:ro" in parts["journal"]
    for name in ("signer", "journal"):
        assert f"socket:{SIGNER_SOCKET.parent}\n" in parts[name]
        [command] = re.findall(r"command: \[(\w+)\]", parts[name])
        assert make_parser().parse_args([command]).run.__name__ == command
    mounted = re.findall(r"- (\.\.?/\S+?):", "".join(parts.values()))
    for path in (one for one in mounted if not one.startswith("./settings/")):
        assert (CONTAINER / path).is_file(), path
    # Only this host's proxy reaches it.
    assert re.findall(r"- (\S+:8470:8470)$", parts["journal"], re.MULTILINE) == ["127.0.0.1:8470:8470"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A cluster of its own."""
    with EmbeddedPostgres(tmp_path / "home") as made:
        yield made


@pytest.mark.needs("psql")
async def test_the_database_of_the_container(server: EmbeddedPostgres, tmp_path: Path) -> None:
    """The script makes roles with a password, and a database that the migrations take."""
    superuser = await asyncpg.connect(server.dsn(SUPERUSER, database="postgres"))
    await superuser.execute("DROP DATABASE IF EXISTS journal")
    await superuser.execute("DROP ROLE IF EXISTS journal_owner")
    [(place, port)] = await superuser.fetch(
        "SELECT current_setting('unix_socket_directories'), current_setting('port')"
    )
    (tmp_path / "postgresql.conf").touch()
    environment = os.environ | {
        "PGHOST": place,
        "PGPORT": port,
        "PGUSER": SUPERUSER,
        "PGDATA": str(tmp_path),
        "POSTGRES_PASSWORD": "ge'heim",
        "JOURNAL_ROLES": str(DEPLOY.parent / "sql" / "roles.sql"),
    }
    done = subprocess.run([CONTAINER / "database.sh"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with_password = await superuser.fetch(
        "SELECT rolname FROM pg_authid WHERE rolname LIKE 'journal\\_%' AND rolpassword LIKE 'SCRAM-SHA-256%'"
    )
    await superuser.close()
    assert len(with_password) == 6
    assert await migrate(server.dsn()) != []
    assert "openepm-journal.conf" in (tmp_path / "postgresql.conf").read_text(encoding="utf-8")
