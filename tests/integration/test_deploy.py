"""The files for a hosting operator: what they name exists, and systemd takes them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import msgspec
import pytest

from journal.cli.parser import make_parser
from journal.cli.setup.host import replace_text
from journal.cli.setup.postgresql import BEGIN, END, hba_lines, ident_lines, merge, refuse_password
from journal.core.errors import OperatorError
from journal.database.pools import ROLES
from journal.settings import CONFIG_VARIABLE, SIGNER_SOCKET, Settings, load_settings
from tests.support.guide import install_commands

DEPLOY = Path(__file__).parents[2] / "deploy"
PROGRAM = "/opt/openepm-journal/bin/openepm-journal"
COMMANDS = {"openepm-journal.service": "serve", "openepm-journal-purge.service": "purge"}
SIGNER = "openepm-journal-signer.service"


def settings(unit: str) -> dict[str, list[str]]:
    """Return a unit's settings by name."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^([A-Za-z]+)=(.*)$", (DEPLOY / unit).read_text(encoding="utf-8"), re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize(("unit", "command"), [*COMMANDS.items(), (SIGNER, "signer")])
def test_units_run_commands_that_exist(unit: str, command: str) -> None:
    """What a unit starts is the program, with a command and options that it takes."""
    [line] = settings(unit)["ExecStart"]
    program, *arguments = shlex.split(line)
    assert (program, arguments) == (PROGRAM, [command])
    assert make_parser().parse_args(arguments).run.__name__ == command


def test_the_signer_alone_has_the_signing_key() -> None:
    """It has an account of its own, no network, its socket where commands look for it; no other unit has its key."""
    unit = settings(SIGNER)
    assert (unit["User"], unit["PrivateNetwork"]) == (["openepm-journal-signer"], ["yes"])
    assert unit["Group"] == settings("openepm-journal.service")["User"]
    assert Path("/run", unit["RuntimeDirectory"][0], SIGNER_SOCKET.name) == SIGNER_SOCKET
    [mode], [directory] = unit["StateDirectoryMode"], unit["StateDirectory"]
    made = f"d /var/lib/{directory} {mode} {unit['User'][0]} {unit['Group'][0]} -"
    assert made in (DEPLOY / "debian" / "tmpfiles.conf").read_text(encoding="utf-8").splitlines()
    example = load_settings({CONFIG_VARIABLE: str(DEPLOY / "journal.toml.example")})
    assert example.signer_socket_path == SIGNER_SOCKET
    for path in (example.signing_key_path, example.signing_cert_path, example.signer_state_path, example.trust_path):
        assert path.parent == Path("/var/lib", directory)


@pytest.mark.needs("systemd-analyze")
def test_the_walls_around_the_signer() -> None:
    """Its unit has an exposure of 2.0 at most, says systemd itself."""
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", "--no-pager", DEPLOY / SIGNER]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("unit", "arguments"),
    [("openepm-journal-notify.service", ["notify"]), ("openepm-journal-failed@.service", ["notify", "--unit", "%i"])],
)
def test_somebody_is_told(unit: str, arguments: list[str]) -> None:
    """By a command that exists, as the service's account, every five minutes and when a unit has failed."""
    [line] = settings(unit)["ExecStart"]
    assert shlex.split(line) == [PROGRAM, *arguments]
    assert make_parser().parse_args(arguments).run.__name__ == "notify"
    assert settings(unit)["User"] == settings("openepm-journal.service")["User"]
    assert settings("openepm-journal-notify.timer")["OnUnitActiveSec"] == ["5min"]


def test_who_mails_communes_has_the_key() -> None:
    """Addresses of persons are opened by the key store, as in the purge; there is nothing else to be had by it."""
    notify, purge = settings("openepm-journal-notify.service"), settings("openepm-journal-purge.service")
    for name in ("Environment", "LoadCredential", "StateDirectory", "MemorySwapMax"):
        assert notify[name] == purge[name]


@pytest.mark.parametrize(
    "unit",
    [
        "openepm-journal-purge.service",
        "backup/systemd/openepm-journal-keys.service",
        "backup/systemd/openepm-journal-backup.service",
        "backup/systemd/openepm-journal-backup-watch.service",
    ],
)
def test_a_unit_that_fails_says_so(unit: str) -> None:
    """It names the unit that tells, which is here."""
    assert settings(unit)["OnFailure"] == ["openepm-journal-failed@%n.service"]
    assert (DEPLOY / "openepm-journal-failed@.service").exists()


def test_the_purge_may_no_more_than_the_service() -> None:
    """Both units run as the same account, with the same key and the same walls around them."""
    service, purge = (settings(unit) for unit in COMMANDS)
    same = {
        name
        for name in service
        if name.startswith(("Protect", "Private", "Restrict", "NoNew", "Load", "Limit", "Memory"))
    }
    same |= {"User", "Environment", "StateDirectory", "StateDirectoryMode", "UMask", "CapabilityBoundingSet"}
    same |= {name for name in service if name.startswith(("SystemCall", "Lock", "Remove", "Ambient"))}
    same.remove("LimitNOFILE")
    assert {name: service[name] for name in same} == {name: purge[name] for name in same}


def test_the_copy_of_the_keys_is_made_by_a_command_that_exists() -> None:
    """Every hour, by the same program, as the same account, into a directory that the unit may write."""
    unit = settings("backup/systemd/openepm-journal-keys.service")
    program, *arguments = shlex.split(unit["ExecStart"][0])
    asked = make_parser().parse_args(arguments)
    assert (program, asked.run.__name__) == (PROGRAM, "backup")
    assert asked.directory.startswith(unit["ReadWritePaths"][0])
    assert unit["RequiresMountsFor"] == unit["ReadWritePaths"]
    for name in ("User", "Environment", "LoadCredential", "LimitCORE", "MemorySwapMax", "UMask", "SystemCallFilter"):
        assert unit[name] == settings("openepm-journal.service")[name]
    assert settings("backup/systemd/openepm-journal-keys.timer")["OnCalendar"] == ["hourly"]


def test_the_programs_of_the_backup_are_there() -> None:
    """What the units and the guide name can be run, and is named."""
    for name in ("restore", "watch"):
        assert (DEPLOY / "backup" / name).stat().st_mode & 0o111
        assert f"deploy/backup/{name}" in (DEPLOY / "GUIDE.fr.md").read_text(encoding="utf-8")
    [line] = settings("backup/systemd/openepm-journal-backup-watch.service")["ExecStart"]
    assert line == "/opt/openepm-journal/deploy/backup/watch"


def test_a_night_that_was_missed_is_made_up_for() -> None:
    """The timer remembers when it last ran, and runs at the start of a machine that was off."""
    timer = settings("openepm-journal-purge.timer")
    assert timer["Persistent"] == ["true"]
    assert timer["OnCalendar"] == ["*-*-* 00:15:00 UTC", "*-*-* 22:15:00 UTC"]
    assert timer["WantedBy"] == ["timers.target"]


@pytest.mark.needs("systemd-analyze")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    """It has no word to say about any of them, but for a program that is not installed here."""
    units = []
    for path in (*DEPLOY.rglob("*.service"), *DEPLOY.rglob("*.timer"), *DEPLOY.rglob("*.socket")):
        units.append(tmp_path / path.name)
        text = path.read_text(encoding="utf-8").replace(PROGRAM, "/bin/true")
        text = re.sub(
            r"^(Exec\w+)=(/usr/bin/barman|/opt/openepm-journal/deploy/\S+)", r"\1=/bin/true", text, flags=re.MULTILINE
        )
        units[-1].write_text(text, encoding="utf-8")
    assert len(units) >= 12
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.needs("systemd-analyze")
@pytest.mark.parametrize("unit", sorted(path.relative_to(DEPLOY).as_posix() for path in DEPLOY.rglob("*.service")))
def test_little_is_exposed_by_a_unit(unit: str) -> None:
    """At most 2.0 of 10, by systemd's own count."""
    command = ["systemd-analyze", "security", "--offline=yes", "--threshold=20", DEPLOY / unit]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-200:]


def test_the_guide_installs_by_commands_that_exist() -> None:
    """At most a dozen; those of ours are taken as they are, and what they copy from here is here."""
    commands = install_commands()
    assert 5 < len(commands) <= 12
    typed = "\n".join(command.replace("\\\n", " ") for command in commands).replace("$(date -u +%F)", "2026-11-28")
    ours = re.findall(r"^(?:TOKEN=\$\()?openepm-journal (.*?)\)?$", typed, re.MULTILINE)
    asked = [shlex.split(words) for words in ours]
    assert {words[0] for words in asked} == {"setup", "tenant", "credential", "doctor", "extract"}
    for words in asked:
        make_parser().parse_args(words)
    for path in re.findall(r"/opt/openepm-journal/(deploy/\S+)", "\n".join(commands)):
        assert (DEPLOY.parent / path).is_file()


def test_the_example_names_every_setting() -> None:
    """Each, set or commented out, with a value that is read; and none that does not exist."""
    text = (DEPLOY / "journal.toml.example").read_text(encoding="utf-8")
    lines = re.findall(r"^(?:# )?([a-z_]+ = .*)$", text, re.MULTILINE)
    named = {line.partition(" ")[0]: line for line in lines}
    assert set(named) == set(Settings.__struct_fields__)
    made = msgspec.convert(tomllib.loads("\n".join(named.values())), Settings)
    assert made.keystore_replicas == ("/srv/openepm-journal/keys",)


def test_an_empty_variable_takes_the_replicas_away(tmp_path: Path) -> None:
    """As the guide has a replica made or restored from: the settings, which name it, stay as they are."""
    path = tmp_path / "journal.toml"
    path.write_text('keystore_replicas = ["/srv/openepm-journal/keys"]\n', encoding="utf-8")
    assert load_settings({"JOURNAL_CONFIG": str(path)}).keystore_replicas == ("/srv/openepm-journal/keys",)
    assert load_settings({"JOURNAL_CONFIG": str(path), "JOURNAL_KEYSTORE_REPLICAS": ""}).keystore_replicas == ()


def test_setup_admits_the_account_and_nobody_else(tmp_path: Path) -> None:
    """Its lines come first, in a block that is put once, and replaced where it is another one."""
    path = tmp_path / "pg_hba.conf"
    path.write_text("local all all peer\n", encoding="utf-8")
    for lines in (["local journal one peer"], hba_lines()):
        change = merge(path, lines)
        assert change is not None
        path.write_text(change[1], encoding="utf-8")
    assert merge(path, hba_lines()) is None
    assert path.read_text(encoding="utf-8").splitlines() == [BEGIN, *hba_lines(), END, "local all all peer"]
    assert {line.split()[2] for line in ident_lines()} == {f"journal_{role}" for role in ROLES}


def test_setup_keeps_what_is_in_a_file_of_postgresql(tmp_path: Path) -> None:
    """A block whose end somebody took away is refused: nothing after it is lost."""
    path = tmp_path / "pg_hba.conf"
    path.write_text(f"{BEGIN}\nlocal all all peer\n", encoding="utf-8")
    with pytest.raises(OperatorError, match=re.escape(END)):
        merge(path, hba_lines())


@pytest.mark.parametrize("dsn", ["postgresql://owner:secret@db/journal", "postgresql://db/journal?password=secret"])
def test_setup_writes_no_password(dsn: str) -> None:
    """Everybody can read the settings; the refusal does not quote the address."""
    with pytest.raises(OperatorError, match="pgpass") as refused:
        refuse_password(dsn)
    assert "secret" not in str(refused.value)
    refuse_password("postgresql://owner@db:5432/journal?sslmode=verify-full")


def test_setup_writes_for_all_to_read(tmp_path: Path) -> None:
    """PostgreSQL and the service read the files, whatever root's umask; one that is there keeps its mode."""
    new, old = tmp_path / "new", tmp_path / "old"
    old.touch()
    old.chmod(0o640)
    before = os.umask(0o077)
    try:
        for path in (new, old):
            replace_text(path, "text\n")
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (new, old)] == [0o644, 0o640]
