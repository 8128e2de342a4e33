"""Rows that command, written by somebody with the database and no key: refused, and named within a minute.

Each test does what took effect on a service that believed its database.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from journal.admin.administration import NewCategory
from journal.admin.confirmation import WrongCodeError, confirm_handover
from journal.audit.watch import Watch
from journal.cli.installation import prepare
from journal.core.entry import RESERVED_TENANT, Compartment
from journal.core.errors import OperatorError
from tests.support.acts import forge_token, insert, intruder, notice
from tests.support.authority import issue, key_usage, new_key
from tests.support.communes import commune, commune_world, opened
from tests.support.edge import CATEGORY, EVENTS, HEAD, TENANT, running_edge
from tests.support.refused_events import valid_event
from tests.support.world import DAY, FIRST, OTHER_TENANT, START, World, copied, new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres
    from tests.support.edge import RunningEdge

pytestmark = pytest.mark.usefixtures("no_documents")

LONG = NewCategory(code="longue", label="Longue", retention_days=30)
LIVED = 9


@pytest.fixture
async def edge(postgres: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[RunningEdge]:
    """A service that listens, with one credential of each role."""
    async with running_edge(postgres, tmp_path) as running:
        await running.service.sealer.seal_open(even_if_still=True)
        yield running


@copied
@asynccontextmanager
async def lived_world(postgres: EmbeddedPostgres, home: Path) -> AsyncIterator[World]:
    """Make an installation with a category kept 30 days, nine days old."""
    async with new_world(postgres, home) as world:
        await world.installation.administration.add_category(LONG)
        for number in range(LIVED):
            await world.travel_to(FIRST + number * DAY)
            await world.record(2, category=LONG.code)
            await world.seal()
        yield world


@pytest.fixture
async def lived(postgres: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[World]:
    """One of those."""
    async with lived_world(postgres, tmp_path) as world:
        yield world


def event(name: str) -> dict[str, Any]:
    """Return a valid event of a moment ago."""
    return valid_event(id=name, time=(datetime.now(UTC) - timedelta(seconds=1)).isoformat())


async def kept_days(world: World) -> int:
    """Return how many lived days of the long category have their rows and their key."""
    rows = {row.day for row in await world.service.store.partitions() if row.category == LONG.code}
    days = set(world.service.keyring.keystore.day_keys(LONG.code))
    return len([day for day in rows & days if day <= world.today])


@pytest.mark.parametrize("columns", ["retention_days", "next_retention_days"])
async def test_a_shorter_rule(lived: World, columns: str) -> None:
    """In force or pending: neither a running service nor one that starts purges by it; both name it."""
    async with lived.superuser() as superuser:
        query = "SELECT column_name FROM information_schema.columns WHERE column_name IN ('next_since', 'next_from')"
        has = [row[0] for row in await superuser.fetch(query)]
        forward = ["next_from"] if "next_from" in has else []
        others = has if columns != "retention_days" else []
        values = ", ".join([f"{columns} = 5", *(f"{name} = '{FIRST}'" for name in others)])
        await superuser.execute(f"UPDATE journal.category SET {values} WHERE code = $1", LONG.code)
    await lived.installation.purger.run(max_days=None)
    assert await kept_days(lived) == LIVED
    async with lived.another_process() as started:
        await started.purger.run(max_days=None)
        assert await kept_days(lived) == LIVED
        assert LONG.code in await notice(started.service)
    assert LONG.code in await notice(lived.service)
    assert (await lived.record(1, category=LONG.code))[0].index == 2 * LIVED
    # What the database itself refuses to read by the row as it is comes back with the row.
    async with intruder(lived.superuser_dsn) as superuser:
        undone = ", ".join(f"{name} = NULL" for name in ["next_retention_days", "next_since", *forward])
        await superuser.execute(f"UPDATE journal.category SET retention_days = 30, {undone} WHERE code = $1", LONG.code)
    assert await notice(lived.service) == ""
    lived.verify(await lived.extract(FIRST, lived.today, category=LONG.code))


async def test_a_rule_that_was_once_in_force(lived: World) -> None:
    """An older row is as good as a forged one."""
    async with lived.superuser() as superuser:
        before = await superuser.fetchrow("SELECT * FROM journal.category WHERE code = 'longue'")
        administration = lived.installation.administration
        asked: dict[str, Any] = {"instruction": "I-1"}
        await administration.set_category(LONG.code, retention_days=60, **asked)
        for column in ("retention_days", "next_retention_days", "next_since", "next_from"):
            await superuser.execute(f"UPDATE journal.category SET {column} = $1 WHERE code = 'longue'", before[column])
    assert LONG.code in await notice(lived.service)
    category = lived.service.snapshot.category(LONG.code)
    assert category is not None
    assert category.retention_days == 60


async def test_a_credential_inserted(edge: RunningEdge) -> None:
    """It reads nothing and writes nothing; deleted again, it leaves nothing wrong."""
    tokens = {}
    async with intruder(edge.superuser_dsn) as superuser:
        for role in ("client", "module"):
            identifier, tokens[role], secret_hash = forge_token()
            values: dict[str, Any] = {"role": role, "tenant": TENANT, "categories": [CATEGORY], "label": ""}
            prefix = valid_event()["source"] if role == "module" else None
            await insert(
                superuser, "credential", id=identifier, secret_hash=secret_hash, source_prefix=prefix,
                created_at=datetime.now(UTC), **values,
            )  # fmt: skip
    named = await notice(edge.service)
    assert (await edge.ask("GET", HEAD, token=tokens["client"])).status == 401
    assert (await edge.post(event("forged"), token=tokens["module"])).status == 401
    assert "that the key store does not vouch for" in named
    async with intruder(edge.superuser_dsn) as superuser:
        await superuser.execute(
            "DELETE FROM journal.credential WHERE id = ANY ($1)", [t.split("_")[1] for t in tokens.values()]
        )
    assert await notice(edge.service) == ""
    assert (await edge.post(event("ours"))).status == 201


@pytest.mark.parametrize(
    ("changed", "value", "token", "path"),
    [
        ("secret_hash", None, "forged", HEAD),
        ("role", "client", "module", HEAD),
        ("categories", [CATEGORY, "ecrits"], "client", HEAD.replace(CATEGORY, "ecrits")),
    ],
)
async def test_a_credential_altered(edge: RunningEdge, changed: str, value: Any, token: str, path: str) -> None:
    """It opens no more than it did; the process that knew it goes on with it as it was, one that starts refuses it."""
    role = "client" if token == "forged" else token
    if token == "forged":
        _, text, value = forge_token()
        edge.tokens["forged"] = f"oej_{edge.ids[role]}_{text.rsplit('_', 1)[1]}"
        text = text.split("_", 2)[2]
        edge.tokens["forged"] = f"oej_{edge.ids[role]}_{text}"
    async with intruder(edge.superuser_dsn) as superuser:
        await superuser.execute(f"UPDATE journal.credential SET {changed} = $1 WHERE id = $2", value, edge.ids[role])
    named = await notice(edge.service)
    assert (await edge.ask("GET", path, token=token)).status in {401, 404}
    assert edge.ids[role] in named
    if role == "client":
        assert (await edge.ask("GET", HEAD, token="client")).status == 200


async def test_a_revocation_taken_back(edge: RunningEdge) -> None:
    """Revoked is revoked, by the ledger alone: within a second, and whatever the row says afterwards."""
    await edge.installation.administration.credentials.revoke(edge.ids["client"])
    async with intruder(edge.superuser_dsn) as superuser:
        await superuser.execute("UPDATE journal.credential SET revoked_at = NULL WHERE id = $1", edge.ids["client"])
    named = await notice(edge.service)
    assert (await edge.ask("GET", HEAD, token="client")).status == 401
    assert edge.ids["client"] in named


async def test_a_credential_deleted(edge: RunningEdge) -> None:
    """It is named, and the running process goes on with it."""
    async with intruder(edge.superuser_dsn) as superuser:
        await superuser.execute("DELETE FROM journal.credential WHERE id = $1", edge.ids["module"])
    named = await notice(edge.service)
    assert edge.ids["module"] in named
    assert (await edge.post(event("one"))).status == 201


async def test_a_certificate_replaced(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """What is handed over is encrypted to the commune; a process that starts hands nothing over, and says why."""
    ours = commune()
    attacker = issue(
        "X", new_key(77), issuer=issue("AC", new_key(9)), extensions=(key_usage(0x08),), end=START + 365 * DAY
    )
    async with commune_world(postgres, tmp_path / "home", ours) as world:
        await world.record(3, category="brefs")
        await world.service.store.read_recipients()
        async with intruder(world.superuser_dsn) as superuser:
            await superuser.execute("UPDATE journal.recipient SET certificate = $1", attacker.certificate)
        await world.travel_to(FIRST + 3 * DAY)
        async with world.another_process() as started:
            assert await started.handover.run() == []
            assert "recipient albi" in await notice(started.service)
        handed = await world.installation.handover.run()
        assert handed
        for file in handed:
            assert world.verify(opened(file.path, ours, tmp_path))
        assert "recipient albi" in await notice(world.service)


@pytest.mark.parametrize("knows_before", [True, False])
async def test_a_confirmation_forged(postgres: EmbeddedPostgres, tmp_path: Path, *, knows_before: bool) -> None:
    """The purge relies on nothing that the commune did not confirm: the day stays, and the row is named."""
    async with commune_world(postgres, tmp_path / "home", confirmed=False) as world:
        await world.record(3, category="brefs")
        await world.travel_to(FIRST + 3 * DAY)
        assert await world.installation.handover.run()
        async with intruder(world.superuser_dsn) as superuser:
            await superuser.execute("UPDATE journal.recipient SET confirmed_at = now()")
        await world.travel_to(FIRST + 4 * DAY, hour=0.5)
        async with world.another_process() as started:
            acting = world.installation if knows_before else started
            assert [due for due in await acting.purger.run() if due.category == "brefs"] == []
            assert "recipient albi" in await notice(acting.service)


async def test_a_confirmation_code_replaced(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """A code of the intruder's confirms nothing: its row counts as none, and the day is handed over again."""
    async with commune_world(postgres, tmp_path / "home", confirmed=False) as world:
        await world.record(3, category="brefs")
        await world.travel_to(FIRST + 3 * DAY)
        assert await world.installation.handover.run()
        async with intruder(world.superuser_dsn) as superuser:
            # As if the code were one that the intruder knows the MAC of.
            await superuser.execute(
                "UPDATE journal.handover SET code_mac = $1", world.service.store.code_mac(TENANT, "0" * 16)
            )
        with pytest.raises(WrongCodeError):
            await confirm_handover(world.service, TENANT, "0" * 16)
        assert [file.file.category for file in await world.installation.handover.run()] == ["brefs"]


@pytest.mark.parametrize("table", ["handover", "handover_lapse"])
async def test_a_hand_over_inserted(postgres: EmbeddedPostgres, tmp_path: Path, table: str) -> None:
    """The day is handed over before its purge all the same; the row is removed, with an alarm in the journal."""
    async with commune_world(postgres, tmp_path / "home") as world:
        await world.record(3, category="brefs")
        await world.travel_to(FIRST + 3 * DAY)
        await world.service.sealer.close_due_days()
        at = world.clock.now()
        values: dict[str, Any] = {"tenant": TENANT, "category": "brefs", "head_size": 3}
        if table == "handover":
            values |= {"first_day": FIRST, "last_day": FIRST + DAY, "base_size": 0, "file_bytes": 100}
            values |= {"written_at": at, "placed_at": at, "listed_at": at}
        else:
            values |= {"day": FIRST + DAY, "lapsed_at": at}
        async with intruder(world.superuser_dsn) as superuser:
            await insert(superuser, table, **values)
        due = await world.service.store.handover_due("brefs", FIRST)
        assert [row.tenant for row in due] == [TENANT]
        handed = await world.installation.handover.run()
        assert [file.file.first_day for file in handed if file.file.category == "brefs"] == [FIRST]
        async with world.superuser() as superuser:
            left = await superuser.fetchval(f"SELECT count(*) FROM journal.{table} WHERE head_size = 3 AND tenant = $1 "
                                            "AND category = 'brefs'", TENANT)  # fmt: skip
        assert left == (1 if table == "handover" else 0)


@pytest.mark.parametrize(
    ("columns", "was"),
    [("closed_at = now()", "closed_at = NULL"), ("name = 'Autre'", f"name = '{TENANT.capitalize()}'")],
)
async def test_a_commune_closed_or_renamed(edge: RunningEdge, columns: str, was: str) -> None:
    """Its credentials open what they opened, under its name; undone, all is well."""
    async with intruder(edge.superuser_dsn) as superuser:
        await superuser.execute(f"UPDATE journal.tenant SET {columns} WHERE code = $1", TENANT)
    named = await notice(edge.service)
    assert (await edge.ask("GET", HEAD, token="client")).status == 200
    tenant = edge.service.snapshot.tenant(TENANT)
    assert tenant is not None
    assert (tenant.name, tenant.closed) == (TENANT.capitalize(), False)
    assert f"tenant {TENANT}" in named
    async with intruder(edge.superuser_dsn) as superuser:
        await superuser.execute(f"UPDATE journal.tenant SET {was} WHERE code = $1", TENANT)
    assert await notice(edge.service) == ""


async def test_a_commune_inserted(edge: RunningEdge) -> None:
    """There is no such commune."""
    async with intruder(edge.superuser_dsn) as superuser:
        await insert(superuser, "tenant", code="intrus", name="Intrus", created_at=datetime.now(UTC))
    named = await notice(edge.service)
    assert edge.service.snapshot.tenant("intrus") is None
    assert "tenant intrus" in named


async def test_a_fence_raised(lived: World) -> None:
    """No key is given up for it: named, and undone, everything is read and recorded as before, without a restart."""
    async with intruder(lived.superuser_dsn) as superuser:
        await superuser.execute("UPDATE journal.category SET fence = $1 WHERE code = $2", lived.today, LONG.code)
    named = await notice(lived.service)
    async with intruder(lived.superuser_dsn) as superuser:
        await superuser.execute("UPDATE journal.category SET fence = NULL WHERE code = $1", LONG.code)
    await notice(lived.service)
    compartment = Compartment(lived.service.name, TENANT, LONG.code)
    assert lived.service.keyring.box(compartment, FIRST) is not None
    lived.verify(await lived.extract(FIRST, lived.today, category=LONG.code))
    assert f"category {LONG.code}: its fence in the database" in named
    assert await notice(lived.service) == ""


async def test_a_genesis_changed(edge: RunningEdge) -> None:
    """Nothing is recorded in a chain that no verifier would accept, and it is named."""
    async with intruder(edge.superuser_dsn) as superuser:
        for column, table in (("genesis", "chain"), ("chain_hash", "head")):
            await superuser.execute(
                f"UPDATE journal.{table} SET {column} = $1 WHERE tenant = $2 AND category = $3",
                bytes(32),
                TENANT,
                CATEGORY,
            )
    assert (await edge.post(event("lost"), path=EVENTS)).status == 503
    assert f"chain {TENANT}/{CATEGORY}" in await notice(edge.service)


async def test_the_service_renamed(lived: World) -> None:
    """A process that runs names it; none starts."""
    async with intruder(lived.superuser_dsn) as superuser:
        await superuser.execute("UPDATE journal.service SET first_day = first_day - 1")
    with pytest.raises((OperatorError, Exception), match="vouches"):
        async with lived.another_process():
            pass
    assert "service" in await notice(lived.service)


async def test_a_change_does_not_launder_a_row(lived: World) -> None:
    """An operator's change of one column is refused while another is not as it was."""
    async with intruder(lived.superuser_dsn) as superuser:
        await superuser.execute("UPDATE journal.category SET needs_authorisation = true WHERE code = $1", LONG.code)
    with pytest.raises(Exception, match="nothing was changed"):
        await lived.installation.administration.set_category(LONG.code, instruction="I-1", label="Autre")
    async with lived.superuser() as superuser:
        assert await superuser.fetchval("SELECT label FROM journal.category WHERE code = $1", LONG.code) == LONG.label


async def test_a_trigger_that_alters_what_is_asked_for(lived: World) -> None:
    """A credential whose hash a trigger replaces on its way is not made."""
    async with lived.superuser() as superuser:
        await superuser.execute(
            "CREATE FUNCTION journal.swap() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN NEW.secret_hash := decode(repeat('ab', 32), 'hex'); RETURN NEW; END $$;"
            "CREATE TRIGGER swap BEFORE INSERT ON journal.credential FOR EACH ROW EXECUTE FUNCTION journal.swap();"
            "ALTER TABLE journal.credential ENABLE ALWAYS TRIGGER swap"
        )
    credentials = lived.installation.administration.credentials
    with pytest.raises(Exception, match="nothing was changed"):
        await credentials.add(role="auditor", tenant=OTHER_TENANT, categories=[LONG.code])
    assert [row for row in await lived.service.store.list_credentials() if row.tenant == OTHER_TENANT] == []


async def test_an_ending_inserted(edge: RunningEdge) -> None:
    """D09: nobody ends a contract by a row; it is named, and an entry tells of it."""
    async with intruder(edge.superuser_dsn) as superuser:
        await superuser.execute("INSERT INTO journal.ending (tenant, waived_at) VALUES ($1, now())", TENANT)
    assert f"ending {TENANT}" in await notice(edge.service)
    await edge.service.alarms.look()
    entries = edge.service.chronicle.entries(RESERVED_TENANT, "alarm", since=datetime.now(UTC).date())
    told = [entry.event["data"] async for entry in entries]
    assert [(data["what"], f"ending {TENANT}" in data["reason"]) for data in told] == [("facts", True)]


@pytest.mark.parametrize(
    ("table", "code", "change"),
    [
        ("tenant", TENANT, "name = 'Autre'"),
        ("category", CATEGORY, "label = 'Autre'"),
        ("credential", "", "label = 'x'"),
    ],
)
async def test_a_process_that_never_knew_it(edge: RunningEdge, table: str, code: str, change: str) -> None:
    """Suspended from the start, a caller is told to wait, not that it is unknown; a forged one still is."""
    code = code or edge.ids["module"]
    async with intruder(edge.superuser_dsn) as superuser:
        await superuser.execute(
            f"UPDATE journal.{table} SET {change} WHERE {'id' if table == 'credential' else 'code'} = $1", code
        )
    assert edge.service.store.facts is not None
    edge.service.store.facts._kept.clear()
    await notice(edge.service)
    assert (await edge.post(event("one"))).status == 503
    assert (await edge.ask("GET", HEAD, token=forge_token()[1])).status == 401


async def test_a_change_of_rule_that_nobody_announces(lived: World) -> None:
    """R21: its row taken away before it became entries, a rule does not come into force unnoticed."""
    store = lived.service.store
    watch = Watch(lived.service)
    none: dict[str, Any] = {"label": None, "needs_authorisation": None, "basis": None}
    await store.set_category(LONG.code, retention_days=20, instruction="I-1", delay_days=7, **none)
    await lived.service.snapshot.refresh()
    await watch.pass_once()
    assert lived.service.alarms.findings == []  # it may still be entered
    async with lived.superuser() as superuser:
        await superuser.execute("DELETE FROM journal.category_change")
    await watch.pass_once()
    (alarm,) = lived.service.alarms.findings
    assert f"category {LONG.code}: a change of its rule is pending that no entry announces" in alarm.reason


async def test_a_ledger_written_over(lived: World) -> None:
    """F08: a line changed in its place, while the service runs: named; and a start refuses it."""
    ledger = lived.settings.keystore_path / "facts" / "ledger"
    whole = ledger.read_bytes()
    ledger.write_bytes(whole.replace(b" done ", b" DONE ", 1))
    assert "is damaged in line" in await notice(lived.service)
    with pytest.raises(OperatorError, match="is damaged in line"):
        await prepare(lived.dsn, lived.settings, lived.clock)
    ledger.write_bytes(whole)
    assert await notice(lived.service) == ""
