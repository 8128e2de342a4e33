"""Receipts: their bytes, their tree, the delegation of their key, and what they prove of what is shown."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal.core import canonical
from journal.core.entry import Compartment
from journal.core.errors import MalformedError, VerificationError
from journal.core.receipt import (
    KEY_BYTES,
    PATH_LIMIT,
    Receipt,
    ReceiptKey,
    looks_like_receipt_key,
    parse_receipt_key,
    receipt_leaf,
    receipts_paths,
    receipts_root,
    root_from_receipts,
)
from journal.extract.known import check_known, read_known
from journal.extract.listing import encode_head_answer
from journal.extract.receipt_verdicts import Judged, Shown, judge, summary
from journal.extract.receipts import CheckedReceipts, check_receipts, read_receipts
from journal.extract.verify import verify_extract
from tests.support import authority
from tests.support.extracts import ANCHORS, World, march, noon, opened
from tests.support.receipts import BEGINS, KEY, Answered, answered, receipt_of

if TYPE_CHECKING:
    from tests.support.extracts import Extract

OTHER_KEY = authority.new_key(61)
VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "v1" / "core.json").read_text())["receipts"]


def lived() -> World:
    """Return a chain of four days, two entries each."""
    return World().live(1, 4)


def checked(answer: Answered | bytes) -> CheckedReceipts:
    """Read and verify an answer."""
    data = answer if isinstance(answer, bytes) else answer.encode()
    return check_receipts(read_receipts(data, "answer.json"), anchors=ANCHORS)


def judged(extract: Extract, *answers: Answered, known: tuple[bytes, ...] = ()) -> list[Judged]:
    """Return what an extract says of the receipts in answers."""
    kept = [read_known(opened(data), f"seal-{place}") for place, data in enumerate(known)]
    receipts = [checked(answer) for answer in answers]
    report = verify_extract(opened(extract.pack()), anchors=ANCHORS, known=kept, receipts=receipts)
    if report.receipts:
        assert report.as_json()["receipts"] == [one.as_json() for one in report.receipts]
    return list(report.receipts)


def verdicts(extract: Extract, *answers: Answered, known: tuple[bytes, ...] = ()) -> list[str]:
    """Return the verdicts alone."""
    return [one.verdict for one in judged(extract, *answers, known=known)]


class TestBytes:
    """What is hashed and signed."""

    @given(
        st.builds(
            Receipt,
            source=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1),
            id=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1),
            time=st.just("2026-03-01T08:00:00.000000Z"),
            origin=st.just("openepm-journal/v1/a.fr/b/c"),
            index=st.integers(0, 2**53 - 2),
            recorded_at=st.just("2026-03-01T08:00:00.250000Z"),
            leaf_hash=st.binary(min_size=32, max_size=32),
            chain_hash=st.binary(min_size=32, max_size=32),
        )
    )
    def test_a_receipt_is_canonical_json(self, receipt: Receipt) -> None:
        """Whatever source and id hold: what is read again has the same bytes."""
        value = canonical.decode(receipt.text, limit_bytes=10**6)
        assert canonical.encode(value) == receipt.text
        assert (value["source"], value["id"]) == (receipt.source, receipt.id)
        assert bytes.fromhex(value["leaf_hash"]) == receipt.leaf_hash

    @given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=40, unique=True))
    def test_every_node_leads_to_the_root(self, nodes: list[bytes]) -> None:
        """Whatever the number of nodes; the path of another one does not."""
        root, paths = receipts_paths(nodes)
        assert root == receipts_root(nodes)
        for node, path in zip(nodes, paths, strict=True):
            assert root_from_receipts([node], path) == root
            assert len(path) <= len(nodes).bit_length()
            assert root_from_receipts([bytes(32)], path) != root or bytes(32) in nodes

    def test_a_receipt_of_a_batch_can_be_taken_alone(self) -> None:
        """Its path, then that of its batch, lead to the same root: it needs none of the others."""
        world = lived()
        whole = answered(world, 2, 3, 4, 5, 6)
        own, paths = receipts_paths([receipt_leaf(receipt.text) for receipt in whole.receipts])
        value = whole.value()
        for place, path in enumerate(paths):
            alone = {**value, "receipts": value["receipts"][place : place + 1]}
            alone["path"] = [sibling.hex() for sibling in path] + value["path"]
            assert checked(canonical.encode(alone)).receipts == whole.receipts[place : place + 1]
        assert own == receipts_root([receipt_leaf(receipt.text) for receipt in whole.receipts])

    def test_leaves_are_those_of_the_vectors(self) -> None:
        """An independent SHA-256 gives the same leaf of each receipt."""
        for receipt in VECTORS["receipts"]:
            assert receipt_leaf(receipt["text"].encode()).hex() == receipt["leaf"]

    def test_a_delegation_is_read_as_it_is_written(self) -> None:
        """Its text begins like no other that is signed."""
        delegation = parse_receipt_key(answered(lived(), 0).delegation)
        assert delegation.text == answered(lived(), 0).delegation
        assert (delegation.service, delegation.key) == (authority.SERVICE, authority.spki(KEY))
        assert looks_like_receipt_key(delegation.text)
        assert not looks_like_receipt_key(b"openepm-journal/receipt/v1\n")

    @pytest.mark.parametrize(
        "changes",
        [
            {"service": "no service"},
            {"valid_until": BEGINS - timedelta(seconds=1)},
            {"valid_from": BEGINS + timedelta(microseconds=1)},
            {"key": bytes(KEY_BYTES)},
            {"key": authority.spki(KEY) + b"\0"},
        ],
        ids=str,
    )
    def test_a_delegation_that_has_no_text(self, changes: dict[str, Any]) -> None:
        """Cannot be built."""
        delegation = parse_receipt_key(answered(lived(), 0).delegation)
        with pytest.raises(ValueError, match=r"key|time"):
            replace(delegation, **changes)

    def test_a_delegation_of_one_second(self) -> None:
        """Begins and ends in it, and is read back."""
        delegation = parse_receipt_key(answered(lived(), 0).delegation)
        shortest = replace(delegation, valid_until=delegation.valid_from)
        assert parse_receipt_key(shortest.text) == shortest

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (b"/v1", b"/v2"),
            (b"fr\n2026", b"fr\n2026-"),
            (b"==\n", b"==\n\n"),
            (b"=\n", b"= \n"),
            (b"journal.example.fr", b"journal_example"),
            (b"\n20", b"\xe9\n20"),
            (b"=\n", b"=" + 1000 * b"x" + b"\n"),
        ],
    )
    def test_other_texts_are_no_delegation(self, old: bytes, new: bytes) -> None:
        """One spelling, within a limit."""
        text = answered(lived(), 0).delegation
        altered = text.replace(old, new, 1) if old in text else text + b"\n"
        with pytest.raises(MalformedError, match="delegation"):
            parse_receipt_key(altered)


class TestAuthentic:
    """What a receipt needs to be believed at all."""

    def test_an_answer_verifies(self) -> None:
        """Whoever made its key is named; spelt otherwise, it is the same."""
        answer = answered(lived(), 2, 3)
        found = checked(answer)
        assert found.receipts == answer.receipts
        assert found.signer.subject == "CN=Seals and extracts"
        assert checked(json.dumps(answer.value(), indent=2).encode()) == found

    @pytest.mark.parametrize(
        ("changes", "verdict"),
        [
            ({"signing_key": OTHER_KEY}, "bad signature"),
            ({"parts": {"path": []}}, "bad signature"),
            ({"parts": {"signed_at": "2026-03-02T12:05:01Z"}}, "bad signature"),
            ({"chain": (authority.issue("Elsewhere", authority.new_key(62)),)}, "untrusted"),
            ({"service": "other.example.fr"}, "untrusted"),
            ({"vouched_at": BEGINS + timedelta(seconds=1)}, "mismatched part"),
            ({"signed_at": BEGINS - timedelta(seconds=1)}, "mismatched part"),
            ({"signed_at": BEGINS + timedelta(days=30, seconds=1)}, "mismatched part"),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else value,
    )
    def test_what_is_not_authentic(self, changes: dict[str, Any], verdict: str) -> None:
        """Another key, another service, another time: each has its class."""
        with pytest.raises(VerificationError) as caught:
            checked(answered(lived(), 2, **changes))
        assert caught.value.verdict == verdict
        assert caught.value.part.startswith("answer.json")

    @pytest.mark.parametrize(
        ("member", "old", "new"),
        [
            ("chain_hash", "a", "b"),
            ("id", "0", "1"),
            ("index", 2, 3),
            ("leaf_hash", "a", "b"),
            ("origin", "montreuil", "bagnolet"),
            ("recorded_at", ".0", ".1"),
            ("source", "montreuil", "bagnolet"),
            ("time", ".0", ".1"),
        ],
    )
    def test_an_altered_receipt(self, member: str, old: Any, new: Any) -> None:
        """No member can be changed."""
        value = answered(lived(), 2).value()
        (receipt,) = value["receipts"]
        receipt[member] = receipt[member].replace(old, new) if isinstance(old, str) else new
        with pytest.raises(VerificationError, match="not what the receipt key signed"):
            checked(canonical.encode(value))

    def test_a_receipt_of_another_service_than_its_key(self) -> None:
        """A key speaks for its own service."""
        world = World(compartment=Compartment("other.example.fr", "montreuil", "ecrits")).live(1, 1)
        with pytest.raises(VerificationError, match="of another service") as caught:
            checked(answered(world, 0))
        assert caught.value.verdict == "mismatched part"

    def test_a_delegation_signed_over_another(self) -> None:
        """The text of one key, the signature of another's."""
        value, other = answered(lived(), 2).value(), answered(lived(), 2, key=OTHER_KEY).value()
        value["key"]["signature"] = other["key"]["signature"]
        with pytest.raises(VerificationError, match="over other content"):
            checked(canonical.encode(value))

    def test_a_key_that_is_on_no_curve(self) -> None:
        """Even where the service vouches for it."""
        text = answered(lived(), 2).delegation
        delegation = parse_receipt_key(text)
        key = delegation.key[:-1] + bytes([delegation.key[-1] ^ 1])
        off = ReceiptKey(delegation.service, delegation.valid_from, delegation.valid_until, key).text
        with pytest.raises(VerificationError, match="not on its curve"):
            checked(answered(lived(), 2, parts={"text": off}))

    @pytest.mark.parametrize(
        ("pointer", "value"),
        [
            ("/path", "00"),
            ("/path", ["00" * 32] * (PATH_LIMIT + 1)),
            ("/receipts", []),
            ("/receipts", {}),
            ("/receipts/0", "x"),
            ("/receipts/0/more", "x"),
            ("/receipts/0/index", -1),
            ("/receipts/0/index", True),
            ("/receipts/0/index", 2**53 - 1),
            ("/receipts/0/id", ""),
            ("/receipts/0/id", 1),
            ("/receipts/0/origin", "openepm-journal/v1/x"),
            ("/receipts/0/time", "2026-03-01T08:00:00Z"),
            ("/receipts/0/recorded_at", "2026-02-30T08:00:00.000000Z"),
            ("/receipts/0/leaf_hash", "AB" * 32),
            ("/receipts/0/chain_hash", "ab" * 31),
            ("/receipts/0/chain_hash", "x"),
            ("/signature", "x"),
            ("/signature", b64encode(bytes(81)).decode()),
            ("/signature", b64encode(bytes(8)).decode()),
            ("/signed_at", "2026-03-02"),
            ("/signed_at", 1),
            ("/key", "x"),
            ("/key/text", "é"),
            ("/key/text", "x"),
            ("/key/more", "x"),
            ("/more", "x"),
        ],
    )
    def test_what_has_another_form(self, pointer: str, value: Any) -> None:
        """One form; anything else is malformed."""
        whole = answered(lived(), 2).value()
        *steps, last = pointer.split("/")[1:]
        place: Any = whole
        for step in steps:
            place = place[int(step) if isinstance(place, list) else step]
        place[int(last) if isinstance(place, list) else last] = value
        with pytest.raises(VerificationError) as caught:
            checked(canonical.encode(whole))
        assert caught.value.verdict == "malformed"
        assert caught.value.part.startswith("answer.json")

    @pytest.mark.parametrize("data", [b"", b"[]", b'{"receipts":[]}', b"\xff"])
    def test_what_is_no_signed_answer(self, data: bytes) -> None:
        """Nor what a service without a receipt key gave."""
        with pytest.raises(MalformedError, match=r"answer\.json"):
            read_receipts(data, "answer.json")


class TestShown:
    """What becomes of a receipt in what is shown."""

    def test_an_entry_that_is_there(self) -> None:
        """Covered, disclosed or withheld; of the days before and after the period, nothing is said."""
        world = lived()
        answer = answered(world, 2, 5)
        before, after = answered(world, 0), answered(world, 6)
        extract = world.extract(march(2), march(3), at=noon(march(5)))
        assert verdicts(extract, answer, before, after) == ["covered", "covered", "not shown", "not shown"]
        assert judged(extract) == []

    def test_a_seal_holds_it(self) -> None:
        """The last entry before the period is covered by the chain hash of the eve's seal."""
        world = lived()
        extract = world.extract(march(2), march(3), at=noon(march(5)))
        assert verdicts(extract, answered(world, 1)) == ["covered"]

    def test_an_entry_that_was_exchanged(self) -> None:
        """Another entry stands at its index, the chain rebuilt: the host is convicted."""
        honest, forged = World(), World()
        for world, subject in ((honest, "a"), (forged, "b")):
            world.live(1, 1)
            world.append(noon(march(2)), subject=subject)
            world.close(march(2))
        (one,) = judged(forged.extract(march(2), march(2), at=noon(march(3))), answered(honest, 2))
        assert one.verdict == "missing"
        assert "acknowledged what it does not show: entry 2 is another one" in one.reason

    @pytest.mark.parametrize("last", [2, 3])
    def test_an_entry_deleted_before_its_seal(self, last: int) -> None:
        """The chain ends before it although its day is closed, or a later entry took its place."""
        honest, forged = World().live(1, 1), World().live(1, 1)
        honest.append(noon(march(2)))
        forged.close(march(2))
        forged.live(3, 4, entries=0 if last == 2 else 2)
        extract = forged.extract(march(2), march(last), at=noon(march(5)))
        (one,) = judged(extract, answered(honest, 2))
        assert one.verdict == "missing"

    def test_an_entry_of_an_earlier_day_by_the_seals(self) -> None:
        """Its index is of a day before the one on which it was acknowledged, and its entry is not shown."""
        honest = World().live(1, 1, entries=1)
        honest.append(noon(march(3)))
        forged = World().live(1, 2, entries=2).live(3, 4)
        extract = forged.extract(march(3), march(3), at=noon(march(5)))
        (one,) = judged(extract, answered(honest, 1))
        assert one.verdict == "missing"
        assert "was recorded on 2026-03-02 or before" in one.reason
        extract = forged.extract(march(4), march(4), at=noon(march(5)))
        honest.append(noon(march(4)))
        (one,) = judged(extract, answered(honest, 2))
        assert one.verdict == "missing"
        assert "was recorded on 2026-03-03 or before" in one.reason

    def test_an_entry_of_today(self) -> None:
        """Not yet sealed, unless it was acknowledged well before the open seal was made."""
        world = lived()
        extract = world.extract(march(4), march(5), at=noon(march(5)))
        world.append(noon(march(5)) - timedelta(minutes=14))
        assert verdicts(extract, answered(world, 8)) == ["not yet sealed"]
        earlier = lived()
        earlier.append(noon(march(5)) - timedelta(minutes=15))
        assert verdicts(extract, answered(earlier, 8)) == ["missing"]

    def test_a_purged_entry(self) -> None:
        """Purged under the rule of its day; not if its day could not be purged."""
        world = World(retention_days=3).live(1, 4)
        answers = answered(world, 0), answered(world, 4)
        world.purge(march(2))
        extract = world.extract(march(1), march(4), at=noon(march(5)))
        assert verdicts(extract, *answers) == ["purged", "covered"]
        younger = receipt_of(world, 1)._replace(recorded_at="2026-03-04T12:00:00.000000Z")
        (one,) = judged(extract, Answered((younger,)))
        assert one.verdict == "missing"

    def test_a_purge_that_came_too_early_for_it(self) -> None:
        """A list that begins late shows no seal between: the day of the receipt alone convicts."""
        world = World(retention_days=3).live(1, 4)
        world.purge(march(2))
        seals = [world.closes[march(2)], world.closes[march(3)], world.closes[march(4)]]
        extract = world.extract(march(1), march(4), at=noon(march(4) + timedelta(days=1)))
        extract = replace(extract, seals=[*seals, extract.seals[-1]])
        receipt = receipt_of(world, 0)._replace(recorded_at="2026-03-01T12:00:00.000000Z")
        assert verdicts(extract, Answered((receipt,))) == ["purged"]

    def test_a_purge_before_the_period(self) -> None:
        """No seal listed shows which earlier days went: the receipt of a day that could not go does."""
        world = World(retention_days=4).live(1, 4)
        answers = answered(world, 0), answered(world, 5), answered(world, 6)
        world.kept_from = world.closes[march(3)].head.size
        extract = world.extract(march(4), march(4), at=noon(march(5)))
        purged, convicted, covered = judged(extract, *answers)
        assert [one.verdict for one in (purged, convicted, covered)] == ["purged", "missing", "covered"]
        assert convicted.reason.endswith("seal 5 says that it is purged, when its day could not be")

    def test_both_ways_of_reading_find_the_entries(self) -> None:
        """Slice by slice, or entry by entry: what is said of receipts is the same."""
        world, forged = lived(), World().live(1, 1).live(2, 4, entries=3)
        extract = world.extract(march(2), march(3), at=noon(march(5))).pack()
        receipts = [checked(answered(world, 2, 5)), checked(answered(forged, 5))]
        by_slice, by_entry = (
            verify_extract(opened(extract), anchors=ANCHORS, receipts=receipts, run=run).receipts for run in (map, None)
        )
        assert by_slice == by_entry
        assert [one.verdict for one in by_entry] == ["covered", "covered", "missing"]

    def test_another_chain(self) -> None:
        """A receipt of another compartment, or of another service under the same trust, says nothing here."""
        world = lived()
        extract = world.extract(march(2), march(3), at=noon(march(5)))
        other = World(compartment=Compartment(authority.SERVICE, "bagnolet", "main-courante")).live(1, 2)
        elsewhere = World(compartment=Compartment("other.example.fr", "montreuil", "main-courante")).live(1, 2)
        names = (*authority.SIGNER[:3], authority.alternative_names(authority.dns_name("other.example.fr")))
        signer = authority.issue("Elsewhere", authority.new_key(63), issuer=authority.ROOT, extensions=names)
        foreign = answered(elsewhere, 2, service="other.example.fr", chain=(signer,))
        assert verdicts(extract, answered(other, 2), foreign) == ["foreign", "foreign"]

    def test_a_declared_loss(self) -> None:
        """What followed the seal that survived is declared lost; what came before it is not excused."""
        lost = World().live(1, 2)
        lost.append(noon(march(3)), subject="lost")
        world = World().live(1, 2)
        world.append(noon(march(3)), subject="other")
        world.close(march(3), recovered_from=2, late=timedelta(hours=9))
        extract = world.extract(march(3), march(3), at=noon(march(5)))
        world.close(march(4))
        assert verdicts(extract, answered(lost, 4)) == ["declared lost"]
        survived = World().live(1, 1)
        survived.append(noon(march(2)), subject="survived")
        survived.append(noon(march(2)), subject="survived too")
        assert verdicts(extract, answered(survived, 3)) == ["missing"]
        later = World().live(1, 2)
        later.append(noon(march(4), hour=10), subject="after the loss was declared")
        assert verdicts(extract, answered(later, 4)) == ["missing"]


class TestKnownSeals:
    """Receipts and known seals, without an extract."""

    def held(self, world: World, *places: int, receipt: Receipt) -> Judged:
        """Judge a receipt by the seals at these places."""
        kept = [read_known(opened(encode_head_answer(world.seals[place])), f"seal-{place}") for place in places]
        found = check_known(kept, anchors=ANCHORS)
        (one,) = judge(checked(Answered((receipt,))), [Shown(origin, seals) for origin, seals in found.items()])
        return one

    def test_by_itself(self) -> None:
        """Without anything shown, a receipt is authentic."""
        one = self.held(lived(), receipt=receipt_of(lived(), 3))
        assert one.verdict == "authentic"
        assert one.as_json()["index"] == 3
        assert summary([one, one]) == "2 authentic"
        assert Judged("a", None, "malformed", "x").as_json() == {"file": "a", "verdict": "malformed", "reason": "x"}

    def test_seals_hold_it_or_not(self) -> None:
        """The seal after it covers it; others only say that its place is sealed, or that it should be there."""
        world = lived()
        assert self.held(world, 1, receipt=receipt_of(world, 3)).verdict == "covered"
        assert self.held(world, 1, receipt=receipt_of(world, 2)).verdict == "not shown"
        assert self.held(world, 0, receipt=receipt_of(world, 2)).verdict == "not yet sealed"
        longer = World().live(1, 1, entries=5)
        assert self.held(world, 0, 1, receipt=receipt_of(longer, 4)).verdict == "missing"

    def test_a_seal_with_another_chain_hash(self) -> None:
        """The seal right after it convicts."""
        other = World().live(1, 1)
        other.append(noon(march(2)), subject="a")
        other.append(noon(march(2)), subject="b")
        one = self.held(lived(), 1, receipt=receipt_of(other, 3))
        assert one.verdict == "missing"
        assert "at size 4, seal-1 seal 2 has another chain hash" in one.reason

    def test_another_chain(self) -> None:
        """A seal of another chain says nothing of it."""
        other = World(compartment=Compartment(authority.SERVICE, "bagnolet", "main-courante")).live(1, 2)
        assert self.held(other, 0, receipt=receipt_of(lived(), 2)).verdict == "foreign"

    def test_a_chain_that_was_destroyed(self) -> None:
        """Known seals do not tell a destruction at the end of a contract from an early purge: nobody is accused."""
        world = World().live(1, 2)
        world.kept_from = world.size
        world.seal(noon(march(3)))
        assert self.held(world, 2, receipt=receipt_of(world, 2)).verdict == "not shown"

    def test_a_lost_seal_is_left_out(self) -> None:
        """As it is where it is compared with an extract."""
        lost = World().live(1, 2)
        lost.append(noon(march(3), hour=9))
        declared = lost.seal(noon(march(3), hour=10))
        world = World().live(1, 2)
        world.close(march(3), recovered_from=2, late=timedelta(hours=9))
        kept = [
            read_known(opened(encode_head_answer(seal)), f"seal-{place}")
            for place, seal in enumerate((declared, world.seals[-1]))
        ]
        found = check_known(kept, anchors=ANCHORS)
        assert [seal.name for seal in found[world.origin]] == ["seal-1 seal 3"]
