"""The store's border: durable or an error, one connection's misfortune never another's, errors in our own words."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from journal.core.errors import StoreError, UnavailableError
from journal.database.admin import NewCredential
from journal.database.embedded import EmbeddedPostgres
from journal.database.ingest import judge_durability
from journal.database.migrate import migrate
from journal.database.store import Store
from journal.database.types import Connection
from tests.support.chains import (
    CATEGORY,
    SERVICE,
    Pending,
    add_chains,
    advanced,
    append,
    batch,
    fresh,
    genesis_of,
    read_chain,
)

if TYPE_CHECKING:
    from tests.support.clocks import MoveClock

GOOD = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on", "data_sync_retry": "off"}
PATIENCE_SECONDS = 30


def new_credential(name: str = "a1b2c3") -> NewCredential:
    """Return a module's credential."""
    return NewCredential(
        id=name,
        secret_hash=b"\7" * 32,
        role="module",
        tenant="albi",
        categories=[CATEGORY],
        source_prefix="urn:openepm:albi:",
        label="poste 1",
    )


async def test_what_types_there_are_is_asked_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later connection reads an array of PostgreSQL's own type without asking about it; of a schema's it asks."""
    asked: list[int] = []
    ask = asyncpg.Connection._introspect_types

    async def noted(connection: asyncpg.Connection, types: set[int], limit: float | None) -> Any:
        asked.append(len(types))
        return await ask(connection, types, limit)

    monkeypatch.setattr(asyncpg.Connection, "_introspect_types", noted)
    monkeypatch.setattr(Connection, "own_types", {})
    counts = []
    for statement in ("SELECT $1::bigint[]", "SELECT $1::bigint[]", *["SELECT $1::journal.slug[]"] * 2):
        async with store.connect_anew("owner") as connection:
            given: list[Any] = [1] if "bigint" in statement else ["albi"]
            assert await connection.fetchval(statement, given) == given
        counts.append(len(asked))
    assert counts == [1, 1, 2, 3]


async def test_the_service_is_created_once(dsn: str) -> None:
    """Its first day is today and nothing is closed; before that, reading it is an error; again is one too."""
    async with await Store.connect(dsn, application="test") as store:
        with pytest.raises(StoreError, match="not created yet"):
            await store.read_service()
        with pytest.raises(StoreError, match="not created yet"):
            await store.seal_state()
        await store.create_service(SERVICE)
        service = await store.read_service()
        assert service.name == SERVICE
        assert service.first_day == service.created_at.date() == service.closed_day + timedelta(days=1)
        with pytest.raises(StoreError, match="already created"):
            await store.create_service("other.test")


async def test_faults_are_told_in_plain_words(store: Store) -> None:
    """A constraint's name becomes a sentence; PostgreSQL's detail, which quotes the row, is never in it."""
    await add_chains(store, ["albi"])
    genesis = {CATEGORY: genesis_of("albi", CATEGORY)}
    category: dict[str, Any] = {"label": "x", "regime": "LED", "retention_days": 60, "needs_authorisation": False}
    owners = {"albi": genesis_of("albi", "other")}
    with pytest.raises(StoreError, match="never reused"):
        await store.add_tenant("albi", "Albi", genesis)
    with pytest.raises(StoreError, match="not a slug"):
        await store.add_tenant("Albi!", "Albi", genesis)
    with pytest.raises(StoreError, match="categories have changed"):
        await store.add_tenant("castres", "Castres", {})
    with pytest.raises(StoreError, match="categories have changed"):
        await store.add_tenant("castres", "Castres", genesis | {"ghost": b"\0" * 32})
    with pytest.raises(StoreError, match="already a category"):
        await store.add_category(CATEGORY, **category, genesis=owners)
    with pytest.raises(StoreError, match="not a slug"):
        await store.add_category("Écrits", **category, genesis=owners)
    with pytest.raises(StoreError, match="between 2 and 60"):
        await store.add_category("other", **(category | {"retention_days": 61}), genesis=owners)
    with pytest.raises(StoreError, match="LED or GDPR"):
        await store.add_category("other", **(category | {"regime": "HDS"}), genesis=owners)
    with pytest.raises(StoreError, match="tenants have changed"):
        await store.add_category("other", **category, genesis={})
    with pytest.raises(StoreError, match="does not fit"):
        await store.add_category("other", **(category | {"retention_days": "many"}), genesis=owners)
    with pytest.raises(StoreError, match="no such category"):
        await store.add_credential(replace(new_credential(), categories=["ghost"]))
    with pytest.raises(StoreError, match="no such tenant"):
        await store.add_credential(replace(new_credential(), tenant="ghost"))
    with pytest.raises(StoreError) as caught:
        await store.add_tenant("a\0b", "Albi", genesis)
    assert "a\0b" not in str(caught.value)
    with pytest.raises(StoreError) as caught:
        await store.add_tenant("castres", "Castres", {CATEGORY: b"short"})
    assert "short" not in str(caught.value)
    assert [tenant.code for tenant in await store.read_tenants()] == ["albi"]


async def test_the_reserved_tenant_has_the_journal_alone(store: Store) -> None:
    """What concerns no commune has one chain."""
    await store.add_category(
        "journal", label="j", regime="LED", retention_days=60, needs_authorisation=False, genesis={}
    )
    await add_chains(store, [])
    await store.add_tenant("_service", "service", {"journal": genesis_of("_service", "journal")})
    assert [(row.tenant, row.category) for row in (await store.seal_state()).heads] == [("_service", "journal")]


async def test_credentials_live_and_end(store: Store, move_clock: MoveClock) -> None:
    """What is stored is read back; revoking works once; each change moves the directory's version."""
    await add_chains(store, ["albi"])
    versions = [await store.snapshot_version()]
    await store.add_credential(new_credential())
    versions.append(await store.snapshot_version())
    (row,) = await store.list_credentials()
    assert row == (await store.read_credentials())[0]
    assert (row.id, row.secret_hash, row.role, row.tenant) == ("a1b2c3", b"\7" * 32, "module", "albi")
    assert (row.categories, row.source_prefix, row.label) == ([CATEGORY], "urn:openepm:albi:", "poste 1")
    assert row.expires_at is None
    assert row.revoked_at is None
    with pytest.raises(StoreError, match="already a credential"):
        await store.add_credential(new_credential())
    await move_clock(hours=1)
    assert await store.revoke_credential("a1b2c3")
    versions.append(await store.snapshot_version())
    (row,) = await store.list_credentials()
    assert row.revoked_at is not None
    assert row.revoked_at - row.created_at > timedelta(minutes=59)
    assert not await store.revoke_credential("a1b2c3")
    assert not await store.revoke_credential("ghost")
    versions.append(await store.snapshot_version())
    assert versions[0] < versions[1] < versions[2] == versions[3]


async def test_a_closed_tenant_stays_closed(store: Store) -> None:
    """Its head stays; closing it again, or one that is not there, says so."""
    await add_chains(store, ["albi", "castres"])
    assert await store.close_tenant("albi")
    assert not await store.close_tenant("albi")
    assert not await store.close_tenant("ghost")
    assert {tenant.code: tenant.closed for tenant in await store.read_tenants()} == {"albi": True, "castres": False}
    assert len((await store.seal_state()).heads) == 2


async def test_the_database_clock_can_be_simulated_and_says_so(store: Store, move_clock: MoveClock) -> None:
    """Nobody takes a moved clock for the real one."""
    assert await store.clock_is_simulated()
    before = await store.read_now()
    await move_clock(days=3)
    assert (await store.read_now()) - before > timedelta(days=2)


async def test_the_real_clock_is_not_simulated(store: Store) -> None:
    """As installed, the clock is the machine's, in UTC."""
    assert not await store.clock_is_simulated()
    moment = await store.read_now()
    assert moment.utcoffset() == timedelta(0)


async def test_the_embedded_database_is_durable(store: Store) -> None:
    """Nothing to object to, as the role that appends sees it."""
    assert await store.check_durability() == []


async def test_a_setting_lowered_for_the_role_alone_is_seen(store: Store, superuser: asyncpg.Connection) -> None:
    """What counts is the session that appends, not the server's file."""
    name = await superuser.fetchval("SELECT current_database()")
    await superuser.execute(f"ALTER ROLE journal_ingest IN DATABASE {name} SET synchronous_commit = local")
    assert await store.check_durability() == [
        "synchronous_commit is local: commits do not wait for the disk and the standby"
    ]
    (head,) = await add_chains(store, ["albi"])
    with pytest.raises(StoreError, match="synchronous_commit"):
        await append(store, head, fresh(1))


@pytest.mark.parametrize(
    "change",
    [
        {"fsync": "off"},
        {"full_page_writes": "off"},
        {"synchronous_commit": "off"},
        {"synchronous_commit": "local"},
        {"synchronous_commit": "remote_write"},
        {"data_sync_retry": "on"},
    ],
    ids=str,
)
def test_each_setting_under_which_an_acknowledgement_lies_is_named(change: dict[str, str]) -> None:
    """One sentence for one fault, and none for the strictest level."""
    (sentence,) = judge_durability(GOOD | change)
    assert sentence.startswith(next(iter(change)))
    assert judge_durability(GOOD | {"synchronous_commit": "remote_apply"}) == []


async def test_each_pool_logs_in_as_its_own_role(store: Store) -> None:
    """The user in the address is replaced."""
    for role in ("ingest", "read", "seal", "purge", "admin"):
        async with store.borrow(role) as connection:
            assert await connection.fetchval("SELECT current_user") == f"journal_{role}"
            assert await connection.fetchval("SHOW application_name") == f"test {role}"


async def test_a_borrower_leaves_nothing_behind(dsn: str) -> None:
    """After success, error, cancel and a failed transaction: no role, no setting, no transaction, no lock."""
    async with await Store.connect(dsn, application="test", pool_sizes={"ingest": 1}) as store:
        await store.create_service(SERVICE)
        (head,) = await add_chains(store, ["albi"])
        now = await store.read_now()

        def fail(_: object) -> Any:
            raise KeyError

        head = await append(store, head, fresh(1))
        async with store.borrow("ingest") as connection:
            before = await connection.fetch("SELECT name, setting FROM pg_settings ORDER BY name")
        for number in range(30):
            head = await append(store, head, fresh(1))
            with pytest.raises(StoreError):
                await store.append(replace(batch([(head, fresh(1))], now), next_size=[number + 100]))
            with pytest.raises(KeyError):
                await store.append_locked(["albi"], [CATEGORY], fail)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await store.read_now()
            async with store.borrow("ingest") as connection:
                assert await connection.fetchval("SELECT current_user") == "journal_ingest"
                assert not connection.is_in_transaction()
                held = "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'"
                assert await connection.fetchval(held) == 0
        async with store.borrow("ingest") as connection:
            assert await connection.fetch("SELECT name, setting FROM pg_settings ORDER BY name") == before


async def test_more_borrowers_than_connections_wait_their_turn(dsn: str) -> None:
    """The pool is a bound, not an error."""
    async with await Store.connect(dsn, application="test", pool_sizes={"ingest": 2}) as store:
        await asyncio.gather(*(store.read_now() for _ in range(50)))


async def test_a_database_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    """Connecting waits until something is asked; then the answer is one of ours."""
    address = f"postgresql://journal_owner@/journal?host={tmp_path}&port=5432"
    async with await Store.connect(address, application="test") as store:
        with pytest.raises(UnavailableError):
            await store.read_now()


async def test_a_killed_connection_is_unavailable_and_replaced(store: Store, superuser: asyncpg.Connection) -> None:
    """The next statement gets another one."""
    await store.read_now()
    async with store.borrow("ingest") as connection:
        pid = connection.get_server_pid()
    await superuser.execute("SELECT pg_terminate_backend($1, 5000)", pid)
    outcomes = await asyncio.gather(store.read_now(), return_exceptions=True)
    assert isinstance(outcomes[0], UnavailableError) or not isinstance(outcomes[0], BaseException)
    await store.read_now()


async def test_a_connection_that_ends_before_its_statement_runs(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver has no protocol any more for what it has just prepared: an outage, and the next one gets another."""
    prepare = asyncpg.Connection._get_statement

    async def end(connection: asyncpg.Connection, *arguments: Any, **options: Any) -> Any:
        statement = await prepare(connection, *arguments, **options)
        connection.terminate()
        return statement

    with monkeypatch.context() as patch:
        patch.setattr(asyncpg.Connection, "_get_statement", end)
        with pytest.raises(UnavailableError):
            await store.read_now()
        with pytest.raises(UnavailableError):
            async with store.connect_anew("ingest") as connection:
                await connection.fetch("SELECT 1")
    await store.read_now()


async def test_a_statement_that_never_answers_is_abandoned(dsn: str, owner: asyncpg.Connection) -> None:
    """Its outcome is unknown, for it may still happen; asked again, the event is recorded once."""
    async with await Store.connect(dsn, application="test", limits_seconds={"ingest": 0.3}) as store:
        await store.create_service(SERVICE)
        (head,) = await add_chains(store, ["albi"])
        made = batch([(head, fresh(1))], await store.read_now())
        async with owner.transaction():
            await owner.execute("SELECT FROM journal.head FOR UPDATE")
            with pytest.raises(UnavailableError):
                await store.append(made)
            with pytest.raises(UnavailableError):
                await store.append_locked(["albi"], [CATEGORY], lambda _: made)
        # The abandoned appends go on, now that they can: the next one comes after them.
        while (result := await store.append(made)).answer != "conflict":
            assert result.answer == "appended"
        (moved,) = await store.read_heads(["albi"], [CATEGORY])
        result = await store.append(batch([(moved, [Pending(key=made.entry_key[0])])], await store.read_now()))
        assert result.answer == "known"
        assert len(await read_chain(store, head, (await store.read_now()).date())) == 1


async def test_a_pool_whose_connections_are_all_held_is_unavailable(dsn: str) -> None:
    """Waiting for a turn has a limit too."""
    sizes, limits = {"read": 1}, {"read": 0.3}
    async with await Store.connect(dsn, application="test", pool_sizes=sizes, limits_seconds=limits) as store:
        first = store.borrow("read")
        await first.__aenter__()
        with pytest.raises(UnavailableError):
            await store.latest_seal()
        with pytest.raises(UnavailableError):
            await first.__aexit__(None, None, None)
        assert await store.latest_seal() is None


async def test_a_commit_that_did_not_wait_for_its_standby_is_not_acknowledged() -> None:
    """Cancelled while waiting, PostgreSQL commits locally and answers success with a warning: we answer neither.

    Asked again, the event is found: whether that copy survives is for the standby to say, not for us to promise.
    """
    with tempfile.TemporaryDirectory(prefix="oej-test-") as home, EmbeddedPostgres(Path(home)) as server:
        await migrate(server.dsn())
        superuser = await asyncpg.connect(server.dsn("postgres"))
        async with await Store.connect(server.dsn(), application="test") as store:
            await store.create_service(SERVICE)
            (head,) = await add_chains(store, ["albi"])
            await superuser.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
            await superuser.execute("SELECT pg_reload_conf()")
            for attempt in (
                store.append,
                lambda made: store.append_locked(["albi"], [CATEGORY], lambda _: made),
            ):
                made = batch([(head, fresh(1))], await store.read_now())
                result = await attempt(made)
                assert result.answer == "appended"
                assert result.flushed is not None
                await cancel_standby_wait(superuser)
                with pytest.raises(UnavailableError):
                    await result.flushed
                # It is committed here all the same, and visible.
                head = advanced(head, made)
                assert await store.read_heads(["albi"], [CATEGORY]) == [head]
            # So whatever rests on it waits as well.
            again = batch([(head, [Pending(key=made.entry_key[0])])], await store.read_now())
            today = [made.chain_recorded_at[0].date()]
            for resting in (
                store.append(again),
                store.find_recorded("albi", CATEGORY, made.entry_key, today, today),
                store.seal_state(),
            ):
                waiting = asyncio.create_task(resting)
                await cancel_standby_wait(superuser)
                with pytest.raises(UnavailableError):
                    await waiting
            await superuser.execute("ALTER SYSTEM RESET synchronous_standby_names")
            await superuser.execute("SELECT pg_reload_conf()")
            head = await append(store, head, fresh(1))
            assert len(await read_chain(store, head, (await store.read_now()).date())) == 3
        await superuser.close()


async def cancel_standby_wait(superuser: asyncpg.Connection) -> None:
    """Cancel the statement that waits for a standby, once one does."""
    while not await superuser.fetchval(
        "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    ):
        pass
