"""The signing identity of a real authority: a request for its certificate, and the certificate put in place.

A key waits as `<signing key>.next` from the request until its certificate is installed; the service signs with the
present one meanwhile. So a first identity, a renewal (same key) and a rollover (new key) are the same two steps.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from journal.choices import KEY_KINDS
from journal.core.errors import OperatorError, VerificationError
from journal.keys.files import create_durably, replace_durably, shred_file
from journal.pki.certificates import der_to_pem, parse, pem_to_der, public_key
from journal.signer.identity import SigningIdentity, read_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from journal.pki.trust import Anchor
    from journal.signer.identity import Certified, PrivateKey

READABLE = 0o644
RSA_EXPONENT = 65537
NEXT = ".next"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Who the certificate will name: the organisation that seals, and its number (ETSI EN 319 412-1 §5.1.4)."""

    organisation: str
    country: str
    identifier: str | None


# The keys that can be asked for, by the name of the command's option.
_MAKERS: tuple[Callable[[], PrivateKey], ...] = (
    lambda: ec.generate_private_key(ec.SECP256R1()),
    lambda: ec.generate_private_key(ec.SECP384R1()),
    lambda: rsa.generate_private_key(RSA_EXPONENT, 3072),
    lambda: rsa.generate_private_key(RSA_EXPONENT, 4096),
)
KINDS = dict(zip(KEY_KINDS, _MAKERS, strict=True))


def next_key_path(key_path: Path) -> Path:
    """Return the file of the key whose certificate has been asked for."""
    return key_path.with_name(key_path.name + NEXT)


def make_request(key_path: Path, subject: Subject, *, kind: str, same_key: bool) -> bytes:
    """Return a certification request (PKCS #10, PEM) for a seal; makes the waiting key, of this kind, if there is none.

    With `same_key` the request is for the present signing key: a renewal. Raises OperatorError, OSError.
    """
    if same_key:
        key = read_key(key_path)
    else:
        waiting = next_key_path(key_path)
        create_durably(
            waiting,
            KINDS[kind]().private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )
        key = read_key(waiting)
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(_name(subject))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(), critical=True)
        .sign(key, hashes.SHA256())
    )
    return request.public_bytes(serialization.Encoding.PEM)


def _name(subject: Subject) -> x509.Name:
    attributes = [
        x509.NameAttribute(NameOID.COUNTRY_NAME, subject.country),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, subject.organisation),
        x509.NameAttribute(NameOID.COMMON_NAME, subject.organisation),
    ]
    if subject.identifier:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_IDENTIFIER, subject.identifier))
    return x509.Name(attributes)


def _usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=True,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """Where the identity is: the signing key, its certificate chain, the trust anchors that auditors are given."""

    key: Path
    certificate: Path
    trust: Path


def install(paths: Paths, chain_pem: bytes, trust_pem: bytes, service: str, now: datetime) -> SigningIdentity:
    """Check a certificate chain and put it in place, with the key it is for; return the identity.

    The trust anchors are added to those that are there: earlier signatures still verify. The certificate of an
    organisation's seal goes there too, so that verifiers expect the seals of that organisation alone. Every step can be
    repeated after an interruption. Raises OperatorError, and nothing is changed, unless a verifier would accept the
    chain now.
    """
    identity, is_new = _check(paths, chain_pem, trust_pem, service, now)
    earlier = paths.trust.read_bytes() if paths.trust.exists() else b""
    known = pem_to_der(earlier) if earlier else []
    given = [*pem_to_der(trust_pem), *([] if identity.names_service else identity.certificates[:1])]
    added = [anchor for anchor in dict.fromkeys(given) if anchor not in known]
    replace_durably(paths.trust, earlier + der_to_pem(added), mode=READABLE)
    replace_durably(paths.certificate, der_to_pem(identity.certificates), mode=READABLE)
    waiting = next_key_path(paths.key)
    if is_new:
        # Between these two files the service refuses to start, and says why; the same command then goes on.
        replace_durably(paths.key, waiting.read_bytes())
        shred_file(waiting)
    return identity


def _check(
    paths: Paths, chain_pem: bytes, trust_pem: bytes, service: str, now: datetime
) -> tuple[SigningIdentity, bool]:
    """Return the identity that the chain makes, and whether its key is the waiting one."""
    try:
        chain, anchors = pem_to_der(chain_pem), pem_to_der(trust_pem)
        certified = public_key(parse(chain[0]))
        for path in (next_key_path(paths.key), paths.key):
            if path.exists() and (key := read_key(path)).public_key() == certified:
                identity = SigningIdentity(key, chain, service)
                break
        else:
            raise OperatorError(
                f"the certificate is for neither the key in {paths.key} nor the one of the last request in "
                f"{next_key_path(paths.key)}: install the one that the authority made from that request"
            )
        identity.anchor([*anchors, chain[0]], now)
    except VerificationError as error:
        raise OperatorError(f"the certificate is refused, as every verifier would refuse it: {error}") from error
    if identity.service != service:
        raise OperatorError(f"the certificate is for {identity.service}, but this journal is {service}")
    return identity, path != paths.key


def check_vouched(identity: Certified, trust_path: Path, now: datetime) -> Anchor:
    """Return the trust anchor that vouches for an identity now. Raises OperatorError, naming the file, if none does."""
    anchors: list[bytes] = []
    with suppress(FileNotFoundError):
        anchors = pem_to_der(trust_path.read_bytes())
    try:
        return identity.anchor(anchors, now)
    except VerificationError as error:
        raise OperatorError(
            f"no certificate in {trust_path} vouches for the signing certificate: {error}; put the root of its "
            "authority there (openepm-journal identity install --trust)"
        ) from error
