"""Certificates (RFC 5280), read strictly; their keys, and their issuers' signatures. Paths are in `trust`.

Names are compared as bytes, but an organisation by the text of its name and number; keys are P-256, P-384 or RSA.
`cryptography` does only the arithmetic, so that every version of it gives the same verdict.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Union

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from journal.core.errors import MalformedError, UntrustedError
from journal.pki import der

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    PublicKey = Union[ec.EllipticCurvePublicKey, rsa.RSAPublicKey]

CERTIFICATE_LIMIT_BYTES = 8 * 1024
PEM_LIMIT_BYTES = 4 * 1024 * 1024  # the root certificates of a whole system fit
RSA_MODULUS_BITS = range(2048, 8192 + 1)
RSA_EXPONENT = 65537
# Many seals are signed by few certificates: what depends on their bytes alone is found out once.
REMEMBERED = 256

_EC_PUBLIC_KEY = der.object_identifier("1.2.840.10045.2.1")
_NULL = der.encode(der.NULL)
RSA_KEY = der.sequence(der.object_identifier("1.2.840.113549.1.1.1"), _NULL)
_CURVES: Mapping[bytes, ec.EllipticCurve] = {
    der.sequence(_EC_PUBLIC_KEY, der.object_identifier("1.2.840.10045.3.1.7")): ec.SECP256R1(),
    der.sequence(_EC_PUBLIC_KEY, der.object_identifier("1.3.132.0.34")): ec.SECP384R1(),
}


class Algorithm(NamedTuple):
    """How an issuer signs: by which kind of key, with which hash and, for RSA, which padding."""

    by_rsa: bool
    hash: hashes.HashAlgorithm
    padding: padding.AsymmetricPadding | None


def _algorithms() -> Mapping[bytes, Algorithm]:
    """Return the algorithms accepted, by their AlgorithmIdentifier (RFC 5758 §3.2, RFC 4055 §3 and §5)."""
    found = {}
    mgf1 = der.object_identifier("1.2.840.113549.1.1.8")
    for arc, digest in ((1, hashes.SHA256()), (2, hashes.SHA384()), (3, hashes.SHA512())):
        ecdsa = der.object_identifier(f"1.2.840.10045.4.3.{arc + 1}")
        found[der.sequence(ecdsa)] = Algorithm(by_rsa=False, hash=digest, padding=None)
        rsa_with = der.object_identifier(f"1.2.840.113549.1.1.{arc + 10}")
        found[der.sequence(rsa_with, _NULL)] = Algorithm(by_rsa=True, hash=digest, padding=padding.PKCS1v15())
        pss = padding.PSS(padding.MGF1(digest), digest.digest_size)
        for parameters in (_NULL, b""):
            hashed = der.sequence(der.object_identifier(f"2.16.840.1.101.3.4.2.{arc}"), parameters)
            members = (hashed, der.sequence(mgf1, hashed), der.integer(digest.digest_size))
            tagged = (der.encode(0xA0 + place, member) for place, member in enumerate(members))
            identifier = der.sequence(der.object_identifier("1.2.840.113549.1.1.10"), der.sequence(*tagged))
            found[identifier] = Algorithm(by_rsa=True, hash=digest, padding=pss)
    return found


ALGORITHMS = _algorithms()
_ORGANISATION = der.object_identifier("2.5.4.10")
_ORGANISATION_IDENTIFIER = der.object_identifier("2.5.4.97")
_NAME_LABELS: Mapping[bytes, str] = {
    der.object_identifier(dotted): label
    for dotted, label in {
        "2.5.4.3": "CN",
        "2.5.4.5": "serialNumber",
        "2.5.4.6": "C",
        "2.5.4.7": "L",
        "2.5.4.8": "ST",
        "2.5.4.10": "O",
        "2.5.4.11": "OU",
        "2.5.4.97": "organizationIdentifier",
        "0.9.2342.19200300.100.1.25": "DC",
        "1.2.840.113549.1.9.1": "emailAddress",
    }.items()
}
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")


@dataclass(frozen=True)
class Certificate:
    """The parts of a certificate that we read; `encoded` is the whole, `signed` the part its issuer signed."""

    encoded: bytes
    signed: bytes
    serial: int
    issuer: der.Element
    subject: der.Element
    not_before: datetime
    not_after: datetime
    key: der.Element
    algorithm: bytes
    signature: bytes
    extensions: Mapping[bytes, tuple[bool, bytes]]

    @property
    def name(self) -> str:
        """Its subject, for people."""
        return name_text(self.subject)


def pem_to_der(pem: bytes) -> list[bytes]:
    """Return the certificates of a PEM text, in order; text around them is ignored (RFC 7468 §5.2).

    MalformedError if there is none, or one is not base64.
    """
    if len(pem) > PEM_LIMIT_BYTES:
        raise MalformedError(f"{len(pem)} bytes of PEM where at most {PEM_LIMIT_BYTES} are accepted")
    try:
        found = [base64.b64decode(b"".join(body.split()), validate=True) for body in _PEM.findall(pem)]
    except binascii.Error as error:
        raise MalformedError("a PEM certificate is not base64") from error
    if not found or b"" in found:
        raise MalformedError("no certificate in PEM form")
    return found


def der_to_pem(certificates: Sequence[bytes]) -> bytes:
    """Return certificates as one PEM text, in the order given."""
    return b"".join(
        b"-----BEGIN CERTIFICATE-----\n"
        + b"".join(text[at : at + 64] + b"\n" for at in range(0, len(text), 64))
        + b"-----END CERTIFICATE-----\n"
        for text in map(base64.b64encode, certificates)
    )


@lru_cache(maxsize=REMEMBERED)
def parse(encoded: bytes) -> Certificate:
    """Read one certificate (RFC 5280 §4.1: version 3, extensions, no unique identifiers); MalformedError."""
    return read(der.decode(encoded, limit_bytes=CERTIFICATE_LIMIT_BYTES))


def read(element: der.Element) -> Certificate:
    """Read a certificate from a decoded structure; MalformedError."""
    if len(element.encoded) > CERTIFICATE_LIMIT_BYTES:
        raise MalformedError(f"a certificate of more than {CERTIFICATE_LIMIT_BYTES} bytes")
    signed, algorithm, signature = element.members(der.SEQUENCE, 3)
    version, serial, inner, issuer, validity, subject, key, extensions = signed.members(der.SEQUENCE, 8)
    if [part.integer() for part in version.members(0xA0)] != [2]:
        raise MalformedError("a certificate is not of version 3")
    # Old roots have the serial number 0 (RFC 5280 §4.1.2.2 asks readers to accept them).
    if not 0 <= serial.integer() < 1 << 160:
        raise MalformedError("a certificate's serial number is negative, or longer than 20 octets")
    # The outer algorithm is not signed: it must equal the inner one, which is.
    if inner.encoded != algorithm.encoded:
        raise MalformedError("a certificate names two signature algorithms")
    not_before, not_after = (part.time() for part in validity.members(der.SEQUENCE, 2))
    (listed,) = extensions.members(0xA3, 1)
    return Certificate(
        encoded=element.encoded,
        signed=signed.encoded,
        serial=serial.integer(),
        issuer=issuer.expect(der.SEQUENCE),
        subject=subject.expect(der.SEQUENCE),
        not_before=not_before,
        not_after=not_after,
        key=key.expect(der.SEQUENCE),
        algorithm=algorithm.encoded,
        signature=signature.whole_bits(),
        extensions=_read_extensions(listed),
    )


def _read_extensions(listed: der.Element) -> dict[bytes, tuple[bool, bytes]]:
    found: dict[bytes, tuple[bool, bytes]] = {}
    for extension in listed.members(der.SEQUENCE):
        critical = [part.encoded for part in extension.members(der.SEQUENCE)[1:2]] == [der.TRUE]
        identifier, *_, value = extension.members(der.SEQUENCE, 3 if critical else 2)
        if identifier.expect(der.OBJECT_IDENTIFIER).encoded in found:
            raise MalformedError("a certificate has an extension twice")
        found[identifier.encoded] = (critical, value.octets())
    return found


def public_key(certificate: Certificate) -> PublicKey:
    """Return its key: uncompressed P-256 or P-384, or RSA of 2048 to 8192 bits with the usual exponent."""
    algorithm, bits = certificate.key.members(der.SEQUENCE, 2)
    octets = bits.whole_bits()
    curve = _CURVES.get(algorithm.encoded)
    if curve is not None:
        if len(octets) != 1 + 2 * curve.key_size // 8:
            raise MalformedError("a public key is not an uncompressed point", part=certificate.name)
        try:
            return _point(algorithm.encoded, octets)
        except ValueError as error:
            raise MalformedError("a public key is not on its curve", part=certificate.name) from error
    if algorithm.encoded != RSA_KEY:
        raise UntrustedError("its key is of a kind we do not accept", part=certificate.name)
    numbers = der.decode(octets, limit_bytes=CERTIFICATE_LIMIT_BYTES).members(der.SEQUENCE, 2)
    modulus, exponent = (number.integer() for number in numbers)
    if modulus.bit_length() not in RSA_MODULUS_BITS or modulus < 0 or not modulus & 1 or exponent != RSA_EXPONENT:
        raise UntrustedError("its RSA key is of a size or form we do not accept", part=certificate.name)
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


@lru_cache(maxsize=REMEMBERED)
def _point(curve: bytes, octets: bytes) -> ec.EllipticCurvePublicKey:
    return ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[curve], octets)


def has_rsa_key(certificate: Certificate) -> bool:
    """Tell whether its key is of RSA, of whatever size."""
    return [part.encoded for part in certificate.key.children[:1]] == [RSA_KEY]


def read_ecdsa(signature: bytes) -> tuple[int, int]:
    """Return (r, s) of an ECDSA-Sig-Value (RFC 3279 §2.2.3) in its one encoding; MalformedError."""
    members = der.decode(signature, limit_bytes=CERTIFICATE_LIMIT_BYTES).members(der.SEQUENCE, 2)
    r, s = (member.integer() for member in members)
    if r <= 0 or s <= 0:
        raise MalformedError("an ECDSA signature holds a number that is not positive")
    return r, s


def is_signed_by(certificate: Certificate, issuer: Certificate) -> bool:
    """Tell whether the issuer's key signed it; UntrustedError for an algorithm we do not accept."""
    return _is_signed_by(certificate.encoded, issuer.encoded)


@lru_cache(maxsize=REMEMBERED)
def _is_signed_by(encoded: bytes, issuer: bytes) -> bool:
    certificate, key = parse(encoded), public_key(parse(issuer))
    algorithm = ALGORITHMS.get(certificate.algorithm)
    if algorithm is None or algorithm.by_rsa != isinstance(key, rsa.RSAPublicKey):
        raise UntrustedError("it is signed with an algorithm we do not accept", part=certificate.name)
    try:
        if isinstance(key, rsa.RSAPublicKey):
            assert algorithm.padding is not None
            key.verify(certificate.signature, certificate.signed, algorithm.padding, algorithm.hash)
        else:
            read_ecdsa(certificate.signature)
            key.verify(certificate.signature, certificate.signed, ec.ECDSA(algorithm.hash))
    except InvalidSignature:
        return False
    return True


class Organisation(NamedTuple):
    """Whose seal a certificate is: `organizationName`, and `organizationIdentifier` if there is one.

    ETSI EN 319 412-3 §4.2.1. A French organisation's identifier is `NTRFR-` and its SIREN (EN 319 412-1 §5.1.4).
    """

    name: str
    identifier: str

    def __str__(self) -> str:
        """Return both, for people."""
        return f"{_escape(self.name)} ({_escape(self.identifier)})" if self.identifier else _escape(self.name)

    def is_same(self, other: Organisation) -> bool:
        """Tell whether both are one organisation: by the identifier, or by the name where neither has one."""
        return self.identifier == other.identifier and bool(self.identifier or self.name == other.name)


def organisation(certificate: Certificate) -> Organisation | None:
    """Return the organisation a certificate names; None unless it names one, in a string of UTF-8 or of ASCII."""
    found: dict[bytes, list[str]] = {_ORGANISATION: [], _ORGANISATION_IDENTIFIER: []}
    for relative in certificate.subject.members(der.SEQUENCE):
        for attribute in relative.members(der.SET):
            kind, value = attribute.members(der.SEQUENCE, 2)
            if kind.encoded in found:
                found[kind.encoded].append(value.content.decode() if value.tag in _READABLE else "")
    names, identifiers = found.values()
    if len(names) != 1 or len(identifiers) > 1 or "" in (*names, *identifiers):
        return None
    return Organisation(names[0], identifiers[0] if identifiers else "")


_READABLE = (der.UTF8_STRING, der.PRINTABLE_STRING, der.IA5_STRING)


def name_text(name: der.Element) -> str:
    """Return a distinguished name for people, most specific part first, after RFC 4514.

    Characters that could move a cursor or reverse a line (RFC 4514 does not escape them) are written as hexadecimal.
    """
    parts = []
    for relative in reversed(name.members(der.SEQUENCE)):
        for attribute in relative.members(der.SET):
            kind, value = attribute.members(der.SEQUENCE, 2)
            identifier = kind.expect(der.OBJECT_IDENTIFIER)
            label = _NAME_LABELS.get(identifier.encoded, f"#{identifier.encoded.hex()}")
            readable = value.tag in _READABLE
            text = _escape(value.content.decode()) if readable else f"#{value.encoded.hex()}"
            parts.append(f"{label}={text}")
    return ", ".join(parts)


_ESCAPED = {ord(character): f"\\{character}" for character in '\\,+"<>;=#'}


def _escape(text: str) -> str:
    escaped = text.translate(_ESCAPED)
    return escaped if escaped.isprintable() else "".join(map(_escape_character, escaped))


def _escape_character(character: str) -> str:
    return character if character.isprintable() else "".join(f"\\{octet:02x}" for octet in character.encode())
