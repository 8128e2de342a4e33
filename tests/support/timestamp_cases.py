"""Time-stamps over one text that must be accepted, and every way a token can be wrong with its refusal."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from journal.core.errors import (
    BadSignatureError,
    MalformedError,
    MismatchedPartError,
    UntrustedError,
    VerificationError,
)
from journal.pki import der
from journal.pki.timestamp_token import CERTIFICATES_LIMIT, TIMESTAMP_LIMIT_BYTES
from tests.support import authority, stamps
from tests.support.authority import AUTHORITY, NOW, YEAR, Holder, issue, new_key
from tests.support.stamps import CLOCK, INTERMEDIATE, ROOT, STAMPED_AT, STAMPER, TIME_STAMPING, Stamp, stamp, tst_info

TEXT = b"openepm-journal/seal/v1\n"
DIGEST = sha256(TEXT).digest()
MINUTE = timedelta(minutes=1)
NONCE = 0x1122334455667788
CRITICAL = der.sequence(der.object_identifier("1.2.3.4"), der.TRUE, der.octet_string(b""))
UNCRITICAL = der.sequence(der.object_identifier("1.2.3.4"), der.octet_string(b""))


def stamper(
    *extensions: bytes, issuer: Holder = INTERMEDIATE, key: Any = None, **changes: Any
) -> tuple[Holder, Holder]:
    """Return a chain whose signer has these extensions, those of a good one if none is given."""
    signer = issue("Clock", key or new_key(44), issuer=issuer, extensions=extensions or STAMPER, **changes)
    return signer, issuer


def below(**shape: Any) -> tuple[Holder, Holder]:
    """Return a chain whose intermediate has this shape."""
    shape = {"issuer": ROOT, "extensions": AUTHORITY, **shape}
    return stamper(issuer=issue("Authorities", new_key(42), **shape))


def naming(*parts: bytes) -> bytes:
    """Return the value of the attribute that names one certificate by these parts."""
    return der.sequence(der.sequence(der.sequence(*parts)))


def by(signer: tuple[Holder, ...], **changes: Any) -> bytes:
    """Return a token by another chain."""
    return stamp(TEXT, chain=signer, **changes)


def saying(**changes: Any) -> bytes:
    """Return a correctly signed token with another TSTInfo."""
    return Stamp(tst_info(changes.pop("digest", DIGEST), **changes)).encode()


def ending(*optional: bytes) -> bytes:
    """Return a correctly signed token with these members after the time of its TSTInfo."""
    return saying(optional=optional)


def attributed(*attributes: bytes, **changes: Any) -> bytes:
    """Return a token with these signed attributes, sorted."""
    return stamp(TEXT, attributes=tuple(sorted(attributes)), **changes)


_GOOD = Stamp(tst_info(DIGEST))
_CONTENT_TYPE, _MESSAGE_DIGEST, _BINDING = _GOOD.usual()
_RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_RSA_SIGNER = stamper(key=_RSA_KEY)
_OTHER_ROOT = issue("Root of time", new_key(51), extensions=AUTHORITY)
_OTHER_INTERMEDIATE = issue("Authorities of time", new_key(52), issuer=_OTHER_ROOT, extensions=AUTHORITY)
_UPPER = issue("Upper", new_key(53), issuer=ROOT, extensions=AUTHORITY)
_LOWER = issue("Lower", new_key(54), issuer=_UPPER, extensions=AUTHORITY)
_LOWEST = issue("Lowest", new_key(55), issuer=_LOWER, extensions=AUTHORITY)
_SAME_KEY = issue("Clock", new_key(43), issuer=INTERMEDIATE, extensions=STAMPER, serial=8)
_P384 = ec.derive_private_key(77, ec.SECP384R1())

ACCEPTED = {
    "the usual": stamp(TEXT),
    "RSA": by(_RSA_SIGNER),
    "RSA with SHA-512": by(_RSA_SIGNER, digest="sha512"),
    "RSA, named with its hash": by(
        _RSA_SIGNER, algorithm=der.sequence(der.object_identifier("1.2.840.113549.1.1.11"), stamps.NULL)
    ),
    "P-384 with SHA-384": by(stamper(key=_P384), digest="sha384"),
    "P-256 with SHA-512": stamp(TEXT, digest="sha512"),
    "parameters left out": saying(algorithm=der.sequence(der.object_identifier("2.16.840.1.101.3.4.2.1"))),
    "certificates in another order": by((CLOCK,), extra=(ROOT.certificate, INTERMEDIATE.certificate)),
    "a certificate that has nothing to do with it": stamp(TEXT, extra=(authority.LEAF.certificate,)),
    "the root besides": stamp(TEXT, extra=(ROOT.certificate,)),
    "something that is no certificate": stamp(TEXT, extra=(der.sequence(), der.encode(0xA1))),
    "an intermediate of the same name and another key": stamp(TEXT, extra=(_OTHER_INTERMEDIATE.certificate,)),
    "no intermediate needed": by(stamper(issuer=ROOT)[:1]),
    "two intermediates": by((*stamper(issuer=_LOWER), _UPPER)),
    "revocation lists": stamp(TEXT, revocations=(der.encode(0xA1),)),
    "unsigned attributes": stamp(TEXT, unsigned=(der.encode(0xA1, stamps.attribute("1.2.3", der.integer(1))),)),
    "another signed attribute": attributed(*_GOOD.usual(), stamps.attribute("1.2.3", der.integer(1), der.integer(2))),
    "both ways to name a certificate": attributed(*_GOOD.usual(), stamps.signing_certificate(CLOCK.certificate)),
    "the certificate with its issuer": attributed(
        _CONTENT_TYPE,
        _MESSAGE_DIGEST,
        stamps.signing_certificate_v2(CLOCK.certificate, stamps.issuer_serial(CLOCK.certificate)),
    ),
    "the certificate by SHA-512": attributed(
        _CONTENT_TYPE, _MESSAGE_DIGEST, stamps.signing_certificate_v2(CLOCK.certificate, name="sha512")
    ),
    "nothing after the time": ending(),
    "every optional member": ending(
        stamps.accuracy(1, 2, 3), der.TRUE, der.integer(1), der.encode(0xA0, b"\x04\x01x"), der.encode(0xA1, UNCRITICAL)
    ),
    "ordering given as false": ending(der.encode(der.BOOLEAN, b"\x00")),
    "an empty accuracy": ending(stamps.accuracy()),
    "valid then, expired now": by(stamper(begin=NOW - YEAR, end=STAMPED_AT)),
    "an intermediate valid just then": by(below(begin=STAMPED_AT, end=STAMPED_AT)),
    "five minutes before the text": saying(at=NOW - 5 * MINUTE),
    "years after the text": by(stamper(end=NOW + 9 * YEAR), content=tst_info(DIGEST, at=NOW + YEAR - MINUTE)),
}


_NOT_BY_ITS_KEY = "the time-stamp is not signed by the key of its certificate"
_OTHER_CERTIFICATE = "the time-stamp names another certificate than its signer's"
_NO_PATH = "it was not issued by a certificate the auditor trusts"
_OTHER_PURPOSE = "its extended key usage is not time-stamping, critical and alone"
_OTHER_IMPRINT = "the imprint of a time-stamp is not by SHA-256"
_OTHER_HASH = "a time-stamp is hashed with an algorithm we do not accept"
_OTHER_ALGORITHM = "a time-stamp is signed with an algorithm we do not accept, or not that of its key"
_SIGNER_PARTS = "the signer of a time-stamp has parts that its version does not"
_SIGNER_ONCE = "a time-stamp does not hold its signer's certificate, once"

# What is refused, by the class of its verdict, and the end of the sentence.
_BY_KIND: dict[type[VerificationError], dict[str, tuple[bytes, str]]] = {
    MismatchedPartError: {
        "of another text": (stamp(TEXT + b"\n"), "the time-stamp is of other content"),
        "older than the text": (
            saying(at=NOW - 5 * MINUTE - timedelta(microseconds=1)),
            "the time-stamp, of 2026-03-14T11:54:59.999999Z, is older than its content",
        ),
    },
    BadSignatureError: {
        "forged beside a genuine signature (CVE-2025-52556)": (
            stamp(TEXT, attributes=tuple(sorted(Stamp(tst_info(sha256(b"what was stamped").digest())).usual()))),
            "the signature of the time-stamp is over other content",
        ),
        "forged, and signed by a key that is not its certificate's": (stamp(TEXT, key=new_key(99)), _NOT_BY_ITS_KEY),
        "signed by another RSA key": (by(_RSA_SIGNER, signature=bytes(256)), _NOT_BY_ITS_KEY),
        "the signature of other attributes": (
            stamp(TEXT, signed=der.encode(der.SET, *sorted(Stamp(tst_info(sha256(b"").digest())).usual()))),
            _NOT_BY_ITS_KEY,
        ),
        "another certificate of the same key": (
            by((_SAME_KEY, INTERMEDIATE), attributes=tuple(sorted(_GOOD.usual()))),
            _OTHER_CERTIFICATE,
        ),
        "another certificate, by SHA-1": (
            attributed(_CONTENT_TYPE, _MESSAGE_DIGEST, stamps.signing_certificate(_SAME_KEY.certificate)),
            _OTHER_CERTIFICATE,
        ),
        "another certificate in one of two ways": (
            attributed(*_GOOD.usual(), stamps.signing_certificate(_SAME_KEY.certificate)),
            _OTHER_CERTIFICATE,
        ),
        "the certificate of another issuer": (
            attributed(
                _CONTENT_TYPE,
                _MESSAGE_DIGEST,
                stamps.signing_certificate_v2(CLOCK.certificate, stamps.issuer_serial(ROOT.certificate)),
            ),
            _OTHER_CERTIFICATE,
        ),
    },
    UntrustedError: {
        "untrusted root": (by((*stamper(issuer=_OTHER_INTERMEDIATE), _OTHER_ROOT)), _NO_PATH),
        "the authority that certifies the journal": (
            by(
                (issue("Clock", new_key(44), issuer=authority.INTERMEDIATE, extensions=STAMPER), authority.INTERMEDIATE)
            ),
            _NO_PATH,
        ),
        "missing intermediate": (by((CLOCK,)), "CN=Clock: it was not issued by a certificate the auditor trusts"),
        "three intermediates": (
            by((*stamper(issuer=_LOWEST), _LOWER, _UPPER)),
            "CN=Lower: it was not issued by a certificate the auditor trusts",
        ),
        "signs for itself": (
            by((issue("Clock", new_key(44), extensions=STAMPER),)),
            "CN=Clock: a chain holds no self-issued certificate",
        ),
        "no extended key usage": (by(stamper(authority.basic_constraints(), stamps.USAGE)), _OTHER_PURPOSE),
        "extended key usage not critical": (
            by(stamper(*STAMPER[:2], stamps.purposes(TIME_STAMPING, critical=False))),
            _OTHER_PURPOSE,
        ),
        "several extended key usages": (
            by(stamper(*STAMPER[:2], stamps.purposes(TIME_STAMPING, authority.EMAIL_PROTECTION))),
            _OTHER_PURPOSE,
        ),
        "the certificate of a journal": (by((authority.LEAF, authority.INTERMEDIATE)), _OTHER_PURPOSE),
        "a certification authority that stamps": (
            by(stamper(authority.basic_constraints(der.TRUE), authority.key_usage(0x84), STAMPER[2])),
            "it is an authority's certificate, and cannot be a signer's",
        ),
        "an intermediate that stamps": (by((INTERMEDIATE,)), _OTHER_PURPOSE),
        "no digital signature in its key usage": (
            by(stamper(STAMPER[0], authority.key_usage(0x20), STAMPER[2])),
            "its key usage lacks digitalSignature",
        ),
        "an intermediate for other purposes": (
            by(below(extensions=(*AUTHORITY, authority.extended_key_usage(authority.CLIENT_AUTHENTICATION)))),
            "it is an authority for other purposes",
        ),
        "expired at its time": (
            by(stamper(end=STAMPED_AT - timedelta(seconds=1))),
            "to 2026-03-14T12:00:01Z, not at 2026-03-14T12:00:02Z",
        ),
        "expired by a fraction": (
            by(stamper(end=STAMPED_AT), content=tst_info(DIGEST, at=STAMPED_AT + timedelta(microseconds=1))),
            "to 2026-03-14T12:00:02Z, not at 2026-03-14T12:00:02Z",
        ),
        "not yet valid at its time": (
            by(stamper(begin=STAMPED_AT + timedelta(seconds=1))),
            "not at 2026-03-14T12:00:02Z",
        ),
        "an intermediate expired at its time": (
            by(below(end=STAMPED_AT - timedelta(seconds=1))),
            "not at 2026-03-14T12:00:02Z",
        ),
        "a certificate signed with SHA-1": (
            by(stamper(issuer=issue("RSA", _RSA_KEY, issuer=ROOT, extensions=AUTHORITY), algorithm=authority.RSA_SHA1)),
            "it is signed with an algorithm we do not accept",
        ),
        "an RSA key of 1024 bits": (
            by(stamper(key=rsa.generate_private_key(public_exponent=65537, key_size=1024))),
            "its RSA key is of a size or form we do not accept",
        ),
    },
    MalformedError: {
        "imprint by SHA-1": (saying(algorithm=stamps.SHA1, digest=DIGEST[:20]), _OTHER_IMPRINT),
        "imprint by MD5": (saying(algorithm=stamps.MD5, digest=DIGEST[:16]), _OTHER_IMPRINT),
        "imprint by SHA-512": (saying(algorithm=stamps.SHA512), _OTHER_IMPRINT),
        "signed with SHA-1": (by(_RSA_SIGNER, digest="sha1"), _OTHER_HASH),
        "signed with another hash than it is hashed with": (
            stamp(TEXT, algorithm=stamps.ECDSA["sha512"]),
            _OTHER_ALGORITHM,
        ),
        "an algorithm of another kind of key": (by(_RSA_SIGNER, algorithm=stamps.ECDSA["sha256"]), _OTHER_ALGORITHM),
        "an ECDSA signature that is none": (stamp(TEXT, signature=b"\x30\x00"), "0 DER members where 2 belong"),
        "another hash announced": (stamp(TEXT, digests=(stamps.SHA384,)), _OTHER_HASH),
        "a weak hash announced besides": (stamp(TEXT, digests=(stamps.SHA256, stamps.SHA1)), _OTHER_HASH),
        "a byte more": (stamp(TEXT) + b"\x00", "bytes after the end of a DER value"),
        "a byte more inside": (Stamp(tst_info(DIGEST) + b"\x00").encode(), "bytes after the end of a DER value"),
        "too long": (
            stamp(TEXT, unsigned=(der.encode(0xA1, der.octet_string(bytes(TIMESTAMP_LIMIT_BYTES))),)),
            f"where at most {TIMESTAMP_LIMIT_BYTES} are accepted",
        ),
        "nothing": (b"", "a DER value is cut short"),
        "a signature and no time-stamp": (authority.sign(TEXT), "1 DER members where 2 belong"),
        "content of another type": (
            stamp(TEXT, content_kind=der.object_identifier("1.2.840.113549.1.7.1")),
            "not a time-stamp token",
        ),
        "signed data of another type": (
            stamp(TEXT, kind=der.object_identifier("1.2.840.113549.1.7.3")),
            "not a time-stamp token",
        ),
        "another version": (stamp(TEXT, version=1), "has parts that its version does not"),
        "another part": (
            stamp(TEXT, revocations=(der.encode(0xA2),)),
            "a time-stamp token has parts that its version does not",
        ),
        "another version of the signer": (stamp(TEXT, signer_version=3), _SIGNER_PARTS),
        "another part of the signer": (stamp(TEXT, unsigned=(der.encode(0xA2),)), _SIGNER_PARTS),
        "a signer that is not there": (
            stamp(TEXT, identifier=stamps.issuer_and_serial(authority.LEAF.certificate)),
            _SIGNER_ONCE,
        ),
        "a signer there twice": (stamp(TEXT, extra=(CLOCK.certificate,)), _SIGNER_ONCE),
        "a signer named by its key": (stamp(TEXT, identifier=der.encode(0x80, b"key")), "where 0x30 belongs"),
        "too many certificates": (
            stamp(TEXT, extra=(ROOT.certificate,) * (CERTIFICATES_LIMIT - 1)),
            f"a time-stamp holds more than {CERTIFICATES_LIMIT} certificates",
        ),
        "attributes out of order": (
            stamp(TEXT, attributes=tuple(sorted(_GOOD.usual(), reverse=True))),
            "the signed attributes of a time-stamp are out of order",
        ),
        "an attribute twice": (attributed(*_GOOD.usual(), _CONTENT_TYPE), "a time-stamp has a signed attribute twice"),
        "no attributes": (attributed(), "a time-stamp lacks a signed attribute"),
        "no content type": (attributed(_MESSAGE_DIGEST, _BINDING), "lacks a signed attribute"),
        "no message digest": (attributed(_CONTENT_TYPE, _BINDING), "lacks a signed attribute"),
        "two message digests in one": (
            attributed(
                _CONTENT_TYPE,
                _BINDING,
                stamps.attribute("1.2.840.113549.1.9.4", der.octet_string(DIGEST), der.octet_string(bytes(32))),
            ),
            "has several values of it",
        ),
        "signed as other content": (
            attributed(stamps.content_type(der.object_identifier("1.2.840.113549.1.7.1")), _MESSAGE_DIGEST, _BINDING),
            "a time-stamp is signed as another content type",
        ),
        "no name of the certificate": (
            attributed(_CONTENT_TYPE, _MESSAGE_DIGEST),
            "a time-stamp does not name its certificate in what is signed",
        ),
        **{
            f"names its certificate {how}": (
                attributed(_CONTENT_TYPE, _MESSAGE_DIGEST, stamps.attribute(f"1.2.840.113549.1.9.16.2.{arc}", value)),
                reason,
            )
            for how, arc, value, reason in (
                ("by nothing", 47, der.sequence(), "names no certificate"),
                ("in an empty list", 47, der.sequence(der.sequence()), "names no certificate"),
                ("in an empty name", 47, naming(), "names no certificate"),
                ("by a hash that is not there", 47, naming(stamps.SHA256), "in an unknown way"),
                ("by MD5", 47, naming(stamps.MD5, der.octet_string(bytes(16))), "in an unknown way"),
                ("and more", 12, naming(*[der.octet_string(bytes(20))] * 3), "in an unknown way"),
            )
        },
        "version 2": (saying(version=2), "a time-stamp is not of version 1"),
        "a policy that is none": (saying(policy=der.integer(1)), "where 0x06 belongs"),
        "a time of another kind": (saying(gen_time=der.time(STAMPED_AT)), "where 0x18 belongs"),
        "a time finer than a microsecond": (
            saying(gen_time=der.encode(der.GENERALIZED_TIME, b"20260314120002.1234567Z")),
            "a DER time is not in its one spelling",
        ),
        "too little": (Stamp(der.sequence(der.integer(1))).encode(), "1 DER members where at least 5"),
        **{
            f"ends {how}": (ending(*optional), reason)
            for how, optional, reason in (
                ("out of order", (der.integer(1), der.TRUE), "unknown, given twice or out of order"),
                ("with a member twice", (der.integer(1), der.integer(1)), "unknown, given twice or out of order"),
                ("with an unknown member", (der.octet_string(b""),), "unknown, given twice or out of order"),
                ("with a critical extension", (der.encode(0xA1, UNCRITICAL, CRITICAL),), "a critical extension"),
                ("with an accuracy below nothing", (stamps.accuracy(-1),), "negative, or more than a day"),
                ("with an accuracy of more than a day", (stamps.accuracy(86_401),), "negative, or more than a day"),
                ("with no milliseconds", (stamps.accuracy(1, 0),), "a fraction that is not from 1 to 999"),
                (
                    "with a thousand microseconds",
                    (stamps.accuracy(1, 1, 1000),),
                    "a fraction that is not from 1 to 999",
                ),
                ("with milliseconds spelt long", (der.sequence(b"\x80\x02\x00\x01"),), "not from 1 to 999"),
                ("with an accuracy upside down", (der.sequence(b"\x81\x01\x01\x80\x01\x01"),), "out of order"),
            )
        },
    },
}

REFUSED = {name: (token, kind, reason) for kind, cases in _BY_KIND.items() for name, (token, reason) in cases.items()}
