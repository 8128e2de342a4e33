"""The facts about the purge of one commune's day, as an attestation states them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    from journal.core.chain import Head
    from journal.pki.trust import Anchor

State = Literal["destroyed", "untold", "kept"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedSeal:
    """A seal, by what identifies it."""

    number: int
    day: date | None
    sealed_at: datetime
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryFacts:
    """What is known of one category's entries of the day.

    destroyed  purged, with proof: indexes `first_index` ≤ i < `end_index`, none if they are equal
    untold     purged, but the proof of their number has been purged as well
    kept       not purged yet

    `retention_days` is the rule under which they were purged, `retention_days_before` the one that seals stated until
    then, different only after a change; `may_go_at` and `must_go_at` follow from them. `gone_at` is when the purge was
    complete, if there were entries, and `recorded` whether its own entry says so; otherwise it was then or earlier.
    `shown` is the first kept seal that shows it, `closing` the chain's head at the close of the day, if still known.
    """

    code: str
    label: str
    regime: str
    retention_days: int
    retention_days_before: int
    may_go_at: datetime
    must_go_at: datetime
    state: State
    first_index: int = 0
    end_index: int = 0
    gone_at: datetime | None = None
    recorded: bool = False
    closing: Head | None = None
    shown: NamedSeal | None = None

    @property
    def count(self) -> int:
        """Return how many entries were purged."""
        return self.end_index - self.first_index

    @property
    def lateness(self) -> timedelta:
        """Return by how much the purge was late; zero if it was in time, or if no entry says when it was."""
        if self.gone_at is None or not self.recorded:
            return timedelta(0)
        return max(self.gone_at - self.must_go_at, timedelta(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Attestation:
    """What is attested, by whom and when; `key_copies` is the number of places where the day's keys were destroyed.

    `anchor` is whom a reader must trust, None if that cannot be told.
    """

    service: str
    tenant: str
    tenant_name: str
    day: date
    categories: Sequence[CategoryFacts]
    closing: NamedSeal
    key_copies: int
    issued_at: datetime
    signer: str
    signer_sha256: bytes
    signer_until: datetime
    anchor: Anchor | None
    software: str

    def of_state(self, *states: State) -> list[CategoryFacts]:
        """Return the categories of these states, state by state."""
        return [facts for state in states for facts in self.categories if facts.state == state]
