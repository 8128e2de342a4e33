"""Extracts of every kind an honest service makes, each made once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING
from zipfile import ZipFile

from journal.core.entry import JOURNAL_CATEGORY, Compartment
from journal.core.seal import parse_seal
from journal.extract.grounds import Authorisation, Person
from journal.extract.layout import DOCUMENT, MIMETYPE
from journal.extract.manifest import Filter, Request
from tests.support import authority, stamps
from tests.support.extracts import Extract, World, march, noon, sample

if TYPE_CHECKING:
    from collections.abc import Callable


def _purging(last: int, *, retention_days: int = 3, through: int = 99) -> World:
    """Return a chain that purged each night what it might, up to a day."""
    world = World(retention_days=retention_days)
    for number in range(1, last + 1):
        world.append(noon(march(number)))
        due = number - (retention_days - 1)
        if 1 <= due <= through:
            world.purge(march(due))
        world.close(march(number))
    return world


def _purged_within() -> Extract:
    world = _purging(5)
    world.append(noon(march(6)))
    world.purge(march(4))
    return world.extract(march(3), march(6), at=noon(march(6), hour=13))


def _purged_whole() -> Extract:
    world = _purging(8)
    extract = world.extract(march(2), march(3), at=noon(march(9)))
    return replace(extract, manifest=replace(extract.manifest, base=world.head(3), disclosed=0), records=[], proof=[])


def _purged_long_ago() -> Extract:
    world = _purging(8)
    world.append(noon(march(9)))
    world.purge(march(7))
    seals = [world.closes[march(7)], world.closes[march(8)], world.seal(noon(march(9), hour=13))]
    at = noon(march(9), hour=14)
    return world.extract(march(2), march(3), at=at, seals=seals, base=world.head(7), head=world.head(7))


def _forgotten_heads() -> Extract:
    world = _purging(5)
    world.append(noon(march(6)))
    world.purge(march(4))
    seals = [world.closes[march(4)], world.closes[march(5)], world.seal(noon(march(6), hour=13))]
    return world.extract(march(1), march(6), at=noon(march(6), hour=14), seals=seals, base=world.head(4))


def _today() -> Extract:
    world = World().live(1, 3)
    world.append(noon(march(4)))
    return world.extract(march(3), march(4), at=noon(march(4), hour=13))


def _first_day() -> Extract:
    world = World()
    world.append(noon(march(4)))
    return world.extract(march(1), march(4), at=noon(march(4), hour=13))


def _requests() -> Extract:
    world = World(compartment=Compartment(authority.SERVICE, "montreuil", JOURNAL_CATEGORY)).live(1, 2)
    request = Request(world.append(noon(march(3))), world.leaf(4))
    return world.extract(march(2), march(3), at=noon(march(3), hour=13), request=request)


def _with_everything() -> Extract:
    extract = sample(
        authorisation=Authorisation("Parquet de Montreuil", march(2), "parquet 12/2026"),
        person=Person("Jeanne Obé", "cheffe de service"),
    )
    extract.parts[DOCUMENT] = b"%PDF-1.7\nrien"
    extract.seals[0] = replace(extract.seals[0], timestamp=b"token")
    return extract


def _declared_loss() -> Extract:
    world = World().live(1, 3)
    world.close(march(4), recovered_from=2)
    return world.extract(march(3), march(4), at=noon(march(5)))


def _hostile_texts() -> Extract:
    world = World()
    texts = ("=1+1", "\t-2", 'a;"=3"', "\u202egnp.exe", "é\u0301 👮", "x\r\ny", "\uff1d1", "a,\u3000@b")
    for number, text in enumerate(texts):
        data = {"actor": {"account": text, "badge": [text]}, "fields": [text, "b"], "x": {'=1,"-2': text}}
        world.append(noon(march(2), minutes=number), subject=text, data=data if number % 2 else text, extension=True)
    world.close(march(2))
    return world.extract(march(2), march(2), at=noon(march(3)))


def _late_purge() -> Extract:
    world = World(retention_days=3).live(1, 4, entries=1)
    world.append(noon(march(5)))
    world.purge(march(3))
    return world.extract(march(1), march(5), at=noon(march(5), hour=13))


def _lowered_retention() -> Extract:
    world = World(retention_days=60).live(1, 5, entries=1)
    world.retention_days = 3
    world.purge(march(4))
    return world.extract(march(2), march(5), at=noon(march(6), hour=13))


def _retention_lengthened() -> Extract:
    """A chain that began within the period, purged under 2 days, and then kept for 60: nobody is accused."""
    world = World(retention_days=2)
    for number in (1, 2):
        world.append(noon(march(number)))
        if number == 2:
            world.purge(march(1))
        world.close(march(number))
    world.retention_days = 60
    world.live(3, 7, entries=0)
    return world.extract(march(1), march(2), at=noon(march(8)))


def _time_stamped() -> Extract:
    extract = sample()
    *closes, last = extract.seals
    stamped = [
        replace(seal, timestamp=stamps.stamp(seal.text, at=parse_seal(seal.text).sealed_at + timedelta(seconds=2)))
        for seal in closes
    ]
    extract.seals = [*stamped, last]
    return extract


STAMPED = "time-stamped"
KINDS: dict[str, Callable[[], Extract]] = {
    "complete": sample,
    "by account": lambda: sample(selection=Filter(account="agent-1")),
    "by subject and action": lambda: sample(selection=Filter(subject="main-courante/3", action="consultation")),
    "all withheld": lambda: sample(selection=Filter(withhold_all=True)),
    "empty": lambda: World().live(1, 3, entries=0).extract(march(2), march(3), at=noon(march(4))),
    "today": _today,
    "first day of a chain": _first_day,
    "chain that begins within": lambda: World().live(3, 4).extract(march(1), march(4), at=noon(march(5))),
    "purged within": _purged_within,
    "purged whole": _purged_whole,
    "purged long ago": _purged_long_ago,
    "forgotten heads": _forgotten_heads,
    "late purge": _late_purge,
    "retention lowered": _lowered_retention,
    "retention lengthened": _retention_lengthened,
    "requests": _requests,
    STAMPED: _time_stamped,
    "document and time-stamp": _with_everything,
    "declared loss": _declared_loss,
    "hostile texts": _hostile_texts,
}


@cache
def parts(name: str) -> Extract:
    """Return the parts of an extract of a kind, before they are packed."""
    return KINDS[name]()


@cache
def container(name: str) -> bytes:
    """Return an extract of a kind."""
    return parts(name).pack()


@cache
def members(name: str) -> dict[str, bytes]:
    """Return the members of an extract of a kind, by name; do not change them."""
    with ZipFile(BytesIO(container(name))) as archive:
        return {member: archive.read(member) for member in archive.namelist() if member != MIMETYPE}
