"""While the clocks of service and database differ nothing is refused for its time: such a refusal is for good."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.clocks import hold_time
from tests.support.edge import EVENTS, SINGLE
from tests.support.refused_events import valid_event

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.edge import Answer, RunningEdge

pytestmark = pytest.mark.asyncio(loop_scope="module")

# The same media type, in a spelling that the short way of single events leaves to the application.
UNUSUAL = "Application/CloudEvents+JSON"
TEN_MINUTES, FORTY_DAYS = timedelta(minutes=10), timedelta(days=40)


@pytest.fixture
def move(own_edge: RunningEdge, monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Step the wall clock of the service's host; its monotonic clock and the database's clock go on."""

    def step(by: timedelta) -> None:
        monkeypatch.setattr(own_edge.clock, "now", lambda: datetime.now(UTC) + by)

    return step


def event(name: str, ahead: timedelta = timedelta(0)) -> dict[str, Any]:
    """Return a valid event of now, or of a time ahead of it."""
    return valid_event(id=name, time=(datetime.now(UTC) + ahead).isoformat())


def told(answer: Answer) -> tuple[int, Any]:
    """Return the status of an answer, and whether to come back."""
    return answer.status, answer.json.get("retryable")


async def test_a_clock_that_is_behind_refuses_nothing_for_good(
    own_edge: RunningEdge, move: Callable[[timedelta], None]
) -> None:
    """New or recorded, alone or in a batch, by either way, dry or not: to be sent again, and then recorded once."""
    new, known = event("new"), event("known")
    assert (await own_edge.post(known)).status == 201
    move(-TEN_MINUTES)
    for one in (new, known):
        for value, kind in ((one, SINGLE), (one, UNUSUAL), ([one], None), ([event("with it"), one], None)):
            answer = await own_edge.post(value, media_type=kind)
            assert told(answer) == (503, True)
            assert int(answer.headers["Retry-After"]) >= 1
        answer = await own_edge.post(one, path=f"{EVENTS}?dry_run=true")
        assert told(answer) == (503, True)
    move(timedelta(0))
    assert (await own_edge.post(known)).status == 200
    assert (await own_edge.post(new)).status == 201
    assert await own_edge.size() == 2


async def test_a_clock_that_was_ahead_from_the_start_refuses_nothing_for_good(own_edge: RunningEdge) -> None:
    """Nor are events of today too old: no process sees by itself that its clock was wrong when it started."""
    new, known = event("new"), event("known")
    assert (await own_edge.post(known)).status == 201
    own_edge.clock.offset = FORTY_DAYS
    for one in (new, known):
        for value, kind in ((one, SINGLE), (one, UNUSUAL), ([one], None)):
            assert told(await own_edge.post(value, media_type=kind)) == (503, True)
    own_edge.clock.offset = timedelta(0)
    assert (await own_edge.post(known)).status == 200
    assert (await own_edge.post(new)).status == 201


async def test_a_clock_put_right_before_the_refusal_is_remembered(
    own_edge: RunningEdge, move: Callable[[timedelta], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock by which an event was judged is the one that must agree, not the one of a moment later."""
    ask = own_edge.service.agreement._ask

    async def put_right_and_ask() -> Any:
        move(timedelta(0))
        return await ask()

    monkeypatch.setattr(own_edge.service.agreement, "_ask", put_right_and_ask)
    move(-TEN_MINUTES)
    assert told(await own_edge.post(event("new"))) == (503, True)
    assert (await own_edge.post(event("new"))).status == 201


async def test_clocks_that_agree_are_compared_once_a_second(
    own_edge: RunningEdge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event of the future is refused, however many come, without a query for each; none for an event of now."""
    hold_time(own_edge.clock, monkeypatch)
    store = own_edge.service.store
    read_now, asked = store.read_now, []

    async def count_and_read() -> datetime:
        asked.append(None)
        return await read_now()

    monkeypatch.setattr(store, "read_now", count_and_read)
    assert (await own_edge.post(event("now"))).status == 201
    assert not asked
    for number in range(5):
        answer = await own_edge.post(event(f"ahead {number}", TEN_MINUTES))
        assert told(answer) == (422, True)
        assert answer.json["faults"][0]["code"] == "time-ahead"
    assert len(asked) == 1
    own_edge.clock.offset += timedelta(seconds=1)
    assert (await own_edge.post(event("ahead", TEN_MINUTES))).status == 422
    assert len(asked) == 2
