"""Time-stamps in the database: one per close seal, never changed; and which seals wait for theirs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from journal.core.errors import StoreError
from tests.support.chains import add_chains, midnight_after, seconds_until

if TYPE_CHECKING:
    from journal.database.seal import SealRow
    from journal.database.store import Store
    from tests.support.clocks import MoveClock

DAY = timedelta(days=1)


async def put_close(store: Store, move_clock: MoveClock) -> SealRow:
    """Take an open seal, then the close seal of today; return the latter."""
    await add_chains(store, ["albi"])
    now = await store.read_now()
    assert await store.put_seal(1, None, now, b"open", b"", [])
    await move_clock(seconds=seconds_until(midnight_after(now.date())) + 10)
    await store.close_day(now.date())
    assert await store.put_seal(2, now.date(), await store.read_now(), b"close", b"", [])
    (row,) = await store.unstamped_seals()
    return row


async def test_only_close_seals_bear_a_time_stamp_and_the_first_stays(store: Store, move_clock: MoveClock) -> None:
    """Neither an open seal nor one that is not there; a second token is not kept."""
    close, now = await put_close(store, move_clock), await store.read_now()
    assert (close.number, close.text) == (2, b"close")
    for number in (1, 3):
        with pytest.raises(StoreError, match=f"seal {number} is not a close seal"):
            await store.put_timestamp(number, now, b"token")
    for token in (b"", bytes(65_537)):
        with pytest.raises(StoreError, match="seal_timestamp_token_check"):
            await store.put_timestamp(2, now, token)
    assert await store.put_timestamp(2, now, b"first")
    assert not await store.put_timestamp(2, now, b"second")
    for row in (await store.read_seal(2), await store.latest_seal(), *await store.read_seals(1, 10)):
        assert row is not None
        assert row.timestamp == b"first"
    (listed,) = await store.read_close_seals(now.date() - DAY, now.date())
    assert listed.timestamp == b"first"
    opened = await store.read_seal(1)
    assert opened is not None
    assert opened.timestamp is None
    assert await store.unstamped_seals() == []


async def test_seals_that_no_extract_lists_any_more_do_not_wait(store: Store, move_clock: MoveClock) -> None:
    """An authority that is named after years is not asked about all of them."""
    close = await put_close(store, move_clock)
    assert close.day is not None
    ahead = seconds_until(midnight_after(close.day)) + 10
    await move_clock(seconds=ahead + 60 * 86_400)
    assert await store.unstamped_seals() == [close]
    await move_clock(seconds=ahead + 61 * 86_400)
    assert await store.unstamped_seals() == []
