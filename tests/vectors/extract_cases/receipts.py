"""Receipts that were kept: covered, purged, missing …, and those that are not authentic, one fault each."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from journal.core.entry import Compartment
from journal.core.receipt import ReceiptKey, parse_receipt_key
from journal.extract.listing import encode_head_answer
from journal.extract.manifest import Filter
from tests.support import authority
from tests.support.extracts import march, noon
from tests.support.receipts import BEGINS, Answered, answered, receipt_of
from tests.vectors.extract_cases.case import CHAIN, Case, Small, facts, lived, signed, verified

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.support.extracts import World

ANSWER = "answer.json"
# The extract that most of these vectors show is that of another one.
UNFILTERED = "unfiltered.asice"
OTHER_KEY = authority.new_key(61)
OTHER_SERVICE = "other.example.fr"
ELSEWHERE = authority.issue(
    "Elsewhere",
    authority.new_key(63),
    issuer=authority.ROOT,
    extensions=(*authority.SIGNER[:3], authority.alternative_names(authority.dns_name(OTHER_SERVICE))),
)
SELF_MADE = authority.issue("Self-made", authority.new_key(64))


def cases() -> Iterator[Case]:
    """Yield them."""
    yield from _held()
    yield from _missing()
    yield from _not_said()
    yield from _by_seals()
    yield from _not_authentic()


def honest() -> World:
    """Return the chain of the extract that `lived` makes: two entries, four, one."""
    return Small().live(1, 1).live(2, 2, entries=4).live(3, 3, entries=1)


def of(world: World, *indexes: int, **changes: Any) -> Answered:
    """Return an answer of the service of these vectors."""
    return answered(world, *indexes, chain=CHAIN, **changes)


@cache
def whole() -> bytes:
    """Return the extract of 2 March, indexes 2 to 5."""
    return signed(lived())


def case(
    name: str, about: str, extract: bytes | None, answer: Answered | bytes, *verdicts: str, **brought: Any
) -> Case:
    """Return a vector whose extract verifies, and of whose receipts this is to be said."""
    content = answer if isinstance(answer, bytes) else answer.encode()
    found = brought.pop("facts", facts(4))
    if extract is whole():
        brought["file"] = UNFILTERED
    return verified(
        f"receipt-{name}",
        about,
        extract,
        found,
        receipts={ANSWER: content},
        verdicts={ANSWER: verdicts},
        **brought,
    )


def _held() -> Iterator[Case]:
    about = "A submission of two events, both in the extract."
    yield case("covered", about, whole(), of(honest(), 2, 5), "covered", "covered")
    about = "The only submission of its append: its path is empty."
    yield case("alone-in-its-append", about, whole(), of(honest(), 3, others=()), "covered")
    about = "Five receipts, of which the odd last one rises alone."
    yield case("five-of-a-submission", about, whole(), of(honest(), 2, 3, 4, 5, 2), *["covered"] * 5)
    about = "Spelt by another program, with blanks and in another order."
    value = dict(reversed(of(honest(), 2).value().items()))
    yield case("respelt", about, whole(), json.dumps(value, indent=2).encode(), "covered")
    about = "The entry is withheld: its leaf hash is shown."
    withheld = signed(lived(selection=Filter(account="agent-1")))
    yield case("of-a-withheld-entry", about, withheld, of(honest(), 2), "covered", facts=facts(1, 3))
    about = "The last entry before the period: the seal of the eve has its chain hash."
    yield case("covered-by-a-seal", about, whole(), of(honest(), 1), "covered")
    world = Small(retention_days=3).live(1, 4)
    answer = of(world, 0, 4)
    world.purge(march(2))
    extract = signed(world.extract(march(1), march(4), at=noon(march(5))))
    about = "One entry is purged under the rule, the other is there."
    purged = facts(4, purged_through=march(2), purged=("1-2: ? late 0-2",))
    yield case("purged", about, extract, answer, "purged", "covered", facts=purged)
    about = "Signed in the last second of its key."
    yield case("last-second", about, whole(), of(honest(), 2, signed_at=BEGINS + timedelta(days=30)), "covered")


def _missing() -> Iterator[Case]:
    other = Small().live(1, 1)
    other.append(noon(march(2)), subject="main-courante/99")
    about = "Another entry stands at its index, and the chain was rebuilt."
    yield case("of-an-exchanged-entry", about, whole(), of(other, 2), "missing")
    longer = Small().live(1, 1).live(2, 2, entries=5)
    about = "The chain ends before it, although its day is closed."
    yield case("of-a-deleted-last-entry", about, whole(), of(longer, 6), "missing")
    receipt = receipt_of(honest(), 2)._replace(chain_hash=bytes(32))
    about = "The entry is there, and the chain was another one before it."
    yield case("of-another-history", about, whole(), replace(of(honest(), 2), receipts=(receipt,)), "missing")
    younger = Small().live(1, 1, entries=1)
    younger.append(noon(march(2)))
    about = "By the seals its index is of a day before its own."
    receipt = receipt_of(younger, 1)._replace(recorded_at="2026-03-03T12:00:00.000000Z")
    yield case("of-an-earlier-day", about, whole(), replace(of(younger, 1), receipts=(receipt,)), "missing")
    world = Small()
    world.append(noon(march(4), hour=9))
    extract = signed(world.extract(march(4), march(4), at=noon(march(4))))
    world.append(noon(march(4)) - timedelta(minutes=15))
    about = "Recorded a quarter of an hour before the open seal, which does not hold it."
    today = facts(1, covered_until=noon(march(4)))
    yield case("before-the-open-seal", about, extract, of(world, 1), "missing", facts=today)
    world = Small(retention_days=3).live(1, 4)
    receipt = receipt_of(world, 0)._replace(recorded_at="2026-03-04T12:00:00.000000Z")
    world.purge(march(2))
    extract = signed(world.extract(march(1), march(4), at=noon(march(5))))
    about = "What is at its index is purged, and its day could not be."
    purged = facts(4, purged_through=march(2), purged=("1-2: ? late 0-2",))
    yield case("purged-too-early", about, extract, Answered((receipt,), chain=CHAIN), "missing", facts=purged)


def _not_said() -> Iterator[Case]:
    about = "Its place is sealed, and the extract is of another day."
    yield case("not-shown", about, whole(), of(honest(), 0), "not shown")
    world = Small()
    world.append(noon(march(4), hour=9))
    extract = signed(world.extract(march(4), march(4), at=noon(march(4))))
    world.append(noon(march(4)) - timedelta(minutes=14, seconds=59))
    about = "Recorded within a quarter of an hour before the open seal: it may have come too late for it."
    today = facts(1, covered_until=noon(march(4)))
    yield case("not-yet-sealed", about, extract, of(world, 1), "not yet sealed", facts=today)
    compartment = Compartment(authority.SERVICE, "bagnolet", "main-courante")
    about = "Of another compartment of the same service."
    yield case("of-another-compartment", about, whole(), of(Small(compartment=compartment).live(1, 1), 0), "foreign")
    compartment = Compartment(OTHER_SERVICE, "montreuil", "main-courante")
    about = "Of another service, under the same trust anchor."
    foreign = answered(Small(compartment=compartment).live(1, 1), 0, service=OTHER_SERVICE, chain=(ELSEWHERE,))
    yield case("of-another-service", about, whole(), foreign, "foreign")
    lost = Small().live(1, 1)
    lost.append(noon(march(2)), subject="lost")
    world = Small().live(1, 1)
    world.append(noon(march(2)), subject="other")
    world.close(march(2), recovered_from=1, late=timedelta(hours=9))
    extract = signed(world.extract(march(2), march(2), at=noon(march(4))))
    about = "What it is about followed the seal that survived a declared loss."
    yield case("declared-lost", about, extract, of(lost, 2), "declared lost", facts=facts(1))
    survived = Small().live(1, 1, entries=1)
    survived.append(noon(march(1), minutes=1), subject="survived")
    about = "A loss is declared, and it is of before: nothing excuses it."
    yield case("not-declared-lost", about, extract, of(survived, 1), "missing", facts=facts(1))


def _by_seals() -> Iterator[Case]:
    world = honest()
    known = {"kept.json": encode_head_answer(world.seals[1])}
    none: Mapping[str, Any] = {}
    about = "By itself: nothing is shown."
    yield case("alone", about, None, of(honest(), 2), "authentic", facts=none)
    about = "Without an extract: the first entries have their place, the last has its chain hash in the seal."
    answer = of(honest(), 2, 5, 6)
    found = ("not shown", "covered", "not yet sealed")
    yield case("by-a-known-seal", about, None, answer, *found, known=known, facts=none)
    about = "Without an extract: the seal of its day should hold it."
    longer = Small().live(1, 1).live(2, 2, entries=5)
    yield case("missing-by-a-known-seal", about, None, of(longer, 6), "missing", known=known, facts=none)
    about = "A known seal later than the extract should hold it."
    later = Small().live(1, 1).live(2, 2, entries=4).live(3, 3, entries=2)
    known = {"kept.json": encode_head_answer(world.seals[2])}
    brought = {"known": known, "facts": facts(4, unanswered=1)}
    yield case("missing-by-a-later-known-seal", about, whole(), of(later, 7), "missing", **brought)


def _not_authentic() -> Iterator[Case]:
    right = of(honest(), 2)
    for name, about, verdict, changes in _other_answers():
        yield case(name, about, whole(), replace(right, **changes), verdict)
    compartment = Compartment(OTHER_SERVICE, "montreuil", "main-courante")
    about = "The key of one service signed a receipt of another."
    yield case(
        "under-another-service", about, whole(), of(Small(compartment=compartment).live(1, 1), 0), "mismatched part"
    )
    about = "A receipt was altered."
    value = right.value()
    value["receipts"][0]["id"] = "00000003"
    yield case("altered", about, whole(), json.dumps(value).encode(), "bad signature")
    about = "The delegation's signature is over another one."
    value = right.value()
    value["key"]["signature"] = of(honest(), 2, key=OTHER_KEY).value()["key"]["signature"]
    yield case("with-another-delegation", about, whole(), json.dumps(value).encode(), "bad signature")
    delegation = parse_receipt_key(right.delegation)
    key = delegation.key[:-1] + bytes([delegation.key[-1] ^ 1])
    text = ReceiptKey(delegation.service, delegation.valid_from, delegation.valid_until, key).text
    about = "The key that is vouched for is on no curve."
    yield case("key-on-no-curve", about, whole(), replace(right, parts={"text": text}), "malformed")
    for name, about, pointer, given in _other_forms(right):
        value = right.value()
        *steps, last = pointer.split("/")[1:]
        place: Any = value
        for step in steps:
            place = place[int(step) if isinstance(place, list) else step]
        place[last] = given
        yield case(name, about, whole(), json.dumps(value).encode(), "malformed")
    about = "A member twice."
    doubled = right.encode().replace(b'"path"', b'"path":[],"path"', 1)
    yield case("with-a-member-twice", about, whole(), doubled, "malformed")
    about = "What a service without a receipt key answers."
    unsigned = json.dumps({"receipts": right.value()["receipts"]}).encode()
    yield case("without-signature", about, whole(), unsigned, "malformed")


def _other_answers() -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Yield name, sentence, class, and what is other than it should be."""
    second, days = timedelta(seconds=1), timedelta(days=30)
    key, time = "bad signature", "mismatched part"
    yield "signed-by-another-key", "Signed by another key than its own.", key, {"signing_key": OTHER_KEY}
    yield "without-its-path", "The path is left out.", key, {"parts": {"path": []}}
    yield "of-another-time", "Another time.", key, {"parts": {"signed_at": "2026-03-02T12:05:01Z"}}
    yield "delegated-by-nobody", "The delegation leads to no trust anchor.", "untrusted", {"chain": (SELF_MADE,)}
    about = "The delegation names another service than the certificate."
    yield "key-of-another-service", about, "untrusted", {"service": OTHER_SERVICE}
    about = "The delegation was signed at another time than it begins."
    yield "delegated-at-another-time", about, time, {"vouched_at": BEGINS + second}
    yield "before-its-key", "Signed a second before its key was valid.", time, {"signed_at": BEGINS - second}
    yield "after-its-key", "Signed a second after its key was valid.", time, {"signed_at": BEGINS + days + second}


def _other_forms(right: Answered) -> Iterator[tuple[str, str, str, Any]]:
    """Yield name, sentence, pointer, and what stands there."""
    receipt = "/receipts/0"
    yield "with-an-unknown-member", "A member that is not known.", "/more", "x"
    yield "without-receipts", "No receipt.", "/receipts", []
    yield "with-a-time-in-seconds", "A time in another spelling.", f"{receipt}/recorded_at", "2026-03-02T12:00:00Z"
    yield "with-an-index-as-text", "An index that is a text.", f"{receipt}/index", "2"
    upper = right.receipts[0].leaf_hash.hex().upper()
    yield "with-a-hash-in-upper-case", "A hash in upper case.", f"{receipt}/leaf_hash", upper
    yield "with-no-origin", "A text that is no origin.", f"{receipt}/origin", "montreuil"
    yield "with-a-long-path", "A path of 65 hashes.", "/path", ["00" * 32] * 65
    yield "with-no-signature", "A signature that is none.", "/signature", "AAAA"
    yield "with-no-delegation", "A text that is no delegation.", "/key/text", "openepm-journal/receipt-key/v1\n"
