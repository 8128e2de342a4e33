"""Acts on rows that command: rules, tenants, credentials, hand-over, endings: R, C, D."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.campaign.table import KINDS, Kind, kind, statement
from tests.campaign.world import ALBI, ASSISTANCE, BRIEF, CASTRES, DAY, EVE, MAIN, SETE, VENCE, WRITINGS, commune
from tests.support.acts import forge_token, insert

if TYPE_CHECKING:
    from tests.campaign.scene import Scene

PASSING_SECONDS = 40.0


def category(identifier: str, change: str, code: str = MAIN) -> None:
    """Enter an act on the row of a category."""
    statement(identifier, f"UPDATE journal.category SET {change} WHERE code = '{code}'")


def tenant(identifier: str, change: str, code: str = ALBI) -> None:
    """Enter an act on the row of a tenant."""
    statement(identifier, f"UPDATE journal.tenant SET {change} WHERE code = '{code}'")


category("R01", "retention_days = 5")
category("R02", "retention_days = 10, next_retention_days = NULL, next_since = NULL, next_from = NULL", BRIEF)
category("R03", "next_retention_days = 5, next_since = first_day, next_from = first_day")
category("R04", "next_retention_days = NULL, next_since = NULL, next_from = NULL", ASSISTANCE)
category("R05", "needs_authorisation = NOT needs_authorisation")
category("R06", "regime = 'GDPR', label = 'Autre'")
category("R07", "first_day = first_day + 30")
category("R10", "fence = fence + 20")
category("R11", "fence = fence - 2")
category("R12", "purged_day = purged_day + 3")
tenant("R13", "name = 'Autre'")
tenant("R14", "closed_at = now()")
tenant("R15", "closed_at = NULL", SETE)
tenant("R16", "closed_at = now(), destroyed_at = now()")
statement("R19", "UPDATE journal.service SET name = 'other.example.fr'")
statement("R20", "UPDATE journal.service SET first_day = first_day + 5")


@kind("R08")
async def _new_category(scene: Scene) -> None:
    await scene.execute(
        "INSERT INTO journal.category (code, id, label, regime, retention_days, needs_authorisation, created_at, "
        "first_day, basis) VALUES ('intrus', 90, 'Intrus', 'LED', 60, false, now(), "
        f"'{scene.today}', 'contract');"
        "CREATE TABLE journal.entry_90 PARTITION OF journal.entry FOR VALUES IN ('intrus') PARTITION BY RANGE (day);"
        f"INSERT INTO journal.chain VALUES ('{ALBI}', 'intrus', sha256('x'));"
        "INSERT INTO journal.head (size, kept_from, tenant, category, chain_hash) "
        f"VALUES (0, 0, '{ALBI}', 'intrus', sha256('x'))"
    )


@kind("R09")
async def _no_category(scene: Scene) -> None:
    await scene.execute(f"DELETE FROM journal.category WHERE code = '{ASSISTANCE}'")


@kind("R17")
async def _new_commune(scene: Scene) -> None:
    async with scene.intrude() as superuser:
        await insert(superuser, "tenant", code="intrus", name="Intrus", created_at=datetime.now(UTC))
        await superuser.execute(
            f"INSERT INTO journal.chain VALUES ('intrus', '{MAIN}', sha256('x'));"
            "INSERT INTO journal.head (size, kept_from, tenant, category, chain_hash) "
            f"VALUES (0, 0, 'intrus', '{MAIN}', sha256('x'))"
        )


@kind("R18")
async def _no_commune(scene: Scene) -> None:
    tables = ("entry", "activity", "source_span", "seal_head", "head", "chain", "credential", "tenant")
    async with scene.intrude() as superuser:
        for table in tables:
            column = "code" if table == "tenant" else "tenant"
            await superuser.execute(f"DELETE FROM journal.{table} WHERE {column} = '{CASTRES}'")


@kind("R21")
async def _forgotten_change(scene: Scene) -> None:
    """Have a change of rule killed before its entries are written, and take its row away."""
    await scene.service.store.set_category(
        WRITINGS,
        label=None,
        retention_days=30,
        needs_authorisation=None,
        basis=None,
        instruction="I-9",
        delay_days=7,
    )
    await scene.service.snapshot.refresh()
    del scene.facts["category", WRITINGS]  # what is not noticed is that nobody was told
    await scene.execute("DELETE FROM journal.category_change")


# Credentials


async def insert_credential(scene: Scene) -> str:
    """Insert a credential of a client; return its token."""
    identifier, token, secret_hash = forge_token()
    values: dict[str, Any] = {"role": "client", "tenant": ALBI, "categories": [MAIN], "label": ""}
    async with scene.intrude() as superuser:
        await insert(
            superuser, "credential", id=identifier, secret_hash=secret_hash, source_prefix=None,
            created_at=scene.clock.now(), **values,
        )  # fmt: skip
    scene.witness.tokens["forged"] = token
    return identifier


@kind("C01")
async def _new_credential(scene: Scene) -> None:
    await insert_credential(scene)


async def _passing_credential(scene: Scene) -> None:
    identifier = await insert_credential(scene)
    assert scene.running is not None
    status, _ = await scene.running.get(scene.witness.tokens["forged"], f"/v1/categories/{MAIN}/head")
    scene.refused.append(f"the forged credential: {status}")
    await asyncio.sleep(PASSING_SECONDS)
    await scene.execute(f"DELETE FROM journal.credential WHERE id = '{identifier}'")


KINDS["C02"] = Kind(act=_passing_credential, lasting=True)


@kind("C03")
async def _other_secret(scene: Scene) -> None:
    identifier = scene.witness.ids["client"]
    _, token, secret_hash = forge_token()
    scene.witness.tokens["forged"] = f"oej_{identifier}_{token.split('_', 2)[2]}"
    await scene.execute("UPDATE journal.credential SET secret_hash = $1 WHERE id = $2", secret_hash, identifier)


def credential(identifier: str, name: str, change: str) -> None:
    """Enter an act on the row of a credential."""

    async def act(scene: Scene) -> None:
        of = scene.witness.ids[name]
        await scene.execute(f"UPDATE journal.credential SET {change} WHERE id = '{of}'")

    kind(identifier)(act)


credential("C04", f"module {ALBI}", "role = 'client'")
credential("C05", "auditor", f"tenant = '{CASTRES}'")
credential("C06", "client", f"categories = categories || '{{{ASSISTANCE}}}'")
credential("C07", f"module {ALBI}", "source_prefix = '/'")
credential("C08", "client", "expires_at = created_at + interval '3 years'")
credential("C09", "revoked late", "revoked_at = NULL")
credential("C12", "operator", "revoked_at = created_at")


@kind("C10")
async def _replayed_credential(scene: Scene) -> None:
    """Put back the row as yesterday's backup has it."""
    identifier = scene.witness.ids["revoked late"]
    (row,) = await replace(scene, database=EVE).fetch("SELECT * FROM journal.credential WHERE id = $1", identifier)
    assert row["revoked_at"] is None
    async with scene.intrude() as superuser:
        await superuser.execute("DELETE FROM journal.credential WHERE id = $1", identifier)
        await insert(superuser, "credential", **dict(row))


@kind("C11")
async def _no_credential(scene: Scene) -> None:
    await scene.execute("DELETE FROM journal.credential WHERE id = $1", scene.witness.ids["operator"])


# Hand-over and endings


@kind("D01")
async def _certificate(scene: Scene) -> None:
    await scene.execute("UPDATE journal.recipient SET certificate = $1", commune(77).certificate)


@kind("D02")
async def _older_certificate(scene: Scene) -> None:
    await scene.execute("UPDATE journal.recipient SET certificate = $1", commune(20).certificate)


statement("D03", "DELETE FROM journal.recipient")


@kind("D04")
async def _new_recipient(scene: Scene) -> None:
    async with scene.intrude() as superuser:
        await insert(
            superuser, "recipient", tenant=CASTRES, certificate=commune(77).certificate, registered_at=datetime.now(UTC)
        )


def next_day(scene: Scene) -> Any:
    """Return a day of the shortest rule that is not handed over yet."""
    return scene.today - 6 * DAY


@kind("D05", hand_over=True)
async def _handover(scene: Scene) -> None:
    at = scene.clock.now()
    day = next_day(scene)
    async with scene.intrude() as superuser:
        await insert(
            superuser, "handover", tenant=ALBI, category=BRIEF, first_day=day, last_day=day, base_size=0,
            head_size=10**6, file_bytes=100, written_at=at, placed_at=at, listed_at=at,
        )  # fmt: skip


statement("D06", "UPDATE journal.handover SET file_sha256 = sha256(file_sha256)", hand_over=True)
statement(
    "D07",
    f"DELETE FROM journal.handover WHERE category = '{BRIEF}' AND last_day = (SELECT max(last_day) FROM "
    f"journal.handover WHERE category = '{BRIEF}')",
    hand_over=True,
)


@kind("D08", hand_over=True)
async def _lapse(scene: Scene) -> None:
    async with scene.intrude() as superuser:
        await insert(
            superuser, "handover_lapse", tenant=ALBI, category=BRIEF, day=next_day(scene), head_size=10**6,
            lapsed_at=scene.clock.now(),
        )  # fmt: skip


@kind("D09")
async def _ending(scene: Scene) -> None:
    async with scene.intrude() as superuser:
        await superuser.execute(
            f"INSERT INTO journal.ending (tenant, waived_at) VALUES ('{ALBI}', $1)",
            scene.clock.now() - timedelta(days=1),
        )


statement("D11", "UPDATE journal.recipient SET confirmed_at = confirmed_at - interval '1 day'")
statement("D12", "UPDATE journal.handover SET code_mac = sha256(code_mac)", hand_over=True)
statement("D10", f"UPDATE journal.ended_chain SET chain_hash = sha256(chain_hash) WHERE tenant = '{VENCE}'")
