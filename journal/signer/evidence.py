"""What the signer is told: the state it compares, the heads it is to sign, and what it asks for to judge them.

Trust sentence: whoever asks for a seal gives this evidence too. Leaf hashes and earlier seals are held against hashes
that were signed; tenants, rules, fences and ends are a claim, which seals then state in public.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date  # noqa: TC003 - msgspec reads this type
from typing import TYPE_CHECKING, Protocol

from journal.core.seal import NOTHING_HASH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from journal.core.seal import Seal
    from journal.database.heads import LeafRun, LeafSpan, SealHeadRow

Chain = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSeals:
    """The last stored seal and the last close seal: their texts and the last one's number; 0 and None before them.

    `closed_day` is the last day that the database has closed.
    """

    number: int
    text: bytes | None
    close_text: bytes | None
    closed_day: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A category as the key store vouches for it: the days that seals state, and the first day it exists."""

    category: str
    stated_days: int
    first_day: date


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSeal:
    """A close seal as it is stored."""

    number: int
    day: date | None
    text: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldChain:
    """A chain that is not sealed as it is stored, and why, in a sentence without its end."""

    tenant: str
    category: str
    reason: str


class Evidence(Protocol):
    """What a judge asks for. Every method raises JournalError where no answer can be had."""

    async def tenants(self) -> set[str]:
        """Return the codes of all tenants."""
        ...

    async def rules(self) -> dict[str, Rule]:
        """Return the rule of every category."""
        ...

    async def fences(self, categories: Sequence[str]) -> Mapping[str, date]:
        """Return the key store's fences of these categories, where there is one that can be read."""
        ...

    async def ended_tenants(self) -> set[str]:
        """Return the tenants whose key the key store knows to be destroyed."""
        ...

    async def leaves(self, spans: Sequence[LeafSpan], since: date | None, through: date | None) -> list[LeafRun]:
        """Return the stored leaf hashes of these spans, within these days (None: any)."""
        ...

    async def close_seals(self, since: date) -> list[StoredSeal]:
        """Return the close seals of that day and later ones, newest first."""
        ...

    async def heads_of_seal(self, number: int) -> list[SealHeadRow] | None:
        """Return every chain's head at a seal; None if they are no longer kept."""
        ...

    async def last_signature(self) -> bytes:
        """Return the signature of the last stored seal."""
        ...


def close_digest(previous: Seal | None) -> bytes:
    """Return the digest of the last close seal up to `previous`."""
    if previous is None:
        return NOTHING_HASH
    return previous.digest if previous.day is not None else previous.previous_close
