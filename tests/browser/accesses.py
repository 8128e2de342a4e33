"""Accesses of a week of made-up work, whose every figure is known: what the reader shows is held against them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from journal.extract.grounds import Authorisation
from journal.extract.manifest import Filter
from tests.support.extracts import World, march, noon

if TYPE_CHECKING:
    from datetime import datetime

MARTIN = {"account": "c.martin", "name": "Claire Martin", "role": "brigadier-chef", "unit": "PM Montreuil"}
UNAL = {"account": "n.unal", "name": "Noé Ünal", "role": "gardien-brigadier", "unit": "PM Montreuil"}
DUBOIS = {"account": "p.dubois", "name": "Pierre Dubois", "role": "ASVP", "unit": "PM Montreuil"}
LEROY = {"account": "e.leroy", "name": "Élodie Leroy", "role": "brigadier", "unit": "PM Montreuil"}

# Monday 2 March to Sunday 8 March 2026, one hour behind Paris.
FIRST, LAST = 2, 8
FOLLOWED, WATCHED = "MC-2026-00007", "MC-2026-00012"
BURST, LISTED = 12, 20
NIGHT, BUSY, DENIED = 3, 4, 5


def access(world: World, at: datetime, actor: dict[str, str], subject: str, motive: str = "", **changes: Any) -> None:
    """Record a consultation that happened then, unless `action`, `operation` or `outcome` say otherwise."""
    outcome, operation = changes.get("outcome", "success"), changes.get("operation", "view")
    data: dict[str, Any] = {"actor": actor, "outcome": outcome, "operation": operation}
    if motive:
        data["justification"] = motive
    kind = changes.get("action", "consultation")
    world.append(at, subject=subject, type=f"fr.openepm.journal.{kind}", data=data)


def _acts(number: int) -> list[tuple[Any, ...]]:
    """Return what happens on a day of March: time, agent, reference, motive, and what else is said."""
    day = march(number)
    acts: list[tuple[Any, ...]] = [
        (
            noon(day, hour=9, minutes=place),
            MARTIN,
            f"MC-2026-{100 + 10 * number + place:05d}",
            "Suite d’une plainte",
            {},
        )
        for place in range(3)
    ]
    if number < LAST:
        acts.append((noon(day, hour=15), LEROY, FOLLOWED, "Dossier suivi", {}))
    if number == NIGHT:
        acts += [(noon(day, hour=21, minutes=place), DUBOIS, WATCHED, "", {}) for place in (10, 20)]
    if number == BUSY:
        acts += [
            (noon(day, hour=13, seconds=20 * place), UNAL, f"MC-2026-{200 + place:05d}", "Relecture", {})
            for place in range(BURST)
        ]
    if number == DENIED:
        told = {"outcome": "denied"}
        acts += [(noon(day, hour=10, minutes=place), MARTIN, WATCHED, "Contrôle", told) for place in range(2)]
        exported = {"operation": "export"}
        acts += [
            (noon(day, hour=11), MARTIN, f"MC-2026-{300 + place:05d}", "Bilan", exported) for place in range(LISTED)
        ]
        acts.append((noon(day, hour=12), LEROY, WATCHED, "Clôture", {"action": "modification", "operation": "close"}))
    if number == LAST:
        acts.append((noon(day, hour=9, minutes=30), DUBOIS, WATCHED, "", {}))
    return sorted(acts, key=lambda act: act[0])


def week() -> World:
    """Live the week, on the eve of which nothing happened."""
    world = World()
    world.close(march(FIRST - 1))
    for number in range(FIRST, LAST + 1):
        for at, actor, subject, motive, changes in _acts(number):
            access(world, at, actor, subject, motive, **changes)
        world.close(march(number))
    return world


def week_extract(**changes: Any) -> bytes:
    """Return the extract of the whole week, asked for self-monitoring."""
    asked = {"purpose": "self-monitoring", **changes}
    return week().extract(march(FIRST), march(LAST), at=noon(march(LAST + 1)), **asked).pack()


def subject_extract(**changes: Any) -> bytes:
    """Return the extract of one reference, asked with an authorisation."""
    asked = {"authorisation": Authorisation("Maire de Montreuil", march(LAST), "DPO 2026-17"), **changes}
    selection = Filter(subject=WATCHED)
    world = week()
    return world.extract(march(FIRST), march(LAST), at=noon(march(LAST + 1)), selection=selection, **asked).pack()


def change_of_hour(day: int) -> bytes:
    """Return the extract of a day, counted from 1 March: a consultation each half hour of its first six, in UTC."""
    world = World()
    world.close(march(day - 1))
    for half in range(12):
        at = noon(march(day), hour=0, minutes=30 * half)
        access(world, at, MARTIN, f"MC-{half}")
    world.close(march(day))
    return world.extract(march(day), march(day), at=noon(march(day + 1))).pack()


def crowd_extract(agents: int, motives: int) -> bytes:
    """Return the extract of a day on which so many agents consulted one reference, the first for so many motives."""
    world, day = World(), march(FIRST)
    world.close(march(FIRST - 1))
    for number in range(motives):
        access(world, noon(day, hour=8), {"account": "agent.0"}, WATCHED, f"Motif {number}")
    for number in range(1, agents):
        access(world, noon(day, hour=9), {"account": f"agent.{number}"}, WATCHED)
    world.close(day)
    return world.extract(day, day, at=noon(march(FIRST + 1))).pack()


def many_accesses(count: int, days: int = 50) -> bytes:
    """Return an extract of so many entries over so many days, of forty agents and thirty thousand references."""
    world = World()
    actors = [
        {"account": f"agent.{one:02d}", "name": f"Prénom{one} Nom{one}", "role": "brigadier"} for one in range(40)
    ]
    motives = ("Suite d’une plainte", "Contrôle routier", "Vérification avant transmission", "")
    each, number = count // days, 0
    for day in range(1, days + 1):
        for place in range(each):
            at = noon(march(day), hour=5) + timedelta(seconds=54000 * place / each)
            actor, reference = actors[number * 7 % 40], f"MC-2026-{number * 7919 % 30000:05d}"
            access(world, at, actor, reference, motives[number // 40 % 4])
            number += 1
        world.close(march(day))
    return world.extract(march(1), march(days), at=noon(march(days + 1))).pack()
