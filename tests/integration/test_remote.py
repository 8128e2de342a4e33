"""What a worker submits is recorded by the first process, and answered as if the worker had a writer of its own."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import pytest

from journal.core.entry import Compartment, Event
from journal.core.errors import (
    AbsentKeyError,
    BusyError,
    JournalError,
    KnownEventError,
    OperatorError,
    StoreError,
    UnavailableError,
)
from journal.core.faults import ID_REUSED, Fault
from journal.database.facts import SuspendedError
from journal.writing.remote import RemoteWriter, WriterServer, _read_error, _spell_error, connect_writer, serve_worker
from tests.support.rig import CATEGORY, TENANTS, open_rig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from journal.writing.writer import Writer
    from tests.support.rig import Rig


@pytest.fixture
async def rig(dsn: str, tmp_path: Path) -> AsyncIterator[Rig]:
    """A service of two communes whose writer runs."""
    async with open_rig(dsn, tmp_path) as running:
        yield running


@asynccontextmanager
async def connected(rig: Rig) -> AsyncIterator[tuple[RemoteWriter, WriterServer]]:
    """Give a worker's view of the writer, and the first process's end of the pair."""
    ours, theirs = socket.socketpair()
    server, remote = await serve_worker(rig.service.writer, ours), await connect_writer(theirs)
    try:
        yield remote, server
    finally:
        remote.close()
        server.close()
        await asyncio.sleep(0)


async def test_answers_and_refusals_are_those_of_the_writer(rig: Rig) -> None:
    """Recorded, known and refused: the worker passes on what the writer says, whole."""
    async with connected(rig) as (remote, _):
        chain = Compartment(rig.service.name, TENANTS[0], CATEGORY)
        first, second = rig.events("a", "é" * 100)
        given = await remote.submit(chain, "module-1", [first, second, first], 1000)
        assert (given.events, given.recorded) == (3, 2)
        again = await remote.submit(chain, "module-1", [first, second, first], 1000)
        assert (again.events, again.recorded) == (3, 0)
        answer = await rig.submit([first, second, first])
        assert [acknowledgement.receipt.text for acknowledgement in answer] == [
            text for text in _receipts(again.body) if text in given.body
        ]
        with pytest.raises(KnownEventError) as caught:
            await remote.submit(chain, "module-1", [rig.rival(first)], 1000)
        assert [(position, pointer) for position, pointer, *_ in caught.value.faults] == [(0, "/id")]
        with pytest.raises(AbsentKeyError, match="is not in the key store"):
            await remote.submit(Compartment(rig.service.name, "nobody", CATEGORY), "module-1", rig.events("c"), 1000)


def _receipts(body: bytes) -> list[bytes]:
    """Return the receipts of an answer, as they are spelt there."""
    inside = body[body.index(b'"receipts":[{') + 13 : body.index(b"}]")]
    return [b"{%b}" % text for text in inside.split(b"},{")]


class _Noting(asyncio.Transport):
    """A writer that notes what it is to record, and the way there, which cuts messages into pieces."""

    def __init__(self, piece: int) -> None:
        super().__init__()
        self.piece = piece
        self.server = WriterServer(cast("Writer", self))
        self.noted: list[list[Event]] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Pass a piece at a time on."""
        for start in range(0, len(data), self.piece):
            self.server.data_received(bytes(data[start : start + self.piece]))

    def offer(self, *given: Any, **_: Any) -> asyncio.Future[Any]:
        """Note the events."""
        self.noted.append(given[2])
        return asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("piece", [1, 3, 4, 5, 100, 1_000_000])
async def test_events_arrive_as_they_left(piece: int) -> None:
    """Several messages in a row, in whatever pieces they come; each time to its microsecond."""
    moments = [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 3, 1, 12, 0, 0, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ]
    events = [
        Event("urn:a", f"é{place}", moment, "access", b"{}" * place, *more)
        for moment in moments
        for place, more in enumerate([(), (None, "", "a time"), (10**16 - 1, "epoch")])
    ]
    remote, way = RemoteWriter(), _Noting(piece)
    remote.connection_made(way)
    submitted: list[list[Event]] = [events, [], events[3:4], events[5:]]
    for sent in submitted:
        remote.offer(Compartment("svc", TENANTS[0], CATEGORY), "module-1", sent, 100, 2.5)
    await asyncio.sleep(0)
    assert way.noted == submitted
    assert all(type(event) is Event and event.time.tzinfo is UTC for event in way.noted[0])


async def test_a_writer_that_has_ended_is_told(rig: Rig) -> None:
    """Callers are told to come back, those that wait and those that come later."""
    chain = Compartment(rig.service.name, TENANTS[0], CATEGORY)
    async with connected(rig) as (remote, server):
        server.close()
        for number in range(2):
            with pytest.raises(BusyError):
                await remote.submit(chain, "module-1", rig.events(number), 100)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KnownEventError([Fault(3, "/id", ID_REUSED, "other content")], more=2), KnownEventError),
        (BusyError("full", retry_after_seconds=7), BusyError),
        (OperatorError("the clock was moved"), OperatorError),
        (UnavailableError("gone"), UnavailableError),
        (SuspendedError("a row"), StoreError),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_an_error_arrives_as_it_left(error: JournalError, told: type[JournalError]) -> None:
    """Its kind, its sentence, its faults, the time to come back."""
    read = _read_error(*_spell_error(error))
    assert type(read) is told
    assert str(read) == str(error)
    for name in ("faults", "more", "retry_after_seconds"):
        assert getattr(read, name, None) == getattr(error, name, None)
