"""Receipts as a service answers them, made in memory for a `World`: right by default, wrong on demand."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives import hashes

from journal.core import canonical
from journal.core.receipt import Receipt, ReceiptKey, receipt_leaf, receipts_paths, receipts_root, signed_text
from journal.core.times import format_seconds
from tests.support import authority
from tests.support.extracts import march, noon

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography.hazmat.primitives.asymmetric import ec

    from tests.support.extracts import World

KEY = authority.new_key(60)
BEGINS = noon(march(1), hour=0)
SIGNED_AT = noon(march(2), minutes=5)
DAYS = timedelta(days=30)


def receipt_of(world: World, index: int) -> Receipt:
    """Return the receipt of an entry of a world."""
    record = json.loads(world.records[index])
    event = record["event"]
    return Receipt(
        source=event["source"],
        id=event["id"],
        time=event["time"],
        origin=world.origin,
        index=index,
        recorded_at=record["recorded_at"],
        leaf_hash=world.leaf(index),
        chain_hash=world.chain[index + 1],
    )


@dataclass(frozen=True)
class Answered:
    """What a submission was answered; `others` are the roots of other submissions of its append.

    What is not given follows from the rest.
    """

    receipts: tuple[Receipt, ...]
    others: tuple[bytes, ...] = (b"\x11" * 32, b"\x22" * 32)
    signed_at: datetime = SIGNED_AT
    service: str = authority.SERVICE
    valid_from: datetime = BEGINS
    valid_until: datetime = BEGINS + DAYS
    key: ec.EllipticCurvePrivateKey = KEY
    signing_key: ec.EllipticCurvePrivateKey | None = None
    chain: Sequence[authority.Holder] = authority.CHAIN
    vouched_at: datetime | None = None
    parts: dict[str, Any] = field(default_factory=dict)

    @property
    def delegation(self) -> bytes:
        """The text of the key's delegation."""
        return ReceiptKey(self.service, self.valid_from, self.valid_until, authority.spki(self.key)).text

    def value(self) -> dict[str, Any]:
        """Return the answer as JSON; `parts` replace its members."""
        own = receipts_root([receipt_leaf(receipt.text) for receipt in self.receipts])
        root, (path, *_) = receipts_paths([own, *self.others])
        text = self.parts.get("text", self.delegation)
        signed_at = format_seconds(self.signed_at)
        signer = self.signing_key or self.key
        signature = signer.sign(signed_text(self.service, signed_at, root), authority.ecdsa(hashes.SHA256()))
        vouched = authority.sign(text, chain=self.chain, at=self.vouched_at or self.valid_from)
        made = {
            "key": {"signature": b64encode(vouched).decode(), "text": text.decode()},
            "path": [sibling.hex() for sibling in path],
            "receipts": [json.loads(receipt.text) for receipt in self.receipts],
            "signature": b64encode(signature).decode(),
            "signed_at": signed_at,
        }
        return {name: self.parts.get(name, made[name]) for name in made}

    def encode(self) -> bytes:
        """Return the answer's bytes."""
        return canonical.encode(self.value())


def answered(world: World, *indexes: int, **changes: Any) -> Answered:
    """Return the answer to a submission of these entries."""
    return replace(Answered(tuple(receipt_of(world, index) for index in indexes)), **changes)
