"""The receipt key: made once, shared, renewed in time and with the certificate; without it, receipts are not signed."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from journal.core.errors import MalformedError, SignerError
from journal.core.receipt import ReceiptKey, parse_receipt_key
from journal.core.seal import parse_seal
from journal.extract.manifest import parse_manifest
from journal.extract.receipts import CheckedReceipts, check_receipts, read_receipts
from journal.pki.certificates import pem_to_der
from journal.seals.dev_authority import make_development_authority
from journal.seals.receipt_key import ReceiptKeys, load
from journal.signer.client import SignerClient
from journal.signer.connect import AtPath
from tests.support.rig import SERVICE, open_rig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from journal.seals.receipt_key import Vouched
    from journal.writing.answers import Answer
    from tests.support.rig import Rig


@pytest.fixture
async def rig(dsn: str, tmp_path: Path) -> AsyncIterator[Rig]:
    """A service whose writer runs."""
    async with open_rig(dsn, tmp_path) as running:
        yield running


def checked(rig: Rig, answer: Answer) -> CheckedReceipts:
    """Verify an answer as an auditor does who was given the certificate."""
    anchors = pem_to_der(rig.service.settings.trust_path.read_bytes())
    return check_receipts(read_receipts(answer.body, "answer.json"), anchors=anchors)


def held(rig: Rig) -> Vouched:
    """Return the key in the file."""
    found = load(rig.service.settings.receipt_key_path)
    assert found is not None
    return found


def without_signer(rig: Rig) -> ReceiptKeys:
    """Return the receipt key of a process that cannot reach the signer."""
    absent = SignerClient(AtPath(rig.service.settings.home_path / "absent"), rig.service.identity)
    return ReceiptKeys(rig.service.settings.receipt_key_path, absent, rig.clock)


async def test_one_signature_for_all_of_an_append(rig: Rig) -> None:
    """Requests that share an append share its signature; each answer verifies by itself."""
    await rig.service.receipt_keys.prepare()
    answers = await asyncio.gather(*(rig.submit(rig.events(*range(n, n + 1 + n % 3))) for n in range(0, 120, 3)))
    for answer in answers:
        assert [receipt.index for receipt in checked(rig, answer).receipts] == [one.receipt.index for one in answer]
    bodies = [json.loads(answer.body) for answer in answers]
    assert len({body["signature"] for body in bodies}) < len(bodies) / 4
    assert {len(body["path"]) for body in bodies} > {0} or max(len(body["path"]) for body in bodies) > 1


async def test_a_replay_gets_the_same_receipts(rig: Rig) -> None:
    """Signed or not the first time, alone or among new events."""
    events = rig.events("a", "b")
    first = await rig.submit(events)
    assert json.loads(first.body).keys() == {"receipts"}
    await rig.service.receipt_keys.prepare()
    again, mixed = await rig.submit(events), await rig.submit([*rig.events("c"), *events])
    assert json.loads(again.body)["receipts"] == json.loads(first.body)["receipts"]
    assert checked(rig, mixed).receipts[1:] == checked(rig, again).receipts


async def test_the_key_is_made_once_and_shared(rig: Rig) -> None:
    """Closed to others; another process, or a restart, goes on with it."""
    await rig.service.receipt_keys.prepare()
    path = rig.service.settings.receipt_key_path
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_bytes()
    other = await rig.open_another()
    await other.service.receipt_keys.prepare()
    assert path.read_bytes() == before
    assert checked(other, await other.submit(rig.events("other"))).key == held(rig).delegation


async def test_processes_that_make_it_at_once(rig: Rig) -> None:
    """Each has a key that is vouched for; the file is one of them, whole."""
    others = [ReceiptKeys(rig.service.settings.receipt_key_path, rig.service.signer, rig.clock) for _ in range(8)]
    await asyncio.gather(*(keys.prepare() for keys in others))
    assert all(keys.problem() is None for keys in others)
    found = held(rig).delegation
    assert found.service == SERVICE
    assert list(rig.service.settings.home_path.glob(".receipt.key*")) == []


async def test_what_is_no_key_is_replaced(rig: Rig) -> None:
    """A file that was cut short, or emptied; one that is open to others is not used, and the reason is said."""
    await rig.service.receipt_keys.prepare()
    path = rig.service.settings.receipt_key_path
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], b"{}"):
        path.write_bytes(content)
        keys = ReceiptKeys(path, rig.service.signer, rig.clock)
        await keys.prepare()
        assert keys.problem() is None
        assert held(rig).delegation.valid_from <= rig.clock.now()
    path.chmod(0o644)
    keys = ReceiptKeys(path, rig.service.signer, rig.clock)
    await keys.prepare()
    assert "open to others" in (keys.problem() or "")


async def test_without_the_signer(rig: Rig) -> None:
    """A key that is there goes on until it ends; where there is none, nothing is signed, and that is said."""
    keys = without_signer(rig)
    await keys.prepare()
    assert "cannot be reached" in (keys.problem() or "")
    assert keys.sign(bytes(32)) is None
    await rig.service.receipt_keys.prepare()
    before = held(rig).delegation
    keys = without_signer(rig)
    await keys.look()
    assert keys.problem() is None
    await rig.travel(rig.clock.now() + timedelta(days=29))
    await keys.look()
    assert keys.problem() is None
    await rig.travel(rig.clock.now() + timedelta(days=2))
    await keys.look()
    assert keys.sign(bytes(32)) is None
    assert "cannot be reached" in (keys.problem() or "")
    await rig.service.receipt_keys.look()
    await keys.look()
    assert keys.problem() is None
    assert held(rig).delegation.valid_from > before.valid_until


async def test_it_is_renewed_before_it_ends(rig: Rig) -> None:
    """A new key after half its time; what the earlier one signed still verifies."""
    keys = rig.service.receipt_keys
    await keys.prepare()
    first, answer = held(rig).delegation, await rig.submit(rig.events("first"))
    await rig.travel(rig.clock.now() + timedelta(days=14))
    await keys.look()
    assert held(rig).delegation == first
    await rig.travel(rig.clock.now() + timedelta(days=2))
    await keys.look()
    assert held(rig).delegation.key != first.key
    assert checked(rig, answer).key == first


async def test_it_follows_the_certificate(rig: Rig) -> None:
    """A signer with another certificate vouches for another key; earlier receipts verify under the earlier one."""
    await rig.service.receipt_keys.prepare()
    events = rig.events("before")
    answer = await rig.submit(events)
    settings = rig.service.settings
    earlier = settings.trust_path.read_bytes()
    for path in (settings.signing_key_path, settings.signing_cert_path, settings.trust_path):
        path.unlink()
    make_development_authority(
        settings.signing_key_path.parent, SERVICE, rig.clock.now(), trust_path=settings.trust_path
    )
    settings.trust_path.write_bytes(earlier + settings.trust_path.read_bytes())
    other = await rig.open_another()
    before = held(rig).delegation
    await other.service.receipt_keys.prepare()
    assert held(rig).delegation.key != before.key
    assert held(rig).certificate == other.service.identity.certificates[0]
    again = checked(other, await other.submit(events))
    assert again.key == held(rig).delegation
    assert checked(other, answer).key == before


async def test_a_lost_key_is_no_loss(rig: Rig) -> None:
    """Another one is made; receipts that were given verify without the file."""
    await rig.service.receipt_keys.prepare()
    answer = await rig.submit(rig.events("before"))
    rig.service.settings.receipt_key_path.unlink()
    await rig.service.receipt_keys.look()
    assert checked(rig, answer).key != held(rig).delegation


@pytest.mark.parametrize("key", [b"", bytes(91), b"x" * 100_000])
async def test_the_signer_vouches_for_no_other_key(rig: Rig, key: bytes) -> None:
    """Only P-256 keys in their one form."""
    with pytest.raises(SignerError, match="P-256"):
        await rig.service.signer.vouch_for_key(key)


async def test_the_signer_signs_no_delegation_through_another_door(rig: Rig) -> None:
    """Nor is what it signs there a seal, a manifest, or anything else that it signs."""
    await rig.service.receipt_keys.prepare()
    delegation = held(rig).delegation
    end = delegation.valid_until + timedelta(days=1)
    text = ReceiptKey(SERVICE, delegation.valid_from, end, delegation.key).text
    for content in (text, text.replace(b"/v1", b"/v2")):
        with pytest.raises(SignerError, match="written by the signer alone"):
            await rig.service.signer.sign(content, rig.clock.now())
    assert parse_receipt_key(delegation.text) == delegation
    for parse in (parse_seal, parse_manifest):
        with pytest.raises(MalformedError):
            parse(delegation.text)
