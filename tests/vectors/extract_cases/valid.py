"""Extracts that verify, one of every kind: also what looks odd and is lawful."""

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
from journal.extract.layout import DOCUMENT, MIMETYPE, MIMETYPE_CONTENT, STREAMED, Member, write_directory
from journal.extract.manifest import Filter, Request
from journal.seals.identity import SigningIdentity
from tests.support import authority
from tests.support.extracts import march, noon
from tests.vectors.extract_cases.case import MADE_AT, SIGNER, Case, Small, facts, lived, members, signed, with_parts

if TYPE_CHECKING:
    from collections.abc import Iterator


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
    yield Case(name="unfiltered", about="A day, every entry disclosed.", extract=signed(lived()), facts=facts(4))
    for member, value, count in (
        ("account", "agent-1", 1),
        ("subject", "main-courante/3", 1),
        ("action", "consultation", 4),
        ("action", "erasure", 0),
    ):
        yield Case(
            name=f"filtered-by-{member}" + ("-none" if not count else ""),
            about=f"Entries whose {member} is another are withheld.",
            extract=signed(lived(selection=Filter(**{member: value}))),
            facts=facts(count, 4 - count),
        )
    yield Case(
        name="filtered-by-all-three",
        about="An entry is disclosed where it equals the filter in every member.",
        extract=signed(lived(selection=Filter(account="agent-0", subject="main-courante/3", action="consultation"))),
        facts=facts(1, 3),
    )
    yield Case(
        name="auditor",
        about="Everything is withheld: the proof without its content.",
        extract=signed(lived(selection=Filter(withhold_all=True))),
        facts=facts(0, 4),
    )
    yield Case(
        name="document",
        about="With the people's view, a signed PDF, which is signed again by the extract and compared with nothing.",
        extract=documented(),
        facts=facts(4),
    )
    yield Case(
        name="empty",
        about="A period without entries, of a chain without entries.",
        extract=signed(Small().live(1, 3, entries=0).extract(march(2), march(3), at=noon(march(4)))),
        facts=facts(0),
    )
    yield Case(
        name="empty-days",
        about="A period without entries, in a chain that has some before and after it.",
        extract=signed(
            Small().live(1, 1).live(2, 3, entries=0).live(4, 4).extract(march(2), march(3), at=noon(march(5)))
        ),
        facts=facts(0),
    )
    yield Case(
        name="authorised",
        about="With the reference of an authorisation, and no reference of the requester's own.",
        extract=signed(lived(authorisation="TJ Bobigny 2026/7 é", request=Request(9, bytes(32)))),
        facts=facts(4),
    )
    world = Small(compartment=Compartment(authority.SERVICE, "montreuil", JOURNAL_CATEGORY)).live(1, 2)
    request = Request(world.append(noon(march(3)), type="fr.openepm.journal.service.extract"), world.leaf(4), "R 1")
    yield Case(
        name="journal-with-its-request",
        about="An extract of the category journal that holds the entry of its own request.",
        extract=signed(world.extract(march(2), march(3), at=noon(march(3), hour=13), request=request)),
        facts=facts(3, covered_until=noon(march(3), hour=13)),
    )


class _Identity(SigningIdentity):
    """The vectors' signer, as who lays out the document wants it; what it signs twice is the same."""

    def sign_raw(self, data: bytes) -> bytes:
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
        manifest_sha256=sha256(manifest.encode()).hexdigest(),
        first_seal=1,
        last_seal=4,
        sealed_at=MADE_AT,
        covered_at=None,
        purged=None,
    )
    content = document_content(manifest, gathered, circumstances)
    document = asyncio.run(render(content, _Identity(key, [SIGNER.certificate]), manifest.issued_at))
    return with_parts(extract, {DOCUMENT: document})


def _periods() -> Iterator[Case]:
    world = Small().live(1, 3)
    world.append(noon(march(4)))
    yield Case(
        name="until-today",
        about="The period ends on the day of the extract: covered until the open seal.",
        extract=signed(world.extract(march(3), march(4), at=noon(march(4), hour=13))),
        facts=facts(3, covered_until=noon(march(4), hour=13)),
    )
    yield Case(
        name="today-only",
        about="The day of the extract alone, begun by the close seal of its eve.",
        extract=signed(world.extract(march(4), march(4), at=noon(march(4), hour=14))),
        facts=facts(1, covered_until=noon(march(4), hour=14)),
    )
    world = Small()
    world.append(noon(march(4)))
    yield Case(
        name="first-day",
        about="A chain on its first day: no close seal, one open seal.",
        extract=signed(world.extract(march(1), march(4), at=noon(march(4), hour=13))),
        facts=facts(1, covered_until=noon(march(4), hour=13)),
    )
    yield Case(
        name="young-tenant",
        about="A tenant younger than the period: the list begins with the chain's first close seal.",
        extract=signed(Small().live(3, 4).extract(march(1), march(4), at=noon(march(5)))),
        facts=facts(4),
    )
    yield Case(
        name="from-the-first-seal-on",
        about="The service's first days: seal 1 has none before it.",
        extract=signed(Small().live(1, 2).extract(march(1), march(2), at=noon(march(3)))),
        facts=facts(4),
    )
    yield Case(
        name="long-ago",
        about="An extract of days long closed: seals that are not listed stand between.",
        extract=signed(Small().live(1, 8, entries=1).extract(march(2), march(3), at=noon(march(9)))),
        facts=facts(2),
    )
    world = Small()
    world.append(noon(march(2), hour=0))
    world.append(noon(march(2), hour=0))
    world.append(noon(march(3), hour=0) - timedelta(microseconds=1))
    world.close(march(2))
    yield Case(
        name="edges-of-a-day",
        about="Entries at midnight, two at one time, and one in the last microsecond of the day.",
        extract=signed(world.extract(march(2), march(2), at=noon(march(3)))),
        facts=facts(3),
    )


def _purges() -> Iterator[Case]:
    world = purging(5, 3)
    world.append(noon(march(6)))
    world.purge(march(4))
    yield Case(
        name="partly-purged",
        about="The first days of the period are lawfully purged.",
        extract=signed(world.extract(march(3), march(6), at=noon(march(6), hour=13))),
        facts=facts(2, purged_through=march(4), covered_until=noon(march(6), hour=13)),
    )
    fresh = world.seal(noon(march(6), hour=14))
    seals = [world.closes[march(4)], world.closes[march(5)], fresh]
    yield Case(
        name="partly-purged-heads-forgotten",
        about="The list begins with the close seal of the last day purged, the heads before it being forgotten.",
        extract=signed(world.extract(march(1), march(6), at=noon(march(6), hour=15), seals=seals, base=world.head(4))),
        facts=facts(2, purged_through=march(4), covered_until=noon(march(6), hour=14)),
    )
    world = purging(8, 6)
    whole = world.extract(march(2), march(3), at=noon(march(9)))
    yield Case(
        name="wholly-purged",
        about="Every day of the period is purged, its close seals still listed.",
        extract=signed(
            replace(whole, manifest=replace(whole.manifest, base=world.head(3), disclosed=0), records=[], proof=[])
        ),
        facts=facts(0, purged_through=march(3)),
    )
    world.append(noon(march(9)))
    world.purge(march(7))
    seals = [world.closes[march(7)], world.seal(noon(march(9), hour=13))]
    yield Case(
        name="wholly-purged-heads-forgotten",
        about="The one close seal listed is after the period: up to its day the chain is purged.",
        extract=signed(
            world.extract(
                march(2), march(3), at=noon(march(9), hour=14), seals=seals, base=world.head(7), head=world.head(7)
            )
        ),
        facts=facts(0, purged_through=march(7)),
    )
    world = Small(retention_days=3).live(1, 4, entries=1)
    world.append(noon(march(5)))
    world.purge(march(3))
    yield Case(
        name="late-purge-since-done",
        about="A purge was late in earlier seals, and is done in the last: told, not refused.",
        extract=signed(world.extract(march(1), march(5), at=noon(march(5), hour=13))),
        facts=facts(2, purged_through=march(3), covered_until=noon(march(5), hour=13)),
    )
    world = purging(5, 3)
    world.retention_days = 60
    yield Case(
        name="longer-retention-later",
        about="What was purged under a shorter retention stays lawfully so under a longer one.",
        extract=signed(world.extract(march(2), march(5), at=noon(march(6)))),
        facts=facts(2, purged_through=march(3)),
    )
    world = Small(retention_days=60).live(1, 5, entries=1)
    world.retention_days = 3
    world.purge(march(4))
    yield Case(
        name="shorter-retention-later",
        about="A shorter retention takes effect at once: more is purged than the day before could be.",
        extract=signed(world.extract(march(2), march(5), at=noon(march(6)))),
        facts=facts(1, purged_through=march(4)),
    )


def _seals() -> Iterator[Case]:
    yield Case(
        name="one-intermediate",
        about="The extract's certificate stands under an intermediate.",
        extract=signed(lived(), chain=authority.CHAIN),
        facts=facts(4),
    )
    upper = authority.issue("Upper", authority.new_key(4), issuer=authority.ROOT, extensions=authority.AUTHORITY)
    lower = authority.issue("Lower", authority.new_key(5), issuer=upper, extensions=authority.AUTHORITY)
    deep = authority.issue("Seals and extracts", authority.new_key(3), issuer=lower)
    yield Case(
        name="two-intermediates",
        about="The extract's certificate stands under two intermediates.",
        extract=signed(lived(), chain=(deep, lower, upper)),
        facts=facts(4),
    )
    until = noon(march(3))
    retired = authority.issue("Seals, until March", authority.new_key(7), issuer=authority.ROOT, end=until)
    renewed = authority.issue("Seals, from March on", authority.new_key(8), issuer=authority.ROOT, begin=until)
    world = Small().live(1, 1)
    for day in (2, 3):
        world.append(noon(march(day)))
        world.close(march(day), chain=(retired,) if day == 2 else (renewed,))
    rotated = world.extract(march(2), march(3), at=noon(march(5)), seals=[*world.seals, world.seal(noon(march(5)))])
    yield Case(
        name="signer-renewed",
        about="Another key and certificate sign from the third day on; the first has expired by then.",
        extract=signed(rotated, chain=(renewed,)),
        facts=facts(2),
    )
    yield Case(
        name="two-anchors",
        about="Several certificates are trusted, with text around them in their file.",
        extract=signed(lived()),
        trust="both.pem",
        facts=facts(4),
    )
    world = Small().live(1, 3, entries=1)
    world.append(noon(march(4)))
    world.close(march(4), recovered_from=2)
    yield Case(
        name="declared-loss",
        about="A seal declares a disaster, after the seal that survived it.",
        extract=signed(world.extract(march(3), march(4), at=noon(march(5)))),
        facts=facts(2),
    )
    yield Case(
        name="lone-chain",
        about="The service's only chain: the path is empty.",
        extract=signed(Small(other_chains=0).live(1, 2).extract(march(2), march(2), at=noon(march(3)))),
        facts=facts(2),
    )
    yield Case(
        name="among-many-chains",
        about="Among 300 chains: a path of some ten hashes.",
        extract=signed(Small(other_chains=300).live(1, 2).extract(march(2), march(2), at=noon(march(3)))),
        facts=facts(2),
    )


def _bytes() -> Iterator[Case]:
    world = Small().live(1, 1)
    for number, text in enumerate(HOSTILE):
        world.append(noon(march(2), minutes=number), subject=f"s{text}", id=f"{number}{text}", note=text)
    world.close(march(2))
    yield Case(
        name="hostile-text",
        about="Formulas, separators, quotation marks, unseen and reordering characters, and members without a column.",
        extract=signed(world.extract(march(2), march(2), at=noon(march(3)), requester="\u202e\x1b[2J<script>'\"&é𝒳")),
        facts=facts(len(HOSTILE)),
    )
    world = Small().live(1, 1)
    odd = {"data": [1, True, {"a": "b"}], "type": "x", "sequence": "7", "traceparent": "00-ab", "subject": 12}
    world.append(noon(march(2)), **odd)
    world.append(noon(march(2)), data={"actor": "nobody", "client": ["x"], "fields": ["a", 1], "outcome": 3})
    world.append(noon(march(2)), data={"actor": {"account": {"x": []}, "rank": 1}, "recipients": ["a", "b"]})
    world.close(march(2))
    yield Case(
        name="odd-events",
        about="Events that only a later version would write: the table shows whatever there is.",
        extract=signed(world.extract(march(2), march(2), at=noon(march(3)))),
        facts=facts(3),
    )
    world = Small().live(1, 1)
    for number in range(400):
        world.append(noon(march(2), seconds=number), subject="x" * 200)
    world.close(march(2))
    many = world.extract(march(2), march(2), at=noon(march(3)))
    yield Case(
        name="many-pieces",
        about="Members longer than any reader's piece: 400 entries, some 300 KB inflated.",
        extract=signed(many),
        facts=facts(400),
    )
    for name, level, strategy in (
        ("deflate-stored", 0, zlib.Z_DEFAULT_STRATEGY),
        ("deflate-fixed", 9, zlib.Z_FIXED),
    ):
        yield Case(
            name=name,
            about="The same members, deflated another way: a writer may choose how.",
            extract=repacked(signed(lived()), level, strategy),
            facts=facts(4),
        )


# Each stands in a subject, an identifier and a member of its own.
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
    packed, made = b"", []
    for name, content in {MIMETYPE: MIMETYPE_CONTENT, **members(whole)}.items():
        data = content
        if name in STREAMED:
            deflater = zlib.compressobj(level, zlib.DEFLATED, -15, 9, strategy)
            data = deflater.compress(content) + deflater.flush()
        member = Member(name, len(packed), zlib.crc32(content), len(data), len(content))
        made.append(member)
        packed += member.local_header + data + member.descriptor
    return packed + write_directory(made)
