"""Extracts as large as one likes, made in constant memory: a chain of made-up entries, sealed and signed for tests."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, BinaryIO

from journal.core import canonical
from journal.core.chain import Head, extend, genesis, leaf_hash
from journal.core.entry import encode_record, parse_record
from journal.core.times import format_time
from journal.extract import layout, table
from journal.extract.grounds import Rule
from journal.extract.listing import disclosed_line, encode_seals
from journal.extract.manifest import Filter, Lateness, Manifest, Request
from journal.extract.packing import ContainerWriter
from journal.extract.texts import SIGNED, write_digests, write_instructions
from tests.support import authority
from tests.support.extracts import World, event, march, noon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DAY = march(2)
PIECE_ENTRIES = 1000


class LargeWorld(World):
    """A chain whose entries are made on demand and not stored."""

    def __init__(self, entries: int) -> None:
        """Compute the chain once, for its last head."""
        super().__init__()
        self._count = entries
        self._end = genesis(self.origin)
        chain_hash = self._end.chain_hash
        for index in range(entries):
            chain_hash = extend(chain_hash, leaf_hash(self._salt(index), self._record(index)))
        self._end = Head(entries, chain_hash)

    def head(self, size: int | None = None) -> Head:
        """Return the only two heads a seal is made of here: the first, or the last."""
        return genesis(self.origin) if size == 0 else self._end

    def write(self, file: BinaryIO) -> None:
        """Write the extract of the day on which all entries were recorded."""
        eve = self.close(march(1), size=0)
        seals = [eve, self.close(DAY), self.seal(noon(march(3)))]
        manifest = Manifest(
            origin=self.origin,
            first_day=DAY,
            last_day=DAY,
            base=self.head(0),
            head=self._end,
            disclosed=self._count,
            withheld=0,
            filter=Filter(),
            purpose="lawfulness",
            requester="Mairie de Montreuil",
            lateness=Lateness(7, 0, self._count),
            request=Request(0, bytes(32)),
            issued_at=noon(march(3), seconds=1),
            software="openepm-journal 0.1.0",
            rule=Rule("contrat, art. 13.2"),
        )
        writer = ContainerWriter()
        file.write(writer.add(layout.MIMETYPE, layout.MIMETYPE_CONTENT))
        self._write_lines(file, writer, layout.ENTRIES, lambda index: self._record(index) + b"\n")
        self._write_lines(file, writer, layout.PROOF, lambda index: disclosed_line(index, self._salt(index)))
        file.write(writer.add(layout.SEALS, encode_seals(seals)) + writer.add(layout.MANIFEST, manifest.encode()))
        row = table.row
        self._write_lines(
            file, writer, layout.TABLE, lambda index: row(parse_record(self._record(index))), table.HEADER
        )
        file.write(writer.add(layout.INSTRUCTIONS, write_instructions(manifest)))
        written = (layout.ENTRIES, layout.PROOF, layout.SEALS, layout.MANIFEST, layout.TABLE, layout.INSTRUCTIONS)
        digests = write_digests({name: writer.digest(name) for name in SIGNED if name in written})
        file.write(writer.add(layout.DIGESTS, digests))
        file.write(writer.add(layout.SIGNATURE, authority.sign(digests, at=noon(march(3), seconds=2))))
        file.write(writer.close())

    def _write_lines(
        self,
        file: BinaryIO,
        writer: ContainerWriter,
        name: str,
        line: Callable[[int], bytes],
        opening: bytes = b"",
    ) -> None:
        file.write(writer.start(name) + writer.write(opening))
        file.writelines(writer.write(b"".join(map(line, piece))) for piece in self._pieces())
        file.write(writer.finish())

    def _pieces(self) -> Iterator[range]:
        for first in range(0, self._count, PIECE_ENTRIES):
            yield range(first, min(first + PIECE_ENTRIES, self._count))

    def _record(self, index: int) -> bytes:
        return encode_record(
            compartment=self.compartment,
            event=canonical.encode(event(index)),
            index=index,
            recorded_at=format_time(noon(DAY, hour=0) + timedelta(microseconds=index)),
            submitted_by="module-1",
        )

    def _salt(self, index: int) -> bytes:
        return sha256(b"%d" % index).digest()[:16]
