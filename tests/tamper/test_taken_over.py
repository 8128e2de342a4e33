"""What whoever has taken over the service, but not the signer's account, can have signed, and what not.

It has the database, the key store, and the signer's socket: it says what it likes in the signer's protocol.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from journal.core.chain import extend, genesis
from journal.core.entry import Compartment
from journal.core.errors import OperatorError, SignerError, StoreError
from journal.core.receipt import parse_receipt_key
from journal.core.seal import parse_seal
from journal.database.heads import HeadRow, LeafRun
from journal.pki import cms, der
from journal.pki.certificates import parse, pem_to_der
from journal.seals.evidence import StoredEvidence
from journal.signer import client, protocol, server
from journal.signer import session as session_module
from journal.signer.client import Sealed
from journal.signer.evidence import Rule, StoredSeals
from journal.signer.protocol import FRAME_LIMIT_BYTES, Still
from tests.support.world import CATEGORY, DAY, SERVICE, TENANT, World, copied, new_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from datetime import date
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres
    from journal.database.heads import LeafSpan
    from journal.signer.client import SealingSession

SIZE = 20


@copied
@asynccontextmanager
async def a_sealed_morning(postgres: EmbeddedPostgres, home: Path) -> AsyncIterator[World]:
    """Make a world whose entries are sealed twice."""
    async with new_world(postgres, home) as made:
        for _ in range(2):
            await made.record(SIZE // 2)
            await made.seal()
        yield made


pytestmark = pytest.mark.world(made_by=a_sealed_morning)


class Lying(StoredEvidence):
    """Evidence as the attacker would have it; what is None is as it is stored."""

    def __init__(self, world: World) -> None:
        """Claim nothing yet."""
        super().__init__(world.service.store, world.service.keyring.keystore)
        self.claimed_leaves: dict[tuple[str, str, int], list[LeafRun]] | None = None
        self.claimed_fence: date | None = None
        self.claimed_days: int | None = None
        self.claimed_tenants: set[str] = set()
        self.claimed_ends: set[str] = set()

    async def tenants(self) -> set[str]:
        """Return the claimed tenants beside those that there are."""
        return await super().tenants() | self.claimed_tenants

    async def ended_tenants(self) -> set[str]:
        """Return the claimed ends beside those that there are."""
        return await super().ended_tenants() | self.claimed_ends

    async def leaves(self, spans: Sequence[LeafSpan], since: date | None, through: date | None) -> list[LeafRun]:
        """Return the claimed leaves."""
        if self.claimed_leaves is None:
            return await super().leaves(spans, since, through)
        return [run for span in spans for run in self.claimed_leaves.get((span.tenant, span.category, span.low), [])]

    async def fences(self, categories: Sequence[str]) -> dict[str, date]:
        """Return the claimed fence."""
        fence = self.claimed_fence
        return await super().fences(categories) if fence is None else dict.fromkeys(categories, fence)

    async def rules(self) -> dict[str, Rule]:
        """Return the claimed rule."""
        rules, days = await super().rules(), self.claimed_days
        return rules if days is None else {code: replace(rule, stated_days=days) for code, rule in rules.items()}


async def stored_seals(world: World, number: int | None = None) -> StoredSeals:
    """Return the last seals, or those of an earlier time, as the state of a database."""
    state = await world.service.store.seal_state()
    row = await world.service.store.read_seal(number or state.number)
    assert row is not None
    return StoredSeals(number=row.number, text=row.text, close_text=state.close_text, closed_day=state.closed_day)


async def present(world: World, **changed: Any) -> list[HeadRow]:
    """Return the present heads, with the one of the chain changed."""
    heads = (await world.service.store.seal_state()).heads
    return [head._replace(**changed) if head.sealed.chain == (TENANT, CATEGORY) else head for head in heads]


@asynccontextmanager
async def a_session(world: World, evidence: Lying | None = None) -> AsyncIterator[SealingSession]:
    """Open a session in which the stored seals were compared."""
    async with world.service.signer.session(evidence or Lying(world)) as session:
        await session.compare(await stored_seals(world))
        yield session


async def sealed_head(world: World) -> tuple[int, bytes, int, int]:
    """Return what the last seal that was stored states of the chain."""
    state = await world.service.store.seal_state()
    heads = {head.chain: head for head in await world.service.store.read_seal_heads(state.number)}
    head = heads[TENANT, CATEGORY]
    return head.size, head.chain_hash, head.kept_from, head.retention_days


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"size": SIZE - 1}, "it is shorter than it was"),
        ({"chain_hash": bytes(32)}, "its hash is another one at the same size"),
        ({"size": SIZE + 2, "chain_hash": bytes(32)}, "its stored entries do not lead to its head"),
        ({"size": 10**15}, "its stored entries do not lead to its head"),
        ({"kept_from": SIZE // 2}, "it begins where no purge that the key store knows of has ended"),
        ({"retention_days": 2}, "is not that of its category"),
    ],
)
async def test_a_head_that_does_not_follow(world: World, changed: dict[str, Any], why: str) -> None:
    """It is not in the seal that is signed: the head that was signed before is."""
    async with a_session(world) as session:
        made = await session.propose(None, await present(world, **changed), even_if_still=True)
    assert isinstance(made, Sealed)
    assert made.moved == []
    assert [why in held.reason for held in made.told] == [True]


async def test_lies_about_leaves_and_purges(world: World) -> None:
    """Leaf hashes that lead nowhere, a fence without its close seal and a rule that it contradicts change nothing."""
    evidence = Lying(world)
    evidence.claimed_leaves, evidence.claimed_fence, evidence.claimed_days = {}, world.today, 2
    changed = {"size": SIZE + 1, "chain_hash": sha256(b"x").digest(), "kept_from": SIZE, "retention_days": 2}
    before = await sealed_head(world)
    async with a_session(world, evidence) as session:
        made = await session.propose(None, await present(world, **changed), even_if_still=True)
    assert isinstance(made, Sealed)
    assert made.moved == []
    assert await sealed_head(world) == before


async def test_what_it_claims_is_sealed(world: World) -> None:
    """Leaf hashes that it made up, a chain of a tenant that it made up, a rule: the seal states each in public."""
    evidence = Lying(world)
    evidence.claimed_tenants, evidence.claimed_days = {"nowhere"}, 2
    leaf = sha256(b"no entry").digest()
    state = await world.service.store.seal_state()
    heads = {row.chain: row for row in await world.service.store.read_seal_heads(state.number)}
    sealed = heads[TENANT, CATEGORY]
    forged = sealed._replace(size=SIZE + 1, chain_hash=extend(sealed.chain_hash, leaf), retention_days=2)
    start = genesis(Compartment(SERVICE, "nowhere", CATEGORY).origin).chain_hash
    made_up = forged._replace(tenant="nowhere", size=1, chain_hash=extend(start, leaf))
    evidence.claimed_leaves = {
        (TENANT, CATEGORY, SIZE): [LeafRun(1, SIZE, leaf)],
        ("nowhere", CATEGORY, 0): [LeafRun(1, 0, leaf)],
    }
    proposal = [*await present(world, **forged._asdict()), HeadRow(*made_up[:4], None, *made_up[4:])]
    async with a_session(world, evidence) as session:
        made = await session.propose(None, proposal, even_if_still=True)
    assert isinstance(made, Sealed)
    assert made.told == []
    assert {forged, made_up} <= set(made.moved)


async def test_a_fence_or_an_end_that_it_claims(world: World) -> None:
    """A chain begins where a close seal says that a day ended, or, of a tenant said to be destroyed, at its end."""
    await world.travel_to(world.today + DAY)
    await world.seal()
    await world.record(1)
    for kept_from in (SIZE, SIZE + 1):
        evidence = Lying(world)
        if kept_from == SIZE:
            evidence.claimed_fence = world.today - DAY
        else:
            evidence.claimed_ends = {TENANT}
        async with a_session(world, evidence) as session:
            made = await session.propose(None, await present(world, kept_from=kept_from), even_if_still=True)
        assert isinstance(made, Sealed)
        assert made.told == []
        assert [head.kept_from for head in made.moved if head.chain == (TENANT, CATEGORY)] == [kept_from]


async def test_two_heads_of_one_chain(world: World) -> None:
    """Nothing is signed, whichever comes last."""
    heads = await present(world)
    for twice in ([*await present(world, size=1), *heads], [*heads, *await present(world, size=1)]):
        async with a_session(world) as session:
            with pytest.raises(StoreError, match="a chain has two heads"):
                await session.propose(None, twice, even_if_still=True)


async def test_more_heads_than_are_sealed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are refused before they fill the signer's memory, however few come at once."""
    heads = await present(world)
    monkeypatch.setattr(session_module, "HEADS_LIMIT", len(heads) - 1)
    monkeypatch.setattr(client, "CHAINS_AT_ONCE", 1)
    async with a_session(world) as session:
        with pytest.raises(SignerError, match=f"more than {len(heads) - 1} heads.* are not sealed"):
            await session.propose(None, heads, even_if_still=True)


async def test_longer_heads_than_are_sealed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many bytes of them are refused, however few they are; those of the proposal before do not count."""
    heads, code, fit = await present(world), "x" * 10_000, 9
    long = [heads[0]._replace(tenant=f"{number}{code}") for number in range(fit + 1)]
    monkeypatch.setattr(client, "CHAINS_AT_ONCE", 1)
    monkeypatch.setattr(session_module, "HEADS_LIMIT_BYTES", len(long) * len(code))
    async with a_session(world) as session:
        for _ in range(2):
            await session.compare(await stored_seals(world))
            made = await session.propose(None, [*heads, *long[:fit]], even_if_still=True)
            assert isinstance(made, Sealed)
            assert made.moved == []
        with pytest.raises(SignerError, match=f"or {len(long) * len(code)} bytes of them, are not sealed"):
            await session.propose(None, long, even_if_still=True)


async def test_heads_that_nobody_proposed(world: World) -> None:
    """What a session offered and left is in no other's seal: there, the chains are as they were signed."""
    await world.record(5)
    offer = protocol.Offer(heads=await present(world))
    async with a_session(world) as session:
        await session._exchange.ask(offer, protocol.Ok)
    async with a_session(world) as session:
        made = await session.propose(None, [], even_if_still=True)
    assert isinstance(made, Sealed)
    assert made.moved == []
    assert {held.reason.partition(": ")[2].partition(" (")[0] for held in made.told} == {"its head is gone"}
    assert len(made.told) == len(offer.heads)


async def test_a_memory_that_is_exchanged_during_a_session(world: World) -> None:
    """What is not its own is neither signed by nor written over, whoever looks at it in between."""
    path = world.settings.signer_state_path
    for content in (b"another file\n", None):
        kept = path.read_bytes()
        async with a_session(world) as session:
            path.unlink()
            if content is not None:
                path.write_bytes(content)
            assert "memory" in "".join(await world.service.sealer.problems())
            with pytest.raises(OperatorError, match="was taken away or altered while it was used"):
                await session.propose(None, await present(world), even_if_still=True)
        assert (path.read_bytes() if path.exists() else None) == content
        path.write_bytes(kept)
    await world.seal()
    assert await world.audit() == []


async def test_a_seal_that_is_stored_after_another_was_made(world: World) -> None:
    """Whichever of two seals of one number is stored, the signer knows it, and sealing goes on.

    A client that lost its session while the database let it wait may store its seal yet.
    """
    store = world.service.store
    made = []
    for entries in (1, 2):
        await world.record(entries)
        async with a_session(world) as session:
            proposed = await session.propose(None, await present(world), even_if_still=True)
        assert isinstance(proposed, Sealed)
        made.append(proposed)
    for late, is_stored in zip(made, (True, False), strict=True):
        seal = parse_seal(late.text)
        arguments = (seal.number, seal.day, seal.sealed_at, late.text, late.signature, late.moved)
        assert await store.put_seal(*arguments) == is_stored
    row = await world.service.sealer.seal_open(even_if_still=True)
    assert row is not None
    assert row.number == parse_seal(made[0].text).number + 1
    assert await world.audit() == []


async def test_two_seals_of_one_number(world: World) -> None:
    """A seal that was signed and not stored binds: the next of its number follows from it."""
    await world.record(5)
    forgotten = await present(world)
    async with a_session(world) as session:
        first = await session.propose(None, forgotten, even_if_still=True)
        # Another proposal in the same session needs a comparison first.
        with pytest.raises(SignerError, match="proposed after the stored seals were compared"):
            await session.propose(None, forgotten, even_if_still=True)
    (head,) = [found.sealed for found in forgotten if found.sealed.chain == (TENANT, CATEGORY)]
    async with a_session(world) as session:
        second = await session.propose(None, await present(world, size=SIZE + 1), even_if_still=True)
    assert isinstance(first, Sealed)
    assert isinstance(second, Sealed)
    assert parse_seal(first.text).number == parse_seal(second.text).number == 3
    assert [moved for moved in second.moved if moved.chain == head.chain] == [head]
    assert "it is shorter than it was" in second.told[0].reason
    assert await world.service.sealer.problems()


async def test_a_day_that_is_not_over(world: World) -> None:
    """Neither today, nor another day than the next, gets a close seal; yesterday is closed before today is sealed."""
    for day in (world.today, world.today + DAY):
        async with a_session(world) as session:
            with pytest.raises(OperatorError, match=r"no close seal of .* is made"):
                await session.propose(day, await present(world), even_if_still=True)
    await world.travel_to(world.today + DAY)
    await world.seal()
    await world.travel_to(world.today + 2 * DAY)
    async with a_session(world) as session:
        with pytest.raises(OperatorError, match=r"no close seal of .* is made"):
            await session.propose(world.today - DAY, await present(world), even_if_still=True)
    async with a_session(world) as session:
        answer = await session.propose(None, await present(world), even_if_still=True)
        assert isinstance(answer, Still)
        assert answer.again


async def test_it_does_not_go_back_in_silence(world: World) -> None:
    """From an earlier seal it goes on only if the next one declares the loss, whoever has it made, and when."""
    await world.record(1)
    await world.seal()
    earlier = await stored_seals(world, 2)
    async with world.service.signer.session(Lying(world)) as session:
        with pytest.raises(OperatorError, match="gone back from seal 3 to seal 2"):
            await session.compare(earlier)
    evidence = Lying(world)
    row = await world.service.store.read_seal(2)
    assert row is not None

    async def signature() -> bytes:
        return row.signature

    evidence.last_signature = signature  # type: ignore[method-assign]
    async with world.service.signer.session(evidence, is_lost=True) as session:
        with pytest.raises(OperatorError, match="gone back from seal 3 to seal 2"):
            await session.learn(earlier, declares_loss=False)
    async with world.service.signer.session(evidence, is_lost=True) as session:
        await session.learn(earlier, declares_loss=True)
    async with world.another_process() as other, other.service.signer.session(evidence) as session:
        await session.compare(earlier)
        made = await session.propose(None, await present(world), even_if_still=True)
    assert isinstance(made, Sealed)
    assert (parse_seal(made.text).number, parse_seal(made.text).recovered_from) == (3, 2)


async def test_what_is_signed_without_being_a_seal(world: World) -> None:
    """A manifest's text is signed, for about now; a seal, of whatever version, or another time, is not."""
    await world.travel_to(world.today + DAY)
    signer, now = world.service.signer, world.clock.now()
    anchors = pem_to_der(world.settings.trust_path.read_bytes())
    text = b'{"a": "manifest"}'
    assert cms.verify(await signer.sign(text, now), sha256(text).digest(), anchors=anchors, service=SERVICE)
    row = await world.service.store.latest_seal()
    assert row is not None
    for content in (row.text, b"openepm-journal/seal/v2\n"):
        with pytest.raises(SignerError, match="in a sealing session alone"):
            await signer.sign(content, now)
    for at in (now - timedelta(hours=23), now + timedelta(minutes=14)):
        assert await signer.sign(text, at)
    for at in (now - timedelta(hours=25), now + timedelta(minutes=16)):
        with pytest.raises(OperatorError, match=r"nothing is signed with the time .* the signer's clock says"):
            await signer.sign(text, at)
        with pytest.raises(OperatorError, match="nothing is signed with the time"):
            await signer.sign_document(b"", b"%PDF-", at)
    with pytest.raises(SignerError, match="are the most"):
        await signer.sign(bytes(protocol.CONTENT_LIMIT_BYTES + 1), now)


async def test_the_door_for_receipt_keys(world: World) -> None:
    """Whoever asks has any P-256 key vouched for: from now on, for 30 days, as a receipt key and nothing else."""
    signer, now = world.service.signer, world.clock.now()
    encoding, public = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    key = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(encoding, public)
    text, signature = await signer.vouch_for_key(key)
    anchors = pem_to_der(world.settings.trust_path.read_bytes())
    assert cms.verify(signature, sha256(text).digest(), anchors=anchors, service=SERVICE)
    delegation = parse_receipt_key(text)
    assert abs(delegation.valid_from - now) < timedelta(minutes=1)
    assert delegation.valid_until - delegation.valid_from <= timedelta(days=30)
    for content in (text, b"openepm-journal/receipt-key/v2\n"):
        with pytest.raises(SignerError, match="written by the signer alone"):
            await signer.sign(content, now)
    with pytest.raises(SignerError, match="P-256"):
        await signer.vouch_for_key(b"openepm-journal/seal/v1\n")


async def test_the_door_for_documents(world: World) -> None:
    """No signed attributes of a seal, of a manifest, or of what is no PDF are signed by it."""
    signer, now = world.service.signer, world.clock.now()
    row = await world.service.store.latest_seal()
    assert row is not None
    chain = [parse(certificate) for certificate in signer.identity.certificates]
    pdf = b"%PDF-1.7 a document"

    def attributes(content: bytes, *, leave_out: int | None = None) -> bytes:
        whole = cms._signed_attributes(chain, sha256(content).digest(), now.replace(microsecond=0))
        members = [member.encoded for member in der.decode(whole, limit_bytes=4096).members(der.SET)]
        return der.set_of(*(one for number, one in enumerate(members) if number != leave_out))

    signing_time = 1
    assert der.decode(attributes(pdf), limit_bytes=4096).members(der.SET)[signing_time].children[0].encoded == (
        cms._SIGNING_TIME
    )
    wanted = {
        "is no PDF": (attributes(row.text, leave_out=signing_time), row.text),
        "DER members": (attributes(pdf), pdf),
        "of other content": (attributes(row.text, leave_out=signing_time), pdf),
        "not those of a document": (attributes(pdf, leave_out=0), pdf),
        "cut short": (b"", pdf),
        "DER tag": (row.text, pdf),
    }
    for why, (asked, content) in wanted.items():
        with pytest.raises(SignerError, match=f"no document is signed: .*{why}"):
            await signer.sign_document(asked, content, now)


MESSAGES = {
    "not JSON": b"\xff",
    "no kind": b"{}",
    "an unknown kind": b'{"kind": "export-key"}',
    "a member too many": b'{"kind": "leave", "key": true}',
    "another type": b'{"kind": "begin", "is_lost": 1}',
    "a time without a zone": b'{"kind": "sign", "content": "", "at": "2026-03-02T00:00:00"}',
    "no base64": b'{"kind": "sign", "content": "%", "at": "2026-03-02T00:00:00Z"}',
    "deeply nested": b"[" * 100_000,
    "evidence that nobody asked for": b'{"kind": "evidence", "found": []}',
    "a step without a session": b'{"kind": "done"}',
}


async def test_messages_that_are_none(world: World) -> None:
    """Each gets one answer that says so, and the connection is closed; so does a frame whose length is too great."""
    frames = {name: len(content).to_bytes(4, "big") + content for name, content in MESSAGES.items()}
    frames["a frame too long"] = (FRAME_LIMIT_BYTES + 1).to_bytes(4, "big")
    connector: Any = world.service.signer._connector
    for name, frame in frames.items():
        async with connector.connect() as (reader, writer):
            await protocol.receive(reader, 5)
            writer.write(frame)
            failure = orjson.loads(await protocol.receive(reader, 5))
            assert (failure["kind"], failure["error"]) == ("failure", "signer"), name
            assert await reader.read() == b"", name
    await world.seal()


async def test_a_client_that_hangs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It loses its session after a while, and others seal; one that asks for too much at once is sent away."""
    monkeypatch.setattr(server, "CLIENT_SECONDS", 0.3)
    await world.record(1)
    async with a_session(world) as session:
        await world.seal()
        with pytest.raises(SignerError, match="has ended while it was asked"):
            await session.done()
    connector: Any = world.service.signer._connector
    async with asyncio.timeout(60):
        opened = [connector.connect() for _ in range(server.CONNECTIONS + 1)]
        streams = [await one.__aenter__() for one in opened]
        greetings = [await protocol.receive(reader, 5) for reader, _ in streams]
        for one in opened:
            await one.__aexit__(None, None, None)
    assert b"clients already" in greetings[-1]
    assert await world.service.sealer.problems() == []
