"""A real authority's certificate, from the request to the rollover; the authority is Debian's openssl."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from journal.core.errors import OperatorError
from journal.pki.certificates import pem_to_der
from journal.seals.renewal import Paths, Subject, check_vouched, install, make_request, next_key_path
from journal.signer import identity

if TYPE_CHECKING:
    from pathlib import Path

SERVICE = "journal.example.fr"
SUBJECT = Subject(organisation="Ville d'Albi", country="FR", identifier="NTRFR-218100048")

pytestmark = pytest.mark.needs("openssl")


def openssl(*arguments: object) -> str:
    """Run Debian's openssl, which must succeed; return what it says."""
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


class Authority:
    """A root that certifies what it is asked to."""

    def __init__(self, directory: Path, name: str) -> None:
        """Make its key and its certificate."""
        self.key, self.root = directory / f"{name}.key", directory / f"{name}.pem"
        extensions = ("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign")
        new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650")
        openssl(*new, "-subj", f"/CN={name}", *extensions, "-keyout", self.key, "-out", self.root)

    def certify(self, request: bytes, *, days: int = 365, names: str = SERVICE) -> bytes:
        """Return a certificate with the usage asked for, and the name of a service."""
        asked = self.root.with_name("request.pem")
        asked.write_bytes(request)
        made = self.root.with_name("made.pem")
        extensions = self.root.with_name("extensions")
        extensions.write_text(f"subjectAltName=DNS:{names}\nkeyUsage=critical,nonRepudiation\n")
        by = ("-CA", self.root, "-CAkey", self.key, "-CAcreateserial", "-extfile", extensions)
        openssl("x509", "-req", "-in", asked, "-days", days, *by, "-out", made)
        return made.read_bytes()


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """Where the identity will be."""
    home = tmp_path / "home"
    return Paths(key=home / "signing.key", certificate=home / "signing.pem", trust=home / "trust.pem")


def test_first_identity_renewal_and_rollover(tmp_path: Path, paths: Paths) -> None:
    """Each is a request and a certificate; roots are added, and a key waits until its certificate is there."""
    now = datetime.now(UTC) + timedelta(minutes=1)
    first, second = Authority(tmp_path, "first"), Authority(tmp_path, "second")
    request = make_request(paths.key, SUBJECT, kind="p256", same_key=False)
    (tmp_path / "shown.pem").write_bytes(request)
    told = openssl("req", "-in", tmp_path / "shown.pem", "-noout", "-text", "-verify")
    for words in ("verify OK", "organizationIdentifier = NTRFR-218100048", "Digital Signature, Non Repudiation"):
        assert words in told
    # Asked for again, it is the same key.
    assert next_key_path(paths.key).stat().st_mode & 0o777 == 0o600
    key = next_key_path(paths.key).read_bytes()
    request = make_request(paths.key, SUBJECT, kind="p256", same_key=False)
    assert next_key_path(paths.key).read_bytes() == key

    made = install(paths, first.certify(request), first.root.read_bytes(), SERVICE, now)
    assert paths.key.read_bytes() == key
    assert not next_key_path(paths.key).exists()

    renewed = make_request(paths.key, SUBJECT, kind="p256", same_key=True)
    again = install(paths, first.certify(renewed, days=700), first.root.read_bytes(), SERVICE, now)
    assert again.not_after > made.not_after
    assert paths.key.read_bytes() == key
    assert len(pem_to_der(paths.trust.read_bytes())) == 1

    rolled = second.certify(make_request(paths.key, SUBJECT, kind="p256", same_key=False))
    assert paths.key.read_bytes() == key
    install(paths, rolled, second.root.read_bytes(), SERVICE, now)
    assert paths.key.read_bytes() != key
    # Interrupted before its last step, or repeated, it ends the same way.
    install(paths, rolled, second.root.read_bytes(), SERVICE, now)
    assert len(pem_to_der(paths.trust.read_bytes())) == 2
    check_vouched(identity.load(paths.key, paths.certificate), paths.trust, now)


def test_what_a_verifier_would_refuse_is_not_installed(tmp_path: Path, paths: Paths) -> None:
    """Another name, another key, another authority, another time: nothing is changed."""
    now = datetime.now(UTC) + timedelta(minutes=1)
    authority, other = Authority(tmp_path, "authority"), Authority(tmp_path, "other")
    elsewhere = paths.key.with_name("elsewhere.key")
    request = make_request(paths.key, SUBJECT, kind="p256", same_key=False)
    good, root = authority.certify(request), authority.root.read_bytes()
    named = authority.certify(request, names="other.example.fr")
    keyed = authority.certify(make_request(elsewhere, SUBJECT, kind="p256", same_key=False))
    for chain, trust, at, why in (
        (named, root, now, "the certificate is for other.example.fr"),
        (keyed, root, now, "the certificate is for neither the key in"),
        (good, other.root.read_bytes(), now, "it was not issued by a certificate the auditor trusts"),
        (good, root, now + timedelta(days=400), "it is valid from"),
        (b"nothing", root, now, "no certificate in PEM form"),
    ):
        with pytest.raises(OperatorError, match=why):
            install(paths, chain, trust, SERVICE, at)
        assert sorted(path.name for path in paths.key.parent.iterdir()) == ["elsewhere.key.next", "signing.key.next"]
