"""Extracts that verify, one of every kind: also what looks odd and is right."""

from __future__ import annotations

import asyncio
import zlib
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.hashes import SHA256

from journal.core.entry import JOURNAL_CATEGORY, Compartment, parse_record
from journal.core.times import purgeable_through
from journal.document.content import Circumstances, Gathered, document_content
from journal.document.render import render
from journal.extract.grounds import Authorisation, Person, Rule, RuleChange
from journal.extract.layout import DOCUMENT, MIMETYPE, MIMETYPE_CONTENT, STREAMED
from journal.extract.manifest import Filter, Request
from journal.extract.numbering import SourceNumbers
from journal.signer.identity import SigningIdentity
from tests.support import authority, cells
from tests.support.containers import assembled
from tests.support.extracts import contents_of, march, noon
from tests.support.signing import LocalSigner
from tests.vectors.extract_cases.case import (
    MADE_AT,
    SIGNER,
    Case,
    Small,
    facts,
    late,
    lived,
    signed,
    verified,
    with_parts,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.containers import Packed


def purging(last: int, through: int, *, retention_days: int = 3) -> Small:
    """Return a chain of one entry a day that purged each night what it might, up to a day."""
    world = Small(retention_days=retention_days)
    for day in map(march, range(1, last + 1)):
        world.append(noon(day))
        due = purgeable_through(day, retention_days)
        if due in world.closes and due <= march(through):
            world.purge(due)
        world.close(day)
    return world


def cases() -> Iterator[Case]:
    """Yield them."""
    yield from _disclosures()
    yield from _periods()
    yield from _purges()
    yield from _seals()
    yield from _bytes()


def _disclosures() -> Iterator[Case]:
    yield verified("unfiltered", "A day, every entry disclosed.", lived(), facts(4))
    for member, value, count in (
        ("account", "agent-1", 1),
        ("subject", "main-courante/3", 1),
        ("action", "consultation", 4),
        ("action", "erasure", 0),
    ):
        about = f"Entries whose {member} is another are withheld."
        extract = lived(selection=Filter(**{member: value}))
        yield verified(
            f"filtered-by-{member}" + ("-none" if not count else ""), about, extract, facts(count, 4 - count)
        )
    about = "An entry is disclosed where it equals the filter in every member."
    extract = lived(selection=Filter(account="agent-0", subject="main-courante/3", action="consultation"))
    yield verified("filtered-by-all-three", about, extract, facts(1, 3))
    extract = lived(selection=Filter(withhold_all=True))
    yield verified("auditor", "Everything is withheld: the proof without its content.", extract, facts(0, 4))
    about = "With the people's view, a signed PDF, which is signed again by the extract and compared with nothing."
    yield verified("document", about, documented(), facts(4))
    extract = Small().live(1, 3, entries=0).extract(march(2), march(3), at=noon(march(4)))
    yield verified("empty", "A period without entries, of a chain without entries.", extract, facts(0))
    about = "A period without entries, in a chain that has some before and after it."
    extract = Small().live(1, 1).live(2, 3, entries=0).live(4, 4).extract(march(2), march(3), at=noon(march(5)))
    yield verified("empty-days", about, extract, facts(0))
    about = "With an authorisation, and no reference of the requester's own."
    extract = lived(authorisation=AUTHORISATION, request=Request(9, bytes(32)))
    yield verified("authorised", about, extract, facts(4))
    about = "Two entries of accesses on the day before, and one access of the day that was recorded later."
    yield verified("late", about, late(), facts(4, here=2, elsewhere=1))
    about = "Of the accesses of the day alone: the two of the day before are withheld."
    extract = late(selection=Filter(occurred_from=march(2), occurred_to=march(2)))
    yield verified("filtered-by-days-of-the-access", about, extract, facts(2, 2, here=2, elsewhere=1))
    about = "Of the accesses up to the day before alone."
    extract = late(selection=Filter(occurred_to=march(1)))
    yield verified("filtered-by-last-day-of-the-access", about, extract, facts(2, 2, here=2, elsewhere=1))
    world = Small().live(1, 1)
    for hour in (9, 10):
        world.append(noon(march(2), hour=hour), id="again", time=f"2026-03-02T{hour:02}:00:00.000000Z")
    world.close(march(2))
    numbering = (
        SourceNumbers(9, 3, ((1, 1), (4, 5)), 2, 1, "/openepm/montreuil", "2026-03-01 é"),
        SourceNumbers(4000, 30, ((7, 7),), 0, 0, "/openepm/montreuil"),
    )
    about = "Of two sources numbers are missing, declared lost, repeated; the service says so."
    yield verified("numbering", about, lived(numbering=numbering), facts(4, numbering=2))
    about = "An auditor's extract says the same of a source without its name."
    unnamed = (replace(numbering[1], source=None),)
    extract = lived(selection=Filter(withhold_all=True), numbering=unnamed)
    yield verified("numbering-unnamed", about, extract, facts(0, 4, numbering=1))
    about = "A source and id that come back at another time: two events, named as worth knowing."
    yield verified("repeated-id", about, world.extract(march(2), march(2), at=MADE_AT), facts(2, repeated=1))
    about = "With the person whose credential asked, and two changes of the rule, by two instructions."
    changes = (RuleChange(noon(march(1)), 30, "AVENANT-2026-3"), RuleChange(noon(march(2)), 60, "AVENANT é 4"))
    extract = lived(person=Person("Noé Ünal", "déléguée à la protection"), rule=Rule("contrat, art. 13.2", changes))
    yield verified("person-and-rule", about, extract, facts(4))
    world = Small(compartment=Compartment(authority.SERVICE, "montreuil", JOURNAL_CATEGORY)).live(1, 2)
    asked = {
        "category": "main-courante",
        "credential": "3f9a12bc",
        "filter": {"account": "agent-1"},
        "from": "2026-02-01",
        "purpose": "lawfulness",
        "reference": "R 1",
        "requester": "Mairie de Montreuil",
        "to": "2026-02-28",
    }
    asking = world.append(
        noon(march(3)), type="fr.openepm.journal.service.extract", subject="main-courante", data=asked
    )
    request = Request(asking, world.leaf(4), "R 1")
    about = "An extract of the category journal that holds the entry of its own request."
    extract = world.extract(march(2), march(3), at=noon(march(3), hour=13), request=request)
    yield verified("journal-with-its-request", about, extract, facts(3, covered_until=noon(march(3), hour=13)))


AUTHORISATION = Authorisation("TJ de Bobigny", march(1), "2026/7 é")


class _Identity(SigningIdentity):
    """The vectors' signer as a SigningIdentity with deterministic signatures."""

    def sign_raw(self, data: bytes) -> bytes:
        assert isinstance(self._key, EllipticCurvePrivateKey)
        return self._key.sign(data, authority.ecdsa(SHA256()))


def documented() -> bytes:
    """Return an extract with the people's view, laid out as the service does it."""
    extract = lived()
    manifest, gathered = extract.manifest, Gathered()
    for record in extract.records:
        gathered.add(parse_record(record))
    key = SIGNER.key
    assert isinstance(key, EllipticCurvePrivateKey)
    circumstances = Circumstances(
        tenant_name="Montreuil",
        category_label="Main courante",
        service=authority.SERVICE,
        signer="CN=Seals and extracts",
        anchor=None,
        manifest_sha256=sha256(manifest.encode()).hexdigest(),
        first_seal=1,
        last_seal=4,
        sealed_at=MADE_AT,
        covered_at=None,
        purged=(),
        retention_days=60,
    )
    content = document_content(manifest, gathered, circumstances)
    document = asyncio.run(render(content, LocalSigner(_Identity(key, [SIGNER.certificate])), manifest.issued_at))
    return with_parts(extract, {DOCUMENT: document})


def _periods() -> Iterator[Case]:
    world = Small().live(1, 3)
    world.append(noon(march(4)))
    about = "The period ends on the day of the extract: covered until the open seal."
    extract = world.extract(march(3), march(4), at=noon(march(4), hour=13))
    yield verified("until-today", about, extract, facts(3, covered_until=noon(march(4), hour=13)))
    about = "The day of the extract alone, begun by the close seal of its eve."
    extract = world.extract(march(4), march(4), at=noon(march(4), hour=14))
    yield verified("today-only", about, extract, facts(1, covered_until=noon(march(4), hour=14)))
    world = Small()
    world.append(noon(march(4)))
    about = "A chain on its first day: no close seal, one open seal."
    extract = world.extract(march(1), march(4), at=noon(march(4), hour=13))
    yield verified("first-day", about, extract, facts(1, covered_until=noon(march(4), hour=13)))
    about = "A tenant younger than the period: the list begins with the chain's first close seal."
    yield verified("young-tenant", about, Small().live(3, 4).extract(march(1), march(4), at=noon(march(5))), facts(4))
    extract = Small().live(1, 2).extract(march(1), march(2), at=noon(march(3)))
    yield verified("from-the-first-seal-on", "The service's first days: seal 1 has none before it.", extract, facts(4))
    about = "An extract of days long closed: seals that are not listed stand between."
    extract = Small().live(1, 8, entries=1).extract(march(2), march(3), at=noon(march(9)))
    yield verified("long-ago", about, extract, facts(2))
    world = Small()
    world.append(noon(march(2), hour=0))
    world.append(noon(march(2), hour=0))
    world.append(noon(march(3), hour=0) - timedelta(microseconds=1))
    world.close(march(2))
    about = "Entries at midnight, two at one time, and one in the last microsecond of the day."
    yield verified("edges-of-a-day", about, world.extract(march(2), march(2), at=noon(march(3))), facts(3))


def _purges() -> Iterator[Case]:
    world = purging(5, 3)
    world.append(noon(march(6)))
    world.purge(march(4))
    about = "The first days of the period are purged under their rule."
    found = facts(2, purged_through=march(4), purged=("3-4: 2 in time",), covered_until=noon(march(6), hour=13))
    yield verified("partly-purged", about, world.extract(march(3), march(6), at=noon(march(6), hour=13)), found)
    fresh = world.seal(noon(march(6), hour=14))
    seals = [world.closes[march(4)], world.closes[march(5)], fresh]
    yield verified(
        "partly-purged-heads-forgotten",
        "The list begins with the close seal of the last day purged, the heads before it being forgotten.",
        world.extract(march(1), march(6), at=noon(march(6), hour=15), seals=seals, base=world.head(4)),
        facts(
            2,
            purged_through=march(4),
            purged=("1-3: ? not shown", "4: ? in time"),
            covered_until=noon(march(6), hour=14),
        ),
    )
    world = purging(8, 6)
    whole = world.extract(march(2), march(3), at=noon(march(9)))
    about = "Every day of the period is purged, its close seals still listed."
    extract = replace(whole, manifest=replace(whole.manifest, base=world.head(3), disclosed=0), records=[], proof=[])
    yield verified("wholly-purged", about, extract, facts(0, purged_through=march(3), purged=("2-3: 2 in time",)))
    world.append(noon(march(9)))
    world.purge(march(7))
    seals = [world.closes[march(7)], world.closes[march(8)], world.seal(noon(march(9), hour=13))]
    about = "The first close seal listed is after the period: up to its day the chain is purged."
    extract = world.extract(
        march(2), march(3), at=noon(march(9), hour=14), seals=seals, base=world.head(7), head=world.head(7)
    )
    found = facts(0, purged_through=march(7), purged=("2-3: ? not shown",))
    yield verified("wholly-purged-heads-forgotten", about, extract, found)
    world = Small(retention_days=3).live(1, 4, entries=1)
    world.append(noon(march(5)))
    world.purge(march(3))
    about = "A purge was late in earlier seals, and is done in the last: told, not refused."
    found = facts(
        2,
        purged_through=march(3),
        purged=("1-2: ? late 0-2", "3: 1 in time"),
        covered_until=noon(march(5), hour=13),
    )
    yield verified("late-purge-since-done", about, world.extract(march(1), march(5), at=noon(march(5), hour=13)), found)
    yield from _lateness()
    world = purging(5, 3)
    world.retention_days = 60
    about = "What was purged under a shorter retention stays so under a longer one."
    extract = world.extract(march(2), march(5), at=noon(march(6)))
    found = facts(2, purged_through=march(3), purged=("2-3: 2 in time",))
    yield verified("longer-retention-later", about, extract, found)
    world = Small(retention_days=60).live(1, 5, entries=1)
    world.retention_days = 3
    world.purge(march(4))
    about = "A shorter retention takes effect at once: more is purged than the day before could be."
    extract = world.extract(march(2), march(5), at=noon(march(6)))
    found = facts(1, purged_through=march(4), purged=("2-4: 3 in time",))
    yield verified("shorter-retention-later", about, extract, found)


def _lateness() -> Iterator[Case]:
    world = Small(retention_days=3).live(1, 3).live(4, 4, entries=0).live(5, 5)
    world.purge(march(2))
    world.live(6, 6)
    world.purge(march(5))
    about = "Two days were purged late, then an empty one and one in time."
    found = facts(2, purged_through=march(5), purged=("2-3: 4 late 1-2", "5: 2 in time"))
    yield verified("purged-late-and-in-time", about, world.extract(march(2), march(6), at=noon(march(7))), found)
    world = Small(retention_days=3).live(1, 8)
    world.purge(march(3))
    world.append(noon(march(9)))
    world.purge(march(7))
    about = "Nothing was purged for days; then all of it at once."
    found = facts(2, purged_through=march(7), purged=("2-6: 10 late 0-5", "7: 2 in time"))
    yield verified("purged-late-at-once", about, world.extract(march(2), march(8), at=noon(march(9), hour=13)), found)
    world = Small(retention_days=3).live(1, 2)
    world.purge(march(1))
    world.append(noon(march(3)))
    world.close(march(3), late=timedelta(hours=14))
    about = "The first seal that shows a day gone is the close seal made 14 hours after the day's time was up."
    found = facts(3, purged_through=march(1), purged=("1: ? not shown",), covered_until=noon(march(4), hour=15))
    yield verified("purged-not-shown-when", about, world.extract(march(1), march(4), at=noon(march(4), hour=15)), found)
    world = Small(retention_days=3).live(1, 3)
    world.purge(march(1))
    minutes = {"late-by-half-an-hour": 30, "late-by-an-hour": 60}
    for name, minute in minutes.items():
        at = noon(march(4), hour=0, minutes=minute)
        found = facts(4, purged_through=march(1), purged=("1: ? late 0-1",))
        yield verified(
            f"purged-{name}", "The open seal shows it gone.", world.extract(march(1), march(3), at=at), found
        )


def _seals() -> Iterator[Case]:
    extract = signed(lived(), chain=authority.CHAIN)
    yield verified("one-intermediate", "The extract's certificate stands under an intermediate.", extract, facts(4))
    upper = authority.issue("Upper", authority.new_key(4), issuer=authority.ROOT, extensions=authority.AUTHORITY)
    lower = authority.issue("Lower", authority.new_key(5), issuer=upper, extensions=authority.AUTHORITY)
    deep = authority.issue("Seals and extracts", authority.new_key(3), issuer=lower)
    extract = signed(lived(), chain=(deep, lower, upper))
    yield verified("two-intermediates", "The extract's certificate stands under two intermediates.", extract, facts(4))
    until = noon(march(3))
    retired = authority.issue("Seals, until March", authority.new_key(7), issuer=authority.ROOT, end=until)
    renewed = authority.issue("Seals, from March on", authority.new_key(8), issuer=authority.ROOT, begin=until)
    world = Small().live(1, 1)
    for day in (2, 3):
        world.append(noon(march(day)))
        world.close(march(day), chain=(retired,) if day == 2 else (renewed,))
    rotated = world.extract(march(2), march(3), at=noon(march(5)), seals=[*world.seals, world.seal(noon(march(5)))])
    about = "Another key and certificate sign from the third day on; the first has expired by then."
    yield verified("signer-renewed", about, signed(rotated, chain=(renewed,)), facts(2))
    about = "Several certificates are trusted, with text around them in their file."
    yield verified("two-anchors", about, lived(), facts(4), trust="both.pem")
    world = Small().live(1, 3, entries=1)
    world.append(noon(march(4)))
    world.close(march(4), recovered_from=2)
    extract = world.extract(march(3), march(4), at=noon(march(5)))
    yield verified("declared-loss", "A seal declares a disaster, after the seal that survived it.", extract, facts(2))
    extract = Small(other_chains=0).live(1, 2).extract(march(2), march(2), at=noon(march(3)))
    yield verified("lone-chain", "The service's only chain: the path is empty.", extract, facts(2))
    extract = Small(other_chains=300).live(1, 2).extract(march(2), march(2), at=noon(march(3)))
    yield verified("among-many-chains", "Among 300 chains: a path of some ten hashes.", extract, facts(2))


def _bytes() -> Iterator[Case]:
    world = Small().live(1, 1)
    for number, text in enumerate(HOSTILE):
        world.append(noon(march(2), minutes=number), subject=f"s{text}", id=f"{number}{text}", note=text)
    world.close(march(2))
    about = "Formulas, separators, quotation marks, unseen and reordering characters, and members without a column."
    extract = world.extract(march(2), march(2), at=noon(march(3)), requester="\u202e\x1b[2J<script>'\"&é𝒳")
    yield verified("hostile-text", about, extract, facts(len(HOSTILE)))
    world = Small().live(1, 1)
    for number, text in enumerate((*cells.HOSTILE, *cells.USUAL)):
        data = {"actor": {"account": text}, "justification": text, "outcome": "success", "count": number}
        world.append(noon(march(2), seconds=number), subject=text, data=data)
    world.close(march(2))
    about = "Texts that a spreadsheet would take for numbers, dates, truth values, errors or formulas; and usual ones."
    extract = world.extract(march(2), march(2), at=noon(march(3)))
    yield verified("spreadsheet-values", about, extract, facts(len(cells.HOSTILE) + len(cells.USUAL)))
    world = Small().live(1, 1)
    for number, time in enumerate(TIMES):
        world.append(noon(march(2), seconds=number), time=time)
    world.close(march(2))
    about = "Events at the changes of the hour in Paris, and at the ends of the calendar."
    yield verified(
        "hours-of-paris", about, world.extract(march(2), march(2), at=noon(march(3))), facts(len(TIMES), here=10)
    )
    world = Small().live(1, 1)
    odd = {"data": [1, True, {"a": "b"}], "type": "x", "sequence": "7", "traceparent": "00-ab", "subject": 12}
    world.append(noon(march(2)), **odd)
    world.append(noon(march(2)), data={"actor": "nobody", "client": ["x"], "fields": ["a", 1], "outcome": 3})
    world.append(noon(march(2)), data={"actor": {"account": {"x": []}, "rank": 1}, "recipients": ["a", "b"]})
    world.close(march(2))
    about = "Events that only a later version would write: the table shows whatever there is."
    yield verified("odd-events", about, world.extract(march(2), march(2), at=noon(march(3))), facts(3))
    world = Small().live(1, 1)
    for number in range(400):
        world.append(noon(march(2), seconds=number), subject="x" * 200)
    world.close(march(2))
    many = world.extract(march(2), march(2), at=noon(march(3)))
    yield verified(
        "many-pieces", "Members longer than any reader's piece: 400 entries, some 300 KB inflated.", many, facts(400)
    )
    for name, level, strategy in (
        ("deflate-stored", 0, zlib.Z_DEFAULT_STRATEGY),
        ("deflate-fixed", 9, zlib.Z_FIXED),
    ):
        extract = repacked(signed(lived()), level, strategy)
        yield verified(name, "The same members, deflated another way: a writer may choose how.", extract, facts(4))


# Each stands in a subject, an identifier and a member of its own.
TIMES = (
    "0001-01-01T00:00:00.000000Z",
    "1995-10-01T01:00:00.000000Z",
    "2026-03-29T00:59:59.999999Z",
    "2026-03-29T01:00:00.000000Z",
    "2026-10-25T00:59:59.000000Z",
    "2026-10-25T01:00:00.000000Z",
    "2026-10-25T02:00:00.000000Z",
    "2026-12-31T23:30:00.000000Z",
    "9999-12-31T22:59:59.000000Z",
    "9999-12-31T23:00:00.000000Z",
)
HOSTILE = (
    "=1+1",
    "@SUM(A1)",
    ";=cmd|' /C calc'!A0",
    ', "+1',
    "\t=1",
    "\r\n-2",
    "\u202egnp.exe",
    "\u200b=\u200b1",
    "\uff1d1",
    "'\"\u00a0=1",
    "\u0085\x7f\x1b[31m",
    "\U000e0041\ufe0f",
    "a|b,c;d",
    "“é”𝒳\u0301",
)


def repacked(whole: bytes, level: int, strategy: int) -> bytes:
    """Return the container with its streamed members deflated another way."""

    def deflate(name: str, content: bytes) -> Packed | None:
        deflater = zlib.compressobj(level, zlib.DEFLATED, -15, 9, strategy)
        data = deflater.compress(content) + deflater.flush()
        return (data, len(content), zlib.crc32(content)) if name in STREAMED else None

    return assembled({MIMETYPE: MIMETYPE_CONTENT, **contents_of(whole)}, deflate)
