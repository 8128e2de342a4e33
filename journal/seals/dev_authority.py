"""The development authority: a root, an intermediate and a signing certificate, made at the first start."""

from __future__ import annotations

import fcntl
import os
import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from journal.keys.files import create_durably, make_private_directory, replace_durably
from journal.pki.certificates import der_to_pem
from journal.pki.trust import DEVELOPMENT
from journal.signer.identity import to_second

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

READABLE = 0o644
ROOT_YEARS = 10
SIGNER_YEARS = 2


def make_development_authority(
    directory: Path,
    service: str,
    now: datetime,
    *,
    not_before: datetime | None = None,
    trust_path: Path | None = None,
) -> bool:
    """Make a root, an intermediate and a signing certificate for `service`; False if a signing key exists.

    Writes `signing.key` (0600) and `signing.pem` to `directory`, and appends the root to `trust_path` (default:
    `trust.pem` beside them): earlier roots stay, so that earlier signatures still verify. The root is valid for ten
    years, the others for two, from `not_before` (default: an hour before `now`). The keys of the two authorities are
    never written, so they can issue nothing else.

    The signing key is written last: a process killed before that leaves a root without a key, and the next call
    starts over. Concurrent calls wait for each other.
    """
    begin = to_second(not_before or now - timedelta(hours=1))
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


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold a lock on the directory; the kernel releases it when the process ends."""
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
    # The number makes the names of two authorities of one installation differ: some verifiers look up by name.
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
    # By the name of the organisation both verifiers recognise the authority, and say that it is for trials.
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, DEVELOPMENT),
            x509.NameAttribute(NameOID.COMMON_NAME, name),
        ]
    )
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
        content_commitment=not authority,
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
