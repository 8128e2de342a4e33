"""Extracts with time-stamped close seals: checked, not checked, and of no value."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from journal.core.seal import parse_seal
from journal.extract.listing import encode_head_answer
from journal.pki import der
from tests.support import authority, stamps
from tests.support.authority import issue, new_key
from tests.support.extracts import march, noon
from tests.vectors.extract_cases.case import CHAIN, TIME, VERIFIED, Case, Small, facts, lived, refused, signed, verified

if TYPE_CHECKING:
    from collections.abc import Iterator

    from journal.extract.listing import ListedSeal
    from tests.support.extracts import Extract

MALFORMED, MISMATCHED, BAD, UNTRUSTED = "malformed", "mismatched part", "bad signature", "untrusted"
SECOND, MINUTE, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(days=1)


def cases() -> Iterator[Case]:
    """Yield them."""
    yield from _verified()
    for name, about, verdict, change in (*_tokens(), *_certificates()):
        extract = lived()
        extract.seals[0] = stamped(extract.seals[0])
        extract.seals[1] = stamped(extract.seals[1], **change)
        yield refused(f"stamp-{name}", about, extract, verdict, "seals.json seal 2", tsa_trust=TIME)
    yield from _places()


def stamped(listed: ListedSeal, *, late: timedelta = 2 * SECOND, **changes: Any) -> ListedSeal:
    """Return the seal with a time-stamp made so long after it; `changes` replace members of its Stamp."""
    at = parse_seal(listed.text).sealed_at + late
    text = changes.pop("text", listed.text)
    return replace(listed, timestamp=stamps.stamp(text, at=at, **changes))


def with_stamps(extract: Extract, **changes: Any) -> Extract:
    """Give every close seal its time-stamp."""
    *closes, last = extract.seals
    extract.seals = [*(stamped(listed, **changes) for listed in closes), last]
    return extract


def _verified() -> Iterator[Case]:
    about = "Every close seal bears a time-stamp, and it is checked."
    yield verified("stamped", about, with_stamps(lived()), facts(4), tsa_trust=TIME)
    about = "A seal bears a time-stamp that is none; the auditor brings no certificate to check it with."
    yield verified("stamped-unchecked", about, _replaced(lived(), 0, b"anything"), facts(4))
    part = with_stamps(lived())
    part.seals[0] = replace(part.seals[0], timestamp=None)
    yield verified(
        "stamped-in-part", "A close seal bears no time-stamp, and another one does.", part, facts(4), tsa_trust=TIME
    )
    about = "The time-stamps were had a day late: until then the seals could be rewritten."
    yield verified("stamped-late", about, with_stamps(lived(), late=DAY), facts(4), tsa_trust=TIME)
    about = "The authority's clock is a minute behind the service's."
    yield verified("stamped-a-minute-early", about, with_stamps(lived(), late=-MINUTE), facts(4), tsa_trust=TIME)
    retired = issue("Seals", new_key(3), issuer=authority.ROOT, end=noon(march(3), hour=1))
    for name, about, late, verdict in (
        ("signer-retired-since", "The seals' certificate ended after they were time-stamped.", 2 * SECOND, VERIFIED),
        ("signer-retired-by-then", "The seals' certificate had ended when they were time-stamped.", DAY, UNTRUSTED),
    ):
        world = Small()
        for day in (1, 2):
            world.append(noon(march(day)))
            world.close(march(day), chain=(retired,))
        extract = signed(with_stamps(world.extract(march(2), march(2), at=noon(march(5))), late=late))
        if verdict == VERIFIED:
            yield verified(f"stamped-{name}", about, extract, facts(1), tsa_trust=TIME)
        else:
            yield refused(f"stamped-{name}", about, extract, verdict, "seals.json seal 2", tsa_trust=TIME)


def _replaced(extract: Extract, place: int, token: bytes) -> Extract:
    extract.seals[place] = replace(extract.seals[place], timestamp=token)
    return extract


def _tokens() -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    text = lived().seals[1].text
    at = parse_seal(text).sealed_at + 2 * SECOND
    digest = parse_seal(text).digest
    yield "of-another-text", "A time-stamp is of another text.", MISMATCHED, {"text": text + b"\n"}
    yield "forged", "A time-stamp is signed by another key than its certificate's.", BAD, {"key": new_key(9)}
    yield "older-than-its-seal", "A time-stamp is an hour older than its seal.", MISMATCHED, {"late": -60 * MINUTE}
    yield "still-to-come", "A time-stamp is of ten days after the extract.", MISMATCHED, {"late": 10 * DAY}
    weak = stamps.tst_info(digest[:20], at=at, algorithm=stamps.SHA1)
    yield "by-sha-1", "A time-stamp is over a SHA-1 of the seal.", MALFORMED, {"content": weak}
    version = stamps.tst_info(digest, at=at, version=2)
    yield "other-version", "What is stamped says it is of version 2.", MALFORMED, {"content": version}
    yield "no-content", "What is stamped is empty.", MALFORMED, {"content": b""}
    about = "The token holds plain data."
    yield "other-content-type", about, MALFORMED, {"content_kind": der.object_identifier("1.2.840.113549.1.7.1")}


def _certificates() -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    def clock(**shape: Any) -> dict[str, Any]:
        shape = {"issuer": stamps.INTERMEDIATE, "extensions": stamps.STAMPER, **shape}
        return {"chain": (issue("Clock", new_key(43), **shape), stamps.INTERMEDIATE)}

    basic, usage, _ = stamps.STAMPER
    mail = stamps.purposes(authority.EMAIL_PROTECTION)
    change = clock(extensions=(basic, usage, mail))
    yield "by-another-purpose", "The authority's certificate is for mail.", UNTRUSTED, change
    soft = stamps.purposes(stamps.TIME_STAMPING, critical=False)
    change = clock(extensions=(basic, usage, soft))
    yield "purpose-not-critical", "The purpose in the certificate is not critical.", UNTRUSTED, change
    yield "by-an-expired-clock", "The authority's certificate had ended.", UNTRUSTED, clock(end=noon(march(2)))
    stranger = issue("Root of time", new_key(51), extensions=authority.AUTHORITY)
    yield (
        "by-another-root",
        "The authority is under another root of the same name.",
        UNTRUSTED,
        {"chain": (issue("Clock", new_key(43), issuer=stranger, extensions=stamps.STAMPER),)},
    )
    yield "by-the-service", "The service stamped its own seal.", UNTRUSTED, {"chain": CHAIN}


def _places() -> Iterator[Case]:
    extract = with_stamps(lived())
    extract.seals[-1] = stamped(extract.seals[-1])
    yield refused("stamp-on-an-open-seal", "The open seal bears a time-stamp.", extract, MALFORMED, "seals.json seal 4")
    about = "A time-stamp is no DER, and would be checked."
    extract = _replaced(with_stamps(lived()), 1, b"0")
    yield refused("stamp-no-token", about, extract, MALFORMED, "seals.json seal 2", tsa_trust=TIME)
    yield refused(
        "stamp-trusted-for-the-service-alone",
        "The auditor trusts for time-stamps only the authority of the service.",
        with_stamps(lived()),
        UNTRUSTED,
        "seals.json seal 1",
        tsa_trust="trust.pem",
    )
    world = Small().live(1, 1).live(2, 2, entries=4).live(3, 3, entries=1)
    good, bad = (stamped(world.closes[march(2)], **change) for change in ({}, {"key": new_key(9)}))
    extract = with_stamps(world.extract(march(2), march(2), at=noon(march(4))))
    about = "The seal that was kept bears its time-stamp too."
    yield verified(
        "stamped-and-known", about, extract, facts(4), known={"kept.json": encode_head_answer(good)}, tsa_trust=TIME
    )
    yield refused(
        "stamp-of-a-known-seal-forged",
        "The seal that was kept bears a time-stamp that is signed by another key.",
        extract,
        BAD,
        "kept.json",
        known={"kept.json": encode_head_answer(bad)},
        tsa_trust=TIME,
    )
