"""Heads and leaf hashes as seals need them: plain values, which the signer knows too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from journal.core.entry import Compartment
from journal.core.seal import SealedHead


# A tuple: there are as many as chains, at every seal.
class SealHeadRow(NamedTuple):
    """A chain as a seal states it."""

    tenant: str
    category: str
    size: int
    chain_hash: bytes
    kept_from: int
    retention_days: int

    @property
    def chain(self) -> tuple[str, str]:
        """Return which chain it is."""
        return self.tenant, self.category


@dataclass(frozen=True, slots=True, kw_only=True)
class LeafSpan:
    """The entries of a chain from index `low` up to, not including, `high`."""

    tenant: str
    category: str
    low: int
    high: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeafRun:
    """Consecutive leaf hashes of a span, 32 bytes each, joined; `first_index` is that of the first."""

    span: LeafSpan
    first_index: int
    leaves: bytes


def sealed_head(service_name: str, head: SealHeadRow) -> SealedHead:
    """Return the head as the seal tree states it."""
    return SealedHead(
        origin=Compartment(service_name, head.tenant, head.category).origin,
        size=head.size,
        chain_hash=head.chain_hash,
        kept_from=head.kept_from,
        retention_days=head.retention_days,
    )
