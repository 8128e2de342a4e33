"""Who may do what in the database: exactly this, held against the catalog and by trying."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import asyncpg
import pytest

from tests.support.chains import CATEGORY, add_chains, append, fresh
from tests.support.roles import ROLES

if TYPE_CHECKING:
    from journal.database.store import Store

EVERYONE: Final = set(ROLES)

# Every function that anyone may call, and who. A function that is not here is nobody's but the owner's.
CALLS: Final = {
    "now": EVERYONE,
    "clock_is_simulated": EVERYONE,
    "read_service": EVERYONE,
    "read_categories": EVERYONE,
    "read_tenants": {"journal_ingest", "journal_read", "journal_admin"},
    "append": {"journal_ingest"},
    "flush": {"journal_ingest", "journal_seal"},
    "lock_heads": {"journal_ingest"},
    "read_heads": {"journal_ingest"},
    "snapshot_version": {"journal_ingest"},
    "read_credentials": {"journal_ingest", "journal_admin"},
    "read_entries": {"journal_read"},
    "scan_entries": {"journal_read"},
    "read_seal": {"journal_read"},
    "read_seals": {"journal_read"},
    "read_close_seals": {"journal_read"},
    "read_activity": {"journal_read"},
    "read_sources": {"journal_read"},
    "count_elsewhere": {"journal_read"},
    "find_recorded": {"journal_ingest"},
    "declare_loss": {"journal_admin"},
    "set_rhythm": {"journal_admin"},
    "read_rhythms": {"journal_read"},
    "latest_seal": {"journal_read", "journal_seal"},
    "latest_close_seal": {"journal_read", "journal_seal"},
    "read_seal_heads": {"journal_read", "journal_seal"},
    "live_heads": {"journal_seal"},
    "close_day": {"journal_seal"},
    "close_seals": {"journal_seal"},
    "read_leaves": {"journal_seal"},
    "closed_heads": {"journal_seal"},
    "put_seal": {"journal_seal"},
    "thin_seals": {"journal_seal"},
    "prune_seal_heads": {"journal_seal"},
    "unstamped_seals": {"journal_seal"},
    "put_timestamp": {"journal_seal"},
    "note_stamping_failure": {"journal_seal"},
    "stamping_failed_since": {"journal_seal"},
    "read_timestamp": {"journal_read"},
    "read_status": {"journal_read"},
    "read_retention": {"journal_read"},
    "read_base_moves": {"journal_read"},
    "ensure_partitions": {"journal_purge"},
    "partitions": {"journal_purge"},
    "recorded_days": {"journal_purge"},
    "day_figures": {"journal_purge"},
    "raise_fence": {"journal_purge"},
    "drop_day": {"journal_purge"},
    "move_kept_from": {"journal_purge"},
    "settle_rule": {"journal_purge"},
    "read_category_changes": {"journal_purge"},
    "forget_category_change": {"journal_purge"},
    "unfinished_purges": {"journal_purge"},
    "read_purge_spans": {"journal_purge"},
    "forget_purge_spans": {"journal_purge"},
    "read_recipients": {"journal_purge", "journal_admin"},
    "read_handovers": {"journal_purge"},
    "handover_due": {"journal_purge"},
    "discard_handover": {"journal_purge"},
    "note_handover": {"journal_purge"},
    "place_handover": {"journal_purge"},
    "forget_handover": {"journal_purge"},
    "unlisted_handovers": {"journal_purge"},
    "placed_handovers": {"journal_purge"},
    "list_handovers": {"journal_purge"},
    "lapse_handovers": {"journal_purge"},
    "raise_handover_fault": {"journal_purge"},
    "clear_handover_fault": {"journal_purge"},
    "read_handover_faults": {"journal_purge"},
    "read_handover_alarms": {"journal_purge"},
    "forget_handover_alarm": {"journal_purge"},
    "create_service": {"journal_admin"},
    "add_tenant": {"journal_admin"},
    "add_category": {"journal_admin"},
    "set_category": {"journal_admin"},
    "end_contract": {"journal_admin"},
    "move_tenant": {"journal_admin"},
    "note_export": {"journal_admin"},
    "waive_export": {"journal_admin"},
    "begin_destruction": {"journal_admin"},
    "finish_destruction": {"journal_admin"},
    "read_ending": {"journal_admin"},
    "read_ended_chains": {"journal_admin"},
    "remove_entries": {"journal_purge"},
    "remove_traces": {"journal_purge"},
    "empty_heads": {"journal_purge"},
    "add_credential": {"journal_admin"},
    "read_persons": {"journal_ingest", "journal_admin"},
    "add_person": {"journal_admin"},
    "set_person": {"journal_admin"},
    "revoke_person": {"journal_admin"},
    "use_code": {"journal_admin"},
    "sign_out": {"journal_admin"},
    "signed_out_at": {"journal_admin"},
    "revoke_credential": {"journal_admin"},
    "limit_credential": {"journal_admin"},
    "set_recipient": {"journal_admin"},
    "confirm_recipient": {"journal_admin"},
}


@pytest.fixture
async def populated(store: Store) -> Store:
    """Give a store with something in every table that an append fills, and a partition made this moment."""
    (head,) = await add_chains(store, ["albi"])
    await append(store, head, fresh(2))
    await store.ensure_partitions(8)
    return store


async def test_every_function_is_called_by_exactly_its_roles(owner: asyncpg.Connection) -> None:
    """The set of (function, role) that may execute, PUBLIC included, is the one above."""
    rows = await owner.fetch(
        """
        SELECT p.proname, coalesce(r.rolname, 'PUBLIC') AS grantee
          FROM pg_proc AS p
         CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS a
          LEFT JOIN pg_roles AS r ON r.oid = a.grantee
         WHERE p.pronamespace = 'journal'::regnamespace AND a.grantee <> p.proowner
        """
    )
    found: dict[str, set[str]] = {}
    for row in rows:
        found.setdefault(row["proname"], set()).add(row["grantee"])
    assert found == CALLS


async def test_every_function_that_runs_as_the_owner_fixes_its_search_path(owner: asyncpg.Connection) -> None:
    """A caller's own objects are never found before the ones meant, temporary ones included."""
    rows = await owner.fetch(
        "SELECT proname, prosecdef, proconfig FROM pg_proc WHERE pronamespace = 'journal'::regnamespace"
    )
    definers = {row["proname"]: row["proconfig"] for row in rows if row["prosecdef"]}
    assert set(CALLS) <= set(definers)
    for name, settings in definers.items():
        assert "search_path=pg_catalog, pg_temp" in (settings or []), name


async def test_nobody_has_a_privilege_on_a_table(populated: Store, owner: asyncpg.Connection) -> None:
    """Neither on a table nor on one of its columns, sequences and partitions included."""
    del populated
    rows = await owner.fetch(
        """
        SELECT c.relname FROM pg_class AS c, aclexplode(c.relacl) AS a
         WHERE c.relnamespace = 'journal'::regnamespace AND a.grantee <> c.relowner
        UNION ALL
        SELECT c.relname FROM pg_attribute AS t JOIN pg_class AS c ON c.oid = t.attrelid, aclexplode(t.attacl) AS a
         WHERE c.relnamespace = 'journal'::regnamespace AND a.grantee <> c.relowner
        """
    )
    assert rows == []


async def test_schema_and_database_are_closed_to_the_public(owner: asyncpg.Connection) -> None:
    """The roles may connect and name what is in the schema; nobody else may, and nobody may create."""
    rows = await owner.fetch(
        """
        SELECT 'schema' AS kind, coalesce(r.rolname, 'PUBLIC') AS grantee, a.privilege_type
          FROM pg_namespace AS n, aclexplode(n.nspacl) AS a LEFT JOIN pg_roles AS r ON r.oid = a.grantee
         WHERE n.nspname = 'journal' AND a.grantee <> n.nspowner
        UNION ALL
        SELECT 'database', coalesce(r.rolname, 'PUBLIC'), a.privilege_type
          FROM pg_database AS d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS a
          LEFT JOIN pg_roles AS r ON r.oid = a.grantee
         WHERE d.datname = current_database() AND a.grantee <> d.datdba
        """
    )
    expected = {("schema", role, "USAGE") for role in ROLES} | {("database", role, "CONNECT") for role in ROLES}
    assert {tuple(row) for row in rows} == expected


async def test_default_privileges_give_nothing_away(owner: asyncpg.Connection) -> None:
    """What a later migration creates is usable by no role until the migration grants it."""
    rows = await owner.fetch(
        "SELECT d.defaclobjtype, a.grantee, d.defaclrole FROM pg_default_acl AS d, aclexplode(d.defaclacl) AS a"
    )
    assert {row["defaclobjtype"] for row in rows} == {b"f", b"T"}
    assert all(row["grantee"] == row["defaclrole"] for row in rows)


async def test_roles_can_do_nothing_but_log_in(owner: asyncpg.Connection) -> None:
    """No attribute, no membership, no ownership anywhere, no setting of their own."""
    rows = await owner.fetch("SELECT * FROM pg_roles WHERE rolname = ANY ($1) ORDER BY rolname", sorted(ROLES))
    assert [row["rolname"] for row in rows] == sorted(ROLES)
    for row in rows:
        assert row["rolcanlogin"]
        assert row["rolconfig"] is None
        for name in ("rolsuper", "rolinherit", "rolcreaterole", "rolcreatedb", "rolreplication", "rolbypassrls"):
            assert not row[name], (row["rolname"], name)
    oids = [row["oid"] for row in rows]
    assert await owner.fetch("SELECT FROM pg_auth_members WHERE member = ANY ($1)", oids) == []
    assert await owner.fetch("SELECT FROM pg_shdepend WHERE refobjid = ANY ($1) AND deptype = 'o'", oids) == []
    assert not await owner.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")


async def test_the_owner_owns_everything(populated: Store, owner: asyncpg.Connection) -> None:
    """Every table, partition, function and type of the schema."""
    del populated
    owners = await owner.fetch(
        """
        SELECT DISTINCT o.owner::regrole::text AS name FROM (
          SELECT relowner AS owner FROM pg_class WHERE relnamespace = 'journal'::regnamespace
          UNION ALL SELECT proowner FROM pg_proc WHERE pronamespace = 'journal'::regnamespace
          UNION ALL SELECT typowner FROM pg_type WHERE typnamespace = 'journal'::regnamespace
          UNION ALL SELECT nspowner FROM pg_namespace WHERE nspname = 'journal') AS o
        """
    )
    assert [row["name"] for row in owners] == ["journal_owner"]


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_is_refused_every_table_and_partition_by_name(
    populated: Store, owner: asyncpg.Connection, dsn: str, role: str
) -> None:
    """Read, write, COPY, EXPLAIN, lock, statistics: all refused, on a detached partition too."""
    day = (await populated.read_now()).date()
    await owner.execute(f"ALTER TABLE journal.entry_1 DETACH PARTITION journal.entry_1_{day:%Y%m%d}")
    await owner.execute("ANALYZE")
    tables = await owner.fetch(
        "SELECT c.oid::regclass::text AS name, a.attname AS column FROM pg_class AS c "
        "JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = 1 "
        "WHERE c.relnamespace = 'journal'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"
    )
    assert len(tables) > 20
    connection = await asyncpg.connect(dsn, user=role)
    try:
        for table, column in tables:
            for attempt in (
                f"SELECT FROM {table}",
                f"SELECT count(*) FROM {table}",
                f"TABLE {table}",
                f"EXPLAIN SELECT FROM {table}",
                f"INSERT INTO {table} DEFAULT VALUES",
                f"SELECT FROM {table} FOR UPDATE",
                f"UPDATE {table} SET {column} = DEFAULT",
                f"DELETE FROM {table}",
                f"TRUNCATE {table}",
                f"COPY {table} TO STDOUT",
                f"COPY {table} FROM STDIN",
                f"LOCK TABLE {table}",
                f"ALTER TABLE {table} DISABLE TRIGGER ALL",
                f"CREATE TRIGGER t AFTER INSERT ON {table} EXECUTE FUNCTION suppress_redundant_updates_trigger()",
                f"CREATE VIEW journal.v AS SELECT * FROM {table}",
                f"DROP TABLE {table}",
            ):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    async with connection.transaction():
                        await connection.execute(attempt)
        assert await connection.fetchval("SELECT count(*) FROM pg_stats WHERE schemaname = 'journal'") == 0
    finally:
        await connection.close()


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_is_refused_the_functions_of_others(owner: asyncpg.Connection, dsn: str, role: str) -> None:
    """Calling what is not its own fails before anything runs."""
    rows = await owner.fetch(
        "SELECT p.proname, ARRAY(SELECT format_type(t.type, NULL) FROM unnest(p.proargtypes) AS t (type)) AS types "
        "FROM pg_proc AS p WHERE p.pronamespace = 'journal'::regnamespace"
    )
    connection = await asyncpg.connect(dsn, user=role)
    refused = set()
    try:
        for row in rows:
            if role in CALLS.get(row["proname"], set()):
                continue
            arguments = ", ".join(f"NULL::{kind}" for kind in row["types"] or [])
            # Trigger functions cannot be called at all; the check of the privilege comes first.
            with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.FeatureNotSupportedError)):
                await connection.execute(f"SELECT journal.{row['proname']}({arguments})")
            refused.add(row["proname"])
    finally:
        await connection.close()
    assert refused == {row["proname"] for row in rows} - {name for name, roles in CALLS.items() if role in roles}


@pytest.mark.parametrize("role", ROLES)
async def test_a_role_makes_nothing_and_becomes_nobody(owner: asyncpg.Connection, dsn: str, role: str) -> None:
    """No object anywhere, temporary ones included; no other role; no file; no large object."""
    connection = await asyncpg.connect(dsn, user=role)
    try:
        for attempt in (
            "CREATE TABLE journal.t ()",
            "CREATE TABLE public.t ()",
            "CREATE TEMPORARY TABLE t ()",
            "CREATE SCHEMA s",
            "CREATE FUNCTION journal.f() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
            "SET ROLE journal_owner",
            "SET ROLE pg_read_all_data",
            "SET SESSION AUTHORIZATION postgres",
            "SET session_replication_role = replica",
            "COPY (SELECT 1) TO '/tmp/out'",
            "COPY (SELECT 1) TO PROGRAM 'cat'",
            "SELECT pg_read_file('PG_VERSION')",
            "SELECT pg_ls_dir('.')",
            "ALTER SYSTEM SET fsync = off",
            f"SELECT pg_terminate_backend({owner.get_server_pid()})",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(attempt)
    finally:
        await connection.close()


async def test_a_reader_gets_no_more_than_it_asked_for(populated: Store) -> None:
    """Another commune's entries do not come along."""
    day = (await populated.read_now()).date()
    assert len(await populated.read_entries("albi", CATEGORY, day, 0, 10)) == 2
    assert await populated.read_entries("castres", CATEGORY, day, 0, 10) == []
