"""Reversibility: a commune leaves with all it has, and its journal goes on elsewhere, tied to the old one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from journal.core.entry import JOURNAL_CATEGORY
from journal.core.errors import OperatorError
from retention.continuation import continue_tenant, read_ended
from tests.support.contents import events_of
from tests.support.ending import PEM, destroy, lived_world, open_export, rows_of
from tests.support.world import CATEGORY, TENANT, World, new_world

if TYPE_CHECKING:
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

pytestmark = [pytest.mark.world(made_by=lived_world), pytest.mark.usefixtures("no_documents")]

THERE = "albi-suite"


async def leave(world: World, root: Path) -> Path:
    """End the contract of a commune, with an export below a directory; return its inventory."""
    return (await world.installation.closing.close(TENANT, root, PEM)).path


async def entries_of(world: World) -> list[dict[str, Any]]:
    """Return what the commune's journal says of itself."""
    extract = await world.extract(world.today, world.today, tenant=THERE, category=JOURNAL_CATEGORY)
    world.verify(extract)
    return [event["data"] for event in events_of(extract) if event["type"].endswith(".service.tenant")]


async def test_the_journal_goes_on_elsewhere(world: World, postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """Export, destruction, the commune's own check of both; the new journal cites each old head and the old seal."""
    inventory = await leave(world, tmp_path)
    before = open_export(world, tmp_path)  # with openssl, and the verifier
    record = await destroy(world)
    assert await rows_of(world) == 0
    signed = json.loads(inventory.read_bytes())
    assert [chain["chain_hash"] for chain in record["chains"]] == [chain["chain_hash"] for chain in signed["chains"]]
    async with new_world(postgres, tmp_path / "there", tenants=(THERE,)) as there:
        ended = read_ended(inventory, world.settings.trust_path)
        for _ in range(2):  # repeated, it writes nothing more
            await continue_tenant(there.service, there.installation.administration, THERE, ended)
        await there.record(2, tenant=THERE)
        cited = await entries_of(there)
        after = there.verify(await there.extract(there.today, there.today, tenant=THERE))
    assert cited[0]["change"] == "added"
    assert cited[1]["inventory"] == record["export"]["inventory"]
    assert (cited[1]["seal"], cited[1]["sha256"]) == (signed["seal"]["number"], signed["seal"]["sha256"])
    assert [(one["what"], one["entries"], one["sha256"]) for one in cited[2:]] == [
        (chain["origin"], chain["size"], chain["chain_hash"]) for chain in signed["chains"]
    ]
    # What a reader compares: the last extract from there ends with the head that is cited here.
    last = before[CATEGORY][-1].manifest
    assert (last.origin, last.head.size, last.head.chain_hash.hex()) in [
        (one["what"], one["entries"], one["sha256"]) for one in cited[2:]
    ]
    assert after.manifest.disclosed == 2


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        ("size", "its signature does not verify"),
        ("spelling", "as it was signed"),
        ("hash", "malformed"),
        ("origin", "another service or commune"),
        ("origin syntax", "the origin of a chain"),
        ("chains", "a chain in it is malformed"),
        ("signature absent", "cannot be read"),
        ("trust", "its signature does not verify"),
        ("no trust", "is no trust anchor"),
        ("nonsense", "give the inventory"),
        ("large", "too large"),
        ("depth", "nested too deep"),
    ],
)
async def test_what_no_service_has_signed_is_refused(world: World, tmp_path: Path, harm: str, reason: str) -> None:
    """In words, with the file; nothing is written."""
    path, trust = await leave(world, tmp_path), world.settings.trust_path
    value = json.loads(path.read_bytes())
    match harm:
        case "size":
            value["chains"][0]["size"] += 1
        case "hash":
            value["chains"][0]["chain_hash"] = "00"
        case "origin":
            value["chains"][0]["origin"] = value["chains"][0]["origin"].replace(TENANT, "sete")
        case "origin syntax":
            value["chains"][0]["origin"] = "albi"
        case "chains":
            value["chains"][0]["kept_from"] = value["chains"][0]["size"] + 1
        case "signature absent":
            path.with_name(f"{path.name}.p7s").unlink()
        case "trust":
            trust = tmp_path / "other.pem"
            trust.write_bytes(PEM)
        case "no trust":
            trust = path
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    deep = text.replace('"files":[', '"files":[' + "[" * 100_000 + "]" * 100_000 + ",", 1)
    path.write_text(
        {"spelling": f"{text}\n", "nonsense": "[]", "large": " " * 5_000_000, "depth": deep}.get(harm, text)
    )
    with pytest.raises(OperatorError, match=reason):
        read_ended(path, trust)


async def test_what_cannot_go_on(world: World, tmp_path: Path) -> None:
    """A commune whose contract has ended here too, and one that would continue itself."""
    ended = read_ended(await leave(world, tmp_path), world.settings.trust_path)
    with pytest.raises(OperatorError, match="has ended here"):
        await continue_tenant(world.service, world.installation.administration, TENANT, ended)
    with pytest.raises(OperatorError, match="no tenant"):
        await continue_tenant(world.service, world.installation.administration, "nulle-part", ended)
