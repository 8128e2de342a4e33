"""What the signer has signed, in a file beside its key: the last seal, and the last signed head of every chain.

One record a line: JSON, a space, its MAC in hexadecimal. Each MAC covers the one before, so no record can be taken
out, exchanged or added without the signing key, from which the MAC key is derived. A record is durable before the
signature it tells of leaves the process. After many records the file is written anew.

    start  number, digest, heads     everything; the first record, and the only one of this kind; `recovered`: the next
                                     seal declares everything after that number lost
    sign   number, digest, heads     about to be signed and stored, with the heads that moved
    done   number, digest            the database has it
    held   chains                    what does not follow from its last signed head, or follows again
    leave  until                     the operator accepts seals of the future up to this moment

Trust sentence: an older copy of the file passes its MACs; the database then has later seals, and nothing is sealed
until an operator's command accepts them.
"""

from __future__ import annotations

import asyncio
import fcntl
import hmac
import os
import threading
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import orjson

from journal.core.errors import BusyError, MalformedError, OperatorError
from journal.core.seal import NOTHING_HASH
from journal.core.times import format_seconds, parse_seconds
from journal.database.heads import SealHeadRow
from journal.keys.files import PRIVATE, make_private_directory, replace_durably

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from journal.signer.evidence import Chain
    from journal.signer.identity import SigningIdentity

LABEL: Final = b"openepm-journal/v1/signer-memory"
LEARN: Final = "openepm-journal signer --learn"
LEAVE: Final = "openepm-journal signer --leave-future-seal"
LOCK_SECONDS: Final = 60.0
LOCK_PAUSE_SECONDS: Final = 0.02
# Written anew once the records take twice the room of what they say, and at least this.
COMPACTION_BYTES: Final = 1024 * 1024
# A client that lost its session may store its seal after another had one made. It has two minutes; a seal is proposed
# a few times a minute at most.
PENDING_KEPT: Final = 100
_MAC_DIGITS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A seal that was about to be signed and stored, with the heads that moved."""

    number: int
    digest: bytes
    heads: dict[Chain, SealHeadRow]


class Memory:
    """The signer's memory; several processes may share the file, one at a time inside `held`."""

    def __init__(self, path: Path, identity: SigningIdentity) -> None:
        """Use this file; nothing is read yet."""
        self.path = path
        self._key = identity.derive_key(LABEL)
        self._fingerprint = identity.fingerprint
        self._reading = threading.RLock()
        self._reset()

    def _reset(self) -> None:
        self.exists = False
        # Written under another signing key, so its MACs cannot be checked.
        self.is_foreign = False
        self.number = 0
        self.digest = NOTHING_HASH
        # In the order in which they were made: the database may have any of them.
        self.pending: list[Pending] = []
        # As the last stored seal states them.
        self.stored: dict[Chain, SealHeadRow] = {}
        # Signed in a seal that may not have been stored: nothing earlier is signed of these chains.
        self.floor: dict[Chain, SealHeadRow] = {}
        self.held_back: dict[Chain, str] = {}
        self.left_until: datetime | None = None
        self.recovered_from: int | None = None
        self._file: tuple[int, int] | None = None
        self._position = 0
        self._start_bytes = 0
        self._mac = b""

    @property
    def signed(self) -> dict[Chain, SealHeadRow]:
        """Return the last signed head of every chain that ever had one."""
        return self.stored | self.floor

    def difference(self, number: int, text: bytes | None) -> str | None:
        """Return how the last stored seal differs from the last signed one, and what to do; None if it does not."""
        digest = sha256(text).digest() if text is not None else NOTHING_HASH
        if not self.exists:
            if number == 0:
                return None
            return (
                f"the signer's memory {self.path} is missing, so nothing is sealed: put it back, or, if it is lost, "
                f"let the signer learn from the stored seals: {LEARN}"
            )
        known = {(self.number, self.digest), *((pending.number, pending.digest) for pending in self.pending)}
        if self.is_foreign or (number, digest) in known:
            return None
        if number < self.number:
            return describe_older(self.number, number)
        if number == self.number:
            return (
                f"seal {number} in the database is not the one that was signed: nothing more is sealed. Run "
                "openepm-journal verify-store, keep a copy of this database as evidence, then restore the last backup"
            )
        return (
            f"the database has seal {number}, but the last that the signer's memory {self.path} knows is "
            f"{self.number}: nothing more is sealed. Either an older copy of that file was put back, or somebody "
            f"else wrote the seal. Run openepm-journal verify-store; if it finds nothing, let the signer learn: {LEARN}"
        )

    @asynccontextmanager
    async def held(self, *, is_lost: bool = False) -> AsyncIterator[None]:
        """Hold the memory for one process, as it is on disk; as if there were none, if `is_lost` and it was altered.

        Raises BusyError if another process holds it for a minute, OperatorError if it was altered, OSError.
        """
        lock = self.path.with_name(f"{self.path.name}.lock")
        try:
            make_private_directory(self.path.parent)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, PRIVATE)
        except OSError as error:
            raise OperatorError(
                f"the signer's memory {self.path} cannot be written ({error.strerror}), so nothing is sealed: make its "
                "directory writable for the service, or set JOURNAL_SIGNER_STATE to a file in another one"
            ) from error
        try:
            await _take(descriptor, lock)
            try:
                await asyncio.to_thread(self.look)
            except OperatorError:
                if not is_lost:
                    raise
            yield
        finally:
            os.close(descriptor)

    def look(self) -> None:
        """Read what was written since. Raises OperatorError if the file was altered, OSError if it cannot be read.

        Nothing of an altered file is remembered.
        """
        with self._reading:
            try:
                self._look()
            except OperatorError:
                # Another file may have been put in its place: is it sound as a whole?
                self._reset()
                try:
                    self._look()
                except OperatorError:
                    self._reset()
                    raise

    def _look(self) -> None:
        try:
            file = self.path.open("rb")
        except FileNotFoundError:
            self._reset()
            return
        with file:
            status = os.fstat(file.fileno())
            if self._file != (status.st_dev, status.st_ino) or status.st_size < self._position:
                self._reset()
                self._file = (status.st_dev, status.st_ino)
            file.seek(self._position)
            # What follows the last line feed was cut short by the end of its process.
            whole = file.read().rpartition(b"\n")[0]
        for line in whole.split(b"\n") if whole else []:
            try:
                self._take_record(line)
            except (ValueError, KeyError, TypeError, MalformedError) as error:
                raise self._altered() from error
            self._position += len(line) + 1

    def _altered(self) -> OperatorError:
        return OperatorError(
            f"the signer's memory {self.path} is damaged or was altered: nothing is sealed. Put back the file as it "
            f"was; if it is lost, let the signer learn from the stored seals: {LEARN}"
        )

    def _take_record(self, line: bytes) -> None:
        payload, mac = line[: -_MAC_DIGITS - 1], bytes.fromhex(line[-_MAC_DIGITS:].decode("ascii"))
        record = orjson.loads(payload)
        if record["kind"] == "start":
            self.exists = True
            self._start_bytes = len(line)
            self.is_foreign = record["certificate"] != self._fingerprint and not self._fits(payload, mac)
        elif not self.exists:
            raise ValueError("no start")
        if not self.is_foreign and not self._fits(payload, mac):
            raise ValueError("not its MAC")
        self._mac = mac
        self._apply(record)

    def _fits(self, payload: bytes, mac: bytes) -> bool:
        return hmac.compare_digest(self._tag(payload), mac)

    def _tag(self, payload: bytes) -> bytes:
        return hmac.digest(self._key, self._mac + payload, "sha256")

    def _apply(self, record: Mapping[str, Any]) -> None:
        match record["kind"]:
            case "start":
                self.number, self.digest = record["number"], bytes.fromhex(record["digest"])
                self.stored = _read_heads(record["heads"])
                self.floor = _read_heads(record["floor"])
                self.pending = [_read_pending(pending) for pending in record["pending"]]
                self.held_back = {(tenant, category): why for tenant, category, why in record["held"]}
                self.left_until = parse_seconds(record["until"]) if record["until"] else None
                self.recovered_from = record["recovered"]
            case "sign":
                pending = _read_pending(record)
                self.pending = [*self.pending[1 - PENDING_KEPT :], pending]
                self.floor |= pending.heads
            case "done":
                self.number, self.digest = record["number"], bytes.fromhex(record["digest"])
                self.stored |= next((made.heads for made in self.pending if made.digest == self.digest), {})
                self.floor = {}
                self.pending = []
                self.recovered_from = None
            case "held":
                self.held_back = {(tenant, category): why for tenant, category, why in record["held"]}
            case "leave":
                self.left_until = parse_seconds(record["until"])
            case _:
                raise ValueError("unknown record")

    def start(self, number: int, digest: bytes, heads: Iterable[SealHeadRow]) -> None:
        """Remember this seal and its heads, and of all else only what the operator has accepted; `held` must be."""
        with self._reading:
            left_until, recovered_from = (None, None) if self.is_foreign else (self.left_until, self.recovered_from)
            self._reset()
            self.number, self.digest, self.left_until = number, digest, left_until
            self.recovered_from = recovered_from
            self.stored = {head.chain: head for head in heads}
            self.rewrite()

    def recover(self, number: int) -> None:
        """Remember that the next seal declares everything after this one lost; `held` must be."""
        with self._reading:
            self.recovered_from = number
            self.rewrite()

    def rewrite(self) -> None:
        """Write the whole memory anew, under the present key; `held` must be."""
        with self._writing():
            self._mac = b""
            line = self._line(
                {
                    "kind": "start",
                    "certificate": self._fingerprint,
                    "number": self.number,
                    "digest": self.digest.hex(),
                    "heads": _write_heads(self.stored.values()),
                    "floor": _write_heads(self.floor.values()),
                    "pending": [_write_pending(pending) for pending in self.pending],
                    "held": [[*chain, why] for chain, why in self.held_back.items()],
                    "until": format_seconds(self.left_until) if self.left_until else None,
                    "recovered": self.recovered_from,
                }
            )
            replace_durably(self.path, line)
            status = self.path.stat()
            self._file, self._position = (status.st_dev, status.st_ino), len(line)
            self._start_bytes = len(line)
            self.exists, self.is_foreign = True, False

    def sign(self, number: int, digest: bytes, moved: Iterable[SealHeadRow]) -> None:
        """Remember, durably, what is about to be signed and stored."""
        pending = Pending(number=number, digest=digest, heads={head.chain: head for head in moved})
        self._append({"kind": "sign"} | _write_pending(pending), is_durable=True)

    def done(self, number: int, digest: bytes) -> None:
        """Remember that the database has the seal that was about to be stored."""
        self._append({"kind": "done", "number": number, "digest": digest.hex()}, is_durable=False)

    def hold_back(self, held: Mapping[Chain, str]) -> None:
        """Remember which chains do not follow from their last signed head, and why."""
        self._append({"kind": "held", "held": [[*chain, why] for chain, why in held.items()]}, is_durable=True)

    def leave(self, until: datetime) -> None:
        """Remember that the operator accepts seals of the future up to this moment."""
        self._append({"kind": "leave", "until": format_seconds(until)}, is_durable=True)

    def _append(self, record: dict[str, Any], *, is_durable: bool) -> None:
        with self._writing():
            if not self.exists:
                raise OperatorError(
                    f"the signer's memory {self.path} was taken away or altered while it was used: nothing is sealed"
                )
            line = self._line(record)
            descriptor = os.open(self.path, os.O_WRONLY)
            try:
                # Over whatever a process that was ended has left half written.
                os.ftruncate(descriptor, self._position)
                try:
                    written = 0
                    while written < len(line):
                        written += os.pwrite(descriptor, line[written:], self._position + written)
                    if is_durable:
                        os.fsync(descriptor)
                except OSError:
                    with suppress(OSError):
                        os.ftruncate(descriptor, self._position)
                    raise
            finally:
                os.close(descriptor)
            self._position += len(line)
            self._apply(record)
            # Also where no seal is ever stored: each that is made is remembered.
            if self._position > 2 * self._start_bytes + COMPACTION_BYTES:
                self.rewrite()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Forget all that is not known to be in the file, if it cannot be written: it is then read anew, whole.

        The next record's MAC would otherwise cover one that is not there, and the file pass for altered.
        """
        with self._reading:
            try:
                yield
            except BaseException:
                self._reset()
                raise

    def _line(self, record: Mapping[str, Any]) -> bytes:
        payload = orjson.dumps(record)
        self._mac = self._tag(payload)
        return b"%s %s\n" % (payload, self._mac.hex().encode())


def describe_older(known: int, number: int) -> str:
    """Return that the database has gone back from a seal to an earlier one, and what to do."""
    return (
        f"the database has gone back from seal {known} to seal {number}: a backup was restored, or seals were deleted. "
        "Nothing more is sealed: stop serve, then proceed as after a restore "
        f"(openepm-journal recover --declare-loss {number})"
    )


async def _take(descriptor: int, lock: Path) -> None:
    """Take the lock; the kernel releases it when the process ends."""
    deadline = asyncio.get_running_loop().time() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if asyncio.get_running_loop().time() > deadline:
                raise BusyError(
                    f"another process has held the signer's memory for {LOCK_SECONDS:.0f} s: find it with "
                    f"fuser {lock}, and stop it if it hangs",
                    retry_after_seconds=1,
                ) from None
            await asyncio.sleep(LOCK_PAUSE_SECONDS)
        else:
            return


def _write_pending(pending: Pending) -> dict[str, Any]:
    return {
        "number": pending.number,
        "digest": pending.digest.hex(),
        "heads": _write_heads(pending.heads.values()),
    }


def _read_pending(record: Mapping[str, Any]) -> Pending:
    return Pending(number=record["number"], digest=bytes.fromhex(record["digest"]), heads=_read_heads(record["heads"]))


def _write_heads(heads: Iterable[SealHeadRow]) -> list[list[Any]]:
    return [
        [tenant, category, size, chain_hash.hex(), kept_from, days]
        for tenant, category, size, chain_hash, kept_from, days in heads
    ]


def _read_heads(rows: Iterable[list[Any]]) -> dict[Chain, SealHeadRow]:
    return {
        (tenant, category): SealHeadRow(tenant, category, size, bytes.fromhex(digits), kept_from, days)
        for tenant, category, size, digits, kept_from, days in rows
    }
