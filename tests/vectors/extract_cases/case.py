"""What a vector is, and how its small world is made: one chain, one signer, a few entries a day."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from journal.core import canonical
from journal.core.times import format_time
from journal.extract.layout import DIGESTS
from journal.pki.certificates import der_to_pem
from journal.pki.trust import DEVELOPMENT
from tests.support import authority, stamps
from tests.support.extracts import Extract, World, contents_of, march, noon

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime


VERIFIED = "verified"
TRUST, TIME = "trust.pem", "time.pem"

# Directly under the root: seals and extracts are then small.
SIGNER = authority.issue("Seals and extracts", authority.new_key(3), issuer=authority.ROOT)
CHAIN = (SIGNER,)
OTHER_ROOT = authority.issue("Other root", authority.new_key(40), extensions=authority.AUTHORITY)

DEVELOPMENT_ROOT = authority.issue(
    authority.seal_name(DEVELOPMENT, ""), authority.new_key(41), extensions=authority.AUTHORITY
)
EXPECTED_SEAL = "expected.pem"

ANCHORS = {
    TRUST: der_to_pem([authority.ROOT.certificate]),
    TIME: der_to_pem(stamps.ANCHORS),
    "other.pem": der_to_pem([OTHER_ROOT.certificate]),
    EXPECTED_SEAL: der_to_pem(
        [
            authority.ROOT.certificate,
            authority.issue(
                authority.seal_name(), authority.new_key(6), issuer=authority.ROOT, extensions=authority.SEAL
            ).certificate,
        ]
    ),
    "development.pem": der_to_pem([DEVELOPMENT_ROOT.certificate]),
    "both.pem": b"Subject: both, with text around\n" + der_to_pem([OTHER_ROOT.certificate, authority.ROOT.certificate]),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One vector: an extract, or none, what the auditor brings, and what every verifier must say.

    `part` stands in the part that the verifier names; empty where it is the file as a whole. `facts` are what it finds
    in an extract that verifies. `verdicts` are said of each receipt in a file of `receipts`; one alone where the
    file is not authentic. `file` is the extract's, where it is that of another vector.
    """

    name: str
    about: str
    extract: bytes | None
    verdict: str = VERIFIED
    part: str = ""
    trust: str = TRUST
    tsa_trust: str | None = None
    known: Mapping[str, bytes] = field(default_factory=dict)
    receipts: Mapping[str, bytes] = field(default_factory=dict)
    verdicts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    file: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


def facts(
    disclosed: int,
    withheld: int = 0,
    *,
    purged_through: date | None = None,
    purged: Sequence[str] = (),
    covered_until: datetime | None = None,
    unanswered: int = 0,
    repeated: int = 0,
    here: int = 0,
    elsewhere: int = 0,
    numbering: int = 0,
) -> dict[str, Any]:
    """Return what a verifier finds; what does not apply is left out.

    `purged` says of purged days what the seals show, as `_purged` reads it.
    """
    found: dict[str, Any] = {"disclosed": disclosed, "withheld": withheld, "unanswered": unanswered}
    if purged_through is not None:
        found["purged_through"] = purged_through.isoformat()
        found["purged_days"] = [_purged(text) for text in purged]
    if covered_until is not None:
        found["covered_until"] = f"{covered_until:%Y-%m-%dT%H:%M:%SZ}"
    numbers = {"repeated": repeated, "late_here": here, "late_elsewhere": elsewhere, "numbering": numbering}
    found |= {name: number for name, number in numbers.items() if number}
    return found


def _purged(text: str) -> dict[str, Any]:
    """Read days of March: `3-4: 2 in time`, `3: 1 late 0-2`; `?` for a number of entries that no seal shows."""
    days, said = text.split(": ")
    first, _, last = days.partition("-")
    count, *words = said.split()
    late = {"late_days": [int(number) for number in words.pop().split("-")]} if words[0] == "late" else {}
    entries = {} if count == "?" else {"entries": int(count)}
    span = {"from": march(int(first)).isoformat(), "to": march(int(last or first)).isoformat(), "when": " ".join(words)}
    return {**span, **entries, **late}


# When the extract is made that most vectors are made of, by `lived`.
MADE_AT = noon(march(4))


class Small(World):
    """A world of two chains, with seals signed under one certificate."""

    def __init__(self, **changes: Any) -> None:
        """Begin with an empty chain and no seal."""
        super().__init__(**{"other_chains": 1, **changes})
        self.signed_by = CHAIN


def lived(**changes: Any) -> Extract:
    """Return the extract of 2 March, indexes 2 to 5, of a chain that lived three days, made on the 4th."""
    world = Small().live(1, 1).live(2, 2, entries=4).live(3, 3, entries=1)
    return world.extract(march(2), march(2), at=MADE_AT, **changes)


def late(**changes: Any) -> Extract:
    """Return the extract of 2 March, indexes 2 to 5, of which the first two are of accesses on the 1st."""
    world = Small().live(1, 1)
    for hour in (8, 9, 10, 11):
        day = march(1) if hour < 10 else march(2)
        world.append(noon(march(2), hour=hour), time=format_time(noon(day, hour=7)))
    world.close(march(2))
    world.append(noon(march(3)), time=format_time(noon(march(2), hour=18)))
    world.close(march(3))
    return world.extract(march(2), march(2), at=MADE_AT, **changes)


def short(**changes: Any) -> Extract:
    """Return the extract of a chain's first day, four entries under one open seal: the smallest that has all."""
    world = Small()
    for minute in range(4):
        world.append(noon(march(4), hour=9, minutes=minute))
    return world.extract(march(4), march(4), at=MADE_AT, **changes)


def signed(extract: Extract, **changes: Any) -> bytes:
    """Return the container, whatever is in it, signed by the service."""
    return extract.pack(**{"chain": CHAIN, **changes})


def verified(name: str, about: str, extract: Extract | bytes | None, found: Mapping[str, Any], **brought: Any) -> Case:
    """Return a vector that verifies; an extract not yet packed is signed by the service."""
    whole = extract if extract is None or isinstance(extract, bytes) else signed(extract)
    return Case(name=name, about=about, extract=whole, facts=found, **brought)


def refused(name: str, about: str, extract: Extract | bytes, verdict: str, part: str = "", **brought: Any) -> Case:
    """Return a vector that is refused; an extract not yet packed is signed by the service."""
    whole = extract if isinstance(extract, bytes) else signed(extract)
    return Case(name=name, about=about, extract=whole, verdict=verdict, part=part, **brought)


def with_parts(extract: Extract, parts: Mapping[str, bytes]) -> bytes:
    """Return the container with members of these bytes instead, signed by the service."""
    return signed(replace(extract, parts={**extract.parts, **parts}))


def with_member(extract: Extract, name: str, pointer: str, value: Any) -> bytes:
    """Return the container in whose JSON member one value is replaced, or removed where it is None; signed."""
    content = json.loads(extract.contents()[name])
    *steps, last = pointer.split("/")[1:]
    place = content
    for step in steps:
        place = place[int(step) if isinstance(place, list) else step]
    if value is None:
        del place[last]
    else:
        place[int(last) if isinstance(place, list) else last] = value
    return with_parts(extract, {name: canonical.encode(content)})


def digests_of(extract: Extract) -> bytes:
    """Return the bytes that are signed."""
    return contents_of(signed(extract))[DIGESTS]


ONE_DAY = timedelta(days=1)
