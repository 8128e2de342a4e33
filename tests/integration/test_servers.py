"""An address of several servers: the one that takes writes is found, whoever else is silent, gone or a standby."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from journal.core.errors import OperatorError, UnavailableError
from journal.database.pools import make_durable
from journal.database.servers import Servers, split
from journal.database.store import Store
from journal.settings import load_settings
from tests.support.forwarding import listening, socket_of
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# What one connection may take in all, here with a silent server among three.
PATIENCE_SECONDS = 15.0


@asynccontextmanager
async def several(dsn: str, *kinds: str) -> AsyncIterator[str]:
    """Give an address of as many servers: `real` is the database's, `silent` says nothing, `absent` is not there."""
    parts = urlsplit(dsn)
    async with AsyncExitStack() as stack:
        hosts = [
            f"127.0.0.1:{free_port()}"
            if kind == "absent"
            else await stack.enter_async_context(listening(socket_of(dsn) if kind == "real" else None))
            for kind in kinds
        ]
        yield f"postgresql://{parts.username}@{','.join(hosts)}{parts.path}?target_session_attrs=read-write"


@pytest.mark.parametrize(
    ("dsn", "addresses"),
    [
        ("postgresql://o@a:1,b/d?x=y", ["postgresql://o@a:1/d?x=y", "postgresql://o@b/d?x=y"]),
        ("postgresql://o:p%2C@a,b", ["postgresql://o:p%2C@a", "postgresql://o:p%2C@b"]),
        ("postgresql://o@[::1]:5432/d", ["postgresql://o@[::1]:5432/d"]),
        ("postgresql://o@/d?host=/a,/b", ["postgresql://o@/d?host=/a,/b"]),
    ],
)
def test_split(dsn: str, addresses: list[str]) -> None:
    """Every server has an address that says the same of everything else."""
    assert split(dsn) == addresses


async def test_a_silent_server_does_not_keep_from_the_next(dsn: str) -> None:
    """The driver alone would wait at the first until the time is over. Once found, a server is asked first."""
    async with several(dsn, "silent", "absent", "real") as address:
        servers = Servers(address)
        async with asyncio.timeout(PATIENCE_SECONDS):
            connection = await servers.connect(timeout=6)
            await connection.close()
        loop = asyncio.get_running_loop()
        before = loop.time()
        connection = await servers.connect(timeout=6)
        await connection.close()
        # Less than the silent one's share.
        assert loop.time() - before < 2


async def test_a_session_that_is_read_only_finds_the_primary(dsn: str) -> None:
    """The owner's sessions are read-only by our own choice: to the driver alone, no server would do."""
    async with several(dsn, "absent", "real") as address, await Store.connect(address, application="test") as store:
        async with store.borrow("owner") as connection:
            assert await connection.fetchval("SHOW default_transaction_read_only") == "on"
        assert store.must_replicate


async def test_nothing_is_durable_without_a_standby(dsn: str) -> None:
    """Of several servers another may take this one's place: a flush that waits for no standby is not enough."""
    async with several(dsn, "real", "absent") as address, await Store.connect(address, application="test") as store:
        faults = await store.check_durability()
        assert [fault for fault in faults if "synchronous_standby_names is empty" in fault] == faults != []
        with pytest.raises(UnavailableError, match="synchronous_standby_names is empty"):
            async with store.borrow("ingest") as connection:
                await make_durable(connection, "ingest", must_replicate=store.must_replicate)


def test_several_servers_must_be_asked_for_the_primary() -> None:
    """An address that would also do with a standby is refused, with what to add."""
    dsn = "postgresql://journal_owner@db1,db2/journal"
    with pytest.raises(OperatorError, match="add target_session_attrs=read-write"):
        load_settings({"JOURNAL_DSN": dsn})
    for words in ("read-write", "primary"):
        assert load_settings({"JOURNAL_DSN": f"{dsn}?target_session_attrs={words}"}).dsn
