"""One writer for all processes of a service: workers send it what they were sent, and pass its answers on.

Two processes that append to the same chains refuse each other's drafts, since each was computed from heads that the
other has moved. The first process alone writes what modules submit; each worker has a socket pair with it, inherited
when it was started. A worker ends with the first process: what was under way is then not known to be recorded.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import msgspec

from journal.core import errors
from journal.core.entry import Compartment, Event
from journal.core.faults import Code, Fault
from journal.writing.queue import OVERLOAD_RETRY_SECONDS

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from journal.writing.answers import Answer
    from journal.writing.writer import Writer

LENGTH_BYTES: Final = 4
# What is checked once needs no second look: there are as many as chains.
named_compartment = lru_cache(maxsize=32_768)(Compartment)
_encode = msgspec.msgpack.Encoder().encode


class Given(NamedTuple):
    """What a caller is told of a submission: the answer in JSON, how many events it had, how many it recorded."""

    body: bytes
    events: int
    recorded: int


class _Submitted(NamedTuple):
    """What a worker sends: a submission, which the answer names by its number."""

    number: int
    compartment: tuple[str, str, str]
    submitted_by: str
    size_bytes: int
    answer_seconds: float | None
    events: list[Event]


class _Settled(NamedTuple):
    """What a worker is sent: what its caller is told, or else `_spell_error` of what is raised."""

    number: int
    given: Given | None
    refusal: tuple[str, str, Any] | None


async def submit_here(
    writer: Writer,
    compartment: Compartment,
    submitted_by: str,
    events: Sequence[Event],
    size_bytes: int,
    *,
    answer_seconds: float | None = None,
) -> Given:
    """Record events by the writer of this process. Raises what `Writer.submit` does."""
    return given_of(await writer.submit(compartment, submitted_by, events, size_bytes, answer_seconds=answer_seconds))


def given_of(answer: Answer) -> Given:
    """Return what the caller is told of an answer."""
    return Given(answer.body, len(answer), answer.recorded)


class _Framed(asyncio.Protocol):
    """Messages, each after its length; those of one turn of the event loop are written together."""

    def __init__(self, kind: type[Any]) -> None:
        """Take messages of this kind."""
        self._decode = msgspec.msgpack.Decoder(kind).decode
        # The beginning of a message, in the pieces that came, and how much there must be to read on.
        self._received: list[bytes] = []
        self._missing = LENGTH_BYTES
        self._due: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is one without being an instance of it.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received.append(data)
        self._missing -= len(data)
        if self._missing > 0:
            return
        received = memoryview(b"".join(self._received))
        while len(received) >= LENGTH_BYTES:
            last = LENGTH_BYTES + int.from_bytes(received[:LENGTH_BYTES], "big")
            if len(received) < last:
                self._missing = last - len(received)
                break
            self.take(self._decode(received[LENGTH_BYTES:last]))
            received = received[last:]
        else:
            self._missing = LENGTH_BYTES - len(received)
        self._received = [bytes(received)]

    def close(self) -> None:
        """End the connection."""
        if self._transport is not None:
            self._transport.close()

    def take(self, message: Any) -> None:
        """Act on a message."""
        raise NotImplementedError

    def send(self, message: Any) -> None:
        """Send a message soon."""
        encoded = _encode(message)
        if not self._due:
            asyncio.get_running_loop().call_soon(self._write)
        self._due += (len(encoded).to_bytes(LENGTH_BYTES, "big"), encoded)

    def _write(self) -> None:
        due, self._due = self._due, []
        if self._transport is not None:
            self._transport.write(b"".join(due))


class RemoteWriter(_Framed):
    """The writer of the first process, as a worker sees it."""

    def __init__(self) -> None:
        """Wait for nothing yet."""
        super().__init__(_Settled)
        self._waiting: dict[int, asyncio.Future[Given]] = {}
        self._number = 0
        self._is_gone = False

    async def submit(
        self,
        compartment: Compartment,
        submitted_by: str,
        events: Sequence[Event],
        size_bytes: int,
        answer_seconds: float | None = None,
    ) -> Given:
        """Record events as `Writer.submit` does, and raise what it raises."""
        return await self.offer(compartment, submitted_by, events, size_bytes, answer_seconds)

    def offer(
        self,
        compartment: Compartment,
        submitted_by: str,
        events: Sequence[Event],
        size_bytes: int,
        answer_seconds: float | None = None,
    ) -> asyncio.Future[Given]:
        """Do as `submit`, without waiting: return what will be the answer. Raises BusyError."""
        if self._is_gone:
            raise _gone()
        self._number += 1
        future: asyncio.Future[Given] = asyncio.get_running_loop().create_future()
        self._waiting[self._number] = future
        self.send((self._number, compartment, submitted_by, size_bytes, answer_seconds, events))
        return future

    def take(self, message: Any) -> None:
        """Pass an answer on."""
        number, given, refusal = message
        future = self._waiting.pop(number)
        if future.done():
            return
        if refusal is None:
            future.set_result(given)
        else:
            future.set_exception(_read_error(*refusal))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every caller that waits to come back."""
        del exc
        self._is_gone = True
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(_gone())
        self._waiting.clear()


class WriterServer(_Framed):
    """Records what one worker submits."""

    def __init__(self, writer: Writer) -> None:
        """Record by this writer."""
        super().__init__(_Submitted)
        self._writer = writer
        self._under_way: set[asyncio.Future[Any]] = set()

    def take(self, message: Any) -> None:
        """Record a submission; others may follow meanwhile."""
        number, place, submitted_by, size_bytes, answer_seconds, events = message
        offered = self._offer(named_compartment(*place), submitted_by, events, size_bytes, answer_seconds)
        self._under_way.add(offered)
        offered.add_done_callback(partial(self._tell, number))

    def _offer(
        self,
        compartment: Compartment,
        submitted_by: str,
        events: list[Event],
        size_bytes: int,
        answer_seconds: float | None,
    ) -> asyncio.Future[Any]:
        """Return what will be the answer."""
        loop = asyncio.get_running_loop()
        try:
            offered = self._writer.offer(compartment, submitted_by, events, size_bytes, answer_seconds=answer_seconds)
        except Exception as error:  # noqa: BLE001  (the worker is told of each, and the log of those unforeseen)
            refused: asyncio.Future[Any] = loop.create_future()
            refused.set_exception(error)
            return refused
        return offered or loop.create_task(
            submit_here(self._writer, compartment, submitted_by, events, size_bytes, answer_seconds=answer_seconds)
        )

    def _tell(self, number: int, settled: asyncio.Future[Answer | Given]) -> None:
        self._under_way.discard(settled)
        try:
            answer = settled.result()
        except errors.JournalError as error:
            self.send((number, None, _spell_error(error)))
        except BaseException:
            self.send((number, None, _spell_error(_gone())))
            raise  # for the log of the event loop
        else:
            self.send((number, answer if isinstance(answer, Given) else given_of(answer), None))


async def serve_worker(writer: Writer, ours: socket.socket) -> WriterServer:
    """Record what a worker submits over its socket pair, until it ends."""
    _, server = await asyncio.get_running_loop().create_connection(lambda: WriterServer(writer), sock=ours)
    return server


async def connect_writer(theirs: socket.socket) -> RemoteWriter:
    """Return the first process's writer, over the socket pair with it."""
    _, remote = await asyncio.get_running_loop().create_connection(RemoteWriter, sock=theirs)
    return remote


def _gone() -> errors.BusyError:
    reason = "the writer has ended: it is not known whether the events are recorded; send the same events again"
    return errors.BusyError(reason, retry_after_seconds=OVERLOAD_RETRY_SECONDS)


def _spell_error(error: errors.JournalError) -> tuple[str, str, Any]:
    """Return an error's class, its sentence, and what else it is made of."""
    kind = type(error).__name__
    if isinstance(error, errors.SubmissionError):
        return kind, "", (error.faults, error.more)
    if isinstance(error, errors.BusyError):
        return kind, str(error), error.retry_after_seconds
    # A class that has its room elsewhere, as SuspendedError, is told as the one above it.
    known = next(base for base in type(error).__mro__ if getattr(errors, base.__name__, None) is base)
    return known.__name__, str(error), None


def _read_error(kind: str, reason: str, rest: Any) -> errors.JournalError:
    """Return the error that was spelt so."""
    found: type[errors.JournalError] = getattr(errors, kind)
    if issubclass(found, errors.SubmissionError):
        faults, more = rest
        return found([Fault(at, pointer, Code(*code), *told) for at, pointer, code, *told in faults], more=more)
    if issubclass(found, errors.BusyError):
        return found(reason, retry_after_seconds=rest)
    return found(reason)
