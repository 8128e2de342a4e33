"""Parts of two good extracts put together make no extract, and the reason names what does not belong (X-03)."""

from __future__ import annotations

from itertools import combinations, permutations
from pathlib import Path

import pytest

from journal.core.errors import VerificationError
from journal.extract.layout import DIGESTS, ENTRIES, INSTRUCTIONS, MANIFEST, PROOF, SEALS, SIGNATURE, TABLE
from journal.extract.verify import verify_extract
from tests.support.extracts import ANCHORS, contents_of, opened, pack

pytestmark = pytest.mark.untraced

VECTORS = Path(__file__).parents[1] / "vectors" / "v1" / "extracts"
# Of one chain and of others, of one day and of others, of every kind.
NAMES = (
    "unfiltered",
    "filtered-by-account",
    "auditor",
    "empty",
    "until-today",
    "young-tenant",
    "partly-purged",
    "wholly-purged",
    "signer-renewed",
    "journal-with-its-request",
)
EXTRACTS = {name: contents_of((VECTORS / f"{name}.asice").read_bytes()) for name in NAMES}
PARTS = (MANIFEST, PROOF, SEALS, SIGNATURE, ENTRIES, TABLE, INSTRUCTIONS, DIGESTS)
CHOICES = [*((part,) for part in PARTS), *combinations(PARTS, 2)]


@pytest.mark.parametrize("name", NAMES)
def test_no_part_of_another_extract_belongs(name: str) -> None:
    """Each part and each two parts of the nine others in the place of its own: refused, and named."""
    own = EXTRACTS[name]
    tried = 0
    for other in (EXTRACTS[second] for first, second in permutations(NAMES, 2) if first == name):
        for choice in CHOICES:
            swapped = [part for part in choice if own[part] != other[part]]
            if len(swapped) < len(choice):
                continue  # nothing is exchanged, or it is the exchange of one part alone
            tried += 1
            with pytest.raises(VerificationError) as caught:
                verify_extract(opened(pack({**own, **{part: other[part] for part in swapped}})), anchors=ANCHORS)
            assert any(part in str(caught.value) for part in swapped), (choice, caught.value)
    assert tried > 200


def test_each_of_them_verifies_by_itself() -> None:
    """What is refused above is refused for being mixed."""
    for contents in EXTRACTS.values():
        verify_extract(opened(pack(contents)), anchors=ANCHORS)
