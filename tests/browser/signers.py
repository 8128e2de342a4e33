"""Signatures and certificates that the service's own signer would refuse to make, beside right ones."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from journal.pki import cms, der
from tests.support import authority
from tests.support.extracts import march, noon

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


def signature_of(content: bytes, chain: Sequence[authority.Holder], at: datetime, *, fault: str | None = None) -> bytes:
    """Return a CMS signature by the chain's first key, right or not: this signer checks nothing."""
    sha256_algorithm = der.sequence(der.object_identifier("2.16.840.1.101.3.4.2.1"))
    data = der.object_identifier("1.2.840.113549.1.7.1")
    if fault == "parameters":
        sha256_algorithm = der.sequence(der.object_identifier("2.16.840.1.101.3.4.2.1"), der.encode(der.NULL))

    def attribute(dotted: str, *values: bytes) -> bytes:
        return der.sequence(der.object_identifier(dotted), der.set_of(*values))

    digests = [der.sequence(der.octet_string(sha256(holder.certificate).digest())) for holder in chain]
    if fault == "signer-alone":
        digests = digests[:1]
    if fault == "reversed":
        digests.reverse()
    attributes = [
        attribute("1.2.840.113549.1.9.3", data),
        attribute("1.2.840.113549.1.9.4", der.octet_string(sha256(content).digest())),
        attribute("1.2.840.113549.1.9.5", der.time(at)),
        attribute("1.2.840.113549.1.9.16.2.47", der.sequence(der.sequence(*digests))),
    ]
    if fault == "attribute-more":
        attributes.append(attribute("1.2.3.4", data))
    if fault == "attribute-less":
        attributes.pop(2)
    if fault == "no-such-attribute":
        attributes.pop(3)
    signed = b"".join(sorted(attributes)) if fault != "unsorted" else b"".join(sorted(attributes, reverse=True))
    algorithm, value = _value(chain[0].key, der.encode(der.SET, signed), fault)
    holders = [holder.certificate for holder in chain]
    certificates = b"".join(sorted(holders) if fault != "unsorted-certificates" else sorted(holders, reverse=True))
    _, serial, _, issuer, *_ = _values(_values(chain[0].certificate)[0])
    signer = der.sequence(
        der.integer(3 if fault == "version" else 1),
        der.sequence(issuer, der.integer(8) if fault == "serial" else serial),
        sha256_algorithm,
        der.encode(0xA0, signed),
        algorithm,
        der.octet_string(value),
        der.encode(0xA1, attribute("1.2.3.4", data)) if fault == "unsigned-attribute" else b"",
    )
    signers = [signer, signer] if fault == "two-signers" else [signer]
    return der.sequence(
        der.object_identifier("1.2.840.113549.1.7.2"),
        der.encode(
            0xA0,
            der.sequence(
                der.integer(1),
                der.encode(der.SET, sha256_algorithm),
                der.sequence(data, der.encode(0xA0, der.octet_string(content)) if fault == "attached" else b""),
                der.encode(0xA0, certificates),
                der.encode(0xA1, b"") if fault == "lists" else b"",
                der.encode(der.SET, *signers),
            ),
        ),
    )


def _value(key: authority.PrivateKey, signed: bytes, fault: str | None) -> tuple[bytes, bytes]:
    """Return the algorithm named and the signature's value."""
    if isinstance(key, rsa.RSAPrivateKey):
        value = key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
        return authority.RSA_SHA256, value[1:] if fault == "high" else value + b"\0" if fault == "beyond" else value
    order = cms.P256_ORDER if key.key_size == 256 else cms.P384_ORDER
    r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA256())))
    low = s if s <= order // 2 else order - s
    s = order - low if fault == "high" else order + low if fault == "beyond" else low
    algorithm = authority.ECDSA_SHA384 if fault == "algorithm" else authority.ECDSA_SHA256
    return algorithm, authority.ecdsa_value(0 if fault == "zero" else r, s)


FAULTS = (
    "parameters",
    "signer-alone",
    "reversed",
    "attribute-more",
    "attribute-less",
    "no-such-attribute",
    "unsorted",
    "high",
    "beyond",
    "zero",
    "unsorted-certificates",
    "version",
    "serial",
    "algorithm",
    "unsigned-attribute",
    "two-signers",
    "attached",
    "lists",
)


def _values(data: bytes) -> list[bytes]:
    """Return the DER values inside the first value of `data`, whole."""
    found, place = [], 2 if data[1] < 0x80 else 2 + (data[1] & 0x7F)
    while place < len(data):
        long = data[place + 1] & 0x7F if data[place + 1] & 0x80 else 0
        length = int.from_bytes(data[place + 2 : place + 2 + long], "big") if long else data[place + 1]
        found.append(data[place : (place := place + 2 + long + length)])
    return found


@cache
def chains() -> tuple[tuple[authority.Holder, ...], ...]:
    """Return chains of usual certificates, most of them not a path to the root."""
    leaf, intermediate, root = authority.LEAF, authority.INTERMEDIATE, authority.ROOT
    straight = authority.issue("Straight", authority.new_key(6), issuer=root)
    lower = authority.issue("Lower", authority.new_key(7), issuer=intermediate, extensions=authority.AUTHORITY)
    lowest = authority.issue("Lowest", authority.new_key(8), issuer=lower, extensions=authority.AUTHORITY)
    return (
        *(authority.CHAIN,) * 8,
        (straight,),
        (authority.issue("Low", authority.new_key(9), issuer=lower), lower, intermediate),
        (authority.issue("Too low", authority.new_key(9), issuer=lowest), lowest, lower, intermediate),
        (leaf,),
        (leaf, intermediate, root),
        (leaf, root),
        (intermediate,),
        (leaf, intermediate, intermediate),
        (leaf, leaf),
        (authority.issue("Self-made", authority.new_key(9)),),
        (authority.issue("Under the signer", authority.new_key(9), issuer=leaf), leaf, intermediate),
    )


@cache
def shaped_chains() -> tuple[tuple[authority.Holder, ...], ...]:
    """Return chains with a signer or an intermediate of an unusual shape."""
    leaf = authority.LEAF
    authorities: list[dict[str, Any]] = [
        {"extensions": (authority.basic_constraints(), authority.AUTHORITY[1])},
        {"extensions": authority.AUTHORITY[1:]},
        {"extensions": authority.AUTHORITY[:1]},
        {"extensions": (authority.basic_constraints(der.TRUE, der.integer(0)), authority.AUTHORITY[1])},
        {"extensions": (authority.basic_constraints(der.TRUE, der.integer(-1)), authority.AUTHORITY[1])},
        {"extensions": (authority.AUTHORITY[0], authority.key_usage(authority.DIGITAL_SIGNATURE))},
        {"extensions": (*authority.AUTHORITY, authority.extended_key_usage(authority.CLIENT_AUTHENTICATION))},
        {"extensions": (*authority.AUTHORITY, authority.extended_key_usage(authority.EMAIL_PROTECTION))},
        {"extensions": (*authority.AUTHORITY, authority.extension("2.5.29.30", b"\x30\x00"))},
        {"extensions": (*authority.AUTHORITY, authority.extension("1.2.3.4", b"\x05\x00", critical=True))},
        {"end": noon(march(1), hour=0)},
        {"key": rsa.generate_private_key(65537, 2048)},
        {"key": rsa.generate_private_key(65537, 1024)},
        {"key": rsa.generate_private_key(3, 2048)},
        {"key": ec.generate_private_key(ec.SECP384R1())},
        {"key": ec.generate_private_key(ec.SECP521R1())},
    ]
    found: list[tuple[authority.Holder, ...]] = []
    for shape in authorities:
        key = shape.pop("key", authority.new_key(2))
        issuer = authority.issue("Issuing", key, issuer=authority.ROOT, **{"extensions": authority.AUTHORITY, **shape})
        algorithm = authority.RSA_SHA256 if isinstance(key, rsa.RSAPrivateKey) else authority.ECDSA_SHA256
        found.append((authority.issue("Seals and extracts", leaf.key, issuer=issuer, algorithm=algorithm), issuer))
    p384 = authority.issue(
        "Issuing", ec.generate_private_key(ec.SECP384R1()), issuer=authority.ROOT, extensions=authority.AUTHORITY
    )
    found.append((authority.issue("Seals", leaf.key, issuer=p384, algorithm=authority.ECDSA_SHA384), p384))
    return (
        *found,
        *seals(),
        *((holder,) if issuer is authority.ROOT else (holder, issuer) for holder, issuer in certificates()),
    )


@cache
def seals() -> tuple[tuple[authority.Holder, ...], ...]:
    """Return seal certificates, of keys and names that are accepted or not."""
    named = authority.seal_name()
    keys: list[authority.PrivateKey] = [
        authority.new_key(3),
        authority.new_p384_key(3),
        authority.rsa_3072_key(),
        rsa.generate_private_key(65537, 2048),
    ]
    names = [
        authority.seal_name(identifier=""),
        authority.seal_name(organisation=""),
        der.sequence(named[2:], named[2:]),
        named.replace(b"\x0c\x0dVille", b"\x14\x0dVille"),
    ]
    usages = [
        (authority.SEAL[0], authority.key_usage(authority.NON_REPUDIATION)),
        (authority.SEAL[0], authority.key_usage(authority.DIGITAL_SIGNATURE)),
        (*authority.SEAL, authority.extended_key_usage("1.3.6.1.5.5.7.3.36")),
        (*authority.SEAL, authority.extended_key_usage("1.3.6.1.5.5.7.3.1")),
    ]
    middle = authority.issue("Issuing", authority.rsa_3072_key(), issuer=authority.ROOT, extensions=authority.AUTHORITY)
    key, usual = authority.new_key(3), authority.SEAL
    algorithms = (authority.pss(), authority.pss(2, salt_bytes=48), authority.pss(salt_bytes=20), authority.RSA_SHA256)
    return (
        *((authority.issue(named, one, issuer=authority.ROOT, extensions=usual),) for one in keys),
        *((authority.issue(one, key, issuer=authority.ROOT, extensions=usual),) for one in names),
        *((authority.issue(named, key, issuer=authority.ROOT, extensions=one),) for one in usages),
        *((authority.issue(named, key, issuer=middle, extensions=usual, algorithm=one), middle) for one in algorithms),
    )


@cache
def certificates() -> tuple[tuple[authority.Holder, authority.Holder], ...]:
    """Return signers' certificates of many shapes, most of them wrong, all of the test authority."""
    key = authority.LEAF.key
    usual = authority.SIGNER
    shapes: list[dict[str, Any]] = [
        {},
        {"extensions": usual[1:]},
        {"extensions": (authority.basic_constraints(der.TRUE), *usual[1:])},
        {"extensions": (usual[0], *usual[2:])},
        {"extensions": (usual[0], authority.key_usage(authority.KEY_CERT_SIGN), *usual[2:])},
        {"extensions": (usual[0], authority.key_usage(0xFF), *usual[2:])},
        {"extensions": (usual[0], authority.key_usage(authority.DIGITAL_SIGNATURE), *usual[2:])},
        {"extensions": (*usual[:2], usual[3])},
        {"extensions": (*usual[:2], authority.extended_key_usage(authority.CLIENT_AUTHENTICATION), usual[3])},
        {"extensions": (*usual[:2], authority.extended_key_usage(), usual[3])},
        {
            "extensions": (
                *usual[:2],
                authority.extended_key_usage(authority.CLIENT_AUTHENTICATION, authority.EMAIL_PROTECTION),
                usual[3],
            )
        },
        {"extensions": usual[:3]},
        {"extensions": (*usual[:3], authority.alternative_names())},
        {"extensions": (*usual[:3], authority.alternative_names(authority.dns_name("other.example.fr")))},
        {"extensions": (*usual[:3], authority.alternative_names(authority.dns_name(authority.SERVICE.upper())))},
        {"extensions": (*usual[:3], authority.alternative_names(*2 * (authority.dns_name(authority.SERVICE),)))},
        {
            "extensions": (
                *usual[:3],
                authority.alternative_names(der.encode(0x81, b"a@example.fr"), authority.dns_name(authority.SERVICE)),
            )
        },
        {"extensions": (*usual, usual[0])},
        {"extensions": (*usual, authority.extension("1.2.3.4", b"\x05\x00"))},
        {"extensions": (*usual, authority.extension("1.2.3.4", b"\x05\x00", critical=True))},
        {"extensions": (*usual, authority.extension("2.5.29.30", b"\x30\x00"))},
        {"extensions": ()},
        {"version": 0},
        {"version": 1},
        {"serial": 0},
        {"serial": 2**159},
        {"serial": 2**200},
        {"begin": noon(march(6))},
        {"end": noon(march(1), hour=0)},
        {"algorithm": authority.ECDSA_SHA384},
        {"outer_algorithm": authority.ECDSA_SHA384},
        {"algorithm": authority.RSA_SHA256},
        {"extensions": (authority.extension("2.5.29.19", b"\x30\x03\x01\x01\x00", critical=True), *usual[1:])},
        {"extensions": (authority.extension("2.5.29.19", b"\x05\x00", critical=True), *usual[1:])},
        {"extensions": (usual[0], authority.extension("2.5.29.15", b"\x03\x02\x07\x80"), *usual[2:])},
        {"extensions": (usual[0], authority.extension("2.5.29.15", b"\x03\x02\x07\xff"), *usual[2:])},
        {"extensions": (usual[0], authority.extension("2.5.29.15", b"\x03\x01\x00"), *usual[2:])},
    ]
    issuers = (authority.ROOT, authority.INTERMEDIATE)
    return tuple(
        (authority.issue("Seals and extracts", key, issuer=issuer, **shape), issuer)
        for shape in shapes
        for issuer in issuers
    )
