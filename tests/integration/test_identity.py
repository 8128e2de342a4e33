"""The signing identity on disk, and what Debian's openssl thinks of its signatures."""

from __future__ import annotations

import base64
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from journal.core.errors import ExpiredCertificateError, MalformedError, OperatorError, UntrustedError
from journal.pki import certificates, cms, der
from journal.seals.dev_authority import make_development_authority
from journal.signer import identity
from tests.support import authority as made
from tests.support.authority import AUTHORITY, CHAIN, INTERMEDIATE, NOW, ROOT, SERVICE, SIGNER, YEAR, issue, new_key

if TYPE_CHECKING:
    from collections.abc import Sequence

CONTENT = b"openepm-journal/export/v1\nwhatever is signed\r\n\x00\xff"
SECOND = timedelta(seconds=1)


def openssl(*arguments: object) -> None:
    """Run Debian's openssl, which must succeed."""
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def openssl_verifies(
    directory: Path, signature: bytes, content: bytes, anchors: Path, *options: str, at: datetime | None = None
) -> bool:
    """Tell whether openssl accepts a detached signature."""
    (directory / "signature.p7s").write_bytes(signature)
    (directory / "content").write_bytes(content)
    when = ("-attime", str(int(at.timestamp()))) if at else ()
    command = ["openssl", "cms", "-verify", "-binary", "-inform", "DER", *options, *when]
    files = ["-in", directory / "signature.p7s", "-content", directory / "content", "-CAfile", anchors]
    done = subprocess.run([*command, *files, "-out", "/dev/null"], capture_output=True, check=False)
    return done.returncode == 0


def verify(signature: bytes, anchors: Path, *, content: bytes = CONTENT) -> cms.Signature:
    """Verify as the auditor does."""
    trusted = certificates.pem_to_der(anchors.read_bytes())
    return cms.verify(signature, sha256(content).digest(), anchors=trusted, service=SERVICE)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a directory with a development authority made at `NOW`."""
    assert make_development_authority(tmp_path, SERVICE, NOW)
    return tmp_path


def load(directory: Path) -> identity.SigningIdentity:
    """Load the identity of a directory."""
    return identity.load(directory / "signing.key", directory / "signing.pem")


# --- the development authority


def test_the_development_authority_signs_what_openssl_and_we_verify(home: Path) -> None:
    """One intermediate, ten years of root, two of signing, the key for its owner alone."""
    signer = load(home)
    assert signer.service == SERVICE
    assert len(signer.certificates) == 2
    assert (home / "signing.key").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in home.iterdir()) == ["signing.key", "signing.pem", "trust.pem"]
    root = certificates.parse(certificates.pem_to_der((home / "trust.pem").read_bytes())[0])
    assert root.not_after - root.not_before == timedelta(days=3652)
    assert signer.not_before == NOW - timedelta(hours=1)
    assert signer.not_after - signer.not_before == timedelta(days=730)

    signature = signer.sign(CONTENT, NOW)
    verified = verify(signature, home / "trust.pem")
    assert verified.subject == "CN=OpenEPM journal seals and extracts, O=OpenEPM journal development authority"
    assert verified.signing_time == NOW
    assert verified.anchor.is_development
    for options in ([], ["-cades"], ["-cades", "-purpose", "smimesign"]):
        assert openssl_verifies(home, signature, CONTENT, home / "trust.pem", *options, at=NOW)
        assert not openssl_verifies(home, signature, CONTENT + b"\n", home / "trust.pem", *options, at=NOW)


def test_a_simulated_clock_may_begin_in_the_past(tmp_path: Path) -> None:
    """The certificates begin where they are told to, and the root may be written elsewhere."""
    begin = datetime(2025, 12, 31, 23, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=-1)))
    trust_path = tmp_path / "for-auditors" / "trust.pem"
    make_development_authority(tmp_path / "identity", SERVICE, NOW, not_before=begin, trust_path=trust_path)
    signer = load(tmp_path / "identity")
    assert signer.not_before == datetime(2026, 1, 1, tzinfo=UTC)
    assert verify(signer.sign(CONTENT, signer.not_before), trust_path).signing_time == signer.not_before


def test_an_authority_in_place_is_left_alone(home: Path) -> None:
    """A second start makes nothing and changes nothing."""
    before = {path.name: path.read_bytes() for path in home.iterdir()}
    assert not make_development_authority(home, SERVICE, NOW)
    assert {path.name: path.read_bytes() for path in home.iterdir()} == before


def test_processes_that_start_together_make_one_authority(tmp_path: Path) -> None:
    """Exactly one makes it; key, certificate and root belong together."""
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda _: make_development_authority(tmp_path, SERVICE, NOW), range(8)))
    assert sorted(outcomes) == [False] * 7 + [True]
    verify(load(tmp_path).sign(CONTENT, NOW), tmp_path / "trust.pem")
    assert len(certificates.pem_to_der((tmp_path / "trust.pem").read_bytes())) == 1


def test_a_lost_key_makes_a_new_authority_and_old_signatures_still_verify(home: Path) -> None:
    """The old root stays in the file the auditor is given; openssl finds its way among both."""
    old = load(home).sign(CONTENT, NOW)
    (home / "signing.key").unlink()
    assert make_development_authority(home, SERVICE, NOW)
    new = load(home).sign(CONTENT, NOW)
    for signature in (old, new):
        verify(signature, home / "trust.pem")
        assert openssl_verifies(home, signature, CONTENT, home / "trust.pem", "-cades", at=NOW)


# --- signing


def test_nothing_is_signed_with_a_certificate_that_is_not_valid(home: Path) -> None:
    """To the second, both ends included; the message says what to do."""
    signer = load(home)
    for moment in (signer.not_before, signer.not_after + timedelta(microseconds=999_999)):
        verify(signer.sign(CONTENT, moment), home / "trust.pem")
    with pytest.raises(OperatorError, match=r"valid only from .*: correct this machine's clock"):
        signer.sign(CONTENT, signer.not_before - SECOND)
    with pytest.raises(ExpiredCertificateError, match=r"expired on .*: install a renewed one") as refused:
        signer.sign(CONTENT, signer.not_after + SECOND)
    assert refused.value.not_after == signer.not_after


def test_a_time_is_taken_as_a_moment_to_the_second(home: Path) -> None:
    """Any zone will do, fractions are dropped; a time without a zone is a mistake of ours."""
    signer = load(home)
    moment = (NOW + timedelta(microseconds=700_000)).astimezone(timezone(timedelta(hours=2)))
    assert verify(signer.sign(CONTENT, moment), home / "trust.pem").signing_time == NOW
    with pytest.raises(ValueError, match="zone"):
        signer.sign(CONTENT, NOW.replace(tzinfo=None))


# --- loading


def write_key(path: Path, key: made.PrivateKey, password: bytes | None = None) -> None:
    """Write a private key in PEM, for its owner alone."""
    protection = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection))
    path.chmod(0o600)


def test_a_key_that_cannot_be_used_is_refused_by_name(home: Path) -> None:
    """Each message names the file and what is wrong with it."""
    key = home / "signing.key"
    key.chmod(0o604)
    with pytest.raises(OperatorError, match=r"signing\.key is open to everyone.*chmod 600"):
        load(home)
    write_key(key, new_key(1), b"password")
    with pytest.raises(OperatorError, match=r"signing\.key is encrypted"):
        load(home)
    write_key(key, rsa.generate_private_key(public_exponent=65537, key_size=2048))
    with pytest.raises(OperatorError, match=r"signing\.key is not a P-256 or P-384 key, nor RSA of 3072"):
        load(home)
    write_key(key, ec.generate_private_key(ec.SECP521R1()))
    with pytest.raises(OperatorError, match=r"signing\.key is not a P-256 or P-384 key"):
        load(home)
    key.write_bytes(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    with pytest.raises(OperatorError, match=r"signing\.key is not a private key"):
        load(home)
    key.unlink()
    with pytest.raises(OperatorError, match=r"signing\.key cannot be read: No such file"):
        load(home)


def write(directory: Path, chain: Sequence[made.Holder]) -> None:
    """Write a chain and the key of its first certificate."""
    (directory / "signing.pem").write_bytes(certificates.der_to_pem([holder.certificate for holder in chain]))
    write_key(directory / "signing.key", chain[0].key)


FOR_SERVERS = made.extended_key_usage("1.3.6.1.5.5.7.3.1")
TWO_SERVICES = made.alternative_names(made.dns_name(SERVICE), made.dns_name("b.example.fr"))


@pytest.mark.parametrize(
    ("chain", "reason"),
    [
        ([*CHAIN, ROOT], "self-issued"),
        ([INTERMEDIATE, CHAIN[0]], "nonRepudiation"),
        ([CHAIN[0], issue("Another", new_key(5), issuer=ROOT, extensions=AUTHORITY)], "issued by the next"),
        ([issue("Seals", new_key(3), issuer=ROOT, extensions=[*SIGNER[:2], FOR_SERVERS])], "extended key usage"),
        (
            [issue("Seals", new_key(3), issuer=ROOT, extensions=SIGNER[:3])],
            "names no service: set JOURNAL_SERVICE_NAME",
        ),
        ([issue("Seals", new_key(3), issuer=ROOT, extensions=[*SIGNER[:3], TWO_SERVICES])], "names 2 services"),
    ],
)
def test_a_chain_every_verifier_would_refuse_is_refused_at_start(
    tmp_path: Path, chain: Sequence[made.Holder], reason: str
) -> None:
    """A mistake in the certificates shows when they are installed, not when an auditor reads a seal."""
    write(tmp_path, chain)
    with pytest.raises(OperatorError, match=rf"signing\.pem.*{reason}"):
        load(tmp_path)


def test_certificates_that_cannot_be_read_or_are_not_the_keys_are_refused(tmp_path: Path) -> None:
    """Absent, not PEM, not of this key: the message names the file."""
    write(tmp_path, CHAIN)
    load(tmp_path)
    write_key(tmp_path / "signing.key", new_key(9))
    with pytest.raises(OperatorError, match="not the key of the signing certificate"):
        load(tmp_path)
    (tmp_path / "signing.pem").write_bytes(CHAIN[0].certificate)
    with pytest.raises(OperatorError, match=r"signing\.pem is refused.*no certificate in PEM"):
        load(tmp_path)
    (tmp_path / "signing.pem").unlink()
    with pytest.raises(OperatorError, match=r"signing\.pem cannot be read: No such file"):
        load(tmp_path)


# --- beside openssl


def test_certificates_made_with_openssl_are_of_the_profile(tmp_path: Path) -> None:
    """An operator's own authority, made with openssl alone: RSA root, P-256 signer."""
    root_key, root, key, request = (tmp_path / name for name in ("ca.key", "ca.pem", "signing.key", "request.pem"))
    extensions = tmp_path / "extensions"
    extensions.write_text(
        "basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature,nonRepudiation\nextendedKeyUsage=emailProtection\n"
        f"subjectAltName=DNS:{SERVICE}\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    )
    openssl("req", "-x509", "-newkey", "rsa:3072", "-nodes", "-keyout", root_key, "-out", root, "-days", 3650,
            "-subj", "/C=FR/O=Éditeur & Cie/CN=Autorité", "-utf8",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign")  # fmt: skip
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
            "-out", request, "-subj", "/C=FR/O=Éditeur & Cie/CN=Journal", "-utf8")  # fmt: skip
    openssl("x509", "-req", "-in", request, "-CA", root, "-CAkey", root_key, "-days", 700, "-sha256",
            "-extfile", extensions, "-out", tmp_path / "signing.pem")  # fmt: skip
    signature = load(tmp_path).sign(CONTENT, datetime.now(UTC))
    assert verify(signature, root).issuer == "CN=Autorité, O=Éditeur & Cie, C=FR"
    assert openssl_verifies(tmp_path, signature, CONTENT, root, "-cades")


def test_a_signature_spelt_by_openssl_is_malformed(home: Path) -> None:
    """Same key, same content, valid for openssl: but not in the one spelling of the profile."""
    now = datetime.now(UTC)
    (home / "signing.key").unlink()
    make_development_authority(home, SERVICE, now)
    (home / "content").write_bytes(CONTENT)
    issuer = certificates.pem_to_der((home / "signing.pem").read_bytes())[1:]
    (home / "issuer.pem").write_bytes(certificates.der_to_pem(issuer))
    openssl("cms", "-sign", "-binary", "-cades", "-md", "sha256", "-in", home / "content", "-outform", "DER",
            "-signer", home / "signing.pem", "-inkey", home / "signing.key",
            "-certfile", home / "issuer.pem", "-out", home / "other.p7s")  # fmt: skip
    signature = (home / "other.p7s").read_bytes()
    assert openssl_verifies(home, signature, CONTENT, home / "trust.pem", "-cades")
    with pytest.raises(MalformedError):
        verify(signature, home / "trust.pem")


PATH_LENGTH_0 = made.basic_constraints(der.TRUE, der.integer(0))


@pytest.mark.parametrize(
    "chain",
    [
        pytest.param([CHAIN[0]], id="missing intermediate"),
        pytest.param([issue("Seals", new_key(3), issuer=INTERMEDIATE, end=NOW - SECOND), INTERMEDIATE], id="expired"),
        pytest.param([issue("Seals", new_key(3), issuer=INTERMEDIATE, begin=NOW + SECOND), INTERMEDIATE], id="future"),
        pytest.param(
            [
                issue(
                    "Seals",
                    new_key(3),
                    issuer=INTERMEDIATE,
                    extensions=[*SIGNER[:2], FOR_SERVERS, SIGNER[3]],
                ),
                INTERMEDIATE,
            ],
            id="other extended usage",
        ),
        pytest.param(
            [
                issue(
                    "Seals", new_key(3), issuer=INTERMEDIATE, extensions=[SIGNER[0], made.key_usage(0x20), *SIGNER[2:]]
                ),
                INTERMEDIATE,
            ],
            id="other key usage",
        ),
        pytest.param(
            [
                issue(
                    "Seals",
                    new_key(3),
                    issuer=INTERMEDIATE,
                    extensions=[*SIGNER, made.extension("1.2.3", b"", critical=True)],
                ),
                INTERMEDIATE,
            ],
            id="unknown critical",
        ),
        pytest.param([issue("Seals", new_key(33)), INTERMEDIATE], id="self-signed"),
        pytest.param([issue("Seals", new_key(3), issuer=CHAIN[0]), *CHAIN], id="under a signer"),
        pytest.param(
            [
                issue(
                    "Seals",
                    new_key(3),
                    issuer=(
                        low := issue(
                            "Low",
                            new_key(6),
                            issuer=(
                                up := issue("Up", new_key(5), issuer=ROOT, extensions=[PATH_LENGTH_0, AUTHORITY[1]])
                            ),
                            extensions=AUTHORITY,
                        )
                    ),
                ),
                low,
                up,
            ],
            id="path length",
        ),
        pytest.param(
            [
                issue(
                    "Seals",
                    new_key(3),
                    issuer=(
                        web := issue(
                            "Web",
                            new_key(6),
                            issuer=ROOT,
                            extensions=[*AUTHORITY, FOR_SERVERS],
                        )
                    ),
                ),
                web,
            ],
            id="authority for other purposes",
        ),
    ],
)
def test_what_openssl_refuses_we_refuse(tmp_path: Path, chain: Sequence[made.Holder]) -> None:
    """Where both know the rule, both verdicts agree; beside them, a good chain both accept."""
    anchors = tmp_path / "trust.pem"
    anchors.write_bytes(certificates.der_to_pem([ROOT.certificate]))
    for good in (True, False):
        signature = made.sign(CONTENT, chain=CHAIN if good else chain)
        assert openssl_verifies(tmp_path, signature, CONTENT, anchors, "-cades", at=NOW) == good
        if good:
            verify(signature, anchors)
        else:
            with pytest.raises(UntrustedError):
                verify(signature, anchors)


def test_openssl_accepts_every_shape_of_chain_we_sign_with(tmp_path: Path) -> None:
    """No intermediate, one, two; also from 2050 on, where the time changes its form."""
    anchors = tmp_path / "trust.pem"
    root = issue("Root authority", new_key(1), extensions=AUTHORITY, end=NOW + 40 * YEAR)
    upper = issue("Upper", new_key(5), issuer=root, extensions=AUTHORITY, end=NOW + 40 * YEAR)
    lower = issue("Lower", new_key(6), issuer=upper, extensions=AUTHORITY, end=NOW + 40 * YEAR)
    anchors.write_bytes(certificates.der_to_pem([root.certificate]))
    for authorities in ([], [upper], [lower, upper]):
        signer = issue("Seals", new_key(3), issuer=[*authorities, root][0], end=NOW + 40 * YEAR)
        for moment in (NOW, NOW + 30 * YEAR):
            signature = made.sign(CONTENT, chain=[signer, *authorities], at=moment)
            assert verify(signature, anchors).signing_time == moment
            assert openssl_verifies(tmp_path, signature, CONTENT, anchors, "-cades", at=moment)


VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "v1" / "signature.json").read_text())


@pytest.mark.parametrize("vector", VECTORS["accepted"], ids=lambda vector: vector["name"])
def test_openssl_accepts_the_vectors(tmp_path: Path, vector: dict[str, str]) -> None:
    """The signatures kept as vectors are good for a verifier that is not ours."""
    anchors = tmp_path / "trust.pem"
    anchors.write_bytes(certificates.der_to_pem([base64.b64decode(VECTORS["trusted"])]))
    signature = base64.b64decode(vector["signature"])
    at = datetime.fromisoformat(vector["signing_time"])
    assert openssl_verifies(tmp_path, signature, VECTORS["content"].encode(), anchors, "-cades", at=at)
