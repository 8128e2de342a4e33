"""Signatures: one profile, one spelling, and the exact verdict for anything else."""

from __future__ import annotations

import base64
import json
import random
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from journal.core.errors import BadSignatureError, MalformedError, UntrustedError, VerificationError
from journal.pki import certificates, cms, der, trust
from tests.support import authority as made
from tests.support.authority import AUTHORITY, CHAIN, INTERMEDIATE, LEAF, NOW, ROOT, SIGNER, Holder, issue, new_key

if TYPE_CHECKING:
    from collections.abc import Sequence

CONTENT = b"openepm-journal/seal/v1\n"
DIGEST = sha256(CONTENT).digest()
SIGNATURE = made.sign(CONTENT)
SECOND = timedelta(seconds=1)


def check(
    signature: bytes,
    *,
    digest: bytes = DIGEST,
    anchors: Sequence[Holder] = (ROOT,),
    service: str = made.SERVICE,
    at: datetime | None = None,
) -> cms.Signature:
    """Verify against the test root."""
    trusted = [anchor.certificate for anchor in anchors]
    return cms.verify(signature, digest, anchors=trusted, service=service, at=at)


def parsed(*holders: Holder) -> tuple[certificates.Certificate, ...]:
    """Return the certificates of a chain as they are read."""
    return tuple(certificates.parse(holder.certificate) for holder in holders)


VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "v1" / "signature.json").read_text())


# --- vectors


def check_vector(vector: dict[str, str]) -> cms.Signature:
    """Verify a signature kept since version 1 of the format."""
    return cms.verify(
        base64.b64decode(vector["signature"]),
        sha256(VECTORS["content"].encode()).digest(),
        anchors=[base64.b64decode(VECTORS["trusted"])],
        service=VECTORS["service"],
    )


@pytest.mark.parametrize("vector", VECTORS["accepted"], ids=lambda vector: vector["name"])
def test_signatures_once_accepted_verify_for_ever(vector: dict[str, str]) -> None:
    """The kept bytes verify, and say the same."""
    found = check_vector(vector)
    assert (found.subject, found.issuer) == (vector["subject"], vector["issuer"])
    assert f"{found.signing_time:%Y-%m-%dT%H:%M:%SZ}" == vector["signing_time"]


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["name"])
def test_signatures_once_refused_are_refused_for_the_same_reason(vector: dict[str, str]) -> None:
    """One fault each, and the class of the failure."""
    with pytest.raises(VerificationError) as refusal:
        check_vector(vector)
    assert refusal.value.verdict == vector["class"]


# --- what is accepted


def test_a_signature_verifies_and_says_whose_it_is() -> None:
    """The verified signature carries its certificate, names, serial number, validity and claimed time."""
    assert check(SIGNATURE) == cms.Signature(
        signer=LEAF.certificate,
        subject="CN=Seals and extracts",
        organisation=None,
        names_service=True,
        is_expected=False,
        anchor=trust.Anchor("CN=Root authority", sha256(ROOT.certificate).digest(), is_development=False),
        issuer="CN=Issuing authority",
        serial=7,
        signing_time=NOW,
        not_before=NOW - made.YEAR,
        not_after=NOW + made.YEAR,
    )


def test_a_signature_may_have_no_intermediate_or_two() -> None:
    """Chains of one to three certificates, the root never among them."""
    check(made.sign(CONTENT, chain=[issue("Seals", new_key(3), issuer=ROOT)]))
    second = issue("Second", new_key(4), issuer=INTERMEDIATE, extensions=AUTHORITY)
    chain = [issue("Seals", new_key(3), issuer=second), second, INTERMEDIATE]
    signature = made.sign(CONTENT, chain=chain)
    check(signature)
    assert ROOT.certificate not in signature
    for refused in ([], [*chain, ROOT]):
        with pytest.raises(ValueError, match="certificates in a signature"):
            made.sign(CONTENT, chain=refused)
    four = parsed(*chain, ROOT)
    with pytest.raises(MalformedError, match="lists 4"):
        check(encode(chain=four))


def test_the_same_inputs_give_the_same_bytes() -> None:
    """Nothing but the arguments goes into a signature: no clock, no randomness."""
    value = made.ecdsa_value(5, 6)
    values = cms._Values(parsed(*CHAIN), DIGEST, NOW, value)
    assert cms._encode(values) == cms._encode(values)
    assert value in cms._encode(values)


def test_the_time_is_written_in_the_form_of_its_year() -> None:
    """UTCTime through 2049, GeneralizedTime from 2050 on (RFC 5652 §11.3)."""
    root = issue("Root authority", new_key(1), extensions=AUTHORITY, end=NOW + 100 * made.YEAR)
    chain = [issue("Seals", new_key(3), issuer=root, end=NOW + 100 * made.YEAR)]
    for moment, encoded in (
        (datetime(2049, 12, 31, 23, 59, 59, tzinfo=timezone.utc), b"\x17\x0d491231235959Z"),
        (datetime(2050, 1, 1, tzinfo=timezone.utc), b"\x18\x0f20500101000000Z"),
    ):
        signature = made.sign(CONTENT, chain=chain, at=moment)
        assert encoded in signature
        assert check(signature, anchors=[root]).signing_time == moment


def test_the_higher_twin_of_an_ecdsa_value_is_never_written() -> None:
    """Whichever of the two the device returns, the one with the low s goes into the signature."""
    seen = set()

    def sign_and_note(data: bytes) -> bytes:
        value = new_key(3).sign(data, ec.ECDSA(hashes.SHA256()))
        seen.add(certificates.read_ecdsa(value)[1] > cms.P256_ORDER // 2)
        return value

    for _ in range(100):
        signature = cms.sign(
            DIGEST, certificates=[h.certificate for h in CHAIN], signing_time=NOW, sign_bytes=sign_and_note
        )
        assert check(signature).signing_time == NOW
        if seen == {False, True}:
            return
    pytest.fail("a hundred values, all on one side")


# --- what is never signed


@pytest.mark.parametrize("digest", [b"", DIGEST[:31], DIGEST + b"\x00"])
def test_what_is_no_digest_is_not_signed(digest: bytes) -> None:
    """A SHA-256 has 32 bytes; anything else is the caller's mistake."""
    with pytest.raises(ValueError, match="SHA-256"):
        cms.sign(digest, certificates=[LEAF.certificate], signing_time=NOW, sign_bytes=bytes)


def test_a_signature_its_own_certificate_refuses_is_not_returned() -> None:
    """Another key, or a device that answers anything: the mistake shows before anything is kept."""
    with pytest.raises(BadSignatureError):
        made.sign(CONTENT, key=new_key(99))
    for answer in (b"", der.sequence(der.integer(1), der.integer(cms.P256_ORDER))):
        with pytest.raises(MalformedError):
            cms.sign(DIGEST, certificates=[LEAF.certificate], signing_time=NOW, sign_bytes=lambda _, a=answer: a)


# --- bad signatures


def test_other_content_is_a_bad_signature() -> None:
    """The digest signed is not the digest of these bytes."""
    with pytest.raises(BadSignatureError, match="other content"):
        check(SIGNATURE, digest=sha256(b"other").digest())


def encode(**values: object) -> bytes:
    """Return a signature with some of its values replaced, in the profile's own spelling."""
    return cms._encode(replace(cms._parse(SIGNATURE), **values))  # type: ignore[arg-type] # any value


def test_a_value_changed_in_the_right_spelling_is_a_bad_signature() -> None:
    """Digest, time, chain and numbers are all under the signature; only the key's holder can change them."""
    other = sha256(b"other").digest()
    with pytest.raises(BadSignatureError, match="by the key"):
        check(encode(content_digest=other), digest=other)
    with pytest.raises(BadSignatureError, match="by the key"):
        check(encode(signing_time=NOW + SECOND))
    with pytest.raises(BadSignatureError, match="by the key"):
        check(encode(chain=parsed(LEAF, INTERMEDIATE, ROOT)))
    with pytest.raises(BadSignatureError, match="by the key"):
        check(encode(chain=parsed(LEAF)))
    r, s = certificates.read_ecdsa(cms._parse(SIGNATURE).value)
    for value in ((1, s), (r, 1), (cms.P256_ORDER - 1, s)):
        with pytest.raises(BadSignatureError, match="by the key"):
            check(encode(value=made.ecdsa_value(*value)))


def test_another_issuance_of_the_same_key_is_a_bad_signature() -> None:
    """A renewed certificate of the same key and name cannot take the place of the one that signed."""
    renewed = issue("Seals and extracts", new_key(3), issuer=INTERMEDIATE, serial=8)
    with pytest.raises(BadSignatureError, match="by the key"):
        check(encode(chain=parsed(renewed, INTERMEDIATE)))


def test_another_signature_of_the_issuer_under_an_intermediate_is_a_bad_signature() -> None:
    """The twin (r, n - s) of the root's own ECDSA value verifies, but is not the certificate that was signed."""
    outer = [m.encoded for m in der.decode(INTERMEDIATE.certificate, limit_bytes=9000).children]
    r, s = certificates.read_ecdsa(certificates.parse(INTERMEDIATE.certificate).signature)
    value = der.sequence(der.integer(r), der.integer(cms.P256_ORDER - s))
    twin = certificates.parse(der.sequence(*outer[:2], der.encode(der.BIT_STRING, b"\x00", value)))
    assert certificates.is_signed_by(twin, certificates.parse(ROOT.certificate))
    with pytest.raises(BadSignatureError, match="by the key"):
        check(encode(chain=(certificates.parse(LEAF.certificate), twin)))


@pytest.mark.parametrize(
    "numbers",
    [(1, cms.P256_ORDER // 2 + 1), (1, cms.P256_ORDER), (cms.P256_ORDER, 1), (1 << 300, 1)],
)
def test_numbers_out_of_range_are_malformed(numbers: tuple[int, int]) -> None:
    """R below the order of the group, s in its lower half."""
    with pytest.raises(MalformedError, match="out of range"):
        check(encode(value=made.ecdsa_value(*numbers)))


def test_the_higher_twin_is_malformed() -> None:
    """(r, n - s) is as good a signature mathematically; here a signature has one spelling."""
    r, s = certificates.read_ecdsa(cms._parse(SIGNATURE).value)
    with pytest.raises(MalformedError, match="the higher of its two"):
        check(encode(value=made.ecdsa_value(r, cms.P256_ORDER - s)))


# --- untrusted


@pytest.mark.parametrize("anchors", [[], [INTERMEDIATE], [issue("Root authority", new_key(9), extensions=AUTHORITY)]])
def test_no_path_to_an_anchor_is_untrusted(anchors: list[Holder]) -> None:
    """No anchor, one that is not the issuer, one of the same name and another key."""
    with pytest.raises(UntrustedError, match="trusts"):
        check(SIGNATURE, anchors=anchors)


def test_a_chain_made_by_oneself_with_the_same_names_is_untrusted() -> None:
    """Names prove nothing: same names and serial numbers, other keys, also with its own root in the message."""
    root = issue("Root authority", new_key(31), extensions=AUTHORITY)
    authority = issue("Issuing authority", new_key(32), issuer=root, extensions=AUTHORITY)
    signer = issue("Seals and extracts", new_key(33), issuer=authority)
    with pytest.raises(UntrustedError, match="trusts"):
        check(made.sign(CONTENT, chain=[signer, authority]))
    with pytest.raises(UntrustedError, match="self-issued"):
        check(made.sign(CONTENT, chain=[signer, authority, root]))
    with pytest.raises(UntrustedError, match="self-issued"):
        check(made.sign(CONTENT, chain=[issue("Seals and extracts", new_key(33))]))


@pytest.mark.parametrize("service", ["other.example.fr", "", "é", made.SERVICE.upper()])
def test_another_service_is_untrusted(service: str) -> None:
    """A vendor's certificate for one service does not vouch for another."""
    with pytest.raises(UntrustedError, match="not issued for"):
        check(SIGNATURE, service=service)


def test_a_signature_outside_the_validity_it_claims_is_untrusted() -> None:
    """An expired, retired or future certificate does not sign; to the second, both ends included."""
    for moment in (NOW - made.YEAR, NOW + made.YEAR):
        assert check(made.sign(CONTENT, at=moment)).signing_time == moment
    for moment in (NOW - made.YEAR - SECOND, NOW + made.YEAR + SECOND):
        with pytest.raises(UntrustedError, match="valid from"):
            check(made.sign(CONTENT, at=moment))


def test_an_old_signature_of_a_retired_certificate_still_verifies() -> None:
    """What counts is the time of signing, not the day of reading."""
    retired = issue("Seals", new_key(3), issuer=INTERMEDIATE, end=NOW - 10 * SECOND)
    assert check(made.sign(CONTENT, chain=[retired, INTERMEDIATE], at=NOW - 10 * SECOND)).not_after < NOW


def test_a_time_stamp_speaks_louder_than_the_time_claimed() -> None:
    """A proved time decides when the certificates must be valid."""
    assert check(SIGNATURE, at=NOW + made.YEAR).signing_time == NOW
    with pytest.raises(UntrustedError, match="valid from"):
        check(SIGNATURE, at=NOW + made.YEAR + SECOND)
    late = made.sign(CONTENT, at=NOW + made.YEAR + SECOND)
    check(late, at=NOW)


def test_a_signer_of_another_kind_of_key_is_untrusted() -> None:
    """No shorter RSA key, and no key of another kind."""
    numbers = der.sequence(der.integer(1 << 2047 | 1), der.integer(65537))
    rsa = der.sequence(certificates.RSA_KEY, der.encode(der.BIT_STRING, b"\x00", numbers))
    edwards = der.sequence(der.object_identifier("1.3.101.112"))
    odd = der.sequence(edwards, der.encode(der.BIT_STRING, b"\x00", b"k" * 32))
    for signer, reason in (
        (
            issue("Seals", new_key(3), issuer=INTERMEDIATE, public_key=rsa),
            "CN=Seals: the signer's RSA key has less than",
        ),
        (issue("Seals", new_key(3), issuer=INTERMEDIATE, public_key=odd), "kind"),
    ):
        with pytest.raises(UntrustedError, match=reason):
            check(encode(chain=parsed(signer, INTERMEDIATE)))


@pytest.mark.parametrize(
    ("extensions", "reason"),
    [
        ([*SIGNER[:2], made.extended_key_usage("1.3.6.1.5.5.7.3.1"), SIGNER[3]], "extended key usage"),
        ([SIGNER[0], *SIGNER[2:]], "nonRepudiation"),
        ([SIGNER[0], made.key_usage(made.DIGITAL_SIGNATURE), *SIGNER[2:]], "nonRepudiation"),
        ([AUTHORITY[0], made.key_usage(0xFF), *SIGNER[2:]], "cannot be a signer"),
        (SIGNER[:3], "names neither a service nor one organisation"),
        ([*SIGNER, made.extension("1.2.3", b"", critical=True)], "do not apply"),
    ],
)
def test_a_signer_out_of_profile_is_untrusted(extensions: Sequence[bytes], reason: str) -> None:
    """The signature holds; its certificate does not fit."""
    signer = issue("Seals", new_key(3), issuer=INTERMEDIATE, extensions=extensions)
    with pytest.raises(UntrustedError, match=reason):
        check(made.sign(CONTENT, chain=[signer, INTERMEDIATE]))


def test_a_signed_chain_must_be_exactly_the_path() -> None:
    """Even under the signer's own signature, nothing is missing and nothing is there for no use."""
    idle = issue("Idle authority", new_key(5), issuer=ROOT, extensions=AUTHORITY)
    for chain, reason in (([LEAF], "trusts"), ([*CHAIN, idle], "issued by the next"), ([*CHAIN, ROOT], "self-issued")):
        with pytest.raises(UntrustedError, match=reason):
            check(made.sign(CONTENT, chain=chain))


def test_an_anchor_that_cannot_be_read_is_named() -> None:
    """What the auditor brought is at fault, not what is verified."""
    with pytest.raises(MalformedError, match="trusted certificate: "):
        cms.verify(SIGNATURE, DIGEST, anchors=[b"-----BEGIN"], service=made.SERVICE)


# --- malformed


def rebuilt(path: Sequence[int], *replacement: bytes) -> bytes:
    """Return the signature with the element at a path of positions replaced (or left out)."""

    def rebuild(element: der.Element, path: Sequence[int]) -> bytes:
        if not path:
            return b"".join(replacement)
        children = [child.encoded for child in element.children]
        children[path[0]] = rebuild(element.children[path[0]], path[1:])
        return der.encode(element.tag, *children)

    return rebuild(der.decode(SIGNATURE, limit_bytes=1 << 20), path)


SIGNED_DATA = (1, 0)
SIGNER_INFO = (*SIGNED_DATA, 4, 0)
ATTRIBUTES = (*SIGNER_INFO, 3)


def element_at(path: Sequence[int]) -> bytes:
    """Return the encoded element at a path of positions."""
    element = der.decode(SIGNATURE, limit_bytes=1 << 20)
    for position in path:
        element = element.children[position]
    return element.encoded


NULL = der.encode(der.NULL)
SHA256_NULL = der.sequence(der.object_identifier("2.16.840.1.101.3.4.2.1"), NULL)
INFO = element_at(SIGNER_INFO)
ATTRIBUTE = der.sequence(der.object_identifier("1.2.3"), der.set_of(NULL))


# What is outside the profile, by what was changed.
OUTSIDE = {
    "nothing": b"",
    "a byte more": SIGNATURE + b"\x00",
    "too long": b"\x30\x82\x80\x00" + b"\x00" * 0x8000,
    "enveloped data": rebuilt((0,), der.object_identifier("1.2.840.113549.1.7.3")),
    "no content": rebuilt((1,)),
    "no signed data": rebuilt((1, 0)),
    "two contents": rebuilt((1, 0), element_at((1, 0)), NULL),
    "version 3": rebuilt((*SIGNED_DATA, 0), der.integer(3)),
    "no digest algorithm": rebuilt((*SIGNED_DATA, 1), der.set_of()),
    "digest algorithm with parameters": rebuilt((*SIGNED_DATA, 1), der.set_of(SHA256_NULL)),
    "other content type": rebuilt((*SIGNED_DATA, 2, 0), der.object_identifier("1.2.840.113549.1.7.3")),
    "content inside": rebuilt(
        (*SIGNED_DATA, 2, 0), element_at((*SIGNED_DATA, 2, 0)), der.encode(0xA0, der.octet_string(CONTENT))
    ),
    "no certificates": rebuilt((*SIGNED_DATA, 3)),
    "one certificate twice": rebuilt((*SIGNED_DATA, 3, 0), element_at((*SIGNED_DATA, 3, 1))),
    "one certificate less": rebuilt((*SIGNED_DATA, 3, 0)),
    "an extra certificate": rebuilt(
        (*SIGNED_DATA, 3),
        der.encode(0xA0, *sorted([LEAF.certificate, INTERMEDIATE.certificate, ROOT.certificate])),
    ),
    "certificates out of order": rebuilt(
        (*SIGNED_DATA, 3), der.encode(0xA0, *sorted([LEAF.certificate, INTERMEDIATE.certificate], reverse=True))
    ),
    "revocation lists": rebuilt((*SIGNED_DATA, 3), element_at((*SIGNED_DATA, 3)), der.encode(0xA1)),
    "no signer": rebuilt((*SIGNED_DATA, 4), der.set_of()),
    "two signers": rebuilt((*SIGNED_DATA, 4), der.set_of(INFO, INFO)),
    "signer version 3": rebuilt((*SIGNER_INFO, 0), der.integer(3)),
    "key identifier": rebuilt((*SIGNER_INFO, 1), der.encode(0x80, b"key")),
    "other serial number": rebuilt((*SIGNER_INFO, 1, 1), der.integer(8)),
    "other issuer": rebuilt((*SIGNER_INFO, 1, 0), made.name("Another")),
    "signer's digest with parameters": rebuilt((*SIGNER_INFO, 2), SHA256_NULL),
    "no signed attributes": rebuilt((*SIGNER_INFO, 3)),
    "an attribute less": rebuilt((*ATTRIBUTES, 0)),
    "an attribute more": rebuilt((*ATTRIBUTES, 0), element_at((*ATTRIBUTES, 0)), ATTRIBUTE),
    "an attribute twice": rebuilt((*ATTRIBUTES, 0), element_at((*ATTRIBUTES, 1))),
    "other attribute for the content type": rebuilt((*ATTRIBUTES, 0), ATTRIBUTE),
    "other attribute for the time": rebuilt((*ATTRIBUTES, 1), ATTRIBUTE),
    "other attribute for the digest": rebuilt((*ATTRIBUTES, 2), ATTRIBUTE),
    "other attribute for the certificate": rebuilt((*ATTRIBUTES, 3), ATTRIBUTE),
    "other content type signed": rebuilt((*ATTRIBUTES, 0, 1, 0), der.object_identifier("1.2.3")),
    "attribute without a value": rebuilt((*ATTRIBUTES, 1, 1), der.set_of()),
    "attribute with two values": rebuilt((*ATTRIBUTES, 1, 1), der.set_of(der.time(NOW), der.time(NOW))),
    "time in the long form": rebuilt((*ATTRIBUTES, 1, 1, 0), der.encode(0x18, b"20260314120000Z")),
    "time with a fraction": rebuilt((*ATTRIBUTES, 1, 1, 0), der.encode(0x18, b"20600314120000.5Z")),
    "time before 1950": rebuilt((*ATTRIBUTES, 1, 1, 0), der.encode(0x18, b"18600314120000Z")),
    "no certificate listed": rebuilt((*ATTRIBUTES, 3, 1, 0, 0), der.sequence()),
    "four certificates listed": rebuilt(
        (*ATTRIBUTES, 3, 1, 0, 0), der.sequence(*[element_at((*ATTRIBUTES, 3, 1, 0, 0, 0))] * 4)
    ),
    "unknown certificate listed": rebuilt((*ATTRIBUTES, 3, 1, 0, 0, 0), der.sequence(der.octet_string(bytes(32)))),
    "hash algorithm spelt out": rebuilt(
        (*ATTRIBUTES, 3, 1, 0, 0, 0), der.sequence(SHA256_NULL, der.octet_string(bytes(32)))
    ),
    "policies": rebuilt((*ATTRIBUTES, 3, 1, 0, 0), element_at((*ATTRIBUTES, 3, 1, 0, 0)), NULL),
    "other signature algorithm": rebuilt((*SIGNER_INFO, 4), der.sequence(der.object_identifier("1.2.840.10045.4.3.3"))),
    "signature algorithm with parameters": rebuilt(
        (*SIGNER_INFO, 4), der.sequence(der.object_identifier("1.2.840.10045.4.3.2"), NULL)
    ),
    "empty signature": rebuilt((*SIGNER_INFO, 5), der.octet_string(b"")),
    "unsigned attribute": rebuilt((*SIGNER_INFO, 5), element_at((*SIGNER_INFO, 5)), der.encode(0xA1, ATTRIBUTE)),
}


@pytest.mark.parametrize("signature", OUTSIDE.values(), ids=list(OUTSIDE))
def test_anything_outside_the_profile_is_malformed(signature: bytes) -> None:
    """Every field of the message is fixed or checked: none can be something else, or be spelt otherwise."""
    assert signature != SIGNATURE
    with pytest.raises(MalformedError):
        check(signature)


def test_a_signature_is_at_most_32_kib() -> None:
    """What is longer is refused before it is read."""
    with pytest.raises(MalformedError, match="at most 32768"):
        check(der.octet_string(bytes(32 * 1024 - 3)))
    with pytest.raises(MalformedError, match="DER tag"):
        check(der.octet_string(bytes(32 * 1024 - 4)))


def test_a_signature_cut_short_is_malformed() -> None:
    """At every length."""
    for length in range(len(SIGNATURE)):
        with pytest.raises(MalformedError):
            check(SIGNATURE[:length])


@pytest.mark.untraced
def test_any_byte_changed_is_refused() -> None:
    """Eight other values of each of the first hundred bytes, one other value of every other byte."""
    values = random.Random(20261128)
    for at in range(len(SIGNATURE)):
        for flip in values.sample(range(1, 256), 8 if at < 100 else 1):
            changed = bytearray(SIGNATURE)
            changed[at] ^= flip
            with pytest.raises(VerificationError):
                check(bytes(changed))


@pytest.mark.campaign
def test_any_byte_changed_to_any_value_is_refused() -> None:
    """All 255 other values of every byte."""
    for at in range(len(SIGNATURE)):
        for flip in range(1, 256):
            changed = bytearray(SIGNATURE)
            changed[at] ^= flip
            with pytest.raises(VerificationError):
                check(bytes(changed))


@given(st.binary(max_size=400))
def test_random_bytes_are_malformed(data: bytes) -> None:
    """For any input the verifier raises nothing but MalformedError."""
    with pytest.raises(MalformedError):
        check(data)


@given(st.data())
def test_a_signature_with_pieces_moved_is_refused(data: st.DataObject) -> None:
    """Pieces cut, doubled or swapped: never accepted, never another error."""
    start, stop, to = (data.draw(st.integers(0, len(SIGNATURE))) for _ in range(3))
    changed = SIGNATURE[:to] + SIGNATURE[start:stop] + SIGNATURE[data.draw(st.integers(to, len(SIGNATURE))) :]
    if changed == SIGNATURE:
        return
    with pytest.raises(VerificationError):
        check(changed)


# --- documents


def document_attributes(
    *,
    content_type: bytes = cms._DATA,
    digest: bytes = DIGEST,
    certificate: bytes = CHAIN[0].certificate,
    has_policies: bool = False,
    without: bytes = b"",
    also: bytes = b"",
) -> bytes:
    """Return the signed attributes of a document, as PAdES-B-B has them, or nearly."""
    listed = der.sequence(der.octet_string(sha256(certificate).digest()), der.sequence())
    policies = [der.sequence()] if has_policies else []
    values = {
        cms._CONTENT_TYPE: content_type,
        cms._MESSAGE_DIGEST: der.octet_string(digest),
        cms._SIGNING_CERTIFICATE_V2: der.sequence(der.sequence(listed), *policies),
    }
    attributes = [cms._attribute(kind, value) for kind, value in values.items() if kind != without]
    return der.set_of(*attributes, *([also] if also else []))


def test_attributes_of_a_document() -> None:
    """They are accepted, and no signature over them verifies under the profile of seals and manifests."""
    cms.check_document_attributes(document_attributes(), DIGEST, CHAIN[0].certificate)
    assert isinstance(CHAIN[0].key, ec.EllipticCurvePrivateKey)
    value = CHAIN[0].key.sign(document_attributes(), ec.ECDSA(hashes.SHA256()))
    (_, wrapped) = der.decode(SIGNATURE, limit_bytes=cms.SIGNATURE_LIMIT_BYTES).children
    for attributes in (document_attributes(), cms._signed_attributes(parsed(*CHAIN), DIGEST, NOW)):
        forged = _with_attributes(wrapped.children[0], attributes, value)
        with pytest.raises((MalformedError, BadSignatureError)):
            check(forged)


def _with_attributes(signed_data: der.Element, attributes: bytes, value: bytes) -> bytes:
    """Return a signature in which these signed attributes and this value stand."""
    *others, infos = signed_data.children
    version, issuer, digest, _, algorithm, _ = infos.children[0].children
    r, s = certificates.read_ecdsa(value)
    info = der.sequence(
        version.encoded,
        issuer.encoded,
        digest.encoded,
        b"\xa0" + attributes[1:],
        algorithm.encoded,
        der.octet_string(cms._ecdsa_value(r, min(s, cms.P256_ORDER - s))),
    )
    inner = der.sequence(*(member.encoded for member in others), der.set_of(info))
    return der.sequence(cms._SIGNED_DATA, der.encode(0xA0, inner))


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        (document_attributes(also=cms._attribute(cms._SIGNING_TIME, der.time(NOW))), "4 DER members where 3 belong"),
        (cms._signed_attributes(parsed(*CHAIN), DIGEST, NOW), "4 DER members where 3 belong"),
        (
            document_attributes(without=cms._CONTENT_TYPE, also=cms._attribute(cms._SIGNING_TIME, der.time(NOW))),
            "not those of a document",
        ),
        (
            document_attributes(
                without=cms._CONTENT_TYPE,
                also=der.sequence(cms._CONTENT_TYPE, der.set_of(cms._DATA, cms._SIGNED_DATA)),
            ),
            "2 DER members where 1 belong",
        ),
        (document_attributes(content_type=cms._SIGNED_DATA), "of other content"),
        (document_attributes(digest=bytes(32)), "of other content"),
        (document_attributes(certificate=ROOT.certificate), "another certificate"),
        (document_attributes(has_policies=True), "2 DER members where 1 belong"),
        (b"openepm-journal/seal/v1\n", "DER"),
    ],
)
def test_attributes_of_no_document(attributes: bytes, why: str) -> None:
    """Another kind of attribute, other content or another signer is refused."""
    with pytest.raises(MalformedError, match=why):
        cms.check_document_attributes(attributes, DIGEST, CHAIN[0].certificate)


def test_the_signer_of_a_signature_is_read_before_it_is_verified() -> None:
    """Whoever keeps a signature sees under which certificate it was made."""
    assert cms.signer_of(SIGNATURE) == LEAF.certificate
    with pytest.raises(MalformedError):
        cms.signer_of(b"")
