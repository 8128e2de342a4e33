"""A seal certificate made as a French authority profiles it: it signs, others verify it, and it is rolled over."""

from __future__ import annotations

import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from journal.core.errors import OperatorError, UntrustedError
from journal.document.render import Template, render
from journal.pki import cms
from journal.pki.certificates import Organisation, pem_to_der
from journal.seals.renewal import Paths, Subject, install, make_request
from journal.signer import identity
from tests.support.documents import make_content
from tests.support.french_authority import FrenchAuthority, openssl
from tests.support.pdf import check_signature
from tests.support.signing import LocalSigner

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.needs("openssl")

SERVICE = "journal.example.fr"
CITY = Subject(organisation="Ville d'Essai", country="FR", identifier="NTRFR-210000017")
OTHER = Subject(organisation="Autre ville", country="FR", identifier="NTRFR-210000025")
CONTENT = b"any text\n"


def tomorrow() -> datetime:
    """When what the authority dates by the machine's clock is valid, however long making keys takes."""
    return datetime.now(UTC) + timedelta(days=1)


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """Where the identity will be."""
    home = tmp_path / "home"
    return Paths(key=home / "signing.key", certificate=home / "signing.pem", trust=home / "trust.pem")


def enrol(paths: Paths, authority: FrenchAuthority, subject: Subject, kind: str, now: datetime, **how: bool) -> None:
    """Ask for a certificate and install it."""
    request = make_request(paths.key, subject, kind=kind, same_key=how.get("same_key", False))
    install(paths, authority.certify(request), authority.root.read_bytes(), SERVICE, now)


def verify(signature: bytes, trust: Path) -> cms.Signature:
    """Verify as an auditor does."""
    given = pem_to_der(trust.read_bytes())
    return cms.verify(signature, sha256(CONTENT).digest(), anchors=given, service=SERVICE)


def openssl_verifies(directory: Path, signature: bytes, trust: Path) -> None:
    """Let openssl verify a signature, with its own default purpose and with any."""
    (directory / "content").write_bytes(CONTENT)
    (directory / "signature").write_bytes(signature)
    for more in ([], ["-cades", "-purpose", "any"]):
        said = openssl("cms", "-verify", "-binary", "-inform", "DER", "-in", directory / "signature", "-content",
                       directory / "content", "-CAfile", trust, *more, "-out", "/dev/null")  # fmt: skip
        assert "successful" in said


@pytest.mark.parametrize(
    ("kind", "next_kind"),
    [
        ("rsa3072", "p384"),
        pytest.param("rsa3072", "rsa4096", marks=pytest.mark.campaign),
        pytest.param("p256", "p384", marks=pytest.mark.campaign),
    ],
)
def test_a_seal_signs_verifies_and_rolls_over(tmp_path: Path, paths: Paths, kind: str, next_kind: str) -> None:
    """Renewed with its key, then with another: old and new signatures verify, by us and by openssl."""
    now = tomorrow()
    authority = FrenchAuthority(tmp_path / "authority", kind)
    signatures = []
    for step in (
        {"kind": kind, "same_key": False},
        {"kind": kind, "same_key": True},
        {"kind": next_kind, "same_key": False},
    ):
        enrol(paths, authority, CITY, str(step["kind"]), now, same_key=bool(step["same_key"]))
        signatures.append(identity.load(paths.key, paths.certificate, SERVICE).sign(CONTENT, now))
    for signature in signatures:
        found = verify(signature, paths.trust)
        assert found.organisation == Organisation("Ville d'Essai", "NTRFR-210000017")
        assert (found.names_service, found.is_expected, found.anchor.is_development) == (False, True, False)
        assert found.anchor.sha256 == sha256(pem_to_der(authority.root.read_bytes())[0]).digest()
        openssl_verifies(tmp_path, signature, paths.trust)


def test_a_seal_of_somebody_else_by_the_same_authority_is_untrusted(tmp_path: Path, paths: Paths) -> None:
    """What the host gives auditors names its own organisation; the authority's root alone does not."""
    now = tomorrow()
    authority = FrenchAuthority(tmp_path / "authority", "p256")
    enrol(paths, authority, CITY, "p256", now)
    elsewhere = tmp_path / "elsewhere"
    theirs = Paths(key=elsewhere / "key", certificate=elsewhere / "cert.pem", trust=elsewhere / "trust.pem")
    enrol(theirs, authority, OTHER, "p256", now)
    signature = identity.load(theirs.key, theirs.certificate, SERVICE).sign(CONTENT, now)
    with pytest.raises(UntrustedError, match="another organisation than the auditor expects"):
        verify(signature, paths.trust)
    assert not verify(signature, authority.root).is_expected


def test_a_seal_needs_the_services_name_from_the_settings(tmp_path: Path, paths: Paths) -> None:
    """It says none itself."""
    enrol(paths, FrenchAuthority(tmp_path / "authority", "p256"), CITY, "p256", tomorrow())
    with pytest.raises(OperatorError, match="names no service: set JOURNAL_SERVICE_NAME"):
        identity.load(paths.key, paths.certificate)


@pytest.mark.needs("pdfsig")
@pytest.mark.parametrize("kind", ["rsa3072", "p256"])
async def test_others_accept_a_document_under_a_seal(tmp_path: Path, paths: Paths, kind: str) -> None:
    """PyHanko under its default policy, and poppler's pdfsig."""
    now = tomorrow()
    authority = FrenchAuthority(tmp_path / "authority", kind)
    enrol(paths, authority, CITY, kind, now)
    signer = LocalSigner(identity.load(paths.key, paths.certificate, SERVICE))
    document = await render(make_content([]), signer, now, Template(name="extrait", reason="Essai"))
    await check_signature(document, authority.root.read_bytes(), now)
    (tmp_path / "a.pdf").write_bytes(document)
    command = [str(shutil.which("pdfsig")), "-nocert", str(tmp_path / "a.pdf")]
    said = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert "Signature Validation: Signature is Valid." in said
    assert "Total document signed" in said
