"""Acts on rows of entries, heads, seals and counters: E, H, S, A."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from journal.core.chain import extend
from journal.core.seal import parse_seal
from tests.campaign.table import kind, statement
from tests.campaign.world import ALBI, CASTRES, DAY, EVE, MAIN, WRITINGS

if TYPE_CHECKING:
    from datetime import date

    import asyncpg

    from tests.campaign.scene import Scene

CHAIN = f"tenant = '{ALBI}' AND category = '{MAIN}'"
OTHER_TENANT = f"tenant = '{CASTRES}' AND category = '{MAIN}'"
OTHER_CATEGORY = f"tenant = '{ALBI}' AND category = '{WRITINGS}'"


def nth(day: date, number: int, chain: str = CHAIN) -> str:
    """Return the condition of a chain's row of a day, counted from 0."""
    first = f"SELECT min(index) + {number} FROM journal.entry WHERE {chain} AND day = '{day}'"
    return f"{chain} AND day = '{day}' AND index = ({first})"


async def alter(scene: Scene, change: str, day: date) -> None:
    """Change a row of a day."""
    await scene.execute(f"UPDATE journal.entry SET {change} WHERE {nth(day, 5)}")


FLIPPED = "ciphertext = set_byte(ciphertext, 40, get_byte(ciphertext, 40) # 1)"


@kind("E01")
async def _flip(scene: Scene) -> None:
    await alter(scene, FLIPPED, scene.yesterday)


@kind("E02")
async def _flip_old(scene: Scene) -> None:
    await alter(scene, FLIPPED, scene.month_ago)


@kind("E03")
async def _flip_leaf(scene: Scene) -> None:
    await alter(scene, "leaf_hash = set_byte(leaf_hash, 3, get_byte(leaf_hash, 3) # 1)", scene.yesterday)


@kind("E04")
async def _flip_chain(scene: Scene) -> None:
    await alter(scene, "chain_hash = set_byte(chain_hash, 3, get_byte(chain_hash, 3) # 1)", scene.month_ago)


@kind("E05")
async def _event_key(scene: Scene) -> None:
    await alter(scene, "event_key = substr(sha256(event_key), 1, 16)", scene.yesterday)


@kind("E06")
async def _delete(scene: Scene) -> None:
    await scene.execute(f"DELETE FROM journal.entry WHERE {nth(scene.yesterday, 5)}")


@kind("E07")
async def _delete_and_move(scene: Scene) -> None:
    day = f"{CHAIN} AND day = '{scene.yesterday}'"
    ((index,),) = await scene.fetch(f"SELECT min(index) + 5 FROM journal.entry WHERE {day}")
    await scene.execute(
        f"DELETE FROM journal.entry WHERE {day} AND index = {index};"
        f"UPDATE journal.entry SET index = index + 1000000 WHERE {day} AND index > {index};"
        f"UPDATE journal.entry SET index = index - 1000001 WHERE {day} AND index > 1000000"
    )


@kind("E08")
async def _delete_first(scene: Scene) -> None:
    await scene.execute(f"DELETE FROM journal.entry WHERE {nth(scene.yesterday, 0)}")


async def cut(superuser: asyncpg.Connection, rows: int, chain: str = CHAIN) -> None:
    """Delete a chain's newest rows and move its head back."""
    size = await superuser.fetchval(f"SELECT size FROM journal.head WHERE {chain}") - rows
    await superuser.execute(f"DELETE FROM journal.entry WHERE {chain} AND index >= {size}")
    await superuser.execute(
        f"UPDATE journal.head SET size = {size}, chain_hash = (SELECT chain_hash FROM journal.entry "
        f"WHERE {chain} AND index = {size - 1}) WHERE {chain}"
    )


@kind("E09")
async def _cut_unsealed(scene: Scene) -> None:
    async with scene.intrude() as superuser:
        await cut(superuser, 3)


@kind("E10")
async def _cut_sealed(scene: Scene) -> None:
    async with scene.intrude() as superuser:
        await cut(superuser, 15)


@kind("E11")
async def _swap(scene: Scene) -> None:
    one, other = nth(scene.yesterday, 5), nth(scene.yesterday, 9)
    ((first,),) = await scene.fetch(f"SELECT index FROM journal.entry WHERE {one}")
    ((second,),) = await scene.fetch(f"SELECT index FROM journal.entry WHERE {other}")
    move = f"UPDATE journal.entry SET index = {{}} WHERE {CHAIN} AND day = '{scene.yesterday}' AND index = {{}}"
    await scene.execute(";".join(move.format(*ends) for ends in ((10**6, first), (first, second), (second, 10**6))))


async def _copy_from(scene: Scene, chain: str) -> None:
    await scene.execute(
        "UPDATE journal.entry AS e SET leaf_hash = o.leaf_hash, ciphertext = o.ciphertext, event_key = o.event_key "
        f"FROM (SELECT * FROM journal.entry WHERE {nth(scene.yesterday, 4, chain)}) AS o "
        f"WHERE e.tenant = '{ALBI}' AND e.category = '{MAIN}' AND e.day = '{scene.yesterday}' AND e.index = "
        f"(SELECT min(index) + 5 FROM journal.entry WHERE {CHAIN} AND day = '{scene.yesterday}')"
    )


@kind("E12")
async def _copy_tenant(scene: Scene) -> None:
    await _copy_from(scene, OTHER_TENANT)


@kind("E13")
async def _copy_category(scene: Scene) -> None:
    await _copy_from(scene, OTHER_CATEGORY)


@kind("E14")
async def _move_day(scene: Scene) -> None:
    await alter(scene, "day = day - 3", scene.yesterday)


@kind("E15")
async def _beyond(scene: Scene) -> None:
    await scene.execute(
        "INSERT INTO journal.entry SELECT (SELECT size FROM journal.head "
        f"WHERE {CHAIN}), '{scene.today}', tenant, category, sha256(event_key)::bytea, leaf_hash, chain_hash, "
        f"ciphertext FROM journal.entry WHERE {nth(scene.yesterday, 5)}".replace(
            "sha256(event_key)::bytea", "substr(sha256(event_key), 1, 16)"
        )
    )


async def append_noise(superuser: asyncpg.Connection, day: date) -> None:
    """Append random bytes as an entry, with hashes that are consistent."""
    size, head = await superuser.fetchrow(f"SELECT size, chain_hash FROM journal.head WHERE {CHAIN}")
    leaf = os.urandom(32)
    after = extend(head, leaf)
    await superuser.execute(
        "INSERT INTO journal.entry (index, day, tenant, category, event_key, leaf_hash, chain_hash, ciphertext) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        *(size, day, ALBI, MAIN, os.urandom(16), leaf, after, os.urandom(400)),
    )
    await superuser.execute(
        f"UPDATE journal.head SET size = $1, chain_hash = $2, recorded_at = journal.now() WHERE {CHAIN}",
        size + 1,
        after,
    )


@kind("E16")
async def _noise(scene: Scene) -> None:
    async with scene.intrude() as superuser:
        await append_noise(superuser, scene.today)


async def rewrite(superuser: asyncpg.Connection, index: int) -> None:
    """Exchange one leaf of the chain and every later chain hash, the head's too."""
    rows = await superuser.fetch(
        f"SELECT index, leaf_hash, chain_hash FROM journal.entry WHERE {CHAIN} AND index >= $1 ORDER BY index",
        index - 1,
    )
    leaf, head = os.urandom(32), rows[0]["chain_hash"]
    await superuser.execute(
        f"UPDATE journal.entry SET leaf_hash = $2 WHERE {CHAIN} AND index = $1", rows[1]["index"], leaf
    )
    changes = []
    for row in rows[1:]:
        head = extend(head, leaf if row["index"] == rows[1]["index"] else row["leaf_hash"])
        changes.append((row["index"], head))
    await superuser.executemany(f"UPDATE journal.entry SET chain_hash = $2 WHERE {CHAIN} AND index = $1", changes)
    await superuser.execute(f"UPDATE journal.head SET chain_hash = $1 WHERE {CHAIN}", head)


@kind("E17")
async def _rewrite(scene: Scene) -> None:
    async with scene.intrude() as superuser:
        index = await superuser.fetchval(f"SELECT index FROM journal.entry WHERE {nth(scene.today, 12)}")
        await rewrite(superuser, index)


@kind("E18")
async def _rewrite_closed(scene: Scene) -> None:
    async with scene.intrude() as superuser:
        index = await superuser.fetchval(f"SELECT index FROM journal.entry WHERE {nth(scene.yesterday, 12)}")
        await rewrite(superuser, index)


@kind("E19")
async def _delete_day(scene: Scene) -> None:
    await scene.execute(f"DELETE FROM journal.entry WHERE {CHAIN} AND day = '{scene.month_ago}'")


@kind("E20")
async def _drop_leaf(scene: Scene) -> None:
    await scene.execute(f"DROP TABLE {await scene.leaf(scene.month_ago)}")


@kind("E21")
async def _detach_leaf(scene: Scene) -> None:
    leaf = await scene.leaf(scene.month_ago)
    await scene.execute(f"ALTER TABLE {leaf.rpartition('_')[0]} DETACH PARTITION {leaf}")


@kind("E22")
async def _bring_back(scene: Scene) -> None:
    """Put back the table of the day that was purged this morning, from yesterday's backup."""
    day = scene.today - 59 * DAY
    leaf = await scene.leaf(day)
    eve = replace(scene, database=EVE)
    rows = await eve.fetch(f"SELECT * FROM {leaf}")
    assert rows, leaf
    async with scene.intrude() as superuser:
        await superuser.execute(f"CREATE TABLE {leaf} (LIKE {await scene.leaf(scene.yesterday)} INCLUDING ALL)")
        await superuser.copy_records_to_table(leaf.partition(".")[2], schema_name="journal", records=map(tuple, rows))
        await superuser.execute(
            f"ALTER TABLE {leaf.rpartition('_')[0]} ATTACH PARTITION {leaf} "
            f"FOR VALUES FROM ('{day}') TO ('{day + DAY}')"
        )


@kind("E23")
async def _later_day(scene: Scene) -> None:
    ((index,),) = await scene.fetch(f"SELECT max(index) FROM journal.entry WHERE {CHAIN} AND day = '{scene.month_ago}'")
    await scene.execute(f"UPDATE journal.entry SET day = day + 1 WHERE {CHAIN} AND index = {index}")


statement("H01", f"UPDATE journal.head SET size = size - 6 WHERE {CHAIN}")
statement("H02", f"UPDATE journal.head SET size = size + 6 WHERE {CHAIN}")
statement("H03", f"UPDATE journal.head SET chain_hash = sha256(chain_hash) WHERE {CHAIN}")
statement("H05", f"UPDATE journal.head SET kept_from = 0 WHERE {CHAIN}")
statement("H06", f"DELETE FROM journal.head WHERE {CHAIN}")
statement("H09", f"UPDATE journal.head SET recorded_at = recorded_at + interval '1 day' WHERE {CHAIN}")


@kind("H04")
async def _base_forward(scene: Scene) -> None:
    await scene.execute(
        "UPDATE journal.head SET kept_from = (SELECT max(index) + 1 FROM journal.entry "
        f"WHERE {CHAIN} AND day = '{scene.month_ago}') WHERE {CHAIN}"
    )


@kind("H07")
async def _genesis(scene: Scene) -> None:
    chain = f"tenant = '{CASTRES}' AND category = 'assistance'"
    await scene.execute(
        f"UPDATE journal.chain SET genesis = sha256('another') WHERE {chain};"
        f"UPDATE journal.head SET chain_hash = sha256('another') WHERE {chain}"
    )


@kind("H08")
async def _new_chain(scene: Scene) -> None:
    await scene.execute(
        f"INSERT INTO journal.chain VALUES ('_service', '{WRITINGS}', sha256('new'));"
        "INSERT INTO journal.head (size, kept_from, tenant, category, chain_hash) "
        f"VALUES (0, 0, '_service', '{WRITINGS}', sha256('new'))"
    )


@kind("H10")
async def _replay_head(scene: Scene) -> None:
    await scene.execute(
        "UPDATE journal.head AS h SET size = e.index + 1, chain_hash = e.chain_hash FROM "
        f"(SELECT * FROM journal.entry WHERE {nth(scene.today, 19)}) AS e "
        f"WHERE h.tenant = '{ALBI}' AND h.category = '{MAIN}'"
    )


# Seals


async def remove_seals(superuser: asyncpg.Connection, condition: str) -> None:
    """Delete seals with their heads and time-stamps."""
    numbers = f"SELECT number FROM journal.seal WHERE {condition}"
    for table in ("seal_timestamp", "seal_head", "seal"):
        await superuser.execute(f"DELETE FROM journal.{table} WHERE number IN ({numbers})")


@kind("S01")
async def _newest_seal(scene: Scene) -> None:
    async with scene.intrude() as superuser:
        await remove_seals(superuser, "number = (SELECT max(number) FROM journal.seal)")


@kind("S02")
async def _close_seal(scene: Scene) -> None:
    async with scene.intrude() as superuser:
        await remove_seals(superuser, f"day = '{scene.month_ago}'")


@kind("S03")
async def _seal_text(scene: Scene) -> None:
    await scene.execute(
        f"UPDATE journal.seal SET text = set_byte(text, 60, get_byte(text, 60) # 1) WHERE day = '{scene.month_ago}'"
    )


async def _exchange(scene: Scene, table: str, column: str) -> None:
    days = scene.month_ago, scene.month_ago - DAY
    await scene.execute(
        f"UPDATE journal.{table} AS t SET {column} = o.{column} FROM journal.{table} AS o "
        "WHERE (t.number, o.number) IN (SELECT a.number, b.number FROM journal.seal AS a, journal.seal AS b "
        f"WHERE (a.day, b.day) IN (('{days[0]}', '{days[1]}'), ('{days[1]}', '{days[0]}')))"
    )


@kind("S04")
async def _exchange_signatures(scene: Scene) -> None:
    await _exchange(scene, "seal", "signature")


@kind("S05")
async def _remove_stamp(scene: Scene) -> None:
    await scene.execute(
        "DELETE FROM journal.seal_timestamp WHERE number = "
        f"(SELECT number FROM journal.seal WHERE day = '{scene.month_ago}')"
    )


@kind("S06")
async def _exchange_stamps(scene: Scene) -> None:
    await _exchange(scene, "seal_timestamp", "token")


def _heads_of(scene: Scene) -> str:
    return f"{CHAIN} AND number = (SELECT number FROM journal.seal WHERE day = '{scene.yesterday}')"


@kind("S07")
async def _seal_heads(scene: Scene) -> None:
    await scene.execute(
        "UPDATE journal.seal_head SET chain_hash = sha256(chain_hash) WHERE number = "
        f"(SELECT max(number) FROM journal.seal_head WHERE {CHAIN} AND number <= "
        f"(SELECT number FROM journal.seal WHERE day = '{scene.yesterday}')) AND {CHAIN}"
    )


@kind("S08")
async def _no_seal_heads(scene: Scene) -> None:
    await scene.execute(
        "DELETE FROM journal.seal_head WHERE number = "
        f"(SELECT max(number) FROM journal.seal_head WHERE {CHAIN} AND number <= "
        f"(SELECT number FROM journal.seal WHERE day = '{scene.yesterday}')) AND {CHAIN}"
    )


@kind("S09")
async def _future_seal(scene: Scene) -> None:
    (row,) = await scene.fetch("SELECT * FROM journal.seal ORDER BY number DESC LIMIT 1")
    last = parse_seal(row["text"])
    at = last.sealed_at + timedelta(days=1)
    forged = replace(last, number=last.number + 1, sealed_at=at, day=None, previous=last.digest)
    await scene.execute(
        "INSERT INTO journal.seal VALUES ($1, NULL, $2, $3, $4)", forged.number, at, forged.text, row["signature"]
    )


@kind("S10")
async def _take_back(scene: Scene) -> None:
    """Take back all of today but its first 20 events: seals, entries, heads."""
    async with scene.intrude() as superuser:
        await cut(superuser, 15)
        await cut(superuser, 15, OTHER_TENANT)
        first = f"SELECT min(number) FROM journal.seal WHERE day IS NULL AND sealed_at >= '{scene.today}'"
        await remove_seals(superuser, f"number > ({first})")


statement("S11", "UPDATE journal.service SET closed_day = closed_day + 1")
statement("S12", "UPDATE journal.service SET closed_day = closed_day - 1")


@kind("S13")
async def _prune(scene: Scene) -> None:
    number = f"(SELECT number FROM journal.seal WHERE day = '{scene.month_ago}')"
    await scene.execute(
        f"UPDATE journal.service SET pruned_before = {number};"
        "DELETE FROM journal.seal_head AS s WHERE number < "
        f"{number} AND number < (SELECT max(number) FROM journal.seal_head AS o WHERE o.tenant = s.tenant "
        f"AND o.category = s.category AND o.number <= {number})"
    )


# Counters

DAY_BEFORE = f"{CHAIN} AND day = (SELECT closed_day FROM journal.service)"
statement("A01", f"UPDATE journal.activity SET count = count + 1 WHERE {DAY_BEFORE}")
statement("A02", f"DELETE FROM journal.activity WHERE {DAY_BEFORE}")
statement(
    "A03",
    "UPDATE journal.source_span SET numbers = "
    f"(SELECT range_agg(int8range(lower(r) + 1, upper(r) + 1)) FROM unnest(numbers) AS r) WHERE {DAY_BEFORE}",
)
