"""What an auditor kept from earlier is held against an extract: it agrees, contradicts, or cannot be compared."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from typing import TYPE_CHECKING

import pytest

from journal.core.entry import Compartment
from journal.core.errors import (
    BadSignatureError,
    BrokenChainError,
    ForkError,
    MalformedError,
    MismatchedPartError,
    UntrustedError,
    VerificationError,
)
from journal.core.seal import parse_seal
from journal.extract.known import Known, check_known, read_known
from journal.extract.listing import ListedSeal, encode_head_answer
from journal.extract.verify import verify_extract
from tests.support import authority
from tests.support.extracts import ANCHORS, Extract, World, march, noon, opened

if TYPE_CHECKING:
    from journal.extract.report import Report

NAME = "kept.json"


def kept(*seals: ListedSeal, name: str = NAME) -> Known:
    """Return seals as an auditor kept them, answer by answer."""
    return Known(name, tuple(seals))


def verify(extract: Extract, *known: Known) -> Report:
    """Verify an extract against what was kept."""
    return verify_extract(opened(extract.pack()), anchors=ANCHORS, known=known)


def failure(extract: Extract, *known: Known) -> VerificationError:
    """Return the error an extract is refused with."""
    with pytest.raises(VerificationError) as caught:
        verify(extract, *known)
    return caught.value


def of(world: World) -> Extract:
    """Return the extract of 2 to 4 March, made on the 5th."""
    return world.extract(march(2), march(4), at=noon(march(5)))


def lived(hour: int = 13) -> tuple[World, ListedSeal]:
    """Return a world that lived four days, and a seal an auditor fetched at noon of the third."""
    world = World().live(1, 2)
    world.append(noon(march(3)))
    fetched = world.seal(noon(march(3), hour=hour))
    world.append(noon(march(3), hour=14))
    world.seal(noon(march(3), hour=15))
    world.close(march(3))
    return world.live(4, 4), fetched


# --- reading


def test_an_answer_or_an_older_extract_is_read() -> None:
    """Told apart by their first bytes; of an extract, all seals are taken."""
    world, fetched = lived()
    assert read_known(BytesIO(encode_head_answer(fetched)), NAME) == kept(fetched)
    extract = of(world)
    assert read_known(BytesIO(extract.pack()), NAME) == kept(*extract.seals)


@pytest.mark.parametrize("data", [b"", b"PK", b"PK\3\4", b"{}", b"\x7fELF", b" " * 10**6], ids=repr)
def test_another_file_is_refused_by_its_name(data: bytes) -> None:
    """Whatever it is."""
    with pytest.raises(MalformedError) as caught:
        read_known(BytesIO(data), NAME)
    assert caught.value.part.startswith(NAME)


def test_an_older_extract_is_read_strictly() -> None:
    """Its manifest and seals must be such."""
    extract = of(lived()[0])
    for part in ("manifest.json", "seals.json"):
        extract.parts = {part: b"{}", "LISEZMOI.txt": b"", "extrait.csv": b""}
        with pytest.raises(MalformedError) as caught:
            read_known(BytesIO(extract.pack()), NAME)
        assert caught.value.part.startswith(NAME)


# --- agreeing


def test_a_known_seal_that_agrees_says_from_when_on_nothing_was_rewritten() -> None:
    """Up to its size; what came later rests on the service's word."""
    world, fetched = lived()
    report = verify(of(world), kept(fetched))
    assert report.unanswered == ()
    assert any(f"{NAME} seal 3 agrees" in sentence for sentence in report.checked)
    assert "entries from index 5 on it could" in report.not_checked[0]


def test_an_older_extract_is_a_known_seal_many_times() -> None:
    """The latest of its seals that can be compared is named."""
    world = World().live(1, 3)
    older = world.extract(march(1), march(3), at=noon(march(4), hour=10))
    world.live(4, 4)
    report = verify(of(world), kept(*older.seals))
    assert [sentence for sentence in report.checked if "agrees" in sentence] == [
        f"{NAME} seal 4 agrees: the first 6 entries of the chain are the same as then."
    ]


def test_a_seal_of_the_extract_itself_may_be_known() -> None:
    """The same text under the same number is no contradiction."""
    world, _ = lived()
    extract = of(world)
    for seal in extract.seals:
        verify(extract, kept(seal))


def test_several_files_are_held_against_it() -> None:
    """The latest decides what is said."""
    world, fetched = lived()
    report = verify(of(world), kept(fetched), kept(world.closes[march(2)], name="other.json"))
    assert sum("agrees" in sentence for sentence in report.checked) == 2
    assert NAME in report.not_checked[0]


# --- contradicting


def rewritten() -> World:
    """Return a service that rewrote its whole history, the third day differing from what `lived` tells."""
    world = World().live(1, 2)
    world.append(noon(march(3)), subject="rewritten")
    world.seal(noon(march(3), hour=13))
    world.append(noon(march(3), hour=14))
    world.seal(noon(march(3), hour=15))
    world.close(march(3))
    return world.live(4, 4)


def test_a_rewritten_history_is_a_fork() -> None:
    """Everything in the extract agrees with itself; the seal that was kept does not (T-07, T-08)."""
    _, fetched = lived()
    extract = of(rewritten())
    verify(extract)
    error = failure(extract, kept(fetched))
    assert type(error) is ForkError
    assert "size 5" in error.reason


def test_one_number_has_one_text() -> None:
    """A seal listed under the number of a known one is that seal."""
    _, fetched = lived(hour=12)
    world = World().live(1, 2)
    world.append(noon(march(3)))
    world.close(march(3))
    error = failure(world.live(4, 4).extract(march(3), march(4), at=noon(march(5))), kept(fetched))
    assert type(error) is ForkError
    assert error.reason == "two seals under one number"


def test_a_chain_cut_short_is_a_fork() -> None:
    """A later seal with fewer entries than one that was kept: the tail was truncated (T-05)."""
    world = World().live(1, 2)
    for minute in range(3):
        world.append(noon(march(3), minutes=minute))
    fetched = world.seal(noon(march(3), hour=13))
    cut = World().live(1, 2)
    cut.append(noon(march(3)))
    cut.seal(noon(march(3), hour=12))
    cut.seal(noon(march(3), hour=13))
    cut.close(march(3))
    error = failure(cut.extract(march(3), march(3), at=noon(march(4))), kept(fetched))
    assert type(error) is ForkError
    assert "shorter" in error.reason


def test_a_purge_cannot_be_taken_back() -> None:
    """A known seal that says what was purged holds against a later one that says less."""
    world = World(retention_days=3).live(1, 3)
    world.purge(march(1))
    fetched = world.seal(noon(march(4)))
    world.kept_from = 0
    error = failure(world.extract(march(4), march(4), at=noon(march(4), hour=13)), kept(fetched))
    assert type(error) is ForkError


def test_a_broken_link_to_a_known_seal_is_a_fork() -> None:
    """The seal after the known one does not name it: there are two."""
    world = World().live(1, 2)
    fetched = world.seal(noon(march(3), hour=13))
    world.live(3, 4, entries=0)
    text = parse_seal(fetched.text)
    moved = replace(text, sealed_at=text.sealed_at + timedelta(seconds=1))
    other = replace(fetched, text=moved.text, signature=authority.sign(moved.text, at=moved.sealed_at))
    error = failure(of(world), kept(other))
    assert type(error) is ForkError
    assert "does not name the first" in error.reason


# --- not comparable, and not usable


def test_a_known_seal_beyond_the_extract_is_said_not_to_be_comparable() -> None:
    """Newer than the extract, or from before its first entry."""
    world, _ = lived()
    extract = of(world)
    world.append(noon(march(5), hour=15))
    newer = world.seal(noon(march(5), hour=16))
    older = world.seals[0]
    report = verify(extract, kept(newer), kept(replace(older), name="older.json"))
    assert len(report.unanswered) == 1
    assert "kept.json: cannot be compared" in report.unanswered[0]
    later = world.extract(march(4), march(4), at=noon(march(5), hour=17))
    report = verify(later, kept(older))
    assert "seal 1 (close of 2026-03-01, 2026-03-02T00:00:05Z) covers size 2" in report.unanswered[0]
    assert "No outside witness" in report.not_checked[0]


def test_a_seal_declared_lost_is_not_a_fork() -> None:
    """After a disaster the service says which numbers are lost; they are given again, and the report says so."""
    world = World().live(1, 2)
    world.append(noon(march(3)))
    lost = world.seal(noon(march(3), hour=13))
    recovered = World().live(1, 2)
    recovered.append(noon(march(3), hour=15), subject="after the disaster")
    recovered.close(march(3), recovered_from=2)
    extract = recovered.extract(march(2), march(3), at=noon(march(4)))
    report = verify(extract, kept(lost))
    assert "declares seal 3 (open, 2026-03-03T13:00:00Z) lost" in report.unanswered[0]
    undeclared = World().live(1, 2)
    undeclared.append(noon(march(3), hour=15), subject="after the disaster")
    undeclared.close(march(3))
    assert type(failure(undeclared.extract(march(2), march(3), at=noon(march(4))), kept(lost))) is ForkError


def test_a_loss_may_be_declared_by_another_seal_that_was_kept() -> None:
    """The extract need not list the seal that declares it."""
    world = World().live(1, 2)
    world.append(noon(march(3)))
    lost = world.seal(noon(march(3), hour=13))
    recovered = World().live(1, 2)
    recovered.append(noon(march(3), hour=15), subject="after the disaster")
    declaring = recovered.seal(noon(march(3), hour=16), recovered_from=2)
    recovered.close(march(3), recovered_from=None)  # as no service does
    extract = recovered.extract(march(2), march(3), at=noon(march(4)))
    assert type(failure(extract, kept(lost))) is ForkError
    report = verify(extract, kept(lost), kept(declaring, name="declaring.json"))
    assert len(report.unanswered) == 1
    assert any("declaring.json seal 3 agrees" in sentence for sentence in report.checked)


def test_a_loss_within_the_day() -> None:
    """Every seal of its day declares it: what was lost is told from what came after, by each of them."""
    world = World().live(1, 2)
    world.append(noon(march(3)))
    lost = world.seal(noon(march(3), hour=13))
    recovered = World().live(1, 2)
    declaring = recovered.seal(noon(march(3), hour=14), recovered_from=2)
    recovered.append(noon(march(3), hour=15), subject="after the disaster")
    after = recovered.seal(noon(march(3), hour=16))
    today = recovered.extract(march(2), march(3), at=noon(march(3), hour=17))
    recovered.close(march(3))
    closed = recovered.extract(march(2), march(3), at=noon(march(4)))
    for extract in (today, closed):
        report = verify(extract, kept(lost), kept(declaring), kept(after), kept(recovered.seals[1]))
        assert len(report.unanswered) == 1
        assert "declares seal 3 (open, 2026-03-03T13:00:00Z) lost" in report.unanswered[0]
        assert [text for text in report.remarks if "what followed seal 2 is lost" in text] == [report.remarks[0]]
    assert [parse_seal(seal.text).recovered_from for seal in recovered.seals] == [None, None, 2, 2, 2, 2, None]


def test_a_seal_in_the_second_of_the_one_that_declares() -> None:
    """A day is closed and the next one sealed in one second: the second survived, though it declares nothing."""
    world = World().live(1, 2)
    world.append(noon(march(3)))
    world.close(march(3), recovered_from=2)
    twin = world.seal(parse_seal(world.seals[-1].text).sealed_at)
    report = verify(world.extract(march(2), march(3), at=noon(march(4))), kept(twin))
    assert report.unanswered == ()


def test_a_loss_declared_twice() -> None:
    """Restored twice from one backup: what was sealed between is lost where a seal of its number says so."""
    first, second = World().live(1, 2), World().live(1, 2)
    first.append(noon(march(3), hour=13), subject="between")
    between = first.seal(noon(march(3), hour=14), recovered_from=2)
    second.append(noon(march(3), hour=16), subject="after")
    declaring = second.seal(noon(march(3), hour=17), recovered_from=2)
    extract = second.extract(march(3), march(3), at=noon(march(3), hour=18))
    assert type(failure(extract, kept(between))) is ForkError
    report = verify(extract, kept(between), kept(declaring, name="declaring.json"))
    assert len(report.unanswered) == 1
    assert "kept.json: cannot be compared: the service declares seal 3" in report.unanswered[0]


def test_a_loss_covers_only_what_came_before_it() -> None:
    """What was sealed after the recovery, or survived it, is held against the extract like any other."""
    world = World().live(1, 2)
    world.append(noon(march(3)))
    world.close(march(3), recovered_from=2)
    after = world.seal(noon(march(4), hour=13))
    world.append(noon(march(4), hour=14))
    world.close(march(4))
    extract = world.extract(march(2), march(4), at=noon(march(5)))
    for seal in (after, world.seals[0], world.closes[march(3)]):
        assert verify(extract, kept(seal)).unanswered == ()


def test_a_known_seal_is_of_the_same_origin_and_well_signed() -> None:
    """Of another compartment it says nothing; with a bad signature, or an untrusted one, it is worth nothing."""
    world, fetched = lived()
    extract = of(world)
    other = World(compartment=Compartment(authority.SERVICE, "bagnolet", "main-courante")).live(1, 1)
    error = failure(extract, kept(other.seals[0]))
    assert (type(error), error.part) == (MismatchedPartError, NAME)
    error = failure(extract, kept(replace(fetched, signature=world.seals[0].signature)))
    assert (type(error), error.part) == (BadSignatureError, f"{NAME} seal 3")
    self_made = authority.issue("Seals and extracts", authority.new_key(9))
    signature = authority.sign(fetched.text, chain=(self_made,), at=parse_seal(fetched.text).sealed_at)
    assert type(failure(extract, kept(replace(fetched, signature=signature)))) is UntrustedError


def test_an_empty_chain_begins_as_its_origin_says() -> None:
    """Known seals alone: the chain hash of a chain without entries is computed, not believed."""
    right = World().seal(noon(march(1)))
    (found,) = check_known([kept(right)], anchors=ANCHORS).values()
    assert [checked.head.size for checked in found] == [0]
    wrong = World().seal(noon(march(1)), chain_hash=b"x" * 32)
    with pytest.raises(BrokenChainError, match="another chain hash") as caught:
        check_known([kept(wrong)], anchors=ANCHORS)
    assert caught.value.part == f"{NAME} seal 1"
