"""A host whose database is another host's, whose keys have a replica, and whose certificate an authority made."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.clean_host import CleanHost, can_run, copy_root
from tests.support.french_authority import FrenchAuthority

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parents[2]
LOG = HERE / "var" / "authority-host.log"
DATABASE = "db.example.fr"
ADDRESS = "127.0.0.2"
REPLICA = "/srv/keys/journal"
SETUP = (
    "openepm-journal setup --service-name journal.example.fr --identity authority "
    f"--dsn 'postgresql://journal_owner@{DATABASE}/journal?sslmode=require' --replica {REPLICA}"
)
REQUEST = (
    'openepm-journal identity request --organisation "VILLE D\'ALBI" '
    "--organisation-identifier NTRFR-218100048 -o request.pem"
)
INSTALL = "openepm-journal identity install --certificate chain.pem --trust root.pem"
# What `psql -c '\password ROLE'` asks twice.
CHANGE = "printf '%s\\n%s\\n' {0} {0} | runuser -u postgres -- psql -X -d postgres -c '\\password {1}'"


@pytest.mark.campaign
@pytest.mark.timeout(2 * 3600)
@pytest.mark.needs("debootstrap", "systemd-nspawn", "nsenter", "dpkg-deb", "openssl")
@pytest.mark.skipif(can_run() is not None, reason=str(can_run()))
def test_another_database_a_replica_an_authority(
    debian: Path, package: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """`setup` says what is missing until the operator has typed it, then founds the journal; an extract verifies."""
    LOG.parent.mkdir(exist_ok=True)
    LOG.write_text("", encoding="utf-8")
    root = tmp_path / "debian"
    copy_root(debian, root, fetched=("postgresql", "curl", "python3", "openssl"))
    shutil.copy(package, root / "root")
    with CleanHost(root, LOG) as host:
        host.must("apt-get install -y ./openepm-journal_*.deb curl && mkdir /srv/keys")
        serve_database(host)
        told = host.run(SETUP)
        assert told.code == 1, told.said
        do_what_it_says(host, told.said)
        # The request and the certificate, and the same setup again, as the guide says.
        assert "identity request" in host.run(SETUP).said
        host.must(REQUEST)
        authority = FrenchAuthority(tmp_path / "authority", "p256")
        home = root / "root"
        (home / "chain.pem").write_bytes(authority.certify((home / "request.pem").read_bytes()))
        shutil.copy(authority.root, home / "root.pem")
        host.must(INSTALL)
        assert "started, now and at every boot" in host.must(SETUP)
        an_extract_of_the_organisation_verifies(host)
        keys = "cd / && find {} -type f -printf '%P\\n' | sort | grep -v lock"
        state = host.must(keys.format("/var/lib/openepm-journal/keys"))
        assert state == host.must(keys.format(REPLICA)) != ""
        record_property(
            "evidence", f"setup --dsn --replica --identity authority: {state.count(chr(10))} key files twice"
        )
    shutil.rmtree(root)


def serve_database(host: CleanHost) -> None:
    """Be the database's host: PostgreSQL at an address of its own, over TLS, which admits nobody yet."""
    host.must(f"echo '{ADDRESS} {DATABASE}' >> /etc/hosts")
    host.must("sed -i '/^host/d' /etc/postgresql/15/main/pg_hba.conf")
    host.must(f"echo \"listen_addresses = '{ADDRESS}'\" > /etc/postgresql/15/main/conf.d/address.conf")
    host.must("systemctl restart postgresql")


def do_what_it_says(host: CleanHost, told: str) -> None:
    """Type the lines that `setup` printed, with passwords in their places."""
    [file] = re.findall(r"with (/\S+) copied there", told)
    host.must(f"cp {file} /tmp && cd /tmp && runuser -u postgres -- psql -X -d postgres -f {Path(file).name}")
    [settings] = re.findall(r"in its conf.d, a copy of (/\S+);", told)
    host.must(f"cp {settings} /etc/postgresql/15/main/conf.d/ && systemctl restart postgresql")
    [place] = re.findall(r"the passwords in (/\S+), of the account", told)
    lines = [
        line.replace("HOST", DATABASE).replace("PASSWORD", f"word{number}")
        for number, line in enumerate(re.findall(r"^  (HOST:\S+)$", told, re.MULTILINE))
    ]
    for line in lines:
        *_, role, password = line.split(":")
        host.must(f"cd / && {CHANGE.format(password, role)}")
    text = "\\n".join(lines)
    host.must(f"umask 077 && printf '{text}\\n' > {place} && chown openepm-journal: {place}")
    [admitted] = re.findall(r"^  (hostssl .*)$", told, re.MULTILINE)
    admitted = admitted.replace("ADDRESS", "127.0.0.1")
    host.must(f"echo '{admitted}' >> /etc/postgresql/15/main/pg_hba.conf && systemctl reload postgresql")


def an_extract_of_the_organisation_verifies(host: CleanHost) -> None:
    """An event is accepted, doctor finds nothing wrong, and the extract bears the organisation's seal."""
    host.must('openepm-journal tenant add albi --name "Ville d\'Albi"')
    token = host.must(
        "openepm-journal credential add --role module --tenant albi --category main-courante --source-prefix /openepm/"
    ).split()[-1]
    event = {
        "specversion": "1.0",
        "id": "1",
        "time": host.must("date -u +%FT%TZ").strip(),
        "type": "fr.openepm.journal.consultation",
        "source": "/openepm/albi",
        "subject": "MC-2026-04127",
        "data": {"actor": {"account": "c.martin"}, "justification": "Essai", "outcome": "success"},
    }
    host.must(
        "curl -sS --fail http://127.0.0.1:8470/v1/categories/main-courante/events "
        f"-H 'Authorization: Bearer {token}' -H 'Content-Type: application/cloudevents+json' -d '{json.dumps(event)}'"
    )
    assert "FAIL" not in host.must("openepm-journal doctor")
    host.must(
        "openepm-journal extract --tenant albi --category main-courante --from $(date -u +%F) --to $(date -u +%F) "
        "--purpose lawfulness --requester 'DPD' --request-reference DPD-2026-14 -o albi.asice"
    )
    said = host.must("journal-verify albi.asice --trust /etc/openepm-journal/trust.pem")
    assert said.startswith("VERIFIED  authentic and complete: all 1 entries")
    assert "VILLE D'ALBI" in said
    assert "DEVELOPMENT" not in said
