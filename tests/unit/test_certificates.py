"""Certificates read strictly, and the one kind of path that leads to an anchor."""

from __future__ import annotations

import random
from datetime import timedelta, timezone
from functools import cache
from typing import TYPE_CHECKING, Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from journal.core.errors import MalformedError, UntrustedError, VerificationError
from journal.pki import certificates, der, trust
from tests.support import authority as made
from tests.support.authority import AUTHORITY, CHAIN, INTERMEDIATE, LEAF, NOW, ROOT, SIGNER, Holder, issue, new_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

SECOND = timedelta(seconds=1)


def check(chain: Sequence[Holder], anchors: Sequence[Holder] = (ROOT,), *, at: datetime = NOW) -> None:
    """Check a path as the verifier of signatures does."""
    parsed = [certificates.parse(holder.certificate) for holder in chain]
    given = [certificates.parse(anchor.certificate) for anchor in anchors]
    trust.check_path(parsed, given, at=at)
    trust.check_signer(parsed[0], made.SERVICE)


def leaf(**shape: object) -> tuple[Holder, Holder]:
    """Return a chain whose signer has this shape."""
    shape = {"issuer": INTERMEDIATE, **shape}
    return issue("Seals and extracts", new_key(3), **shape), INTERMEDIATE  # type: ignore[arg-type] # any shape


def intermediate(**shape: object) -> tuple[Holder, Holder]:
    """Return a chain whose intermediate has this shape."""
    shape = {"issuer": ROOT, "extensions": AUTHORITY, **shape}
    authority = issue("Issuing authority", new_key(2), **shape)  # type: ignore[arg-type] # any shape
    return issue("Seals and extracts", new_key(3), issuer=authority), authority


@cache
def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    """Return one RSA key of that size."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


# --- reading


def test_a_certificate_is_read_as_cryptography_reads_it() -> None:
    """An independent reader finds the same serial number, names, dates, key and signed part."""
    ours = certificates.parse(LEAF.certificate)
    theirs = x509.load_der_x509_certificate(LEAF.certificate)
    assert ours.encoded == LEAF.certificate
    assert ours.serial == theirs.serial_number
    assert ours.signed == theirs.tbs_certificate_bytes
    assert ours.signature == theirs.signature
    assert ours.subject.encoded == theirs.subject.public_bytes()
    assert ours.issuer.encoded == theirs.issuer.public_bytes()
    assert (ours.not_before, ours.not_after) == (NOW - made.YEAR, NOW + made.YEAR)
    assert ours.name == theirs.subject.rfc4514_string() == "CN=Seals and extracts"
    key = certificates.public_key(ours)
    assert key.public_numbers() == theirs.public_key().public_numbers()  # type: ignore[union-attr] # it is P-256
    assert trust.dns_names(ours) == [made.SERVICE]


def parts(certificate: bytes) -> tuple[list[bytes], list[bytes]]:
    """Return the encoded members of a certificate and of its signed part."""
    whole = der.decode(certificate, limit_bytes=1 << 20)
    return [m.encoded for m in whole.children], [m.encoded for m in whole.children[0].children]


def changed(position: int, *replacement: bytes) -> bytes:
    """Return the leaf with one member of its signed part replaced; reading does not check the signature."""
    outer, inner = parts(LEAF.certificate)
    inner[position : position + 1] = replacement
    return der.sequence(der.sequence(*inner), *outer[1:])


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        (b"", "cut short"),
        (der.sequence(), "members"),
        (der.sequence(der.sequence(), der.sequence(), der.integer(1)), "members"),
        (LEAF.certificate + b"\x00", "after the end"),
        (der.encode(der.OCTET_STRING, b"x" * 9000), "at most"),
        (changed(0, der.encode(0xA0, der.integer(1))), "version 3"),
        (changed(0, der.encode(0xA0)), "version 3"),
        (changed(0), "members"),
        (changed(1, der.integer(-1)), "serial"),
        (changed(1, der.integer(1 << 160)), "serial"),
        (changed(2, made.ECDSA_SHA384), "two signature algorithms"),
        (changed(3, der.set_of()), "tag"),
        (changed(4, der.sequence(der.time(NOW))), "members"),
        (changed(4, der.sequence(der.integer(1), der.time(NOW))), "time"),
        (changed(5, der.integer(1)), "tag"),
        (changed(6, der.integer(1)), "tag"),
        (changed(7, der.encode(0xA3)), "members"),
        (changed(7, der.encode(0xA1, der.sequence())), "tag"),
        (changed(7, der.encode(0x81, b"\x00"), der.encode(0xA3, der.sequence())), "members"),
        (changed(7, der.encode(0xA3, der.sequence(der.sequence(der.NULL.to_bytes(1, "big") + b"\x00")))), "members"),
        (changed(7, der.encode(0xA3, der.sequence(SIGNER[0], SIGNER[0]))), "twice"),
    ],
)
def test_a_certificate_of_another_form_is_malformed(certificate: bytes, reason: str) -> None:
    """Version 3 with extensions, no unique identifiers, one signature algorithm, every extension once."""
    with pytest.raises(MalformedError, match=reason):
        certificates.parse(certificate)


@pytest.mark.parametrize(
    "members",
    [
        (),
        (der.object_identifier("1.2"),),
        (der.object_identifier("1.2"), der.TRUE),
        (der.object_identifier("1.2"), b"\x01\x01\x00", der.octet_string(b"")),
        (der.object_identifier("1.2"), der.TRUE, der.octet_string(b""), der.octet_string(b"")),
        (der.object_identifier("1.2"), der.octet_string(b""), der.octet_string(b"")),
        (der.integer(1), der.octet_string(b"")),
        (der.object_identifier("1.2"), der.integer(1)),
    ],
)
def test_an_extension_has_one_spelling(members: tuple[bytes, ...]) -> None:
    """Identifier, TRUE only where it is critical, octets; nothing more, nothing less."""
    with pytest.raises(MalformedError):
        certificates.parse(changed(7, der.encode(0xA3, der.sequence(der.sequence(*members)))))


def test_a_signature_that_is_not_whole_octets_is_malformed() -> None:
    """A signature fills its last octet."""
    outer, _ = parts(LEAF.certificate)
    with pytest.raises(MalformedError, match="whole octets"):
        certificates.parse(der.sequence(outer[0], outer[1], der.encode(der.BIT_STRING, b"\x01\x80")))


def test_a_certificate_is_at_most_8_kib() -> None:
    """The limit itself is still read."""
    room = 8 * 1024 - len(issue("Wide", new_key(3), serial=1 << 64, extensions=[padding(1000)]).certificate)
    for more in range(-4, 5):  # the length of an ECDSA signature varies
        encoded = issue("Wide", new_key(3), serial=1 << 64, extensions=[padding(1000 + room + more)]).certificate
        element = der.decode(encoded, limit_bytes=1 << 20)
        if len(encoded) <= 8 * 1024:
            assert certificates.read(element) == certificates.parse(encoded)
        else:
            with pytest.raises(MalformedError, match="8192"):
                certificates.read(element)


def padding(length: int) -> bytes:
    """Return an extension of that many bytes of nothing."""
    return made.extension("1.2.3", bytes(length))


def test_a_certificate_within_a_structure_has_the_same_limit() -> None:
    """8 KiB, wherever it is read."""
    element = der.decode(der.sequence(der.octet_string(b"x" * 9000)), limit_bytes=1 << 20)
    with pytest.raises(MalformedError, match="8192"):
        certificates.read(element)


@given(st.binary(max_size=300))
def test_random_bytes_are_refused_as_malformed(data: bytes) -> None:
    """Nothing but MalformedError escapes from reading a certificate."""
    with pytest.raises(MalformedError):
        certificates.parse(data)


# --- PEM


def test_pem_returns() -> None:
    """Several certificates, in order, with text, other blocks and other line ends around them."""
    encoded = [LEAF.certificate, INTERMEDIATE.certificate]
    pem = certificates.der_to_pem(encoded)
    assert certificates.pem_to_der(pem) == encoded
    key = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
    assert certificates.pem_to_der(b"subject=\n" + key + pem.replace(b"\n", b"\r\n") + key) == encoded
    assert x509.load_pem_x509_certificate(pem).serial_number == 7
    assert max(map(len, pem.splitlines())) == 64


@pytest.mark.parametrize(
    ("pem", "reason"),
    [
        (b"", "no certificate"),
        (b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----", "no certificate"),
        (b"-----BEGIN CERTIFICATE-----\nAAA\n-----END CERTIFICATE-----", "not base64"),
        (b"-----BEGIN CERTIFICATE-----\nA=AA\n-----END CERTIFICATE-----", "not base64"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA", "no certificate"),
        (LEAF.certificate, "no certificate"),
        (b" " * (4 * 1024 * 1024 + 1), "at most"),
        (b" " * (4 * 1024 * 1024), "no certificate"),
    ],
)
def test_pem_without_a_certificate_is_malformed(pem: bytes, reason: str) -> None:
    """What is not PEM, or holds no certificate, is refused."""
    with pytest.raises(MalformedError, match=reason):
        certificates.pem_to_der(pem)


# --- names


def test_names_are_written_for_people_and_cannot_forge_a_line() -> None:
    """Separators are escaped; control, bidirectional and undecoded characters appear in hexadecimal."""
    attributes = (
        ("2.5.4.6", der.PRINTABLE_STRING, b"FR"),
        ("2.5.4.10", der.UTF8_STRING, "Éditeur, SAS".encode()),
        ("2.5.4.3", der.UTF8_STRING, "a\n\u202eb".encode()),
        ("2.5.4.3", 0x1E, b"\x00a"),
        ("1.2.3", der.IA5_STRING, b"x"),
    )
    subject = der.sequence(
        *(
            der.set_of(der.sequence(der.object_identifier(kind), der.encode(tag, text)))
            for kind, tag, text in attributes
        )
    )
    text = certificates.name_text(der.decode(subject, limit_bytes=1000))
    assert text == "#06022a03=x, CN=#1e020061, CN=a\\0a\\e2\\80\\aeb, O=Éditeur\\, SAS, C=FR"


# --- keys and who signed


@pytest.mark.parametrize(
    ("algorithm", "bits", "error", "reason"),
    [
        (made.spki(new_key(1))[2:23], b"\x00\x04" + b"\x01" * 64, MalformedError, "curve"),
        (made.spki(new_key(1))[2:23], b"\x00\x02" + made.spki(new_key(1))[27:59], MalformedError, "uncompressed"),
        (made.spki(new_key(1))[2:23], b"\x00\x05" + made.spki(new_key(1))[27:], MalformedError, "curve"),
        (made.spki(new_key(1))[2:23], b"\x01\x04", MalformedError, "whole octets"),
        (der.sequence(der.object_identifier("1.3.101.112")), b"\x00" + b"\x01" * 32, UntrustedError, "kind"),
        (certificates.RSA_KEY, b"\x00" + der.sequence(der.integer(1)), MalformedError, "members"),
        (
            certificates.RSA_KEY,
            b"\x00" + der.sequence(der.integer(1 << 2047 | 1), der.integer(3)),
            UntrustedError,
            "RSA",
        ),
        (
            certificates.RSA_KEY,
            b"\x00" + der.sequence(der.integer(1 << 2047), der.integer(65537)),
            UntrustedError,
            "RSA",
        ),
        (
            certificates.RSA_KEY,
            b"\x00" + der.sequence(der.integer(1 << 2046 | 1), der.integer(65537)),
            UntrustedError,
            "RSA",
        ),
        (
            certificates.RSA_KEY,
            b"\x00" + der.sequence(der.integer(1 << 8192 | 1), der.integer(65537)),
            UntrustedError,
            "RSA",
        ),
        (
            certificates.RSA_KEY,
            b"\x00" + der.sequence(der.integer(-(1 << 2047) - 1), der.integer(65537)),
            UntrustedError,
            "RSA",
        ),
    ],
)
def test_keys_of_another_kind_or_form_are_refused(
    algorithm: bytes, bits: bytes, error: type[Exception], reason: str
) -> None:
    """P-256 and P-384 as uncompressed points on their curve, RSA of 2048 to 8192 bits; nothing else."""
    spki = der.sequence(algorithm, der.encode(der.BIT_STRING, bits))
    holder = issue("Odd", new_key(3), issuer=ROOT, public_key=spki)
    with pytest.raises(error, match=reason):
        certificates.public_key(certificates.parse(holder.certificate))


@pytest.mark.parametrize("bits", [2048, 8192])
def test_rsa_keys_have_2048_to_8192_bits(bits: int) -> None:
    """Both ends included."""
    numbers = der.sequence(der.integer(1 << (bits - 1) | 1), der.integer(65537))
    spki = der.sequence(certificates.RSA_KEY, der.encode(der.BIT_STRING, b"\x00", numbers))
    holder = issue("Odd", new_key(3), issuer=ROOT, public_key=spki)
    assert certificates.public_key(certificates.parse(holder.certificate)).key_size == bits


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (lambda: ec.derive_private_key(0x5EA1, ec.SECP384R1()), made.ECDSA_SHA384),
        (lambda: ec.derive_private_key(0x5EA1, ec.SECP384R1()), made.ECDSA_SHA256),
        (lambda: rsa_key(2048), made.RSA_SHA256),
        (lambda: rsa_key(2048), made.pss()),
        (lambda: rsa_key(2048), made.pss(parameters=der.encode(der.NULL))),
        (lambda: rsa_key(2048), made.pss(2, salt_bytes=48)),
        (lambda: rsa_key(2048), made.pss(3, salt_bytes=64)),
    ],
)
def test_authorities_may_have_other_keys(key: Callable[[], made.PrivateKey], algorithm: bytes) -> None:
    """A root on P-384 or RSA issues our intermediate; a wrong signature of either is untrusted."""
    root = issue("Root authority", key(), extensions=AUTHORITY, algorithm=algorithm)
    check(intermediate(issuer=root, algorithm=algorithm), [root])
    forged = Holder(root.certificate, key(), root.name)
    chain = intermediate(issuer=forged, algorithm=algorithm)
    outer, inner = parts(chain[1].certificate)
    other = der.sequence(der.sequence(*inner[:1], der.integer(8), *inner[2:]), *outer[1:])
    with pytest.raises(UntrustedError, match="trusts"):
        check([chain[0], Holder(other, chain[1].key, chain[1].name)], [root])


@pytest.mark.parametrize(
    ("algorithm", "root_key"),
    [
        (made.RSA_SHA256, lambda: new_key(1)),
        (made.ECDSA_SHA256, lambda: rsa_key(2048)),
        (made.RSA_SHA1, lambda: rsa_key(2048)),
        (made.pss(salt_bytes=20), lambda: rsa_key(2048)),
        (made.pss(), lambda: new_key(1)),
        (der.sequence(der.object_identifier("1.2.840.10045.4.1")), lambda: new_key(1)),  # SHA-1
        (der.sequence(), lambda: new_key(1)),
    ],
)
def test_other_signature_algorithms_are_refused(algorithm: bytes, root_key: Callable[[], made.PrivateKey]) -> None:
    """SHA-1, an algorithm of the other kind of key, or one unheard of: untrusted."""
    root = Holder(issue("Root authority", root_key(), extensions=AUTHORITY).certificate, root_key(), ROOT.name)
    with pytest.raises(UntrustedError, match="algorithm"):
        check(intermediate(issuer=root, algorithm=algorithm), [root])


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        b"garbage",
        der.sequence(der.integer(1)),
        der.sequence(der.integer(0), der.integer(1)),
        der.sequence(der.integer(1), der.integer(-1)),
        der.sequence(der.integer(1), der.integer(0)),
        der.sequence(der.integer(1), der.integer(1), der.integer(1)),
        b"\x30\x81\x06" + der.integer(1) + der.integer(1),
    ],
)
def test_an_ecdsa_value_of_another_spelling_is_malformed(signature: bytes) -> None:
    """Two positive integers in strict DER."""
    with pytest.raises(MalformedError):
        certificates.read_ecdsa(signature)


def test_a_certificates_own_signature_has_one_spelling() -> None:
    """Refused by our reader, whatever the version of `cryptography` makes of it."""
    outer, _ = parts(INTERMEDIATE.certificate)
    r, s = certificates.read_ecdsa(certificates.parse(INTERMEDIATE.certificate).signature)
    padded = der.sequence(der.encode(der.INTEGER, b"\x00" + r.to_bytes(33, "big")), der.integer(s))
    other = der.sequence(*outer[:2], der.encode(der.BIT_STRING, b"\x00", padded))
    with pytest.raises(MalformedError, match="shortest"):
        check([LEAF, Holder(other, INTERMEDIATE.key, INTERMEDIATE.name)])


@pytest.mark.parametrize("serial", [0, (1 << 160) - 1])
def test_serial_numbers_have_up_to_20_octets(serial: int) -> None:
    """Zero too: old roots have it."""
    assert certificates.parse(issue("Root", new_key(1), serial=serial).certificate).serial == serial


def test_numbers_beyond_the_curve_are_no_signature() -> None:
    """Numbers larger than the order of the group do not verify, and do not break the verifier."""
    outer, _ = parts(INTERMEDIATE.certificate)
    value = der.sequence(der.integer(1 << 600), der.integer(1 << 600))
    other = der.sequence(*outer[:2], der.encode(der.BIT_STRING, b"\x00", value))
    with pytest.raises(UntrustedError, match="trusts"):
        check([LEAF, Holder(other, INTERMEDIATE.key, INTERMEDIATE.name)])


# --- paths


def test_a_path_of_the_profile_is_accepted() -> None:
    """Directly under the root, through one intermediate, through two."""
    check([issue("Seals", new_key(3), issuer=ROOT)])
    check(CHAIN)
    second = issue("Second", new_key(4), issuer=INTERMEDIATE, extensions=AUTHORITY)
    check([issue("Seals", new_key(3), issuer=second), second, INTERMEDIATE])


def test_the_anchor_is_found_among_many_by_name_and_key() -> None:
    """An older root of the same name and another key does not stand in the way."""
    older = issue("Root authority", new_key(9), extensions=AUTHORITY)
    other = issue("Another authority", new_key(8), extensions=AUTHORITY)
    check(CHAIN, [other, older, ROOT])
    with pytest.raises(UntrustedError, match="trusts"):
        check(CHAIN, [other, older])


@pytest.mark.parametrize(
    ("end", "at"),
    [
        ("begin", NOW - made.YEAR),
        ("end", NOW + made.YEAR),
    ],
)
def test_both_ends_of_the_validity_are_included(end: str, at: datetime) -> None:
    """To the second: the last valid one passes, the next one does not."""
    check(CHAIN, at=at)
    with pytest.raises(UntrustedError, match="valid from 2025-03-14T12:00:00Z to 2027-03-14T12:00:00Z"):
        check(CHAIN, at=at - SECOND if end == "begin" else at + SECOND)


# Those of servers, time-stamping authorities and answers about revocation.
OTHER_PURPOSES = ("1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.8", "1.3.6.1.5.5.7.3.9")

# What is refused in a path under the root, and why.
PATHS = {
    "no certificate": ([], "chain of 0"),
    "three intermediates": ([LEAF, *[INTERMEDIATE] * 3], "chain of 4"),
    "missing intermediate": ([LEAF], "trusts"),
    "root in the chain": ([*CHAIN, ROOT], "self-issued"),
    "intermediate twice": ([LEAF, INTERMEDIATE, INTERMEDIATE], "issued by the next"),
    "certificate of no use": (
        [*CHAIN, issue("Idle authority", new_key(5), issuer=ROOT, extensions=AUTHORITY)],
        "issued by the next",
    ),
    "intermediate of the same name": (
        [LEAF, issue("Issuing authority", new_key(7), issuer=ROOT, extensions=AUTHORITY)],
        "issued by the next",
    ),
    "intermediate of the same key and another name": (
        [LEAF, issue("Renamed authority", new_key(2), issuer=ROOT, extensions=AUTHORITY)],
        "issued by the next",
    ),
    "self-signed signer": ([issue("Seals", new_key(3))], "self-issued"),
    "signer not yet valid": (leaf(begin=NOW + SECOND), "valid from"),
    "signer expired": (leaf(end=NOW - SECOND), "valid from"),
    "intermediate not yet valid": (intermediate(begin=NOW + SECOND), "valid from"),
    "intermediate expired": (intermediate(end=NOW - SECOND), "valid from"),
    "empty extended usage": (
        leaf(extensions=[*SIGNER[:2], made.extended_key_usage(), SIGNER[3]]),
        "extended key usage",
    ),
    "the extended usages of others": (
        leaf(extensions=[*SIGNER[:2], made.extended_key_usage(*OTHER_PURPOSES), SIGNER[3]]),
        "extended key usage",
    ),
    "no key usage": (leaf(extensions=[SIGNER[0], *SIGNER[2:]]), "nonRepudiation"),
    "other usages": (leaf(extensions=[SIGNER[0], made.key_usage(0xBF), *SIGNER[2:]]), "nonRepudiation"),
    "empty key usage": (
        leaf(extensions=[SIGNER[0], made.extension("2.5.29.15", b"\x03\x01\x00"), *SIGNER[2:]]),
        "nonRepudiation",
    ),
    "authority signs": (leaf(extensions=[AUTHORITY[0], made.key_usage(0xFF), *SIGNER[2:]]), "cannot be a signer"),
    "unknown critical": (leaf(extensions=[*SIGNER, made.extension("1.2.3.4", b"", critical=True)]), "do not apply"),
    "unknown critical above": (
        intermediate(extensions=[*AUTHORITY, made.extension("1.2.3.4", b"", critical=True)]),
        "do not apply",
    ),
    "name constraints": (
        intermediate(extensions=[*AUTHORITY, made.extension("2.5.29.30", der.sequence())]),
        "do not apply",
    ),
    "no authority": (intermediate(extensions=[made.basic_constraints(), AUTHORITY[1]]), "not an authority"),
    "no constraints": (intermediate(extensions=[AUTHORITY[1]]), "not an authority"),
    "authority without key usage": (intermediate(extensions=[AUTHORITY[0]]), "keyCertSign"),
    "authority that may only sign data": (intermediate(extensions=[AUTHORITY[0], made.key_usage(0xFB)]), "keyCertSign"),
    "authority for other purposes": (
        intermediate(extensions=[*AUTHORITY, made.extended_key_usage(*OTHER_PURPOSES)]),
        "other purposes",
    ),
    **{
        how: (leaf(extensions=[*SIGNER[:3], *names]), reason)
        for reason, shapes in (
            (
                "names neither",
                {
                    "no name": (),
                    "empty name": [made.alternative_names()],
                    "mail address instead": [made.alternative_names(der.encode(0x81, made.SERVICE.encode()))],
                },
            ),
            (
                "not issued for",
                {
                    "other service": [made.alternative_names(made.dns_name("other.example.fr"))],
                    "other case": [made.alternative_names(made.dns_name(made.SERVICE.upper()))],
                    "name cut by a zero": [made.alternative_names(made.dns_name(made.SERVICE + "\x00.evil.fr"))],
                    "two services": [made.alternative_names(made.dns_name(made.SERVICE), made.dns_name("b.fr"))],
                },
            ),
        )
        for how, names in shapes.items()
    },
}

# What is refused in an anchor above the same chain, and why.
ROOTS = {
    "no anchor": ([], "trusts"),
    "anchor of the same key and another name": ([issue("Renamed root", new_key(1), extensions=AUTHORITY)], "trusts"),
    "intermediate as the anchor": ([INTERMEDIATE], "trusts"),
    "anchor that is no authority": ([issue("Root authority", new_key(1))], "keyCertSign"),
    "expired anchor": ([issue("Root authority", new_key(1), extensions=AUTHORITY, end=NOW - SECOND)], "valid from"),
    "anchor for shorter paths": (
        [
            issue(
                "Root authority",
                new_key(1),
                extensions=[made.basic_constraints(der.TRUE, der.integer(0)), AUTHORITY[1]],
            )
        ],
        "path of this length",
    ),
}


@pytest.mark.parametrize(("chain", "reason"), PATHS.values(), ids=list(PATHS))
def test_any_other_path_is_untrusted(chain: Sequence[Holder], reason: str) -> None:
    """Each departs from the profile in one way, and is refused for that reason."""
    with pytest.raises(UntrustedError, match=reason):
        check(chain)


@pytest.mark.parametrize(("anchors", "reason"), ROOTS.values(), ids=list(ROOTS))
def test_any_other_anchor_is_untrusted(anchors: Sequence[Holder], reason: str) -> None:
    """The chain is good; what it would lead to is not."""
    with pytest.raises(UntrustedError, match=reason):
        check(CHAIN, anchors)


def test_the_anchors_path_length_counts_the_intermediates() -> None:
    """One intermediate: a root for paths of one will do."""
    constraints = made.basic_constraints(der.TRUE, der.integer(1))
    check(CHAIN, [issue("Root authority", new_key(1), extensions=[constraints, AUTHORITY[1]])])


@pytest.mark.parametrize("limit", [0, 1, 2])
def test_path_lengths_are_respected(limit: int) -> None:
    """The upper intermediate has one authority below it: 0 is too short, 1 and more will do."""
    constraints = made.basic_constraints(der.TRUE, der.integer(limit))
    upper = issue("Upper", new_key(4), issuer=ROOT, extensions=[constraints, AUTHORITY[1]])
    lower = issue("Lower", new_key(5), issuer=upper, extensions=AUTHORITY)
    chain = [issue("Seals", new_key(3), issuer=lower), lower, upper]
    if limit:
        check(chain)
    else:
        with pytest.raises(UntrustedError, match="path of this length"):
            check(chain)


@pytest.mark.parametrize(
    "extensions",
    [
        [made.basic_constraints(b"\x01\x01\x00"), *SIGNER[1:]],
        [made.basic_constraints(der.TRUE, der.integer(-1)), *SIGNER[1:]],
        [made.basic_constraints(der.TRUE, der.integer(1), der.integer(1)), *SIGNER[1:]],
        [made.basic_constraints(der.integer(1)), *SIGNER[1:]],
        [made.extension("2.5.29.19", b""), *SIGNER[1:]],
        [SIGNER[0], made.extension("2.5.29.15", der.integer(1)), *SIGNER[2:]],
        [*SIGNER[:2], made.extension("2.5.29.37", der.integer(1)), SIGNER[3]],
        [*SIGNER[:3], made.extension("2.5.29.17", der.integer(1))],
        [*SIGNER[:3], made.alternative_names(der.encode(0x82, "é.fr".encode()))],
    ],
)
def test_an_extension_that_cannot_be_read_is_malformed(extensions: list[bytes]) -> None:
    """An extension we know must be in its one spelling."""
    with pytest.raises(MalformedError):
        check(leaf(extensions=extensions))


def test_other_extensions_and_names_do_no_harm() -> None:
    """Extensions that are not critical, usages and names of other kinds are left alone."""
    check(
        leaf(
            extensions=[
                made.key_usage(0xC0),
                made.extended_key_usage(made.CLIENT_AUTHENTICATION, made.EMAIL_PROTECTION),
                made.alternative_names(der.encode(0x81, b"dpo@example.fr"), made.dns_name(made.SERVICE)),
                made.extension("2.5.29.14", der.octet_string(b"id")),
            ]
        )
    )
    check(intermediate(extensions=[*AUTHORITY, made.extended_key_usage(made.EMAIL_PROTECTION)]))


def test_a_path_may_be_asked_for_another_purpose() -> None:
    """A time-stamping authority's certificate is good for time-stamps and for nothing else."""
    stamping = [*SIGNER[:2], made.extended_key_usage("1.3.6.1.5.5.7.3.8"), SIGNER[3]]
    chain = [certificates.parse(holder.certificate) for holder in leaf(extensions=stamping)]
    root = certificates.parse(ROOT.certificate)
    trust.check_path(chain, [root], at=NOW, purpose=trust.TIME_STAMPING)
    with pytest.raises(UntrustedError, match="extended key usage"):
        trust.check_path(chain, [root], at=NOW)


def test_times_of_other_zones_are_compared_as_moments() -> None:
    """The time asked may be in any zone."""
    check(CHAIN, at=(NOW + made.YEAR).astimezone(timezone(timedelta(hours=14))))


@pytest.mark.parametrize("position", [0, 1])
def test_any_byte_changed_in_a_certificate_of_the_path_is_refused(position: int) -> None:
    """Also in the parts its issuer did not sign: another value of every byte."""
    values = random.Random(position)
    anchors = [certificates.parse(ROOT.certificate)]
    whole = CHAIN[position].certificate
    for at in range(len(whole)):
        for flip in values.sample(range(1, 256), 1):
            other = bytearray(whole)
            other[at] ^= flip
            encoded = [holder.certificate for holder in CHAIN]
            encoded[position] = bytes(other)
            with pytest.raises(VerificationError):
                trust.check_path([certificates.parse(one) for one in encoded], anchors, at=NOW)
