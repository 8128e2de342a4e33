"""Malformed manifests, signed by the service."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from journal.core.entry import JOURNAL_CATEGORY, Compartment
from journal.extract.layout import ENTRIES, INSTRUCTIONS, MANIFEST
from journal.extract.manifest import Filter, Request
from tests.support import authority
from tests.support.extracts import march, noon
from tests.vectors.extract_cases.case import MADE_AT, Case, Small, late, refused, short, with_member, with_parts

if TYPE_CHECKING:
    from collections.abc import Iterator

EARLIER = {"changed_at": "2026-03-01T12:00:00.000000Z", "instruction": "A 1", "retention_days": 30}
LATER = {"changed_at": "2026-03-02T12:00:00.000000Z", "instruction": "A 2", "retention_days": 60}
DAYS = {"occurred_from": "2026-03-04", "occurred_to": "2026-03-04"}
NUMBERS = {"declared": 0, "gaps": [], "last": 9, "missing": 4, "repeated": 0, "source": "/openepm"}
# Name, what is wrong, JSON Pointer, value (none: removed).
CHANGES: tuple[tuple[str, str, str, Any], ...] = (
    ("unknown-member", "A member that the format does not have.", "/note", "x"),
    ("member-missing", "The requester is missing.", "/requester", None),
    ("other-format", "It says it is of format v2.", "/format", "openepm-journal/extract/v2"),
    ("boolean-for-a-number", "A count is true.", "/withheld", False),
    ("counts-do-not-add-up", "The counts are not those between base and head.", "/disclosed", 5),
    ("hash-in-capitals", "A hash is in capitals.", "/head/chain_hash", "AB" * 32),
    ("days-reversed", "The last day is before the first.", "/to", "2026-03-01"),
    ("other-purpose", "A purpose that the law does not name.", "/purpose", "curiosity"),
    ("requester-too-long", "The requester has 1,025 characters.", "/requester", "é" * 1025),
    ("authorisation-a-bare-text", "The authorisation is a text.", "/authorisation", "rien du tout"),
    (
        "authorisation-without-its-day",
        "The authorisation has no day.",
        "/authorisation",
        {"issuer": "Parquet", "reference": "12"},
    ),
    (
        "authorisation-on-no-day",
        "The authorisation is of a day that is not in the calendar.",
        "/authorisation",
        {"date": "2026-02-30", "issuer": "Parquet", "reference": "12"},
    ),
    ("person-without-function", "The person has no function.", "/person", {"name": "Jeanne Obé"}),
    ("rule-missing", "The rule is missing.", "/rule", None),
    ("rule-without-a-change", "The changes of the rule are an empty list.", "/rule", {"basis": "x", "changes": []}),
    ("rule-changes-reversed", "The changes of the rule are not in their order.", "/rule/changes", [LATER, EARLIER]),
    ("rule-of-61-days", "A change of the rule is to 61 days.", "/rule/changes", [EARLIER | {"retention_days": 61}]),
    ("numbering-empty", "The numbers of no source are told.", "/numbering", []),
    (
        "numbering-gaps-touch",
        "Two ranges of missing numbers touch.",
        "/numbering",
        [{**NUMBERS, "gaps": [[1, 2], [3, 4]]}],
    ),
    ("numbering-gap-reversed", "A range ends before it begins.", "/numbering", [{**NUMBERS, "gaps": [[2, 1]]}]),
    ("numbering-gap-of-three", "A range has three numbers.", "/numbering", [{**NUMBERS, "gaps": [[1, 2, 3]]}]),
    (
        "numbering-fewer-missing",
        "More numbers are listed than are missing.",
        "/numbering",
        [{**NUMBERS, "gaps": [[1, 5]]}],
    ),
    (
        "numbering-without-last",
        "The last number is missing.",
        "/numbering",
        [{"declared": 0, "gaps": [], "missing": 0}],
    ),
    ("without-lateness", "It does not say how many accesses were recorded on another day.", "/lateness", None),
    ("lateness-too-long", "It says that accesses are recorded up to 61 days late.", "/lateness/days", 61),
    ("lateness-not-counted", "Nothing is withheld, and late entries are not counted.", "/lateness/here", None),
    ("filter-days-reversed", "The days of the access are reversed.", "/filter", {**DAYS, "occurred_to": "2026-03-01"}),
    ("filter-no-day", "A day of the access is none.", "/filter", {**DAYS, "occurred_from": "2026-02-30"}),
    ("filter-unknown-member", "The filter has a member there is not.", "/filter", {"unit": "PM 93"}),
)


def cases() -> Iterator[Case]:
    """Yield them."""
    for name, about, pointer, value in CHANGES:
        extract = with_member(short(), MANIFEST, pointer, value)
        yield refused(f"manifest-{name}", about, extract, "malformed", MANIFEST)
    yield from _spellings()
    yield from _contradictions()


def _spellings() -> Iterator[Case]:
    content = short().contents()[MANIFEST]
    for name, about, changed in (
        ("order", "Two members stand in the other order.", _swapped(content)),
        ("member-twice", "A member stands twice, with one value.", content[:-1] + b',"withheld":0}'),
        ("escape", "A letter is spelt as an escape.", content.replace(b"Mairie", b"\\u004dairie")),
        ("null", "An authorisation is null.", b'{"authorisation":null,' + content[1:]),
        ("lone-surrogate", "A text holds half of a pair.", content.replace(b"Mairie", b"\\ud83d")),
        ("nested-too-deep", "Arrays are nested 1,000 deep.", b"[" * 1000 + b"]" * 1000),
    ):
        yield refused(f"manifest-{name}", about, with_parts(short(), {MANIFEST: changed}), "malformed", MANIFEST)


def _swapped(content: bytes) -> bytes:
    first, second = b'"disclosed":4,', b'"filter":{},'
    assert first + second in content
    return content.replace(first + second, second + first)


def _contradictions() -> Iterator[Case]:
    unfiltered = short(selection=Filter(account="agent-1"))
    about = "The filter is empty, and entries are withheld."
    extract = with_member(unfiltered, MANIFEST, "/filter", {})
    yield refused("manifest-unfiltered-yet-withheld", about, extract, "malformed", MANIFEST)
    about = "The filter withholds all, and entries are disclosed."
    extract = with_member(short(), MANIFEST, "/filter", {"withhold": "all"})
    yield refused("manifest-withholds-all-yet-disclosed", about, extract, "malformed", MANIFEST)
    about = "The filter withholds all, and asks for an account."
    extract = with_member(unfiltered, MANIFEST, "/filter/withhold", "all")
    yield refused("manifest-filter-of-both-kinds", about, extract, "malformed", MANIFEST)
    about = "The instructions are others than the format's, signed by the service."
    extract = with_parts(short(), {INSTRUCTIONS: b"Faites-nous confiance.\n"})
    yield refused("instructions-of-the-services-own", about, extract, "mismatched part", INSTRUCTIONS)
    world = Small(compartment=Compartment(authority.SERVICE, "montreuil", JOURNAL_CATEGORY)).live(1, 2)
    world.append(noon(march(3)))
    other = world.extract(march(2), march(3), at=noon(march(3), hour=13), request=Request(4, bytes(32)))
    about = "The leaf hash of the request is not that of the entry, which the extract holds."
    yield refused("request-is-another-entry", about, other, "mismatched part", MANIFEST)
    for name, here in (("few", 1), ("many", 3)):
        about = f"Two entries are of accesses on the day before the period; the manifest says {here}."
        extract = with_member(late(), MANIFEST, "/lateness/here", here)
        yield refused(f"late-entries-too-{name}", about, extract, "mismatched part", MANIFEST)
    about = "Of two late entries one is disclosed; the manifest counts none."
    extract = with_member(late(selection=Filter(account="agent-2")), MANIFEST, "/lateness/here", 0)
    yield refused("late-entries-fewer-than-disclosed", about, extract, "mismatched part", MANIFEST)
    about = "An entry of an access before the days that the filter asks for is disclosed."
    extract = with_member(late(), MANIFEST, "/filter", {"occurred_from": "2026-03-02"})
    yield refused("entry-before-the-days-of-the-filter", about, extract, "mismatched part", ENTRIES)
    about = "An entry of an access after the days that the filter asks for is disclosed."
    extract = with_member(late(), MANIFEST, "/filter", {"occurred_to": "2026-03-01"})
    yield refused("entry-after-the-days-of-the-filter", about, extract, "mismatched part", ENTRIES)
    counted = short(selection=Filter(action="consultation"))
    about = "The manifest counts an entry as withheld that is disclosed."
    extract = replace(counted, manifest=replace(counted.manifest, disclosed=3, withheld=1))
    yield refused("counted-wrong", about, extract, "mismatched part", MANIFEST)
    about = "It was issued a second before the open seal made for it."
    extract = short(issued_at=MADE_AT - timedelta(seconds=1))
    yield refused("issued-before-its-seal", about, extract, "mismatched part", MANIFEST)
