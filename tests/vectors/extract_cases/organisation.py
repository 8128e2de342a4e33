"""Seal certificates: accepted of every kind of key, and refused where they may not be the service's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric import rsa

from journal.extract.layout import SIGNATURE
from journal.extract.listing import encode_head_answer
from journal.pki import der
from tests.support import authority
from tests.support.authority import AUTHORITY, ROOT, SEAL, Holder, issue, new_key, new_p384_key, rsa_3072_key, seal_name
from tests.support.extracts import march, noon
from tests.vectors.extract_cases.case import (
    DEVELOPMENT_ROOT,
    EXPECTED_SEAL,
    MADE_AT,
    Case,
    Small,
    facts,
    refused,
    verified,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from journal.extract.listing import ListedSeal

UNTRUSTED = "untrusted"
OTHER = seal_name("Autre ville", "NTRFR-210000025")


def _chain(name: bytes = seal_name(), key: PrivateKeyTypes | None = None, **shape: Any) -> tuple[Holder, ...]:
    """Return a seal's certificate; an RSA key's is by an intermediate that signs with RSASSA-PSS."""
    key = key or new_key(3)
    if not isinstance(key, rsa.RSAPrivateKey):
        return (issue(name, key, **{"issuer": ROOT, "extensions": SEAL, **shape}),)  # type: ignore[arg-type] # any key
    middle = issue("Issuing authority for RSA", key, issuer=ROOT, extensions=AUTHORITY)
    return issue(name, key, issuer=middle, extensions=SEAL, algorithm=authority.pss()), middle


def _extract(chain: tuple[Holder, ...], *, earlier: tuple[Holder, ...] | None = None) -> tuple[bytes, ListedSeal]:
    """Return an extract under this seal, of a day closed under an earlier one; and a seal made after it."""
    world = Small()
    world.signed_by = earlier or chain
    world.live(1, 2)
    world.signed_by = chain
    whole = world.extract(march(2), march(2), at=MADE_AT).pack(chain=chain)
    return whole, world.seal(noon(march(5)), chain=earlier or chain)


def cases() -> Iterator[Case]:
    """Yield them."""
    yield from _accepted()
    yield from _of_others()
    for name, about, chain in _out_of_profile():
        yield refused(name, about, _extract(chain)[0], UNTRUSTED, SIGNATURE)


def _accepted() -> Iterator[Case]:
    for name, kind, key in (
        ("p256", "a P-256", new_key(3)),
        ("p384", "a P-384", new_p384_key(3)),
        ("rsa", "an RSA key of 3072 bits and an intermediate that signs with RSASSA-PSS", rsa_3072_key()),
    ):
        about = f"Under the seal certificate of an organisation, with {kind} key; nothing binds it to the service."
        yield verified(f"seal-{name}", about.replace("PSS key", "PSS"), _extract(_chain(key=key))[0], facts(2))
    about = "Under a seal certificate, whose organisation the auditor expects."
    yield verified("seal-expected", about, _extract(_chain())[0], facts(2), trust=EXPECTED_SEAL)
    about = "Under the renewed certificate of the organisation expected, which has another name now."
    renewed = _chain(seal_name("Ville nouvelle"), new_key(4))
    yield verified("seal-renewed", about, _extract(renewed, earlier=_chain())[0], facts(2), trust=EXPECTED_SEAL)
    about = "The seals before are under a certificate that names the service, the extract is under a seal certificate."
    named = (issue("Seals and extracts", new_key(5), issuer=ROOT),)
    yield verified("seal-after-a-certificate-of-the-service", about, _extract(_chain(), earlier=named)[0], facts(2))
    about = "Under a development authority, of which a verifier warns."
    chain = _chain(issuer=DEVELOPMENT_ROOT)
    yield verified("development-authority", about, _extract(chain)[0], facts(2), trust="development.pem")


def _of_others() -> Iterator[Case]:
    about = "The auditor expects the seal of another organisation."
    yield refused("seal-not-expected", about, _extract(_chain(OTHER))[0], UNTRUSTED, SIGNATURE, trust=EXPECTED_SEAL)
    unnumbered = _chain(seal_name(identifier=""))
    about = "The organisation has the name of the one expected, and no identifier."
    yield refused("seal-without-identifier", about, _extract(unnumbered)[0], UNTRUSTED, SIGNATURE, trust=EXPECTED_SEAL)
    whole, kept = _extract(_chain(), earlier=_chain(OTHER, new_key(4)))
    about = "A close seal is under another organisation's certificate than the extract."
    yield refused("seal-of-two-organisations", about, whole, UNTRUSTED, "seals.json seal 1")
    whole, _ = _extract(_chain())
    about = "A known seal is under another organisation's certificate than the extract."
    known = {"head.json": encode_head_answer(kept)}
    yield refused("known-seal-of-another-organisation", about, whole, UNTRUSTED, "head.json seal 4", known=known)


def _out_of_profile() -> Iterator[tuple[str, str, tuple[Holder, ...]]]:
    yield "seal-of-no-organisation", "The seal certificate names no organisation.", _chain(seal_name(organisation=""))
    twice = der.sequence(seal_name()[2:], seal_name()[2:])
    yield "seal-of-two-names", "The seal certificate names two organisations.", _chain(twice)
    teletex = seal_name().replace(b"\x0c\x0dVille", b"\x14\x0dVille")
    yield "seal-unreadable", "The organisation's name is a TeletexString.", _chain(teletex)
