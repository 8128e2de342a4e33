"""A replica is added to a host, then the host is off and a second one takes over, by the guide's own commands.

The accounts have other numbers on the second host. What would be on other machines goes from one root to the other: the
database, the disk of the replica, and the files that the guide has copied in advance.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.clean_host import CleanHost, can_run, copy_root
from tests.support.guide import chapter, commands_in

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parents[2]
LOG = HERE / "var" / "second-host.log"
FETCHED = ("postgresql", "curl", "python3", "openssl")
SETUP = "openepm-journal setup --service-name journal.example.fr --identity development"
REPLICA = 'keystore_replicas = ["/srv/openepm-journal/keys"]'
SETTINGS = "/etc/openepm-journal/journal.toml"
SIGNER = "/var/lib/openepm-journal-signer"
SIGNED = ("signing.key", "signing.pem", "trust.pem")
SAME = "diff -r -x '*lock*' /var/lib/openepm-journal/keys /srv/openepm-journal/keys"
DATABASE = ("var/lib/postgresql/15", "etc/postgresql/15")
# Owners of what the second host serves with; the first's numbers are other accounts' here.
OWNERS = f"stat -c '%U %a' {SIGNER}/signing.key /etc/openepm-journal/master.key /srv/openepm-journal/keys"


@pytest.mark.campaign
@pytest.mark.timeout(2 * 3600)
@pytest.mark.needs("debootstrap", "systemd-nspawn", "nsenter", "dpkg-deb")
@pytest.mark.skipif(can_run() is not None, reason=str(can_run()))
def test_a_replica_and_a_second_host(
    debian: Path, package: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """The units write to the replica; on the second host everything verifies, and the next commune is added."""
    LOG.parent.mkdir(exist_ok=True)
    LOG.write_text("", encoding="utf-8")
    roots = [tmp_path / name for name in ("first", "second")]
    for root in roots:
        copy_root(debian, root, fetched=FETCHED)
        shutil.copy(package, root / "root")
    first, second = roots
    with CleanHost(first, LOG) as host:
        host.must(f"apt-get install -y ./openepm-journal_*.deb curl && {SETUP}")
        host.must("openepm-journal tenant add albi --name Albi")
        a_replica_as_the_guide_adds_one(host)
        host.must("openepm-journal tenant add sete --name Sète && openepm-journal seal")
        assert host.must(SAME) == ""
    with CleanHost(second, LOG) as host:
        host.must("useradd --system somebody && apt-get install -y ./openepm-journal_*.deb curl")
        carry(first, second, host)
        prepared, relay = several_hosts()
        for command in (*prepared, *relay):
            said = host.must(command)
            if command == "openepm-journal verify-store":
                assert "everything verifies" in said
        assert host.must(OWNERS).splitlines() == ["openepm-journal-signer 600", "root 600", "openepm-journal 700"]
        host.must("openepm-journal tenant add pau --name Pau && openepm-journal seal")
        assert host.must(SAME) == ""
        assert "FAIL" not in host.must("openepm-journal doctor")
        said = host.must("openepm-journal verify-store")
    record_property("evidence", f"a second host takes over, with a replica that the guide's commands added: {said}")
    for root in roots:
        shutil.rmtree(root)


def a_replica_as_the_guide_adds_one(host: CleanHost) -> None:
    """Named, it can only be read by the unit until `setup` is typed again, and readiness says so."""
    for command in commands_in(chapter(2)):
        if "/srv/openepm-journal/keys" in command:
            host.must(command)
    host.must(f"echo '{REPLICA}' >> {SETTINGS} && systemctl restart openepm-journal")
    assert "is not ready: keys" in host.run("openepm-journal doctor").said
    assert "Read-only file system" in host.must("journalctl -u openepm-journal -g 'not ready' -n 1")
    host.must("openepm-journal setup && systemctl restart openepm-journal")
    assert "in 2 copies" in host.must("openepm-journal doctor")


def several_hosts() -> tuple[list[str], list[str]]:
    """Return what is typed on the second host in advance, and when it takes over."""
    text = chapter(17)
    text = text[text.index("### Le second hôte") : text.index("### Devant deux hôtes")]
    prepared, _, relay = text.partition("**Le relais**")
    return commands_in(prepared), commands_in(relay)


def carry(first: Path, second: Path, host: CleanHost) -> None:
    """Bring what another machine keeps, or the operator carries: files keep their numbers, as on a disk."""
    host.must("systemctl stop postgresql postgresql@15-main")
    for place in DATABASE:
        shutil.rmtree(second / place)
        subprocess.run(["cp", "--archive", first / place, second / place], check=True)
        host.must(f"chown -R postgres: /{place}")
    host.must("systemctl start postgresql")
    subprocess.run(["cp", "--archive", first / "srv/openepm-journal", second / "srv"], check=True)
    names = [SETTINGS, "/etc/openepm-journal/master.key", *(f"{SIGNER}/{name}" for name in SIGNED)]
    for name in names:
        shutil.copy(first / name.removeprefix("/"), second / "root")
    (second / "root" / "pgpass").touch()  # the database asks the service for no password here
