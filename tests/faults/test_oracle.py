"""The judge of the fault tests, judged: it names every fault that was put there on purpose, and no other."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import pytest

from journal.core.chain import extend, leaf_hash
from tests.faults.ledger import Ledger, Line, read_ledger
from tests.faults.load import Chain, Load
from tests.faults.oracle import Judgement, KeyFiles, judge
from tests.support.encrypting import encrypt
from tests.support.rig import CATEGORY, TENANTS
from tests.support.serving import Serving, Site, found_site

if TYPE_CHECKING:
    from pathlib import Path

    import asyncpg

CHAIN = Chain(tenant=TENANTS[0], category=CATEGORY)
ORIGIN = CHAIN.origin
WHERE = "WHERE tenant = $1 AND category = $2"


@pytest.fixture
async def site(dsn: str, tmp_path: Path) -> Site:
    """A service that was under load for a moment; every answer is in its ledger."""
    founded = await found_site(tmp_path, dsn)
    ledger = Ledger(tmp_path / "ledger")
    async with await Serving.start(founded), Load(founded, ledger, clients=4, seed=7) as load:
        await load.acknowledgements(80)
        await load.show_heads()
        await load.finish()
    ledger.close()
    return founded


async def judged(site: Site, lines: list[Line] | None = None) -> Judgement:
    """Judge what is stored by the site's ledger, or by other lines."""
    path = site.home / "ledger"
    if lines is not None:
        path = site.home / "other-ledger"
        path.write_text("".join(json.dumps(asdict(line)) + "\n" for line in lines), encoding="utf-8")
    return await judge(ledger=path, superuser_dsn=site.superuser_dsn, home=site.home)


def acknowledged(site: Site) -> list[Line]:
    """Return one chain's first acknowledgements, in order of index."""
    found: dict[str, Line] = {}
    for line in read_ledger(site.home / "ledger"):
        if line.kind == "ok" and line.chain == ORIGIN:
            found.setdefault(line.id, line)
    return sorted(found.values(), key=lambda line: (line.receipt or {})["index"])


async def test_nothing_is_said_of_an_honest_service(site: Site) -> None:
    """Where nothing is wrong nothing is found, and what was compared is counted."""
    verdict = await judged(site)
    assert verdict.faults == []
    assert verdict.acknowledged >= 80
    assert verdict.refused > 0


async def test_an_acknowledged_entry_deleted_is_named(site: Site, superuser: asyncpg.Connection) -> None:
    """One row gone, by a superuser whom no trigger stops: the event is named as lost."""
    line = acknowledged(site)[-1]
    assert line.receipt is not None
    await superuser.execute("SET session_replication_role = replica")
    deleted = await superuser.execute(
        f"DELETE FROM journal.entry {WHERE} AND index = $3", CHAIN.tenant, CHAIN.category, line.receipt["index"]
    )
    assert deleted == "DELETE 1"
    verdict = await judged(site)
    assert verdict.lost == [f"{ORIGIN}: {line.id} was acknowledged and is not there"]


async def test_an_entry_recorded_twice_is_named(site: Site, superuser: asyncpg.Connection) -> None:
    """An event appended once more, its hashes all in order: it is named, and where both copies stand."""
    line = acknowledged(site)[0]
    assert line.receipt is not None
    first, size = line.receipt["index"], await append_again(site, superuser, line.receipt["index"])
    verdict = await judged(site)
    assert verdict.faults == [f"{ORIGIN}: {line.id} is there twice, at {first} and {size}"]


async def append_again(site: Site, superuser: asyncpg.Connection, index: int) -> int:
    """Append the entry's event once more, as a service would that forgot it; return the copy's index."""
    place = (CHAIN.tenant, CHAIN.category)
    row = await superuser.fetchrow(
        f"SELECT day, ciphertext, leaf_hash FROM journal.entry {WHERE} AND index = $3", *place, index
    )
    head = await superuser.fetchrow(f"SELECT size, chain_hash FROM journal.head {WHERE}", *place)
    size: int = head["size"]
    box = KeyFiles(site.home / "keys", site.home / "master.key").box(ORIGIN, row["day"])
    salt, record = box.open(index, row["ciphertext"], row["leaf_hash"])
    last = await superuser.fetchrow(
        f"SELECT ciphertext, leaf_hash FROM journal.entry {WHERE} AND index = $3", *place, size - 1
    )
    recorded_at = json.loads(box.open(size - 1, last["ciphertext"], last["leaf_hash"])[1])["recorded_at"]
    copy = json.dumps(
        json.loads(record) | {"index": size, "recorded_at": recorded_at},
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
    ).encode()
    leaf = leaf_hash(salt, copy)
    ciphertext = encrypt(box, size, nonce=bytes(12), salt=salt, record=copy)
    chain_hash = extend(head["chain_hash"], leaf)
    await superuser.execute(
        "INSERT INTO journal.entry (tenant, category, day, index, event_key, leaf_hash, chain_hash, ciphertext)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        *(*place, row["day"], size, bytes(16), leaf, chain_hash, ciphertext),
    )
    await superuser.execute(f"UPDATE journal.head SET size = $3, chain_hash = $4 {WHERE}", *place, size + 1, chain_hash)
    return size


async def test_answers_that_do_not_agree_are_named(site: Site) -> None:
    """Receipts, refusals, order, heads and unanswered events: each lie in the ledger is found for what it is."""
    lines = read_ledger(site.home / "ledger")
    early, late = acknowledged(site)[0], acknowledged(site)[-1]
    assert early.receipt is not None
    assert late.receipt is not None
    sent = {line.id: line for line in reversed(lines) if line.kind == "sent" and line.chain == ORIGIN}
    moved = replace(early, receipt=early.receipt | {"index": late.receipt["index"]})
    exchanged = replace(early, receipt=late.receipt)
    head = next(line for line in lines if line.kind == "head" and line.chain == ORIGIN)
    assert head.receipt is not None
    sent_after_late = replace(sent[early.id], at=late.at + 1)
    lies: list[tuple[list[Line], str]] = [
        ([*lines, moved], f"the receipt of {early.id} is of another history"),
        ([*lines, exchanged], f"the receipt of {early.id} is another event's"),
        ([*lines, replace(early, kind="refused", receipt=None)], f"{early.id} was refused and is recorded"),
        ([*lines, replace(sent[early.id], id="x")], "x had no definite answer"),
        ([line for line in lines if line.id != early.id], f"entry {early.receipt['index']} was sent by nobody"),
        (
            [*lines, replace(head, receipt=head.receipt | {"chain_hash": "00" * 32})],
            f"the head shown at size {head.receipt['size']} is of another history",
        ),
        (
            [sent_after_late if line.id == early.id and line.kind == "sent" else line for line in lines],
            f"{early.id} comes before what was acknowledged when it was sent",
        ),
    ]
    for told, expected in lies:
        verdict = await judged(site, told)
        assert verdict.faults == [f"{ORIGIN}: {expected}"]
