"""What anyone, or the service itself, could do to the bytes, values and lists of an extract."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from journal.core import canonical
from journal.core.chain import Head, genesis
from journal.core.seal import parse_seal
from journal.extract.layout import ENTRIES, MANIFEST, NAMES, PROOF, SEALS, TABLE
from journal.extract.manifest import Filter, Request
from tests.browser.kinds import KINDS, STAMPED, container, members, parts
from tests.support import stamps
from tests.support.extracts import pack

if TYPE_CHECKING:
    from random import Random

    from journal.extract.manifest import Manifest

DAY = timedelta(days=1)
SIGNED_MEMBERS = (ENTRIES, PROOF, SEALS, MANIFEST, TABLE)


def mutate(random: Random, data: bytes) -> bytes:
    """Return other bytes: one changed, some gone, some more, some twice, two places exchanged."""
    place = random.randrange(len(data) + 1)
    length = random.choice((1, 1, 2, 4, 32, len(data)))
    cut = data[place : place + length]
    match random.randrange(7):
        case 0 | 1 if place < len(data):
            return data[:place] + bytes([data[place] ^ 1 << random.randrange(8)]) + data[place + 1 :]
        case 2 if place < len(data):
            return data[:place] + bytes([random.randrange(256)]) + data[place + 1 :]
        case 3:
            return data[:place] + data[place + length :]
        case 4:
            return data[:place] + random.randbytes(min(length, 40)) + data[place:]
        case 5:
            return data[:place] + cut + cut + data[place + length :]
        case _:
            other = random.randrange(len(data) + 1)
            return data[:other] + cut + data[other + len(cut) :]


def container_bytes(random: Random, name: str) -> bytes:
    """Anyone: other bytes of the file."""
    return mutate(random, container(name))


def member_bytes(random: Random, name: str) -> bytes:
    """Anyone: other bytes of a member, in a container that is whole again."""
    contents = dict(members(name))
    member = random.choice(list(contents))
    return pack({**contents, member: mutate(random, contents[member])})


def exchanged(random: Random, name: str) -> bytes:
    """Anyone: some members of one extract with the others of another."""
    other = members(random.choice(list(KINDS)))
    contents = dict(members(name))
    for member in random.sample(NAMES, random.randrange(1, 4)):
        if member in other:
            contents[member] = other[member]
        else:
            contents.pop(member, None)
    return pack(contents)


def signed(name: str, **others: bytes) -> bytes:
    """Return an extract of a kind with other members, digested and signed."""
    extract = parts(name)
    return replace(extract, parts={**extract.parts, **others}).pack()


def signed_bytes(random: Random, name: str) -> bytes:
    """The service: other bytes of a member, signed."""
    member = random.choice(SIGNED_MEMBERS)
    return signed(name, **{member: mutate(random, members(name)[member])})


def signed_exchange(random: Random, name: str) -> bytes:
    """The service: a member of another extract, signed."""
    member = random.choice(SIGNED_MEMBERS)
    return signed(name, **{member: members(random.choice(list(KINDS)))[member]})


def alter(random: Random, value: Any) -> Any:
    """Return a JSON value with one member, somewhere, of another value."""
    if isinstance(value, dict) and value:
        return _alter_member(random, value)
    if isinstance(value, list) and value and random.random() < 0.8:
        return _alter_item(random, value)
    return another(random, value)


def _alter_member(random: Random, value: dict[str, Any]) -> dict[str, Any]:
    name, chance = random.choice(list(value)), random.random()
    if chance < 0.06:
        return {key: item for key, item in value.items() if key != name}
    if chance < 0.1:
        return {**value, random.choice(("more", "x", "__proto__", "10", "9")): another(random, value[name])}
    return {**value, name: alter(random, value[name])}


def _alter_item(random: Random, value: list[Any]) -> list[Any]:
    place = random.randrange(len(value))
    match random.randrange(5):
        case 0:
            return value[:place] + value[place + 1 :]
        case 1:
            return [*value[: place + 1], *value[place:]]
        case 2:
            return random.sample(value, len(value))
        case _:
            return [*value[:place], alter(random, value[place]), *value[place + 1 :]]


def another(random: Random, value: Any) -> Any:
    """Return another value, mostly of the same type."""
    if random.random() < 0.08:
        return random.choice((0, 1, -1, "", "x", [], {}, True, False, 2**53 - 1, "é", "\u2028"))
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return random.choice((value + 1, value - 1, 0, 2 * value, value + random.randrange(100)))
    if isinstance(value, str) and value:
        place = random.randrange(len(value))
        letters = "0123456789abcdef" if random.random() < 0.7 else "ghZ _-\n\0\ud800é=@\u202e"
        return value[:place] + random.choice(letters) + value[place + random.randrange(2) :]
    return value


def _spell(value: Any) -> bytes:
    """Return canonical JSON, or something near where the value has none."""
    try:
        return canonical.encode(value)
    except ValueError:
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def signed_values(random: Random, name: str) -> bytes:
    """The service: another value somewhere in a member, spelt rightly and signed."""
    member = random.choice((ENTRIES, PROOF, SEALS, MANIFEST, MANIFEST))
    data = members(name)[member]
    if member in (ENTRIES, PROOF):
        lines = data.splitlines()
        if lines:
            place = random.randrange(len(lines))
            lines[place] = _spell(alter(random, json.loads(lines[place])))
        data = b"".join(line + b"\n" for line in lines)
    else:
        data = _spell(alter(random, json.loads(data)))
    return signed(name, **{member: data})


def signed_tokens(random: Random, name: str) -> bytes:
    """The service, or the authority of time: other bytes in a time-stamp, or another's, in a signed extract."""
    extract = parts(STAMPED)
    place = random.randrange(len(extract.seals) - 1)
    token = extract.seals[place].timestamp
    assert token is not None
    if random.random() < 0.2:
        token = extract.seals[random.randrange(len(extract.seals) - 1)].timestamp
    elif random.random() < 0.3:
        late = random.choice((-301, -300, 0, 10**5, 86400 * 400)) * timedelta(seconds=1)
        token = stamps.stamp(extract.seals[place].text, at=parse_seal(extract.seals[place].text).sealed_at + late)
    else:
        token = mutate(random, token)
    seals = list(extract.seals)
    seals[random.choice((place, place, place, -1))] = replace(extract.seals[place], timestamp=token)
    del name
    return replace(extract, seals=seals).pack()


def signed_lists(random: Random, name: str) -> bytes:
    """The service: seals, records, proof lines left out, doubled, exchanged; all derived parts right again."""
    extract, other = parts(name), parts(random.choice(list(KINDS)))
    changed = replace(extract, records=list(extract.records), proof=list(extract.proof), seals=list(extract.seals))
    for _ in range(random.choice((1, 1, 2))):
        match random.randrange(4):
            case 0:
                _edit(random, changed.records, other.records)
            case 1:
                _edit(random, changed.proof, other.proof)
            case _:
                _edit(random, changed.seals, other.seals)
    if random.random() < 0.5:
        changed.manifest = _recounted(changed.manifest, len(changed.records))
    return changed.pack()


def _edit(random: Random, items: list[Any], others: list[Any]) -> None:
    """Leave out an item, double it, exchange two, or take one of others."""
    place = random.randrange(len(items) + 1)
    match random.randrange(4):
        case 0:
            del items[place : place + 1]
        case 1:
            items[place:place] = items[place : place + 1]
        case 2 if len(items) > 1:
            first, second = random.sample(range(len(items)), 2)
            items[first], items[second] = items[second], items[first]
        case _:
            items[place : place + 1] = random.sample(others, 1) if others else []


def _recounted(manifest: Manifest, disclosed: int) -> Manifest:
    """Return the manifest with counts that agree with its base and head, where it can say so."""
    held = manifest.head.size - manifest.base.size
    with suppress(ValueError):
        return replace(manifest, disclosed=disclosed, withheld=held - disclosed)
    return manifest


def signed_claims(random: Random, name: str) -> bytes:
    """The service: another base, head, time, filter or day in the manifest, where it can be written at all."""
    extract = parts(name)
    manifest, second = extract.manifest, timedelta(seconds=1)

    def moved(head: Head) -> Head:
        chain_hash = random.choice((head.chain_hash, bytes(32), genesis(manifest.origin).chain_hash))
        return Head(max(0, head.size + random.choice((-2, -1, 0, 0, 1, 2))), chain_hash)

    seconds = random.choice((-1, -0.0000015, 1, 40000, 86400, 10**7))
    changes: list[dict[str, Any]] = [
        {"base": moved(manifest.base)},
        {"head": moved(manifest.head)},
        {"first_day": manifest.first_day + random.choice((-2, -1, 1, 2)) * DAY},
        {"last_day": manifest.last_day + random.choice((-2, -1, 1, 2, 300)) * DAY},
        {"issued_at": manifest.issued_at + seconds * second},
        {"filter": random.choice((Filter(), Filter(account="agent-1"), Filter(action="consultation")))},
        {"origin": manifest.origin.replace("montreuil", "bagnolet")},
        {"origin": manifest.origin.replace("journal.example.fr", "other.example.fr")},
        {"request": Request(random.randrange(6), random.choice((manifest.request.leaf, bytes(32))))},
    ]
    with suppress(ValueError):
        manifest = replace(manifest, **random.choice(changes))
    if random.random() < 0.5:
        manifest = _recounted(manifest, len(extract.records))
    signed_at = extract.manifest.issued_at.replace(microsecond=0) + random.choice((-1, 0, 1, 1, 1, 1)) * second
    return replace(extract, manifest=manifest).pack(signed_at=signed_at)
