"""Cases for two verifiers to agree on: everything follows from a number, the same for ever."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING

from journal.extract.layout import DIGESTS, SIGNATURE
from tests.browser import damage, signers
from tests.browser.kinds import KINDS, STAMPED, members, parts
from tests.browser.lives import Known, life
from tests.browser.packing import repacked
from tests.support.extracts import pack

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Case:
    """An extract, or none, how it was made, and what an auditor brings.

    With `is_stamped`, certificates for time-stamps too.
    """

    name: str
    extract: bytes | None
    known: Known = ()
    receipts: Known = ()
    is_stamped: bool = False


def signatures(random: Random, name: str) -> bytes:
    """Anyone with a certificate of some kind, or none: another signature."""
    contents = dict(members(name))
    at = (parts(name).manifest.issued_at + timedelta(seconds=1)).replace(microsecond=0)
    match random.randrange(6):
        case 0:
            fault = random.choice(signers.FAULTS)
            contents[SIGNATURE] = signers.signature_of(contents[DIGESTS], signers.chains()[0], at, fault=fault)
        case 1:
            contents[SIGNATURE] = members(random.choice(list(KINDS)))[SIGNATURE]
        case 2:
            contents[SIGNATURE] = signers.signature_of(contents[DIGESTS], random.choice(signers.chains()), at)
        case 3 | 4:
            contents[SIGNATURE] = signers.signature_of(contents[DIGESTS], random.choice(signers.shaped_chains()), at)
        case _:
            signature = bytearray(contents[SIGNATURE])
            place = random.randrange(len(signature))
            signature[place] = random.choice((signature[place] ^ 1, 0, 0xFF, 0x80, random.randrange(256)))
            contents[SIGNATURE] = bytes(signature)
    return pack(contents)


ACTS: tuple[Callable[[Random, str], bytes], ...] = (
    damage.container_bytes,
    damage.member_bytes,
    damage.exchanged,
    damage.signed_bytes,
    damage.signed_exchange,
    damage.signed_values,
    damage.signed_values,
    damage.signed_lists,
    damage.signed_claims,
    damage.signed_tokens,
    signatures,
    repacked,
)


def case(number: int) -> Case:
    """Return one case: a kind of extract and what was done to it, or a whole life."""
    random = Random(number)
    if number % 5 == 0:
        return Case(f"{number}: a life", *life(random))
    name, act = random.choice(list(KINDS)), random.choice(ACTS)
    is_stamped = (name == STAMPED or act is damage.signed_tokens) and random.random() < 0.8
    return Case(f"{number}: {name}, {act.__name__}", act(random, name), is_stamped=is_stamped)
