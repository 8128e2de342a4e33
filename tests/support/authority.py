"""Certificates of any shape for tests, right or wrong, written with the project's own DER writer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cache
from hashlib import sha256, shake_256
from typing import TYPE_CHECKING, Union

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from journal.pki import cms, der

if TYPE_CHECKING:
    from collections.abc import Sequence

    PrivateKey = Union[ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey]

SERVICE = "journal.example.fr"
NOW = datetime(2026, 3, 14, 12, 0, 0, tzinfo=timezone.utc)
YEAR = timedelta(days=365)

DIGITAL_SIGNATURE = 0x80
NON_REPUDIATION = 0x40
KEY_CERT_SIGN = 0x04
EMAIL_PROTECTION = "1.3.6.1.5.5.7.3.4"
CLIENT_AUTHENTICATION = "1.3.6.1.5.5.7.3.2"

_NULL = der.encode(der.NULL)
ECDSA_SHA256 = der.sequence(der.object_identifier("1.2.840.10045.4.3.2"))
ECDSA_SHA384 = der.sequence(der.object_identifier("1.2.840.10045.4.3.3"))
RSA_SHA256 = der.sequence(der.object_identifier("1.2.840.113549.1.1.11"), _NULL)
RSA_SHA1 = der.sequence(der.object_identifier("1.2.840.113549.1.1.5"), _NULL)
_HASHES = {ECDSA_SHA384: hashes.SHA384(), RSA_SHA1: hashes.SHA1()}


def pss(arc: int = 1, *, parameters: bytes = b"", salt_bytes: int = 32) -> bytes:
    """Return the identifier of RSASSA-PSS with the SHA-2 hash of this arc and MGF1 with the same (RFC 4055 §3.1)."""
    hashed = der.sequence(der.object_identifier(f"2.16.840.1.101.3.4.2.{arc}"), parameters)
    mask = der.sequence(der.object_identifier("1.2.840.113549.1.1.8"), hashed)
    tagged = (der.encode(0xA0 + place, part) for place, part in enumerate((hashed, mask, der.integer(salt_bytes))))
    return der.sequence(der.object_identifier("1.2.840.113549.1.1.10"), der.sequence(*tagged))


_PSS = {
    pss(arc, parameters=parameters, salt_bytes=digest.digest_size): digest
    for arc, digest in ((1, hashes.SHA256()), (2, hashes.SHA384()), (3, hashes.SHA512()))
    for parameters in (b"", _NULL)
}


def new_key(number: int) -> ec.EllipticCurvePrivateKey:
    """Return always the same P-256 key for a number."""
    return ec.derive_private_key(0x5EA1 + number, ec.SECP256R1())


def new_p384_key(number: int) -> ec.EllipticCurvePrivateKey:
    """Return always the same P-384 key for a number."""
    return ec.derive_private_key(0x5EA1 + number, ec.SECP384R1())


@cache
def rsa_3072_key() -> rsa.RSAPrivateKey:
    """Return always the same RSA key: its primes are the first ones above two hashes, whose distances are known."""
    p, q = (int.from_bytes(shake_256(label).digest(192), "big") | 3 << 1534 | 1 for label in (b"p", b"q"))
    p, q = p + 144, q + 464
    d = pow(65537, -1, (p - 1) * (q - 1))
    numbers = rsa.RSAPrivateNumbers(
        p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), rsa.RSAPublicNumbers(65537, p * q)
    )
    return numbers.private_key()


def ecdsa(digest: hashes.HashAlgorithm) -> ec.ECDSA:
    """Return the algorithm, deterministic (RFC 6979) where it can be: what is made twice is then the same."""
    try:
        return ec.ECDSA(digest, deterministic_signing=True)
    except (TypeError, UnsupportedAlgorithm):  # cryptography before 43, OpenSSL before 3.2
        return ec.ECDSA(digest)


def name(text: str) -> bytes:
    """Return a distinguished name of one common name."""
    return der.sequence(
        der.set_of(der.sequence(der.object_identifier("2.5.4.3"), der.encode(der.UTF8_STRING, text.encode())))
    )


def seal_name(organisation: str = "Ville d'Essai", identifier: str = "NTRFR-210000017") -> bytes:
    """Return the name that a seal certificate bears (ETSI EN 319 412-3 §4.2.1); what is empty is left out."""
    attributes = [
        ("2.5.4.6", der.PRINTABLE_STRING, "FR"),
        ("2.5.4.10", der.UTF8_STRING, organisation),
        ("2.5.4.97", der.UTF8_STRING, identifier),
        ("2.5.4.3", der.UTF8_STRING, "Seal"),
    ]
    return der.sequence(
        *(
            der.set_of(der.sequence(der.object_identifier(kind), der.encode(tag, text.encode())))
            for kind, tag, text in attributes
            if text
        )
    )


def extension(dotted: str, value: bytes, *, critical: bool = False) -> bytes:
    """Return one extension around its encoded value."""
    return der.sequence(der.object_identifier(dotted), der.TRUE if critical else b"", der.octet_string(value))


def basic_constraints(*members: bytes) -> bytes:
    """Return basic constraints with these encoded members; none: not an authority."""
    return extension("2.5.29.19", der.sequence(*members), critical=True)


def key_usage(bits: int) -> bytes:
    """Return a key usage whose first octet of bits is this."""
    return extension("2.5.29.15", der.encode(der.BIT_STRING, b"\x00", bytes([bits])), critical=True)


def extended_key_usage(*purposes: str) -> bytes:
    """Return an extended key usage of these purposes."""
    return extension("2.5.29.37", der.sequence(*map(der.object_identifier, purposes)))


def alternative_names(*names: bytes) -> bytes:
    """Return a subject alternative name of these encoded general names."""
    return extension("2.5.29.17", der.sequence(*names))


def dns_name(text: str) -> bytes:
    """Return a dNSName."""
    return der.encode(0x82, text.encode())


SIGNER = (
    basic_constraints(),
    key_usage(DIGITAL_SIGNATURE | NON_REPUDIATION),
    extended_key_usage(EMAIL_PROTECTION),
    alternative_names(dns_name(SERVICE)),
)
SEAL = SIGNER[:2]
AUTHORITY = (basic_constraints(der.TRUE), key_usage(KEY_CERT_SIGN))


@dataclass(frozen=True)
class Holder:
    """A certificate and its private key."""

    certificate: bytes
    key: PrivateKey
    name: bytes


def issue(
    subject: str | bytes,
    key: PrivateKey,
    *,
    issuer: Holder | None = None,
    extensions: Sequence[bytes] = SIGNER,
    begin: datetime = NOW - YEAR,
    end: datetime = NOW + YEAR,
    serial: int = 7,
    version: int = 2,
    algorithm: bytes = ECDSA_SHA256,
    outer_algorithm: bytes | None = None,
    public_key: bytes | None = None,
) -> Holder:
    """Return a certificate of any shape, signed by its issuer or by itself."""
    subject = name(subject) if isinstance(subject, str) else subject
    signing_key = issuer.key if issuer else key
    signed = der.sequence(
        der.encode(0xA0, der.integer(version)),
        der.integer(serial),
        algorithm,
        issuer.name if issuer else subject,
        der.sequence(der.time(begin), der.time(end)),
        subject,
        public_key or spki(key),
        der.encode(0xA3, der.sequence(*extensions)),
    )
    digest = _HASHES.get(algorithm, hashes.SHA256())
    if isinstance(signing_key, rsa.RSAPrivateKey) and algorithm in _PSS:
        signature = _sign_pss(signing_key, signed, _PSS[algorithm].name)
    elif isinstance(signing_key, rsa.RSAPrivateKey):
        signature = signing_key.sign(signed, padding.PKCS1v15(), digest)
    else:
        signature = signing_key.sign(signed, ecdsa(digest))
    certificate = der.sequence(signed, outer_algorithm or algorithm, der.encode(der.BIT_STRING, b"\x00", signature))
    return Holder(certificate, key, subject)


def _sign_pss(key: rsa.RSAPrivateKey, content: bytes, digest: str) -> bytes:
    """Return an RSASSA-PSS signature (RFC 8017 §8.1.1, §9.1.1) whose salt follows from the content: always the same."""
    salt = hashlib.new(digest, hashlib.new(digest, content).digest()).digest()
    hashed = hashlib.new(digest, bytes(8) + hashlib.new(digest, content).digest() + salt).digest()
    length = (key.key_size - 1 + 7) // 8
    data = (b"\x01" + salt).rjust(length - len(hashed) - 1, b"\0")
    mask = b"".join(hashlib.new(digest, hashed + count.to_bytes(4, "big")).digest() for count in range(length))
    masked = int.from_bytes(data, "big") ^ int.from_bytes(mask[: len(data)], "big")
    masked &= (1 << (8 * len(data) - (8 * length - key.key_size + 1))) - 1
    message = int.from_bytes(masked.to_bytes(len(data), "big") + hashed + b"\xbc", "big")
    numbers = key.private_numbers()
    return pow(message, numbers.d, numbers.public_numbers.n).to_bytes((key.key_size + 7) // 8, "big")


def ecdsa_value(r: int, s: int) -> bytes:
    """Return an ECDSA-Sig-Value of any two numbers."""
    return der.sequence(der.integer(r), der.integer(s))


def spki(key: PrivateKey) -> bytes:
    """Return the key's SubjectPublicKeyInfo."""
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


ROOT = issue("Root authority", new_key(1), extensions=AUTHORITY, end=NOW + 10 * YEAR)
INTERMEDIATE = issue("Issuing authority", new_key(2), issuer=ROOT, extensions=AUTHORITY)
LEAF = issue("Seals and extracts", new_key(3), issuer=INTERMEDIATE)
CHAIN = (LEAF, INTERMEDIATE)


def sign(
    content: bytes,
    *,
    chain: Sequence[Holder] = CHAIN,
    at: datetime = NOW,
    key: PrivateKey | None = None,
) -> bytes:
    """Return a detached signature by the chain's first key (or another), claiming `at`."""
    signing_key = key or (chain or CHAIN)[0].key

    def sign_bytes(data: bytes) -> bytes:
        if isinstance(signing_key, rsa.RSAPrivateKey):
            return signing_key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        return signing_key.sign(data, ecdsa(hashes.SHA256()))

    return cms.sign(
        sha256(content).digest(),
        certificates=[holder.certificate for holder in chain],
        signing_time=at,
        sign_bytes=sign_bytes,
    )
