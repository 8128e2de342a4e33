"""Seals of organisations: certificates that name no service, and what binds their signatures to one."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING, Callable

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from journal.core.errors import BadSignatureError, MalformedError, UntrustedError
from journal.extract.known import read_known
from journal.extract.listing import encode_head_answer
from journal.extract.receipts import check_receipts, read_receipts
from journal.extract.verify import verify_extract
from journal.pki import certificates, cms, der, trust
from tests.support import authority as made
from tests.support.authority import AUTHORITY, INTERMEDIATE, ROOT, SEAL, Holder, issue, new_key
from tests.support.extracts import ANCHORS, World, march, noon, opened
from tests.support.receipts import answered

if TYPE_CHECKING:
    from journal.extract.report import Report

CONTENT = b"openepm-journal/seal/v1\n"
DIGEST = sha256(CONTENT).digest()
CITY = made.seal_name()
OTHER_CITY = made.seal_name("Autre ville", "NTRFR-210000025")


def seal(name: bytes = CITY, key: made.PrivateKey | None = None, **shape: object) -> Holder:
    """Return a seal's certificate by the test's issuing authority."""
    return issue(name, key or new_key(3), issuer=INTERMEDIATE, **{"extensions": SEAL, **shape})  # type: ignore[arg-type]


def check(signer: Holder, *others: Holder, signature: bytes = b"") -> cms.Signature:
    """Let a seal sign, and verify it with the root and these certificates."""
    signature = signature or made.sign(CONTENT, chain=[signer, INTERMEDIATE])
    given = [one.certificate for one in (ROOT, *others)]
    return cms.verify(signature, DIGEST, anchors=given, service=made.SERVICE)


def test_a_seal_names_its_organisation() -> None:
    """Name and identifier are told; the service is bound by the text that is signed, not by the certificate."""
    found = check(seal())
    assert found.organisation == certificates.Organisation("Ville d'Essai", "NTRFR-210000017")
    assert str(found.organisation) == "Ville d'Essai (NTRFR-210000017)"
    assert (found.names_service, found.is_expected) == (False, False)
    assert check(seal(made.seal_name(identifier=""))).organisation == certificates.Organisation("Ville d'Essai", "")
    assert str(certificates.Organisation("a\u202eb, c", "")) == "a\\e2\\80\\aeb\\, c"


@pytest.mark.parametrize(
    "name",
    [
        made.name("Without an organisation"),
        made.seal_name(organisation=""),
        der.sequence(*[part.encoded for part in der.decode(CITY, limit_bytes=500).children] * 2),
        CITY.replace(b"\x0c\x0dVille d'Essai", b"\x14\x0dVille d'Essai"),
    ],
    ids=["none", "an identifier alone", "two", "Teletex"],
)
def test_a_seal_of_no_organisation_is_untrusted(name: bytes) -> None:
    """Where it names no service, it names one organisation, readably."""
    with pytest.raises(UntrustedError, match="names neither a service nor one organisation"):
        check(seal(name))


@pytest.mark.parametrize(
    ("mine", "expected", "is_same"),
    [
        (CITY, CITY, True),
        (made.seal_name("Ville rebaptisée"), CITY, True),
        (made.seal_name(identifier=""), made.seal_name(identifier=""), True),
        (OTHER_CITY, CITY, False),
        (made.seal_name(identifier="NTRFR-999999999"), CITY, False),
        (made.seal_name(identifier=""), CITY, False),
        (made.seal_name("Autre ville", ""), made.seal_name(identifier=""), False),
    ],
)
def test_the_auditor_may_bring_the_seal_that_is_expected(mine: bytes, expected: bytes, *, is_same: bool) -> None:
    """A certificate that is no authority's names the organisation: by its identifier or, without one, by its name."""
    other = seal(expected, new_key(5))
    if is_same:
        assert check(seal(mine), other).is_expected
        assert check(seal(mine), seal(OTHER_CITY, new_key(6)), other).is_expected
    else:
        with pytest.raises(UntrustedError, match="another organisation than the auditor expects"):
            check(seal(mine), other)


def test_a_certificate_that_names_the_service_needs_not_be_expected() -> None:
    """It is bound by itself; nor does a certificate without an organisation make anyone expected."""
    found = check(made.LEAF, seal())
    assert found.names_service
    assert not check(seal(), made.LEAF).is_expected


def test_two_seals_are_of_one_signer_unless_one_is_bound_otherwise() -> None:
    """Renewed under the same identifier; by another organisation only where the auditor expects both."""
    mine, renewed, other = check(seal()), check(seal(key=new_key(4))), check(seal(OTHER_CITY))
    assert cms.may_be_beside(mine, renewed)
    assert not cms.may_be_beside(mine, other)
    both = seal(), seal(OTHER_CITY)
    assert cms.may_be_beside(check(both[0], *both), check(both[1], *both))
    assert cms.may_be_beside(mine, check(made.LEAF))
    assert cms.may_be_beside(check(made.LEAF), mine)


@cache
def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    """Return one RSA key of that size."""
    return rsa.generate_private_key(65537, bits)


KEYS: dict[str, Callable[[], made.PrivateKey]] = {
    "P-256": lambda: new_key(3),
    "P-384": lambda: ec.derive_private_key(77, ec.SECP384R1()),
    "RSA 3072": lambda: rsa_key(3072),
}


@pytest.mark.parametrize("key", KEYS.values(), ids=list(KEYS))
def test_a_seal_has_a_key_of_the_three_kinds(key: Callable[[], made.PrivateKey]) -> None:
    """It signs, and a bit turned in its value is a bad signature."""
    signer = seal(key=key())
    signature = made.sign(CONTENT, chain=[signer, INTERMEDIATE])
    check(signer, signature=signature)
    with pytest.raises((BadSignatureError, MalformedError)):
        check(signer, signature=signature[:-1] + bytes([signature[-1] ^ 1]))
    with pytest.raises(BadSignatureError):
        made.sign(CONTENT, chain=[signer, INTERMEDIATE], key=new_key(9))


def test_the_numbers_of_p384_have_one_spelling_too() -> None:
    """The lower s, below that curve's order."""
    signer = seal(key=KEYS["P-384"]())
    values = cms._parse(made.sign(CONTENT, chain=[signer, INTERMEDIATE]))
    r, s = certificates.read_ecdsa(values.value)
    assert s <= cms.P384_ORDER // 2
    for numbers in ((r, cms.P384_ORDER - s), (cms.P384_ORDER, s)):
        respelt = cms._encode(replace(values, value=made.ecdsa_value(*numbers)))
        with pytest.raises(MalformedError, match="out of range"):
            check(signer, signature=respelt)


def test_a_shorter_rsa_key_signs_nothing() -> None:
    """3072 bits at least."""
    with pytest.raises(UntrustedError, match="less than 3072 bits"):
        made.sign(CONTENT, chain=[seal(key=rsa_key(2048)), INTERMEDIATE])


def test_usages_of_seals() -> None:
    """Any extended key usage but those of servers, time-stamps and revocation; digitalSignature or not."""
    for extensions in (
        (SEAL[0], made.key_usage(made.NON_REPUDIATION)),
        (*SEAL, made.extended_key_usage("1.3.6.1.5.5.7.3.36")),
        (*SEAL, made.extended_key_usage(made.CLIENT_AUTHENTICATION, "1.3.6.1.5.5.7.3.1")),
        (*SEAL, made.extension("1.3.6.1.5.5.7.1.3", der.sequence())),
    ):
        check(seal(extensions=extensions))


@pytest.mark.parametrize("name", [trust.DEVELOPMENT, "Autorité nationale"])
def test_a_development_authority_is_recognised(name: str) -> None:
    """By the name of the trust anchor's organisation, which `identity new` gives it."""
    root = issue(made.seal_name(name, ""), new_key(1), extensions=AUTHORITY)
    signer = issue(CITY, new_key(3), issuer=root, extensions=SEAL)
    signature = made.sign(CONTENT, chain=[signer])
    found = cms.verify(signature, DIGEST, anchors=[root.certificate], service=made.SERVICE)
    assert found.anchor.is_development == (name == trust.DEVELOPMENT)
    assert found.anchor.sha256 == sha256(root.certificate).digest()


# --- in an extract


def judged(first: Holder, later: Holder, signer: Holder, *expected: Holder, known: Holder | None = None) -> Report:
    """Verify an extract: its close seals by `first` and `later`, its open seal and itself by `signer`."""
    world = World()
    world.append(noon(march(1)))
    for day, holder in ((1, first), (2, later)):
        world.close(march(day), chain=(holder, INTERMEDIATE))
    world.signed_by = (signer, INTERMEDIATE)
    whole = world.extract(march(2), march(2), at=noon(march(3))).pack(chain=world.signed_by)
    world.signed_by = (known or signer, INTERMEDIATE)
    answer = encode_head_answer(world.seal(noon(march(4))))
    kept = [] if known is None else [read_known(opened(answer), "head.json")]
    given = [*ANCHORS, *(one.certificate for one in expected)]
    return verify_extract(opened(whole), anchors=given, known=kept)


def test_an_extract_under_a_renewed_seal_verifies() -> None:
    """Another key and certificate of the same organisation, and before both a certificate that named the service."""
    report = judged(made.LEAF, seal(), seal(key=new_key(4)))
    assert report.signature.organisation == certificates.Organisation("Ville d'Essai", "NTRFR-210000017")
    both = seal(), seal(OTHER_CITY, new_key(4))
    judged(*both, both[1], *both, known=both[0])


def test_a_seal_of_another_organisation_in_an_extract_is_untrusted() -> None:
    """One listed, or one that the auditor kept: somebody else of the same authority writes no history of a service."""
    other = seal(OTHER_CITY, new_key(4))
    for first, later, known in ((other, seal(), None), (seal(), other, None), (seal(), seal(), other)):
        with pytest.raises(UntrustedError, match="than that of the extract, Ville d'Essai") as refusal:
            judged(first, later, seal(), known=known)
        assert refusal.value.part.startswith("head.json seal 4" if known else "seals.json seal ")
        assert "Autre ville" in refusal.value.part


def test_a_receipt_of_another_organisation_convicts_nobody() -> None:
    """Else whoever has a seal by the same authority could accuse a host of what it never acknowledged."""
    world = World()
    world.signed_by = (seal(), INTERMEDIATE)
    world.append(noon(march(1)))
    world.close(march(1))
    extract = world.extract(march(1), march(1), at=noon(march(3))).pack(chain=world.signed_by)
    verdicts = []
    for name in (CITY, OTHER_CITY):
        answer = answered(world, 0, chain=(seal(name, new_key(4)), INTERMEDIATE)).encode()
        receipts = [check_receipts(read_receipts(answer, "answer.json"), anchors=ANCHORS)]
        (judged,) = verify_extract(opened(extract), anchors=ANCHORS, receipts=receipts).receipts
        verdicts.append((judged.verdict, judged.reason))
    assert [verdict for verdict, _ in verdicts] == ["covered", "foreign"]
    assert verdicts[1][1].startswith("Autre ville (NTRFR-210000025) vouches for its key")


def test_what_nothing_binds_to_the_service_is_said() -> None:
    """Unless the auditor brought the seal's certificate, whose seal it is must be compared by a person."""
    told = judged(seal(), seal(), seal()).not_checked
    assert any("Ville d'Essai (NTRFR-210000017) runs journal.example.fr" in sentence for sentence in told)
    assert not any("runs" in sentence for sentence in judged(seal(), seal(), seal(), seal()).not_checked)
    assert not any("runs" in sentence for sentence in judged(*3 * (made.LEAF,)).not_checked)


@pytest.mark.parametrize("identifier", ["NTRFR-210000017", ""])
def test_a_report_tells_the_organisation_and_its_identifier(identifier: str) -> None:
    """As JSON; a certificate may name an organisation by its name alone, and another one names none."""
    signer = seal(made.seal_name(identifier=identifier))
    members = judged(signer, signer, signer).as_json()["signature"]
    assert members["organisation"] == "Ville d'Essai"
    assert members.get("organisation_identifier") == (identifier or None)
    assert not {"organisation", "organisation_identifier"} & judged(*3 * (made.LEAF,)).as_json()["signature"].keys()
