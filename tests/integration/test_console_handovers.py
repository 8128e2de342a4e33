"""Hand-overs at the console: what the commune fetches, the slip, and the confirmation that it opened one."""

from __future__ import annotations

import asyncio
import io
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from ingest.console import handovers
from ingest.console.rendering import in_fours
from journal.core.times import day_of, format_time
from journal.keys.persons import Identity
from journal.pki.certificates import der_to_pem
from tests.support.authority import issue, key_usage, new_key
from tests.support.communes import opened
from tests.support.console import REFERENT, signed_in
from tests.support.edge import TENANT, RunningEdge, running_edge
from tests.support.handed import hand_over, holder_of
from tests.support.pdf import read_text
from tests.support.refused_events import valid_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres
    from tests.support.authority import Holder


@pytest.fixture
async def edge(postgres: EmbeddedPostgres, tmp_path: Path) -> AsyncIterator[RunningEdge]:
    """A service with one entry."""
    async with running_edge(postgres, tmp_path / "home") as running:
        assert (await running.post(valid_event(time=format_time(running.clock.now())))).status == 201
        yield running


async def handed_to(edge: RunningEdge) -> tuple[Holder, Path]:
    """Hand over to a commune whose key we have; return whose it is and the file."""
    holder = holder_of(edge)
    return holder, await hand_over(edge, der_to_pem([holder.certificate]))


def somebody(name: str) -> Identity:
    """A person of that name."""
    return Identity(name=f"Agent {name}", function="agent", login=f"{name}@albi.example")


async def changes(edge: RunningEdge) -> list[dict[str, Any]]:
    """What the commune's journal says of settings."""
    today = day_of(edge.clock.now())
    return [
        dict(entry.event["data"])
        async for page in edge.service.chronicle.pages(TENANT, "setting", since=today)
        for entry in page.entries
    ]


async def test_a_clerk_confirms(edge: RunningEdge, tmp_path: Path) -> None:
    """Nothing, then a file, fetched and opened; its code confirms, with the person's name, and the warning goes."""
    visitor, _ = await signed_in(edge)
    assert (await visitor.get("/remises")).status == 200
    assert "Rien n’est remis à votre commune" in visitor.seen[-1]
    holder, path = await handed_to(edge)
    await visitor.get("")
    assert "Vos remises sont à confirmer" in visitor.seen[-1]
    await visitor.get("/remises")
    assert in_fours(sha256(holder.certificate).hexdigest()) in visitor.seen[-1]
    assert f'href="/console/remises/fichier?nom={path.name}"' in visitor.seen[-1]
    fetched = await visitor.get(f"/remises/fichier?nom={path.name}")
    assert (fetched.status, fetched.body) == (200, path.read_bytes())
    assert path.name in fetched.headers["Content-Disposition"]
    code = sha256(opened(path, holder, tmp_path)).hexdigest()[:16]
    wrong = await visitor.post("/remises/confirmer", {"code": "0" * 16})
    assert wrong.status == 422
    assert "Ce code n’est celui d’aucun fichier remis" in visitor.seen[-1]
    right = await visitor.post("/remises/confirmer", {"code": f"{code[:8]} {code[8:]}"})
    assert right.status == 200
    assert "Confirmé : votre commune sait ouvrir ses remises" in visitor.seen[-1]
    assert 'name="code"' not in visitor.seen[-1]
    assert "nomme l’opérateur si c’est l’hébergeur" in visitor.seen[-1]
    confirmed = (await changes(edge))[-1]
    assert confirmed["change"] == "hand-over confirmed"
    assert confirmed["person"] == {"function": REFERENT.function, "name": REFERENT.name}
    await visitor.get("")
    assert "Vos remises sont à confirmer" not in visitor.seen[-1]
    await visitor.get("/registre")
    assert "remise ouverte par la commune" in visitor.seen[-1]


async def test_a_second_certificate(edge: RunningEdge) -> None:
    """What was handed over for the key before confirms nothing for the new one: it says so, and asks no code."""
    holder, path = await handed_to(edge)
    visitor, _ = await signed_in(edge)
    await visitor.get("/remises")
    assert 'name="code"' in visitor.seen[-1]
    assert "pour une clé d’avant" not in visitor.seen[-1]
    begin = edge.clock.now().replace(microsecond=0)
    other = issue(
        "Mairie d'Albi", new_key(22), issuer=issue("AC", new_key(9)), extensions=(key_usage(0x08),),
        begin=begin, end=begin.replace(year=begin.year + 1),
    )  # fmt: skip
    assert other.certificate != holder.certificate
    await edge.installation.administration.register_recipient(TENANT, der_to_pem([other.certificate]))
    await visitor.get("/remises")
    assert "Aucune remise n’a encore été faite pour ce certificat" in visitor.seen[-1]
    assert 'name="code"' not in visitor.seen[-1]
    row = visitor.seen[-1].partition(path.name)[2].partition("</tr>")[0]
    assert "(pour une clé d’avant)" in row
    await visitor.get("")
    assert "Vos remises sont à confirmer" not in visitor.seen[-1]


async def test_a_slip_for_whoever_sees_all_of_it(edge: RunningEdge, tmp_path: Path) -> None:
    """It is a signed document and an entry; somebody of another category sees neither file nor slip, nor how many."""
    _, path = await handed_to(edge)
    night = day_of(edge.clock.now()).isoformat()
    reader, _ = await signed_in(edge, role="reader", identity=somebody("lecteur"))
    await reader.get("/remises")
    assert "Bordereau du" in reader.seen[-1]
    slip = await reader.get(f"/remises/bordereau?nuit={night}")
    assert (slip.status, slip.headers["Content-Type"]) == (200, "application/pdf")
    text = read_text(slip.body, tmp_path / "slip.pdf")
    assert "Bordereau de remise" in text
    assert sha256((path.parent / f"{TENANT}_inventory_{night}.json").read_bytes()).hexdigest() in text
    made = (await changes(edge))[-1]
    assert made == {"change": "document made", "day": night, "sha256": sha256(slip.body).hexdigest()}
    assert (await reader.get(f"/remises/fichier?nom={path.name}")).status == 404
    assert (await reader.post("/remises/confirmer", {"code": "0" * 16})).status == 404
    other, _ = await signed_in(edge, categories=("ecrits",), identity=somebody("autre"))
    await other.get("/remises")
    assert "Rien n’a été remis" in other.seen[-1]
    for page in (f"/remises/bordereau?nuit={night}", f"/remises/fichier?nom={path.name}"):
        assert (await other.get(page)).status == 404, page
    for page in ("/remises/bordereau", "/remises/bordereau?nuit=2020-01-01", "/remises/bordereau?nuit=x"):
        assert (await reader.get(page)).status == 404, page


async def test_only_what_was_put_there_is_given(edge: RunningEdge) -> None:
    """No other file of the host: neither by a name, nor by a link put in its place; it is said gone."""
    _, path = await handed_to(edge)
    visitor, _ = await signed_in(edge)
    for name in ("", ".lock", "../albi/.lock", "..%2f..%2ftrust.pem", "/etc/passwd", "%00", path.name + "x"):
        assert (await visitor.get(f"/remises/fichier?nom={name}")).status == 404, name
    kept = path.read_bytes()
    path.unlink()
    await visitor.get("/remises")
    assert "retiré du répertoire" in visitor.seen[-1]
    assert (await visitor.get(f"/remises/fichier?nom={path.name}")).status == 404
    secret = path.with_name("elsewhere")
    secret.write_bytes(b"x" * len(kept))
    path.symlink_to(secret)
    assert (await visitor.get(f"/remises/fichier?nom={path.name}")).status == 404


async def test_a_slow_line(edge: RunningEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is given whole, however long that takes; one that was cut short never looks whole."""
    _, path = await handed_to(edge)
    visitor, _ = await signed_in(edge)
    write, kept = web.StreamResponse.write, path.read_bytes()

    async def slowly(response: web.StreamResponse, data: bytes) -> None:
        await asyncio.sleep(1)
        await write(response, data)

    async def shortening(response: web.StreamResponse, data: bytes) -> None:
        path.write_bytes(b"")
        await write(response, data)

    with monkeypatch.context() as patch:
        patch.setattr(web.StreamResponse, "write", slowly)
        assert (await visitor.get(f"/remises/fichier?nom={path.name}", Prefer="wait=1")).body == kept
    with monkeypatch.context() as patch:
        patch.setattr(handovers, "READ_BYTES", len(kept) // 2)
        patch.setattr(web.StreamResponse, "write", shortening)
        # What is read ahead is not asked again.
        patch.setattr(io, "DEFAULT_BUFFER_SIZE", 1)
        with pytest.raises(aiohttp.ClientError):
            await visitor.get(f"/remises/fichier?nom={path.name}")


async def test_codes_are_not_tried_out(edge: RunningEdge) -> None:
    """Five in a quarter of an hour for a commune, whoever tries."""
    await handed_to(edge)
    visitor, _ = await signed_in(edge)
    answers = [(await visitor.post("/remises/confirmer", {"code": f"{n:016x}"})).status for n in range(6)]
    assert answers == [422] * 5 + [429]
    assert "Trop d’essais" in visitor.seen[-1]
