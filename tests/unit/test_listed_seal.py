"""One seal by itself, and several as one history: every rule broken alone, by a service that signs it (T-11)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Callable

import pytest

from journal.core.chain import genesis
from journal.core.errors import (
    BadSignatureError,
    BrokenChainError,
    ForkError,
    MalformedError,
    MismatchedPartError,
    UntrustedError,
    VerificationError,
)
from journal.core.seal import NOTHING_HASH, parse_seal
from journal.extract.listed_seal import check_seal, seal_text
from journal.extract.verify import verify_extract
from tests.support import authority
from tests.support.extracts import ANCHORS, Extract, World, march, noon, opened, sample

OTHER_ROOT = authority.issue("Root authority", authority.new_key(8), extensions=authority.AUTHORITY)
OTHER_SIGNER = authority.issue("Seals and extracts", authority.new_key(9), issuer=OTHER_ROOT)
SELF_MADE = authority.issue("Seals and extracts", authority.new_key(9))
RETIRED = authority.issue("Seals and extracts", authority.new_key(7), issuer=authority.ROOT, end=noon(march(3)))


def of(world: World) -> Extract:
    """Return the extract of 2 and 3 March, made on the 5th."""
    return world.extract(march(2), march(3), at=noon(march(5)))


def verify(extract: Extract) -> None:
    """Verify an extract that the service signs, whatever is in it."""
    verify_extract(opened(extract.pack()), anchors=ANCHORS)


def failure(extract: Extract) -> VerificationError:
    """Return the error an extract is refused with."""
    with pytest.raises(VerificationError) as caught:
        verify(extract)
    return caught.value


def with_seal(place: int, **changes: object) -> Extract:
    """Return an extract of which one listed seal is changed and not signed anew."""
    extract = sample()
    extract.seals[place] = replace(extract.seals[place], **changes)  # type: ignore[arg-type]  # any field
    return extract


def test_seals_that_follow_the_rules_pass() -> None:
    """The base of comparison for all that is refused below."""
    verify(sample())


def test_a_seal_is_read_strictly() -> None:
    """Its text is in the one spelling, or it is not a seal."""
    text = sample().seals[1].text
    for wrong in (text + b"\n", text[:-1], text.replace(b"v1", b"v2"), b""):
        error = failure(with_seal(1, text=wrong))
        assert (type(error), error.part) == (MalformedError, "seals.json")


def test_a_seal_bears_its_own_signature() -> None:
    """That of another seal, or none, does not do."""
    extract = sample()
    error = failure(with_seal(1, signature=extract.seals[2].signature))
    assert (type(error), error.part) == (BadSignatureError, "seals.json seal 2")
    assert type(failure(with_seal(1, signature=b""))) is MalformedError


@pytest.mark.parametrize("signer", [(OTHER_SIGNER,), (SELF_MADE,), (RETIRED,)], ids=["wrong", "self-made", "retired"])
def test_a_seal_is_signed_by_whom_the_auditor_trusts(signer: tuple[authority.Holder]) -> None:
    """Not by another authority's key, a self-made one, or one that was no longer valid."""
    world = World().live(1, 3)
    world.close(march(4), chain=signer)
    error = failure(world.extract(march(4), march(4), at=noon(march(5))))
    assert type(error) is UntrustedError
    assert error.part.startswith("seals.json seal 4")


def test_trust_never_comes_from_the_extract_itself() -> None:
    """The certificates inside are those of the root, yet nothing is trusted that the auditor did not bring."""
    with pytest.raises(UntrustedError):
        verify_extract(opened(sample().pack()), anchors=[])
    with pytest.raises(UntrustedError):
        verify_extract(opened(sample().pack()), anchors=[OTHER_ROOT.certificate])


def test_a_seal_was_signed_when_it_says() -> None:
    """A signature made at another time is not this seal's."""
    world = World().live(1, 2)
    world.close(march(3), signed_at=noon(march(4)))
    error = failure(of(world))
    assert (type(error), error.part) == (MismatchedPartError, "seals.json seal 3")


def test_a_seal_is_of_the_extracts_service() -> None:
    """Two installations may share an authority, not a history."""
    world = World().live(1, 2)
    world.close(march(3), service="other.example.fr")
    error = failure(of(world))
    assert (type(error), error.part) == (MismatchedPartError, "seals.json seal 3")


def test_the_head_is_under_the_root_that_is_signed() -> None:
    """Not a head of other numbers, nor one whose path leads elsewhere."""
    listed = sample().seals[1]
    for changes in (
        {"head": replace(listed.head, retention_days=59)},
        {"head": replace(listed.head, kept_from=1)},
        {"path": (*listed.path[:-1], bytes(31) + b"\1")},
        {"path": (*listed.path, bytes(31) + b"\1")},
    ):
        error = failure(with_seal(1, **changes))
        assert (type(error), error.part) == (BrokenChainError, "seals.json seal 2")
    assert type(failure(with_seal(1, path=(*listed.path, bytes(32))))) is MalformedError


def _late_close() -> Extract:
    world = World().live(1, 1)
    world.close(march(2), late=timedelta(days=2))
    world.close(march(3))
    return of(world)


def _vanished_chain() -> Extract:
    world = World().live(1, 2)
    world.others.pop()
    return of(world.live(3, 3))


def _shorter_chain() -> Extract:
    world = World().live(1, 2)
    world.close(march(3), size=3)
    return of(world)


def _two_hashes() -> Extract:
    world = World().live(1, 2)
    world.close(march(3), chain_hash=bytes(31) + b"\1")
    return of(world)


def _unpurged() -> Extract:
    world = World(retention_days=3).live(1, 3)
    world.purge(march(1))
    world.live(4, 4)
    world.kept_from = 0
    return world.extract(march(4), march(4), at=noon(march(5)))


def _same_number() -> Extract:
    world = World().live(1, 3)
    world.close(march(4), number=3)
    return world.extract(march(3), march(4), at=noon(march(5)))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_late_close, "an earlier time"),
        (_vanished_chain, "fewer chains"),
        (_shorter_chain, "the chain is shorter"),
        (_two_hashes, "two chain hashes at size 4"),
        (_unpurged, "are kept in the later"),
        (_same_number, "two seals under one number"),
    ],
)
def test_nothing_goes_back_from_one_seal_to_the_next(make: Callable[[], Extract], reason: str) -> None:
    """Two seals that cannot be of one history are a fork, and both are named."""
    error = failure(make())
    assert type(error) is ForkError
    assert reason in error.reason
    assert error.part.count("seals.json seal") == 2


def test_days_are_closed_in_their_order() -> None:
    """A close seal with a later number is of a later day."""
    world = World().live(1, 1)
    world.close(march(3))
    world.close(march(2), late=timedelta(days=2))
    error = failure(
        world.extract(march(2), march(3), at=noon(march(5)), seals=[*world.seals, world.seal(noon(march(5)))])
    )
    assert type(error) is ForkError
    assert "2026-03-02 is closed after 2026-03-03" in error.reason


def relinked(**changes: bytes) -> Extract:
    """Return an extract whose last close seal names other seals before it than it should."""
    world = World().live(1, 2)
    world.close(march(3), **changes)
    return of(world)


@pytest.mark.parametrize("member", ["previous", "previous_close"])
def test_seals_that_follow_each_other_name_each_other(member: str) -> None:
    """A link to anything else is broken, to an older seal too."""
    world = World().live(1, 2)
    older = parse_seal(world.seals[0].text).digest
    for digest in (older, bytes(32)):
        error = failure(relinked(**{member: digest}))
        assert (type(error), error.part) == (BrokenChainError, "seals.json seal 2, seals.json seal 3")


def test_a_close_seal_names_the_one_before_it_across_open_seals() -> None:
    """Seals between that are not listed excuse nothing: days are closed one by one."""
    world = World().live(1, 2)
    world.seal(noon(march(3)))
    world.close(march(3), previous_close=bytes(32))
    error = failure(of(world))
    assert (type(error), error.part) == (BrokenChainError, "seals.json seal 2, seals.json seal 4")


@pytest.mark.parametrize("older", ["an older close seal", "nothing"])
def test_the_open_seal_names_no_older_close_seal(older: str) -> None:
    """Close seals not listed may stand between, but time goes one way."""
    world = World().live(1, 4)
    extract = of(world)
    digest = parse_seal(world.seals[0].text).digest if older != "nothing" else NOTHING_HASH
    world.seals.pop()
    extract.seals[-1] = world.seal(noon(march(5)), previous_close=digest)
    error = failure(extract)
    assert type(error) is BrokenChainError
    assert "an older close seal" in error.reason


def test_close_seals_not_listed_may_stand_between() -> None:
    """The seal made for an extract of long ago names a close seal that the extract has no need of."""
    verify(World().live(1, 8).extract(march(2), march(3), at=noon(march(9))))


def test_a_first_seal_has_none_before() -> None:
    """The service's very first day is covered like any other."""
    verify(World().live(1, 2).extract(march(1), march(2), at=noon(march(3))))


def test_the_empty_chain_has_one_chain_hash() -> None:
    """Genesis is computed from the origin, not taken from a seal."""
    world = World()
    world.chain[0] = bytes(31) + b"\1"
    world.close(march(1))
    world.close(march(2))
    error = failure(world.extract(march(2), march(2), at=noon(march(3))))
    assert (type(error), error.part) == (BrokenChainError, "seals.json seal 1")
    assert genesis(world.origin).chain_hash != world.chain[0]


def test_a_seal_is_named_for_people() -> None:
    """Its number, what it closes, when."""
    world = World().live(1, 1)
    closed, fresh = (
        check_seal(listed, anchors=ANCHORS, part="seals.json", known=False)
        for listed in (world.seals[0], world.seal(noon(march(2))))
    )
    assert seal_text(closed) == "seal 1 (close of 2026-03-01, 2026-03-02T00:00:05Z)"
    assert seal_text(fresh) == "seal 2 (open, 2026-03-02T12:00:00Z)"
