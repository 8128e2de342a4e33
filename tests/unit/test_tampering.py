"""No byte of an extract can be changed and no part exchanged, with the signing key or without."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal.core.errors import MismatchedPartError, VerificationError
from journal.extract import layout
from journal.extract.layout import DIGESTS, DOCUMENT, ENTRIES, INSTRUCTIONS, MANIFEST, PROOF, SEALS, SIGNATURE, TABLE
from journal.extract.manifest import Filter
from journal.extract.verify import verify_extract
from tests.support.extracts import ANCHORS, Extract, World, contents_of, march, noon, opened, pack

if TYPE_CHECKING:
    from journal.extract.report import Report

pytestmark = pytest.mark.untraced


def small(day: int = 2) -> Extract:
    """Return a small extract with an entry disclosed and one withheld."""
    world = World(other_chains=1).live(1, day)
    account = f"agent-{2 * (day - 1) % 3}"
    return world.extract(march(day), march(day), at=noon(march(day + 1)), selection=Filter(account=account))


def verify(whole: bytes) -> Report:
    """Verify a container."""
    return verify_extract(opened(whole), anchors=ANCHORS)


def refusal(whole: bytes) -> VerificationError:
    """Return the error a container is refused with: one of the tree, whatever the bytes."""
    with pytest.raises(VerificationError) as caught:
        verify(whole)
    assert caught.value.part
    return caught.value


SMALL = small()
WHOLE = SMALL.pack()
CONTENTS = contents_of(WHOLE)


def flipped(content: bytes, place: int, bits: int = 1) -> bytes:
    """Return `content` with some bits of one byte turned."""
    return content[:place] + bytes([content[place] ^ bits]) + content[place + 1 :]


def test_the_extract_itself_verifies() -> None:
    """The base of comparison for all that is refused below."""
    assert verify(WHOLE).manifest.withheld == 1


@pytest.mark.parametrize("step", [3, pytest.param(1, marks=pytest.mark.campaign)])
@pytest.mark.parametrize("name", list(CONTENTS))
def test_no_byte_of_a_member_can_be_changed(name: str, step: int) -> None:
    """Each byte of each part, or one in so many, one at a time; the part is named (X-01)."""
    for place in range(0, len(CONTENTS[name]), step):
        error = refusal(pack({**CONTENTS, name: flipped(CONTENTS[name], place)}))
        if name not in (DIGESTS, SIGNATURE):
            assert (type(error), error.part) == (MismatchedPartError, name)


@pytest.mark.parametrize("step", [23, pytest.param(1, marks=pytest.mark.campaign)])
@pytest.mark.parametrize("name", [ENTRIES, PROOF, SEALS, TABLE, INSTRUCTIONS])
def test_no_byte_can_be_changed_by_who_holds_the_signing_key(name: str, step: int) -> None:
    """The service itself, signing the extract anew, cannot change one byte of these: seals and chain hold them."""
    extract = small()
    content = extract.contents()[name]
    for place in range(0, len(content), step):
        parts = {TABLE: CONTENTS[TABLE], name: flipped(content, place)}
        refusal(replace(extract, parts=parts).pack())


def accepted(whole: bytes) -> Report | None:
    """Return the report of a container, None where it is refused by one class or another."""
    try:
        return verify(whole)
    except VerificationError as error:
        return None if error.verdict != VerificationError.verdict else verify(whole)


@pytest.mark.parametrize(
    ("bits", "step"),
    [(1, 7), pytest.param(1, 1, marks=pytest.mark.campaign), pytest.param(0x80, 1, marks=pytest.mark.campaign)],
)
def test_no_byte_of_the_container_says_anything_else(bits: int, step: int) -> None:
    """A change of any byte is refused, or changes neither a part nor the report."""
    genuine = verify(WHOLE)
    for place in range(0, len(WHOLE), step):
        assert accepted(flipped(WHOLE, place, bits)) in (None, genuine)


def test_no_beginning_of_the_file_is_accepted() -> None:
    """A file cut short anywhere is refused."""
    for size in range(0, len(WHOLE), 11):
        with pytest.raises(VerificationError):
            verify(WHOLE[:size])


def test_no_mixture_of_two_extracts_is_accepted() -> None:
    """Every choice of parts from two valid ones, of the same chain and day or not (X-03)."""
    other_account = Filter(account="agent-0")
    same_day = (
        World(other_chains=1)
        .live(1, 2)
        .extract(march(2), march(2), at=noon(march(3), hour=13), selection=other_account)
    )
    for other in (contents_of(small(3).pack()), contents_of(same_day.pack())):
        differing = [name for name in CONTENTS if CONTENTS[name] != other[name]]
        for choice in product([False, True], repeat=len(differing)):
            mixed = {**CONTENTS, **{name: other[name] for name, taken in zip(differing, choice) if taken}}
            if mixed in (CONTENTS, other):
                continue
            refusal(pack(mixed))


@pytest.mark.parametrize("name", [ENTRIES, PROOF, SEALS, MANIFEST, TABLE, INSTRUCTIONS])
def test_a_single_part_of_another_extract_is_named(name: str) -> None:
    """So that a mix-up by mistake is found."""
    other = contents_of(small(3).pack())
    error = refusal(pack({**CONTENTS, name: other[name]}))
    assert (type(error), error.part) == (MismatchedPartError, name)


def test_a_part_cannot_be_added_unsigned() -> None:
    """A document that the signature does not cover is refused, as is one that it covers and is not there."""
    refusal(pack({**CONTENTS, DOCUMENT: b"%PDF-1.7"}))
    with_document = small()
    with_document.parts[DOCUMENT] = b"%PDF-1.7"
    signed = contents_of(with_document.pack())
    verify(pack(signed))
    del signed[DOCUMENT]
    refusal(pack(signed))


@given(st.data())
def test_no_damage_makes_the_verifier_fail_otherwise(data: Any) -> None:
    """Runs of bytes replaced, removed or inserted, anywhere: refused by the tree, never by a traceback."""
    place = data.draw(st.integers(0, len(WHOLE)))
    removed = data.draw(st.integers(0, 40))
    inserted = data.draw(st.binary(max_size=40))
    damaged = WHOLE[:place] + inserted + WHOLE[place + removed :]
    if damaged == WHOLE:
        return
    assert accepted(damaged) in (None, verify(WHOLE))


@given(
    st.sampled_from([ENTRIES, PROOF, SEALS, MANIFEST, TABLE]),
    st.one_of(st.binary(max_size=200), st.text(max_size=60).map(str.encode), st.just(b"[" * 5000)),
)
def test_no_content_makes_the_verifier_fail_otherwise(name: str, content: bytes) -> None:
    """Parts of any content, signed by the service: refused by the tree, never by a traceback."""
    with pytest.raises(VerificationError):
        verify(replace(SMALL, parts={TABLE: CONTENTS[TABLE], name: content}).pack())


def test_streamed_parts_are_those_that_grow_with_the_entries() -> None:
    """The rest is read whole, and bounded."""
    assert set(layout.STREAMED) == {ENTRIES, PROOF, TABLE}
