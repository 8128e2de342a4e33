"""Seals that are malformed, of another service, or of another history."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from journal.core.chain import genesis
from journal.core.seal import NOTHING_HASH, parse_seal
from journal.extract.layout import SEALS
from tests.support import authority
from tests.support.authority import ROOT, issue, new_key
from tests.support.extracts import march, noon
from tests.vectors.extract_cases.case import (
    CHAIN,
    MADE_AT,
    OTHER_ROOT,
    Case,
    Small,
    lived,
    refused,
    with_member,
    with_parts,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.extracts import Extract

MALFORMED, MISMATCHED, BROKEN, FORK = "malformed", "mismatched part", "broken chain", "fork"
SECOND = "seals.json seal 2"


def cases() -> Iterator[Case]:
    """Yield them."""
    yield from _lists()
    yield from _texts()
    yield from _by_themselves()
    yield from _links()
    yield from _histories()


def of(world: Small) -> Extract:
    """Return the extract of 3 March, made on the 4th."""
    return world.extract(march(3), march(3), at=noon(march(4)))


def _lists() -> Iterator[Case]:
    content = lived().contents()[SEALS]
    for name, about, changed in (
        ("space", "A space follows a colon.", content.replace(b'":', b'": ', 1)),
        ("member-twice", "A member stands twice.", content.replace(b'{"head":', b'{"head":1,"head":', 1)),
        ("no-seal", "The list is empty.", b'{"seals":[]}'),
    ):
        yield refused(f"seals-{name}", about, with_parts(lived(), {SEALS: changed}), MALFORMED, SEALS)
    extract = lived()
    for name, about, pointer, value in (
        ("unknown-member", "A seal has a member there is not.", "/seals/1/note", "x"),
        ("kept-from-above-size", "A head's kept_from is above its size.", "/seals/1/head/kept_from", 7),
        ("retention-of-61-days", "A head's retention is 61 days.", "/seals/1/head/retention_days", 61),
        ("chain-hash-in-capitals", "A chain hash is in capitals.", "/seals/1/head/chain_hash", "AB" * 32),
        ("path-of-short-hashes", "A path has a hash of 31 bytes.", "/seals/1/path", ["ab" * 31]),
        ("path-beside-nothing", "A path ends beside 32 zero bytes.", "/seals/1/path", ["00" * 32]),
        ("signature-unused-bits", "A signature's base64 has unused bits set.", "/seals/1/signature", "MIJ="),
    ):
        yield refused(f"seals-{name}", about, with_member(extract, SEALS, pointer, value), MALFORMED, SEALS)
    seals = extract.seals
    other = Small().live(1, 1).live(2, 2, entries=4).live(3, 3, entries=1)
    other.seal(MADE_AT)
    another = other.seal(MADE_AT + timedelta(hours=1))
    for name, about, order in (
        ("without-open-seal", "The open seal is missing.", seals[:-1]),
        ("two-open-seals", "There are two open seals.", [*seals, another]),
        ("reversed", "The seals stand in reverse.", seals[::-1]),
        ("one-twice", "A close seal stands twice.", [seals[0], *seals]),
    ):
        yield refused(f"seals-{name}", about, replace(extract, seals=order), MALFORMED, SEALS)


def with_text(place: int, text: bytes) -> Extract:
    """Return the extract in which one seal has another text, signed by the service at the same time."""
    extract = lived()
    listed = extract.seals[place]
    at = parse_seal(listed.text).sealed_at
    extract.seals[place] = replace(listed, text=text, signature=authority.sign(text, chain=CHAIN, at=at))
    return extract


def _texts() -> Iterator[Case]:
    """Texts of seals that are none, signed by the service."""
    text = lived().seals[1].text
    lines = text.split(b"\n")
    for name, about, changed in (
        ("version-2", "It is of version 2.", text.replace(b"seal/v1", b"seal/v2")),
        ("number-padded", "Its number has a leading zero.", text.replace(b"\n2\n", b"\n02\n", 1)),
        ("time-with-fraction", "Its time has a fraction.", text.replace(b":05Z", b":05.0Z")),
        ("kind-unknown", "It is neither open nor close.", text.replace(b"close 2026-03-02", b"still 2026-03-02")),
        (
            "closes-its-own-day",
            "It closes the day it is made on.",
            text.replace(b"close 2026-03-02", b"close 2026-03-03"),
        ),
        (
            "root-of-nothing",
            "Its root is that of no chain, and it counts two.",
            text.replace(lines[6], b"A" * 43 + b"="),
        ),
        ("no-seal-before", "It is no first seal, and has none before it.", text.replace(lines[7], NOTHING)),
        ("recovers-from-itself", "It recovers from its own number.", text + b"recovered-from 2\n"),
    ):
        assert changed != text, name
        yield refused(f"seal-{name}", about, with_text(1, changed), MALFORMED, SEALS)


NOTHING = b"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


def _by_themselves() -> Iterator[Case]:
    extract = lived()
    listed = extract.seals[1]

    def exchanged(**changes: Any) -> Extract:
        return replace(extract, seals=[extract.seals[0], replace(listed, **changes), *extract.seals[2:]])

    about = "A seal bears the signature of the next."
    another = exchanged(signature=extract.seals[2].signature)
    yield refused("seal-signature-of-another", about, another, "bad signature", SECOND)
    stranger = issue("Seals and extracts", new_key(9), issuer=OTHER_ROOT)
    retired = issue("Seals and extracts", new_key(7), issuer=ROOT, end=noon(march(2)))
    for name, about, holder in (
        ("seal-untrusted", "A seal is signed under an authority nobody trusts.", stranger),
        ("seal-by-a-retired-key", "A seal is signed with a certificate that had ended.", retired),
    ):
        signature = authority.sign(listed.text, chain=(holder,), at=parse_seal(listed.text).sealed_at)
        yield refused(name, about, exchanged(signature=signature), "untrusted", SECOND)
    later = authority.sign(listed.text, chain=CHAIN, at=MADE_AT)
    about = "A seal's signature claims another time than the seal."
    yield refused("seal-signed-later", about, exchanged(signature=later), MISMATCHED, SECOND)
    for name, about, changes in (
        ("head-other-retention", "A head's retention is not the one sealed.", {"retention_days": 59}),
        ("head-other-kept-from", "A head's kept_from is not the one sealed.", {"kept_from": 1}),
        ("head-other-size", "A head's size is not the one sealed.", {"size": 5}),
        ("head-other-chain-hash", "A head's chain hash is not the one sealed.", {"chain_hash": bytes(31) + b"\1"}),
    ):
        head = replace(listed.head, **changes)
        yield refused(name, about, exchanged(head=head), BROKEN, SECOND)
    wrong = (*listed.path[:-1], bytes(31) + b"\1")
    for name, about, path in (
        ("path-leads-elsewhere", "A path does not lead to the root that is sealed.", wrong),
        ("path-empty", "A path has no hash, as if the chain were alone.", ()),
        ("path-one-more", "A path has one hash more.", (*listed.path, bytes(31) + b"\1")),
    ):
        yield refused(name, about, exchanged(path=path), BROKEN, SECOND)
    world = Small().live(1, 2)
    world.close(march(3), service="other.example.fr")
    about = "A seal is of another service, signed by this one's key."
    yield refused("seal-of-another-service", about, of(world), MISMATCHED, "seals.json seal 3")


def _links() -> Iterator[Case]:
    older = parse_seal(Small().live(1, 1).seals[0].text).digest
    for name, about, changes in (
        ("previous-other", "A seal names another seal before it.", {"previous": bytes(32)}),
        ("previous-older", "A seal names as the one before it an older one.", {"previous": older}),
        ("previous-close-other", "A seal names another close seal before it.", {"previous_close": bytes(32)}),
        ("previous-close-older", "A seal names as the close seal before it an older one.", {"previous_close": older}),
    ):
        world = Small().live(1, 2)
        world.close(march(3), **changes)
        yield refused(name, about, of(world), BROKEN, "seals.json seal 3")
    world = Small().live(1, 2)
    world.seal(noon(march(3)))
    world.close(march(3), previous_close=bytes(32))
    about = "A close seal does not name the one of the day before; an open seal stood between."
    yield refused("previous-close-across-an-open-seal", about, of(world), BROKEN, "seals.json seal 4")
    for name, digest in (("older", older), ("nothing", NOTHING_HASH)):
        extract = of(Small().live(1, 3))
        extract.seals[-1] = Small().live(1, 3).seal(noon(march(4)), previous_close=digest)
        about = f"The open seal names {'an older close seal' if name == 'older' else 'no close seal'}."
        yield refused(f"open-seal-names-{name}", about, extract, BROKEN, "seals.json seal 4")


def _histories() -> Iterator[Case]:
    """Two seals of the list that cannot be of one history."""
    world = Small().live(1, 1)
    world.close(march(2), late=timedelta(days=2))
    world.close(march(3))
    yield _fork("time-goes-back", "A later seal was made before an earlier one.", of(world))
    world = Small(other_chains=2).live(1, 2)
    world.others.pop()
    yield _fork("chain-vanishes", "A later seal counts fewer chains.", of(world.live(3, 3)))
    world = Small().live(1, 2)
    world.close(march(3), size=3)
    cut = world.extract(march(2), march(3), at=noon(march(4)))
    yield _fork("chain-cut-short", "The chain is shorter in a later seal.", cut)
    world = Small().live(1, 2)
    world.close(march(3), chain_hash=bytes(31) + b"\1")
    yield _fork("two-hashes-at-one-size", "Two seals have two chain hashes at one size.", of(world))
    world = Small(retention_days=3).live(1, 3)
    world.purge(march(1))
    world.live(4, 4)
    world.kept_from = 0
    extract = world.extract(march(4), march(4), at=noon(march(5)))
    yield _fork("purge-taken-back", "What an earlier seal says is purged is kept in a later one.", extract)
    world = Small().live(1, 1)
    world.close(march(3))
    world.close(march(2), late=timedelta(days=2))
    seals = [*world.seals, world.seal(noon(march(5)))]
    extract = world.extract(march(2), march(3), at=noon(march(5)), seals=seals)
    yield _fork("days-closed-out-of-order", "A day is closed after a later one.", extract)
    world = Small()
    world.chain[0] = bytes(31) + b"\1"
    world.close(march(1))
    world.close(march(2))
    assert genesis(world.origin).chain_hash != world.chain[0]
    about = "The empty chain has another chain hash than its genesis."
    extract = world.extract(march(2), march(2), at=noon(march(3)))
    yield refused("empty-chain-other-genesis", about, extract, BROKEN, "seals.json seal 1")


def _fork(name: str, about: str, extract: Extract) -> Case:
    return refused(name, about, extract, FORK, SEALS)
