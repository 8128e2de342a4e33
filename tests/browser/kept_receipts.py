"""Receipts that an auditor may have kept of a life: right ones, claims of the service, and what anyone altered."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from journal.core.times import format_time, parse_time
from tests.browser.damage import alter, mutate
from tests.support import authority
from tests.support.extracts import march, noon
from tests.support.receipts import Answered, receipt_of

if TYPE_CHECKING:
    from random import Random

    from journal.core.receipt import Receipt
    from tests.support.extracts import World

OTHER_KEY = authority.new_key(61)


def kept_receipts(random: Random, world: World) -> tuple[tuple[str, bytes], ...]:
    """Return answers with receipts of a world's entries, or what is no such thing."""
    if not world.size:
        return ()
    return tuple((f"answer-{place}.json", _answer(random, world)) for place in range(random.randrange(1, 3)))


def _answer(random: Random, world: World) -> bytes:
    indexes = [random.randrange(world.size) for _ in range(random.choice((1, 1, 2, 3, 5)))]
    receipts = tuple(_claimed(random, receipt_of(world, index)) for index in indexes)
    others = tuple(bytes([number]) * 32 for number in range(random.choice((0, 0, 1, 2, 6))))
    answer = replace(Answered(receipts, others), **_changes(random))
    value = answer.value()
    if random.random() < 0.25:
        value = alter(random, value)
    text = json.dumps(value, indent=random.choice((None, 2)), ensure_ascii=random.random() < 0.5)
    data = text.encode(errors="surrogatepass")
    return mutate(random, data) if random.random() < 0.1 else data


def _claimed(random: Random, receipt: Receipt) -> Receipt:
    """Return the receipt, or what the service might have acknowledged in another history."""
    if random.random() < 0.6:
        return receipt
    shift = random.choice((-86400, 86400, 43200, 3600, -900, 900.000001)) * timedelta(seconds=1)
    moved = format_time(parse_time(receipt.recorded_at) + shift)
    changes: list[dict[str, Any]] = [
        {"recorded_at": moved},
        {"index": max(0, receipt.index + random.choice((-1, 1, 2)))},
        {"index": receipt.index + 1, "recorded_at": moved},
        {"leaf_hash": bytes(32)},
        {"chain_hash": bytes(32)},
        {"origin": receipt.origin.replace("montreuil", "bagnolet")},
        {"origin": receipt.origin.replace("journal.example.fr", "other.example.fr")},
        {"id": random.choice(("é\u2028", '"\\', "\n\x7f", "👮"))},
    ]
    return receipt._replace(**random.choice(changes))


def _changes(random: Random) -> dict[str, Any]:
    """Return what is other than it should be of the signature, the key or the delegation; mostly nothing."""
    if random.random() < 0.8:
        return {}
    second = timedelta(seconds=1)
    at = noon(march(1), hour=0)
    changes: list[dict[str, Any]] = [
        {"signing_key": OTHER_KEY},
        {"key": OTHER_KEY},
        {"signed_at": at},
        {"signed_at": at - second},
        {"vouched_at": at + second},
        {"valid_until": at},
        {"valid_from": noon(march(1), hour=0) - timedelta(days=2000)},
        {"service": "other.example.fr"},
        {"chain": (authority.LEAF,)},
        {"chain": (authority.issue("Elsewhere", authority.new_key(62)),)},
    ]
    return random.choice(changes)
