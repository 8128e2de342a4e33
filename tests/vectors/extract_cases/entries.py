"""Entries, proof and table that do not agree with each other or with the chain, signed by the service."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from journal.core import canonical
from journal.core.chain import Head
from journal.core.entry import Compartment
from journal.extract.layout import ENTRIES, PROOF, TABLE
from journal.extract.listing import disclosed_line, withheld_line
from journal.extract.manifest import Filter
from tests.support import authority
from tests.support.extracts import COMPARTMENT, march, noon
from tests.vectors.extract_cases.case import Case, Small, lived, refused, short, signed, with_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.extracts import Extract

GAP, FOREIGN, BROKEN, MALFORMED, MISMATCHED = (
    "gap",
    "foreign entry",
    "broken chain",
    "malformed",
    "mismatched part",
)


def cases() -> Iterator[Case]:
    """Yield them."""
    yield from _indexes()
    yield from _lines()
    yield from _chain()
    yield from _foreign()
    yield from _table()


def altered(change: Callable[[Extract], object], extract: Extract | None = None) -> bytes:
    """Return an extract with one change made to its parts before it is signed."""
    extract = extract or lived()
    change(extract)
    return signed(extract)


def _indexes() -> Iterator[Case]:
    for place, name in enumerate(("first", "second", "third", "last")):
        extract = lived()
        extract.proof.pop(place)
        extract.records.pop(place)
        yield refused(
            f"{name}-entry-removed", f"The {name} entry is missing from entries, proof and table.", extract, GAP, PROOF
        )
    swapped = lived()
    swapped.proof[1:3] = swapped.proof[2:0:-1]
    yield refused("proof-lines-swapped", "Two lines of the proof are swapped.", swapped, GAP, PROOF)
    whole = altered(lambda extract: extract.proof.insert(1, extract.proof[0]))
    yield refused("proof-line-twice", "A line of the proof stands twice.", whole, FOREIGN, PROOF)
    whole = altered(lambda extract: extract.proof.append(withheld_line(6, bytes(32))))
    yield refused("proof-line-more", "A line follows the last index.", whole, MISMATCHED, PROOF)
    about = "The last record is missing from entries and table, not from the proof."
    yield refused("record-missing", about, altered(lambda extract: extract.records.pop()), MISMATCHED, ENTRIES)
    more = lived()
    table = more.contents()[TABLE]
    more.records.append(more.records[-1])
    yield refused("record-more", "A record follows the last.", with_parts(more, {TABLE: table}), MISMATCHED, ENTRIES)
    filtered = lived(selection=Filter(action="consultation"))
    other = replace(filtered, manifest=replace(filtered.manifest, filter=Filter(action="erasure")))
    about = "Entries are disclosed that the filter does not ask for."
    yield refused("disclosed-beyond-the-filter", about, other, MISMATCHED, "entries.ndjson index 2")


def _lines() -> Iterator[Case]:
    line = short().proof[1]
    for name, about, changed in (
        ("space", "A space follows a colon.", line.replace(b":", b": ", 1)),
        ("index-padded", "An index has a leading zero.", line.replace(b":1,", b":01,")),
        ("salt-in-capitals", "A salt is in capitals.", b'{"index":1,"salt":"' + b"AB" * 16 + b'"}\n'),
        ("salt-and-leaf", "A line has salt and leaf hash.", line[:-2] + b',"leaf":"' + b"ab" * 32 + b'"}\n'),
        ("empty-line", "A line is empty.", b"\n"),
        ("cr-lf", "A line ends in CR LF.", line[:-1] + b"\r\n"),
    ):
        whole = altered(lambda extract, changed=changed: extract.proof.__setitem__(1, changed), short())
        yield refused(f"proof-{name}", about, whole, MALFORMED, PROOF)
    proof = b"".join(short().proof)
    whole = with_parts(short(), {PROOF: proof[:-1]})
    yield refused("proof-cut-short", "The last line of the proof lacks its LF.", whole, MALFORMED, PROOF)
    record = short().records[1]
    value = json.loads(record)
    for name, about, changed in (
        ("space", "A space follows a record.", record + b" "),
        ("escape", "A letter of a record is spelt as an escape.", record.replace(b"brigadier", b"\\u0062rigadier")),
        ("unknown-member", "A record has a member there is not.", record[:-1] + b',"w":1}'),
        ("version-2", "A record is of version 2.", record[:-2] + b"2}"),
        ("event-without-id", "An event has no identifier.", _without(value, "id")),
        (
            "event-other-time",
            "An event's time has no fraction.",
            re.sub(rb'("time":"[^"]+)\.000000Z"', rb'\1Z"', record),
        ),
        ("too-long", "A record has 20,481 bytes.", _filled(value, 20_481)),
    ):
        assert changed != record, name
        extract = short()
        table = extract.contents()[TABLE]
        extract.records[1] = changed
        yield refused(f"record-{name}", about, with_parts(extract, {TABLE: table}), MALFORMED, ENTRIES)


def _without(value: dict[str, Any], name: str) -> bytes:
    event = {key: member for key, member in value["event"].items() if key != name}
    return canonical.encode({**value, "event": event})


def _filled(value: dict[str, Any], count: int) -> bytes:
    missing = count - len(canonical.encode({**value, "event": {**value["event"], "pad": ""}}))
    return canonical.encode({**value, "event": {**value["event"], "pad": "x" * missing}})


def _chain() -> Iterator[Case]:
    whole = altered(lambda extract: extract.proof.__setitem__(0, disclosed_line(2, bytes(16))))
    yield refused("other-salt", "A salt is another.", whole, BROKEN, PROOF)
    withheld = lived(selection=Filter(withhold_all=True))
    withheld.proof[3] = withheld_line(5, bytes(32))
    yield refused("other-leaf", "The leaf hash of a withheld entry is another.", withheld, BROKEN, PROOF)
    changed = lived()
    value = json.loads(changed.records[2])
    value["event"]["data"]["actor"]["account"] = "agent-9"
    changed.records[2] = canonical.encode(value)
    yield refused(
        "other-record", "An account was replaced in an entry, and the table made anew.", changed, BROKEN, PROOF
    )
    world = Small()
    world.append(noon(march(1)))
    wrong = Head(1, bytes(32))
    world.close(march(1), chain_hash=wrong.chain_hash)
    world.live(2, 2)
    about = "The close seal of the eve has a chain hash that the entries do not follow from."
    extract = world.extract(march(2), march(2), at=noon(march(3)), base=wrong)
    yield refused("base-does-not-carry", about, extract, BROKEN, PROOF)


def foreign(compartment: Compartment = COMPARTMENT, *, index: int = 2, **changes: Any) -> bytes:
    """Return an extract whose chain itself holds a record that says something else of itself."""
    world = Small().live(1, 1)
    other = Small(compartment=compartment)
    other.records = [b""] * index
    other.chain *= index + 1
    other.salts = [b""] * index
    other.append(changes.pop("at", noon(march(2))))
    world.append_record(other.records[-1])
    world.close(march(2))
    return signed(world.extract(march(2), march(2), at=noon(march(3))))


def _foreign() -> Iterator[Case]:
    service = authority.SERVICE
    midnight = noon(march(2), hour=0)
    for name, about, extract in (
        ("tenant", "An entry of another tenant.", foreign(Compartment(service, "bagnolet", "main-courante"))),
        ("category", "An entry of another category.", foreign(Compartment(service, "montreuil", "ecrits"))),
        ("index", "An entry that says another index.", foreign(index=3)),
        ("day-before", "An entry of the day before.", foreign(at=midnight - timedelta(microseconds=1))),
        ("day-after", "An entry of the day after.", foreign(at=midnight + timedelta(days=1))),
    ):
        yield refused(
            f"foreign-{name}", f"{about} Chained and sealed by the service.", extract, FOREIGN, "entries.ndjson index 2"
        )
    world = Small().live(1, 1)
    world.append(noon(march(2)))
    world.append(noon(march(2)) - timedelta(microseconds=1))
    world.close(march(2))
    about = "An entry recorded a microsecond before the one above it. Chained and sealed by the service."
    extract = world.extract(march(2), march(2), at=noon(march(3)))
    yield refused("foreign-order", about, extract, FOREIGN, "entries.ndjson index 3")


def _table() -> Iterator[Case]:
    rows = short().contents()[TABLE].splitlines(keepends=True)
    for name, about, changed in (
        ("without-columns", "The line of the columns is missing.", rows[1:]),
        ("without-mark", "The byte order mark is missing.", [rows[0][3:], *rows[1:]]),
        ("line-missing", "The last line is missing.", rows[:-1]),
        ("line-more", "A line stands twice.", [*rows, rows[-1]]),
        ("lines-swapped", "Two lines are swapped.", [rows[0], rows[2], rows[1], *rows[3:]]),
        ("other-account", "An account is another.", [*rows[:2], rows[2].replace(b"agent", b"Agent"), *rows[3:]]),
        (
            "other-word",
            "An action's word is another.",
            [*rows[:2], rows[2].replace(b"consultation", b"effacement"), *rows[3:]],
        ),
        ("lf-alone", "Lines end in LF alone.", [row.replace(b"\r\n", b"\n") for row in rows]),
        ("empty", "The table is empty.", []),
    ):
        whole = with_parts(short(), {TABLE: b"".join(changed)})
        yield refused(f"table-{name}", f"{about} Signed by the service.", whole, MISMATCHED, TABLE)
    world = Small().live(1, 1)
    world.append(noon(march(2)), subject="=1+1")
    world.close(march(2))
    formula = world.extract(march(2), march(2), at=noon(march(3)))
    unsafe = formula.contents()[TABLE].replace(b"'=1+1", b"=1+1")
    about = "A cell is a formula, as the entry says it, unguarded. Signed by the service."
    yield refused("table-formula", about, with_parts(formula, {TABLE: unsafe}), MISMATCHED, TABLE)
