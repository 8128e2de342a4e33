"""Makes the extracts that the verifier is tried on: from true chains, changed, and most often signed anew."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from journal.core.entry import Compartment, parse_record
from journal.core.errors import VerificationError
from journal.core.seal import SealedHead, parse_seal
from journal.core.tree import Trie
from journal.extract import table
from journal.extract.layout import DIGESTS, ENTRIES, INSTRUCTIONS, MANIFEST, NAMES, SEALS, SIGNATURE, TABLE
from journal.extract.listing import ListedSeal, encode_head_answer, encode_seals, parse_seals
from journal.extract.manifest import Filter, parse_manifest
from journal.extract.texts import SIGNED, write_digests, write_instructions
from tests.fuzz.mutations import change_bytes, change_der, change_json, change_member
from tests.fuzz.truth import Truth
from tests.support import authority, stamps
from tests.support.extracts import contents_of, march, noon, pack
from tests.vectors.extract_cases.case import CHAIN, MADE_AT, Small, signed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from tests.support.extracts import Extract

    Contents = dict[str, bytes]

KEPT_CORPUS = 400


@dataclass(frozen=True)
class Trial:
    """An extract to verify, with what the auditor kept: name and bytes of each file."""

    extract: bytes
    known: tuple[tuple[str, bytes], ...] = ()
    contents: Contents | None = None


class Maker:
    """Draws trials; `keep` tells it which were worth changing further."""

    def __init__(self, random: Random) -> None:
        """Live through a few chains."""
        self._random = random
        self.truth = Truth()
        self._seals: list[ListedSeal] = []
        self._answers: list[bytes] = []
        self._corpus: list[Contents] = []
        for extract in self._extracts():
            whole = signed(extract)
            contents = contents_of(whole)
            self.truth.signed.add(contents[DIGESTS])
            self._corpus.append(contents)
            self._answers.append(whole)
        self._answers += [encode_head_answer(seal) for seal in self._seals]
        self._genuine = len(self._corpus)

    def _extracts(self) -> list[Extract]:
        lived = _stamped(Small().live(1, 1).live(2, 2, entries=4).live(3, 3, entries=1))
        first = Small()
        for minute in range(3):
            first.append(noon(march(4), minutes=minute - 60))
        purging = Small(retention_days=3)
        for day in range(1, 6):
            purging.append(noon(march(day)))
            if day > 3:
                purging.purge(march(day - 2))
            purging.close(march(day))
        rewritten = Small().live(1, 1)
        for minute in range(4):
            rewritten.append(noon(march(2), minutes=minute), subject="rewritten")
        rewritten.close(march(2))
        rewritten.live(3, 3, entries=1)
        other = Small(compartment=Compartment(authority.SERVICE, "bagnolet", "journal")).live(1, 3)
        idle = Small().live(1, 3, entries=0)
        extracts = [
            lived.extract(march(2), march(2), at=MADE_AT),
            lived.extract(march(2), march(3), at=MADE_AT + timedelta(hours=1), selection=Filter(account="agent-1")),
            lived.extract(march(1), march(4), at=MADE_AT + timedelta(hours=2), selection=Filter(withhold_all=True)),
            first.extract(march(4), march(4), at=MADE_AT),
            first.extract(march(1), march(4), at=MADE_AT + timedelta(hours=1), selection=Filter(action="access")),
            purging.extract(march(2), march(5), at=noon(march(6))),
            purging.extract(march(4), march(6), at=noon(march(6), hour=13)),
            rewritten.extract(march(2), march(2), at=MADE_AT),
            other.extract(march(2), march(3), at=MADE_AT),
            idle.extract(march(2), march(3), at=MADE_AT),
        ]
        for world in (lived, first, purging, rewritten, other, idle):
            self.truth.learn(world)
            self._seals += world.seals
        return extracts

    def keep(self, trial: Trial) -> None:
        """Change this one further, later."""
        if trial.contents is not None:
            self._corpus.append(trial.contents)
            if len(self._corpus) > KEPT_CORPUS:
                del self._corpus[self._genuine + self._random.randrange(KEPT_CORPUS - self._genuine)]

    def draw(self) -> Trial:
        """Return the next trial."""
        random = self._random
        contents = dict(random.choice(self._corpus))
        contents.setdefault(SIGNATURE, b"")
        for _ in range(random.choice((0, 1, 1, 1, 2, 3))):
            self._change(contents)
        if random.random() < 0.8:
            self._sign(contents)
        if random.random() < 0.1:
            contents[SIGNATURE] = change_der(random, contents[SIGNATURE])
        whole = pack({name: contents[name] for name in NAMES if name in contents})
        if random.random() < 0.12:
            whole = change_bytes(random, whole, random.choice(self._answers))
        known = ()
        if random.random() < 0.25:
            known = tuple(("kept", self._known()) for _ in range(random.choice((1, 1, 2))))
        return Trial(whole, known, contents)

    def _known(self) -> bytes:
        random = self._random
        answer = random.choice(self._answers)
        if random.random() < 0.5:
            return answer
        return change_bytes(random, answer) if answer[:1] == b"P" else change_json(random, answer)

    def _change(self, contents: Contents) -> None:
        random = self._random
        other = dict.fromkeys(NAMES, b"") | random.choice(self._corpus)
        kind = random.random()
        if kind < 0.45:
            name = random.choice(list(contents))
            contents[name] = change_member(random, name, contents, other)
        elif kind < 0.75:
            self._change_seals(contents)
        else:
            self._change_period(contents)

    def _change_seals(self, contents: Contents) -> None:
        """Change the list of seals, or one of them, its text signed anew by the service."""
        random = self._random
        try:
            origin = parse_manifest(contents[MANIFEST]).origin
            seals = list(parse_seals(contents[SEALS], origin))
        except VerificationError:
            return
        place = random.randrange(len(seals))
        kind = random.randrange(8)
        if kind == 0:
            del seals[place]
        elif kind == 1:
            seals.insert(place, random.choice(self._seals))
        elif kind == 2:
            seals[place] = random.choice(self._seals)
        elif kind == 3:
            other = random.randrange(len(seals))
            seals[place], seals[other] = seals[other], seals[place]
        elif kind == 4:
            seals[place] = replace(seals[place], signature=change_der(random, seals[place].signature))
        elif kind == 5 and seals[place].timestamp:
            seals[place] = replace(seals[place], timestamp=change_der(random, seals[place].timestamp or b""))
        else:
            self._reseal(seals, place)
        if seals:
            contents[SEALS] = encode_seals(seals)

    def _reseal(self, seals: list[ListedSeal], place: int) -> None:
        """Let the service say something else in one seal, and maybe name it so in the seals after it."""
        random = self._random
        try:
            seal = parse_seal(seals[place].text)
            head = seals[place].head
            values = {
                "size": head.size + random.choice((0, 0, 0, -1, 1)),
                "kept_from": max(0, head.kept_from + random.choice((0, 0, -1, 1, 2))),
                "retention_days": random.choice((head.retention_days, 2, 3, 60)),
                "chain_hash": random.choice((head.chain_hash, random.choice(self._seals).head.chain_hash)),
            }
            head = replace(head, **values)
            tree = Trie([head, SealedHead(f"{head.origin}x", 0, bytes(32), 0, 60)])
            changes: dict[str, Any] = {
                "number": max(1, seal.number + random.choice((0, 0, 0, -1, 1))),
                "sealed_at": seal.sealed_at + timedelta(seconds=random.choice((0, 0, 0, 1, -1, 86400, -86400))),
                "day": random.choice((seal.day, seal.day, None, march(random.randrange(1, 6)))),
                "recovered_from": random.choice((None, None, None, 1, 2)),
            }
            changed = replace(seal, root=tree.root, chains=2, **changes)
            signature = authority.sign(changed.text, chain=CHAIN, at=changed.sealed_at)
        except (ValueError, OverflowError, VerificationError):
            return
        path = tuple(tree.path(head.origin))
        self.truth.sealed.add(changed.text.decode())
        seals[place] = ListedSeal(changed.text, signature, head, path, seals[place].timestamp)

    def _change_period(self, contents: Contents) -> None:
        """Let the manifest tell another period, another beginning or end, other counts, and agree with itself."""
        random = self._random
        try:
            value = json.loads(contents[MANIFEST])
            heads = [json.loads(canonical_head(seal)) for seal in self._seals]
            kind = random.randrange(4)
            if kind == 0:
                value[random.choice(("from", "to"))] = f"2026-03-0{random.randrange(1, 7)}"
            elif kind == 1:
                value[random.choice(("base", "head"))] = random.choice(heads)
            elif kind == 2:
                value["filter"] = random.choice(({}, {"withhold": "all"}, {"account": "agent-1"}))
            else:
                value["issued_at"] = f"2026-03-0{random.randrange(1, 10)}T12:00:00.000000Z"
            if random.random() < 0.8:
                total = value["head"]["size"] - value["base"]["size"]
                value["disclosed"] = min(total, contents[ENTRIES].count(b"\n"))
                value["withheld"] = total - value["disclosed"]
            contents[MANIFEST] = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return

    def _sign(self, contents: Contents) -> None:
        """Make what follows from the other members again, most often, and sign as the service."""
        random = self._random
        at = MADE_AT + timedelta(days=10)
        try:
            manifest = parse_manifest(contents[MANIFEST])
            at = (manifest.issued_at + timedelta(seconds=1)).replace(microsecond=0)
            if random.random() < 0.9:
                contents[INSTRUCTIONS] = write_instructions(manifest)
        except (VerificationError, OverflowError):
            pass
        if random.random() < 0.8:
            try:
                rows = [table.row(parse_record(line)) for line in contents[ENTRIES].splitlines()]
                contents[TABLE] = table.HEADER + b"".join(rows)
            except VerificationError:
                pass
        if random.random() < 0.95:
            names = [name for name in NAMES if name in contents and name in SIGNED]
            contents[DIGESTS] = write_digests({name: sha256(contents[name]).digest() for name in names})
        contents[SIGNATURE] = authority.sign(contents[DIGESTS], chain=CHAIN, at=at)
        self.truth.signed.add(contents[DIGESTS])


def canonical_head(seal: ListedSeal) -> str:
    """Return the head of a seal as a manifest spells it."""
    return json.dumps({"chain_hash": seal.head.chain_hash.hex(), "size": seal.head.size})


def _stamped(world: Small) -> Small:
    """Let the close seals bear time-stamps."""
    for day, listed in list(world.closes.items()):
        token = stamps.stamp(listed.text, at=parse_seal(listed.text).sealed_at + timedelta(seconds=2))
        world.closes[day] = replace(listed, timestamp=token)
        world.seals[world.seals.index(listed)] = world.closes[day]
    return world


def anchors() -> Sequence[bytes]:
    """Return whom the auditor trusts to certify the service."""
    return [authority.ROOT.certificate]


def time_anchors() -> Sequence[bytes]:
    """Return whom the auditor trusts to certify time."""
    return stamps.ANCHORS
