"""Time-stamp tokens of any shape for tests, right or wrong, written with the project's own DER writer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from journal.pki import der
from tests.support import authority
from tests.support.authority import AUTHORITY, NOW, YEAR, Holder, issue, new_key

if TYPE_CHECKING:
    from collections.abc import Sequence

NULL = der.encode(der.NULL)
TIME_STAMPING = "1.3.6.1.5.5.7.3.8"
TST_INFO = der.object_identifier("1.2.840.113549.1.9.16.1.4")
STAMPED_AT = NOW + timedelta(seconds=2)
# Algorithm identifiers, as most authorities write them.
SHA1 = der.sequence(der.object_identifier("1.3.14.3.2.26"), NULL)
MD5 = der.sequence(der.object_identifier("1.2.840.113549.2.5"), NULL)
SHA256 = der.sequence(der.object_identifier("2.16.840.1.101.3.4.2.1"), NULL)
SHA384 = der.sequence(der.object_identifier("2.16.840.1.101.3.4.2.2"), NULL)
SHA512 = der.sequence(der.object_identifier("2.16.840.1.101.3.4.2.3"), NULL)
ECDSA = {
    "sha256": authority.ECDSA_SHA256,
    "sha384": authority.ECDSA_SHA384,
    "sha512": der.sequence(der.object_identifier("1.2.840.10045.4.3.4")),
}
RSA_ENCRYPTION = der.sequence(der.object_identifier("1.2.840.113549.1.1.1"), NULL)
_IDENTIFIERS = {"sha1": SHA1, "md5": MD5, "sha256": SHA256, "sha384": SHA384, "sha512": SHA512}
_HASHES = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512(), "sha1": hashes.SHA1()}


def purposes(*dotted: str, critical: bool = True) -> bytes:
    """Return an extended key usage of these purposes."""
    return authority.extension("2.5.29.37", der.sequence(*map(der.object_identifier, dotted)), critical=critical)


USAGE = authority.key_usage(authority.DIGITAL_SIGNATURE)
STAMPER = (authority.basic_constraints(), USAGE, purposes(TIME_STAMPING))
ROOT = issue("Root of time", new_key(41), extensions=AUTHORITY, end=NOW + 10 * YEAR)
INTERMEDIATE = issue("Authorities of time", new_key(42), issuer=ROOT, extensions=AUTHORITY)
CLOCK = issue("Clock", new_key(43), issuer=INTERMEDIATE, extensions=STAMPER)
ANCHORS = [ROOT.certificate]


def general_time(moment: datetime) -> bytes:
    """Return a GeneralizedTime, with the fraction that the moment has."""
    fraction = f".{moment.microsecond:06d}".rstrip("0") if moment.microsecond else ""
    return der.encode(der.GENERALIZED_TIME, f"{moment:%Y%m%d%H%M%S}{fraction}Z".encode())


def accuracy(seconds: int | None = None, millis: int | None = None, micros: int | None = None) -> bytes:
    """Return an Accuracy of these parts."""
    parts = [] if seconds is None else [der.integer(seconds)]
    parts += [
        der.encode(tag, der.integer(value)[2:]) for tag, value in ((0x80, millis), (0x81, micros)) if value is not None
    ]
    return der.sequence(*parts)


def tst_info(
    digest: bytes,
    *,
    at: datetime = STAMPED_AT,
    nonce: int | None = None,
    version: int = 1,
    algorithm: bytes = SHA256,
    policy: bytes | None = None,
    gen_time: bytes | None = None,
    optional: Sequence[bytes] | None = None,
) -> bytes:
    """Return a TSTInfo; `optional` is all that follows the time."""
    after = list(optional) if optional is not None else [accuracy(1)]
    if nonce is not None:
        after.append(der.integer(nonce))
    return der.sequence(
        der.integer(version),
        policy or der.object_identifier("1.3.6.1.4.1.99999.1"),
        der.sequence(algorithm, der.octet_string(digest)),
        der.integer(4711),
        gen_time or general_time(at),
        *after,
    )


def attribute(dotted: str, *values: bytes) -> bytes:
    """Return a signed attribute."""
    return der.sequence(der.object_identifier(dotted), der.set_of(*values))


def content_type(kind: bytes = TST_INFO) -> bytes:
    """Return the attribute that names the type of the content."""
    return attribute("1.2.840.113549.1.9.3", kind)


def message_digest(content: bytes, name: str = "sha256") -> bytes:
    """Return the attribute that holds the content's digest."""
    return attribute("1.2.840.113549.1.9.4", der.octet_string(hashlib.new(name, content).digest()))


def issuer_and_serial(certificate: bytes) -> bytes:
    """Return issuer and serial number as the signer information has them."""
    signed = der.decode(certificate, limit_bytes=10_000).children[0].children
    return der.sequence(signed[3].encoded, signed[1].encoded)


def issuer_serial(certificate: bytes) -> bytes:
    """Return issuer and serial number as a certificate's identifier has them."""
    issuer, serial = der.decode(issuer_and_serial(certificate), limit_bytes=10_000).children
    return der.sequence(der.sequence(der.encode(0xA4, issuer.encoded)), serial.encoded)


def signing_certificate(certificate: bytes, *more: bytes) -> bytes:
    """Return the attribute of RFC 2634, by SHA-1; `more` follows the hash."""
    identifier = der.sequence(der.octet_string(hashlib.sha1(certificate).digest()), *more)
    return attribute("1.2.840.113549.1.9.16.2.12", der.sequence(der.sequence(identifier)))


def signing_certificate_v2(certificate: bytes, *more: bytes, name: str | None = None) -> bytes:
    """Return the attribute of RFC 5035, by SHA-256 unless another hash is named."""
    hashed = der.octet_string(hashlib.new(name or "sha256", certificate).digest())
    identifier = der.sequence(_IDENTIFIERS[name] if name else b"", hashed, *more)
    return attribute("1.2.840.113549.1.9.16.2.47", der.sequence(der.sequence(identifier)))


@dataclass(frozen=True)
class Stamp:
    """A token before it is written: what is not given follows from what is."""

    content: bytes
    chain: tuple[Holder, ...] = (CLOCK, INTERMEDIATE)
    extra: tuple[bytes, ...] = ()  # certificates besides, encoded
    digest: str = "sha256"
    attributes: tuple[bytes, ...] | None = None
    signed: bytes | None = None  # what the key signs, if not the attributes
    key: Any = None
    signature: bytes | None = None
    digests: tuple[bytes, ...] | None = None
    algorithm: bytes | None = None
    identifier: bytes | None = None
    version: int = 3
    signer_version: int = 1
    kind: bytes = der.object_identifier("1.2.840.113549.1.7.2")
    content_kind: bytes = TST_INFO
    revocations: tuple[bytes, ...] = ()
    unsigned: tuple[bytes, ...] = ()

    def encode(self) -> bytes:
        """Return the token."""
        signer = self.chain[0]
        attributes = self.attributes
        if attributes is None:
            attributes = tuple(sorted(self.usual()))
        listed = der.encode(der.SET, *attributes)
        digest = _IDENTIFIERS[self.digest]
        value = self.signature or sign(self.key or signer.key, self.signed or listed, self.digest)
        usual = RSA_ENCRYPTION if isinstance(signer.key, rsa.RSAPrivateKey) else ECDSA.get(self.digest, b"")
        info = der.sequence(
            der.integer(self.signer_version),
            self.identifier or issuer_and_serial(signer.certificate),
            digest,
            b"\xa0" + listed[1:],
            self.algorithm or usual,
            der.octet_string(value),
            *self.unsigned,
        )
        signed_data = der.sequence(
            der.integer(self.version),
            der.set_of(*(self.digests if self.digests is not None else (digest,))),
            der.sequence(self.content_kind, der.encode(0xA0, der.octet_string(self.content))),
            # In the order given: openssl sorts nothing here either.
            der.encode(0xA0, *(holder.certificate for holder in self.chain), *self.extra),
            *self.revocations,
            der.set_of(info),
        )
        return der.sequence(self.kind, der.encode(0xA0, signed_data))

    def usual(self) -> tuple[bytes, ...]:
        """Return the signed attributes of a good token, in no order."""
        return (
            content_type(),
            message_digest(self.content, self.digest),
            signing_certificate_v2(self.chain[0].certificate),
        )


def sign(key: Any, data: bytes, name: str) -> bytes:
    """Return a signature by a key of either kind."""
    if isinstance(key, rsa.RSAPrivateKey):
        signature: bytes = key.sign(data, padding.PKCS1v15(), _HASHES[name])
    else:
        signature = key.sign(data, authority.ecdsa(_HASHES[name]))
    return signature


def stamp(text: bytes, *, at: datetime = STAMPED_AT, nonce: int | None = None, **changes: Any) -> bytes:
    """Return a token over a text; `changes` replace members of its Stamp."""
    content = tst_info(hashlib.sha256(text).digest(), at=at, nonce=nonce)
    return replace(Stamp(content), **changes).encode()
