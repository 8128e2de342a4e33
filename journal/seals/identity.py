"""Who signs: the service's key and certificate chain, and a development authority to begin with.

Trust sentence: whoever reads the signing key can sign anything as this service, up to the end of its
certificate; an anchor held outside (a known seal, a time-stamp) limits that to what came after it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from journal.core.errors import ExpiredCertificateError, OperatorError, VerificationError
from journal.core.times import format_seconds
from journal.keys.files import create_durably, make_private_directory, replace_durably
from journal.pki import cms, trust
from journal.pki.certificates import der_to_pem, parse, pem_to_der, public_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

READABLE = 0o644
OTHERS = 0o007
ROOT_YEARS = 10
SIGNER_YEARS = 2


class SigningIdentity:
    """A P-256 key and the certificates that vouch for it; the key never leaves this object."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificates: list[bytes]) -> None:
        """Check that they are of one profile and of one another.

        `certificates` are DER: the signer's, then its intermediates, no root.
        Raises VerificationError where a verifier would refuse them, OperatorError where they are not of
        this key.
        """
        chain = [parse(certificate) for certificate in certificates]
        trust.check_chain(chain)
        names = trust.dns_names(chain[0])
        if len(names) != 1:
            raise OperatorError(f"the signing certificate names {len(names)} services; it must name one")
        if public_key(chain[0]) != key.public_key():
            raise OperatorError("the signing key is not the key of the signing certificate")
        self._key = key
        self._chain = chain
        self.certificates = certificates
        self.service = names[0]

    @property
    def subject(self) -> str:
        """Return the signer's name, for people."""
        return self._chain[0].name

    @property
    def not_before(self) -> datetime:
        """Return when the whole chain begins to be valid."""
        return max(certificate.not_before for certificate in self._chain)

    @property
    def not_after(self) -> datetime:
        """Return the last moment at which the whole chain is valid."""
        return min(certificate.not_after for certificate in self._chain)

    def sign(self, content: bytes, at: datetime) -> bytes:
        """Return the detached signature (DER) of `content`, claiming the time `at`, to the second.

        Raises OperatorError where the certificates are not valid at that time.
        """
        return cms.sign(
            sha256(content).digest(),
            certificates=self.certificates,
            signing_time=self.check_valid(at),
            sign_bytes=self.sign_raw,
        )

    def sign_raw(self, data: bytes) -> bytes:
        """Return the bare signature of `data`: ECDSA with SHA-256, DER (RFC 3279 section 2.2.3)."""
        return self._key.sign(data, ec.ECDSA(hashes.SHA256()))

    def check_valid(self, at: datetime) -> datetime:
        """Return `at` to the second.

        Raises OperatorError where the certificates are not valid at that time, ExpiredCertificateError where they are
        not any more.
        """
        second = _to_second(at)
        refused = f"nothing is signed at {format_seconds(second)}: the certificate of {self.service}"
        if second > self.not_after:
            raise ExpiredCertificateError(
                f"{refused} expired on {format_seconds(self.not_after)}: install a renewed one, "
                "or put this machine's clock right",
                not_after=self.not_after,
            )
        if second < self.not_before:
            raise OperatorError(
                f"{refused} is valid from {format_seconds(self.not_before)} on: put this machine's clock right"
            )
        return second


def load(key_path: Path, cert_path: Path) -> SigningIdentity:
    """Read a signing key (PEM, not encrypted) and its certificates (PEM, signer first, no root).

    Raises OperatorError naming the file and what to do.
    """
    key = _read_key(key_path)
    try:
        return SigningIdentity(key, pem_to_der(cert_path.read_bytes()))
    except OSError as error:
        raise OperatorError(f"signing certificate {cert_path} cannot be read: {error.strerror}") from error
    except VerificationError as error:
        raise OperatorError(
            f"signing certificate {cert_path} is refused, as every verifier would refuse it: {error}"
        ) from error
    except OperatorError as error:
        raise OperatorError(f"signing key {key_path}, certificate {cert_path}: {error}") from error


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        if path.stat().st_mode & OTHERS:
            raise OperatorError(f"signing key {path} is open to everyone on this machine: chmod 600 it")
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise OperatorError(f"signing key {path} cannot be read: {error.strerror}") from error
    except TypeError as error:
        raise OperatorError(f"signing key {path} is encrypted: give it in clear, mode 0600") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise OperatorError(f"signing key {path} is not a private key in PEM form") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise OperatorError(f"signing key {path} is not a P-256 key")
    return key


def make_development_authority(
    directory: Path,
    service: str,
    now: datetime,
    *,
    not_before: datetime | None = None,
    trust_path: Path | None = None,
) -> bool:
    """Make a root, an intermediate and a signing certificate for `service`; False if a signing key is there.

    Writes `signing.key` (0600) and `signing.pem` in `directory`, and the root in `trust_path` (default:
    `trust.pem` beside them), where earlier roots stay, so that what they vouch for still verifies. The root
    lasts ten years, the others two, from `not_before` (default: an hour before `now`). The keys of the
    two authorities are never written: they can issue nothing else.

    The signing key is written last: a process killed on the way leaves a root nobody can use, and the next
    call begins anew. Concurrent calls wait for one another.
    """
    begin = _to_second(not_before or now - timedelta(hours=1))
    trust_path = trust_path or directory / "trust.pem"
    make_private_directory(directory)
    with _locked(directory):
        if (directory / "signing.key").exists():
            return False
        root = _new_authority("root", begin, ROOT_YEARS, issuer=None)
        intermediate = _new_authority("issuing", begin, SIGNER_YEARS, issuer=root)
        signer = _new_signer(service, begin, issuer=intermediate)
        chain = [_encode(signer.certificate), _encode(intermediate.certificate)]
        earlier = trust_path.read_bytes() if trust_path.exists() else b""
        replace_durably(trust_path, earlier + der_to_pem([_encode(root.certificate)]), mode=READABLE)
        replace_durably(directory / "signing.pem", der_to_pem(chain), mode=READABLE)
        pem = signer.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return create_durably(directory / "signing.key", pem)


def _to_second(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment.astimezone(UTC).replace(microsecond=0)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the directory's lock; it ends with the process, whatever ends it."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Holder:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate


def _new_authority(kind: str, begin: datetime, years: int, *, issuer: _Holder | None) -> _Holder:
    key = ec.generate_private_key(ec.SECP256R1())
    # The number keeps two authorities of one installation apart by name, for verifiers that look there first.
    number = secrets.token_hex(8)
    builder = _builder(f"OpenEPM journal development {kind} authority {number}", key, begin, years, issuer)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=1 if issuer is None else 0), True)
    builder = builder.add_extension(_key_usage(authority=True), True)
    return _Holder(key=key, certificate=_issue(builder, key, issuer))


def _new_signer(service: str, begin: datetime, *, issuer: _Holder) -> _Holder:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder("OpenEPM journal seals and extracts", key, begin, SIGNER_YEARS, issuer)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
    builder = builder.add_extension(_key_usage(authority=False), True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(service)]), False)
    return _Holder(key=key, certificate=_issue(builder, key, issuer))


def _builder(
    name: str, key: ec.EllipticCurvePrivateKey, begin: datetime, years: int, issuer: _Holder | None
) -> x509.CertificateBuilder:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer_key = key if issuer is None else issuer.key
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=365 * years + years // 4))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _issue(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, issuer: _Holder | None
) -> x509.Certificate:
    return builder.sign(key if issuer is None else issuer.key, hashes.SHA256())


def _encode(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)
