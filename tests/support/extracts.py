"""Makes small extracts in memory, right by default and wrong on demand, signed by the test authority.

A `World` is one chain and its service, day by day; it obeys what it is told, also what no honest service
does, so that a test breaks one rule and keeps all others. An `Extract` is the parts before they are packed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta, timezone
from hashlib import sha256
from io import BytesIO
from typing import TYPE_CHECKING, Any

from journal.core import canonical
from journal.core.chain import Head, extend, genesis, leaf_hash
from journal.core.entry import Compartment, encode_record, parse_record
from journal.core.seal import NOTHING_HASH, Seal, SealedHead
from journal.core.times import format_time
from journal.core.tree import Trie
from journal.extract import layout, table
from journal.extract.container import Container
from journal.extract.grounds import Rule
from journal.extract.layout import DIGESTS, ENTRIES, INSTRUCTIONS, MANIFEST, PROOF, SEALS, SIGNATURE, TABLE
from journal.extract.listing import ListedSeal, disclosed_line, encode_seals, withheld_line
from journal.extract.manifest import Filter, Lateness, Manifest, Request, occurred
from journal.extract.packing import ContainerWriter
from journal.extract.texts import SIGNED, write_digests, write_instructions
from tests.support import authority

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Self

UTC = timezone.utc
COMPARTMENT = Compartment(authority.SERVICE, "montreuil", "main-courante")
ANCHORS = [authority.ROOT.certificate]
ONE_DAY = timedelta(days=1)


def march(number: int) -> date:
    """Return a day of March 2026, where the tests live."""
    return date(2026, 3, 1) + (number - 1) * ONE_DAY


def noon(day: date, *, hour: int = 12, **offset: float) -> datetime:
    """Return a time of a day, noon by default."""
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC) + timedelta(**offset)


def event(number: int, **changes: Any) -> dict[str, Any]:
    """Return an event as a module submits it; `changes` replace its members."""
    return {
        "specversion": "1.0",
        "id": f"{number:08d}",
        "source": "/openepm/montreuil",
        "type": "fr.openepm.journal.consultation",
        "time": "2026-03-01T08:00:00.000000Z",
        "subject": f"main-courante/{number}",
        "data": {
            "actor": {"account": f"agent-{number % 3}", "name": "Noé Ünal", "role": "brigadier", "unit": "PM 93"},
            "justification": 'recherche "véhicule"; suite',
            "outcome": "success",
            "fields": ["plaque", "lieu"],
            "client": {"address": "192.0.2.7", "workstation": "pm-07", "session": "s1"},
        },
        **changes,
    }


@dataclass
class Extract:
    """The parts of an extract; `pack` derives and signs what is not given in `parts`."""

    manifest: Manifest
    records: list[bytes]
    proof: list[bytes]
    seals: list[ListedSeal]
    parts: dict[str, bytes] = field(default_factory=dict)

    def contents(self) -> dict[str, bytes]:
        """Return the members that are signed, by name."""
        rows = [table.row(parse_record(record)) for record in self.records] if TABLE not in self.parts else []
        made = {
            ENTRIES: b"".join(record + b"\n" for record in self.records),
            PROOF: b"".join(self.proof),
            SEALS: encode_seals(self.seals),
            MANIFEST: self.manifest.encode(),
            TABLE: table.HEADER + b"".join(rows),
            INSTRUCTIONS: write_instructions(self.manifest),
        }
        return {
            name: {**made, **self.parts}[name]
            for name in layout.NAMES
            if name in {**made, **self.parts} and name in SIGNED
        }

    def pack(
        self,
        *,
        signed_at: datetime | None = None,
        chain: Sequence[authority.Holder] = authority.CHAIN,
        **kwargs: Any,
    ) -> bytes:
        """Return the container, signed a second after it was issued unless told otherwise."""
        contents = self.contents()
        digests = {name: sha256(content).digest() for name, content in contents.items()}
        contents[DIGESTS] = self.parts.get(DIGESTS, write_digests(digests))
        at = signed_at or (self.manifest.issued_at + timedelta(seconds=1)).replace(microsecond=0)
        signature = authority.sign(contents[DIGESTS], chain=chain, at=at, **kwargs)
        contents[SIGNATURE] = self.parts.get(SIGNATURE, signature)
        return pack(contents)


def pack(contents: dict[str, bytes]) -> bytes:
    """Return a container of these members, in the order of the format."""
    writer = ContainerWriter()
    whole = writer.add(layout.MIMETYPE, layout.MIMETYPE_CONTENT)
    for name in layout.NAMES:
        if name in contents:
            whole += writer.add(name, contents[name])
    return whole + writer.close()


def opened(whole: bytes) -> BytesIO:
    """Return a container as a binary file."""
    return BytesIO(whole)


class World:
    """One chain among a few, and the seals over them all."""

    def __init__(
        self, *, compartment: Compartment = COMPARTMENT, retention_days: int = 60, other_chains: int = 3
    ) -> None:
        """Begin with an empty chain and no seal."""
        self.compartment = compartment
        self.retention_days = retention_days
        self.signed_by: Sequence[authority.Holder] = authority.CHAIN
        self.kept_from = 0
        self.purged_through = date.min
        self.chain = [genesis(compartment.origin).chain_hash]
        self.records: list[bytes] = []
        self.salts: list[bytes] = []
        self.seals: list[ListedSeal] = []
        self.closes: dict[date, ListedSeal] = {}
        self.others = [self._other(number) for number in range(other_chains)]
        self._last: Seal | None = None
        self._last_close: Seal | None = None

    def _other(self, number: int) -> SealedHead:
        origin = Compartment(self.compartment.service, f"other-{number}", "ecrits").origin
        return SealedHead(origin, 0, genesis(origin).chain_hash, 0, 60)

    @property
    def origin(self) -> str:
        """The chain's identity."""
        return self.compartment.origin

    @property
    def size(self) -> int:
        """How many entries the chain has."""
        return len(self.records)

    def append(self, at: datetime, **changes: Any) -> int:
        """Append an event that happened when it was recorded, unless changed; return its index."""
        index = self.size
        record = encode_record(
            compartment=self.compartment,
            event=canonical.encode(event(index, **{"time": format_time(at), **changes})),
            index=index,
            recorded_at=format_time(at),
            submitted_by="module-1",
        )
        return self.append_record(record)

    def append_record(self, record: bytes) -> int:
        """Append any record, right or wrong."""
        salt = sha256(b"salt %d" % self.size).digest()[:16]
        self.records.append(record)
        self.salts.append(salt)
        self.chain.append(extend(self.chain[-1], leaf_hash(salt, record)))
        return self.size - 1

    def leaf(self, index: int) -> bytes:
        """Return an entry's leaf hash."""
        return leaf_hash(self.salts[index], self.records[index])

    def head(self, size: int | None = None) -> Head:
        """Return the head at a size, the present one by default."""
        size = self.size if size is None else size
        return Head(size, self.chain[size])

    def seal(
        self,
        sealed_at: datetime,
        day: date | None = None,
        *,
        size: int | None = None,
        chain_hash: bytes | None = None,
        signed_at: datetime | None = None,
        chain: Sequence[authority.Holder] | None = None,
        timestamp: bytes | None = None,
        **changes: Any,
    ) -> ListedSeal:
        """Make the next seal; `changes` replace what it says."""
        head = self.head(size)
        sealed = SealedHead(
            self.origin, head.size, chain_hash or head.chain_hash, min(self.kept_from, head.size), self.retention_days
        )
        tree = Trie([sealed, *self.others])
        values: dict[str, Any] = {
            "service": self.compartment.service,
            "number": self._last.number + 1 if self._last else 1,
            "sealed_at": sealed_at,
            "day": day,
            "chains": tree.chains,
            "root": tree.root,
            "previous": self._last.digest if self._last else NOTHING_HASH,
            "previous_close": self._last_close.digest if self._last_close else NOTHING_HASH,
            "recovered_from": self._last.recovered_from if self._last and self._last.day is None else None,
        }
        seal = Seal(**{**values, **changes})
        signature = authority.sign(seal.text, chain=chain or self.signed_by, at=signed_at or seal.sealed_at)
        listed = ListedSeal(seal.text, signature, sealed, tuple(tree.path(self.origin)), timestamp)
        self.seals.append(listed)
        self._last = seal
        if seal.day is not None:
            self.closes[seal.day] = listed
            self._last_close = seal
        return listed

    def close(self, day: date, *, late: timedelta = timedelta(seconds=5), **changes: Any) -> ListedSeal:
        """Make the close seal of a day, five seconds after its end."""
        return self.seal(noon(day + ONE_DAY, hour=0) + late, day, **changes)

    def live(self, first: int, last: int, *, entries: int = 2) -> Self:
        """Live through these days of March, each closed, with so many entries a day."""
        for day in map(march, range(first, last + 1)):
            for number in range(entries):
                self.append(noon(day, minutes=number))
            self.close(day)
        return self

    def purge(self, day: date) -> None:
        """Let the chain begin after this day from now on."""
        self.purged_through = day
        self.kept_from = self.closes[day].head.size

    def _lateness(self, first: date, last: date, indexes: Iterable[int], selection: Filter) -> Lateness:
        """Return what the manifest says of accesses on other days than those of recording."""
        entries = [parse_record(record) for record in self.records]
        inside = set(indexes)
        late = [first <= occurred(entry) <= last for entry in entries]
        here = None if selection.withhold_all else sum(not late[index] for index in inside)
        days = (entry.recorded_at.date() for entry in entries)
        elsewhere = sum(
            is_in and not first <= day <= last and index >= self.kept_from
            for index, (is_in, day) in enumerate(zip(late, days))
        )
        return Lateness(7, elsewhere, here)

    def extract(
        self,
        first: date,
        last: date,
        *,
        at: datetime,
        selection: Filter | None = None,
        seals: Sequence[ListedSeal] | None = None,
        base: Head | None = None,
        head: Head | None = None,
        **changes: Any,
    ) -> Extract:
        """Make the extract of these days at that time, with an open seal of its own.

        `seals`, `base`, `head` and `changes` (to the manifest) replace what an honest service would put.
        """
        fresh = self.seal(at)
        eve, today = first - ONE_DAY, at.date()
        end = fresh if last >= today else self.closes[last]
        start = self.closes[eve].head.size if eve in self.closes else 0
        head = head or self.head(end.head.size)
        base = base or self.head(max(start, min(self.kept_from, head.size)))
        if seals is None:
            # What is purged is listed up to today, to show when it went.
            until = max(last, today - ONE_DAY) if min(self.kept_from, head.size) > start else last
            seals = [listed for day, listed in sorted(self.closes.items()) if eve <= day <= until] + [fresh]
        selection = selection or Filter()
        indexes = range(base.size, head.size)
        disclosed = [index for index in indexes if selection.matches(parse_record(self.records[index]))]
        manifest = Manifest(
            origin=self.origin,
            first_day=first,
            last_day=last,
            base=base,
            head=head,
            disclosed=len(disclosed),
            withheld=len(indexes) - len(disclosed),
            filter=selection,
            purpose="lawfulness",
            requester="Mairie de Montreuil",
            lateness=self._lateness(first, last, indexes, selection),
            request=Request(4, sha256(b"request").digest(), "2026-17"),
            issued_at=at + timedelta(milliseconds=1500),
            software="openepm-journal 0.1.0",
            rule=Rule("contrat, art. 13.2"),
        )
        told = set(disclosed)
        proof = [
            disclosed_line(index, self.salts[index]) if index in told else withheld_line(index, self.leaf(index))
            for index in indexes
        ]
        return Extract(
            manifest=replace(manifest, **changes),
            records=[self.records[index] for index in disclosed],
            proof=proof,
            seals=list(seals),
        )


def sample(**changes: Any) -> Extract:
    """Return the extract of 2 and 3 March of a chain that lived from the 1st to the 4th, made on the 5th."""
    return World().live(1, 4).extract(march(2), march(3), at=noon(march(5)), **changes)


def contents_of(whole: bytes) -> dict[str, bytes]:
    """Return the members of a container, but the first."""
    container = Container(opened(whole))
    return {name: b"".join(container.stream(name)) for name in container.names if name != layout.MIMETYPE}
