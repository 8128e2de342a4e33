"""The judge: compares what clients were told with what is stored, by code that shares none with the service's path.

It reads with plain SQL as superuser, unwraps keys from their files, and uses of the project only the pure core:
what an auditor's verifier is made of. It names everything that is wrong, and how.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncpg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from journal.core.chain import extend, genesis
from journal.core.envelope import Box, derive_data_key
from journal.core.errors import VerificationError
from tests.faults.ledger import Line, content_hash, read_ledger

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date
    from pathlib import Path

NONCE_BYTES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An entry of the database, decrypted."""

    index: int
    leaf_hash: str
    chain_hash: str
    recorded_at: str
    event: dict[str, Any]

    @property
    def content(self) -> str:
        """The event's content hash."""
        return content_hash(self.event)


@dataclass(slots=True, kw_only=True)
class Judgement:
    """What was compared, and everything found wrong."""

    acknowledged: int = 0
    refused: int = 0
    entries: int = 0
    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """Everything wrong, lost events first."""
        return [*self.lost, *self.duplicated, *self.wrong]


class KeyFiles:
    """The key store's files, read by hand."""

    def __init__(self, directory: Path, master_key_path: Path) -> None:
        """Unwrap with the master key."""
        self._directory = directory
        self._wrapper = AESGCM(bytes.fromhex(master_key_path.read_text(encoding="ascii").strip()))
        self._boxes: dict[tuple[str, date], Box] = {}

    def box(self, origin: str, day: date) -> Box:
        """Return what opens the entries of an origin and day."""
        if (origin, day) not in self._boxes:
            tenant, category = origin.split("/")[-2:]
            key = derive_data_key(
                day_key=self._unwrap(f"days/{category}/{day.isoformat()}"),
                tenant_key=self._unwrap(f"tenants/{tenant}"),
                origin=origin,
                day=day,
            )
            self._boxes[origin, day] = Box(origin, key)
        return self._boxes[origin, day]

    def _unwrap(self, name: str) -> bytes:
        wrapped = (self._directory / name).read_bytes()
        bound = b"openepm-journal/v1/wrapped-key\x00" + name.encode()
        return self._wrapper.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], bound)


async def judge(*, ledger: Path, superuser_dsn: str, home: Path, resolved: bool = True) -> Judgement:
    """Compare a ledger with what is stored; `home` is the service's, with its keys.

    `resolved` demands that every event sent has had a definite answer in the end.
    """
    verdict = Judgement()
    chains = await _read_chains(superuser_dsn, KeyFiles(home / "keys", home / "master.key"), verdict)
    verdict.entries = sum(len(entries) for entries in chains.values())
    by_chain: dict[str, list[Line]] = defaultdict(list)
    for line in read_ledger(ledger):
        by_chain[line.chain].append(line)
    for chain, lines in by_chain.items():
        entries = chains.get(chain, [])
        _check_answers(chain, lines, entries, verdict)
        _check_sent(chain, lines, entries, verdict, resolved=resolved)
        _check_order(chain, lines, verdict)
        _check_heads(chain, lines, entries, verdict)
    return verdict


async def _read_chains(dsn: str, keys: KeyFiles, verdict: Judgement) -> dict[str, list[Stored]]:
    """Open every entry of every chain, checking each chain from its beginning to its head."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            service = await connection.fetchval("SELECT name FROM journal.service")
            heads = await connection.fetch("SELECT tenant, category, size, chain_hash FROM journal.head")
            rows = await connection.fetch(
                "SELECT tenant, category, day, index, leaf_hash, chain_hash, ciphertext FROM journal.entry"
                " ORDER BY tenant, category, index, day"
            )
    finally:
        await connection.close()
    by_origin: dict[str, list[asyncpg.Record]] = {
        f"openepm-journal/v1/{service}/{head['tenant']}/{head['category']}": [] for head in heads
    }
    for row in rows:
        by_origin[f"openepm-journal/v1/{service}/{row['tenant']}/{row['category']}"].append(row)
    chains = {origin: _open_chain(origin, found, keys, verdict) for origin, found in by_origin.items()}
    for head in heads:
        origin = f"openepm-journal/v1/{service}/{head['tenant']}/{head['category']}"
        entries = chains[origin]
        last = entries[-1].chain_hash if entries else genesis(origin).chain_hash.hex()
        if (head["size"], head["chain_hash"].hex()) != (len(entries), last):
            verdict.wrong.append(f"{origin}: its head is not where its entries lead")
    return chains


def _open_chain(origin: str, rows: Sequence[asyncpg.Record], keys: KeyFiles, verdict: Judgement) -> list[Stored]:
    chain_hash = genesis(origin).chain_hash
    entries: list[Stored] = []
    for place, row in enumerate(rows):
        index = row["index"]
        if index != place:
            verdict.wrong.append(f"{origin}: index {index} stands where {place} is due")
        try:
            _, record = keys.box(origin, row["day"]).open(index, row["ciphertext"], row["leaf_hash"])
        except (VerificationError, InvalidTag, OSError, ValueError) as error:
            verdict.wrong.append(f"{origin}: entry {index}: {error}")
            continue
        chain_hash = extend(chain_hash, row["leaf_hash"])
        if row["chain_hash"] != chain_hash:
            verdict.wrong.append(f"{origin}: the chain hash of entry {index} does not follow")
        read = json.loads(record)
        place_of = (read["tenant"], read["category"], read["index"], read["recorded_at"][:10])
        if place_of != (row["tenant"], row["category"], index, row["day"].isoformat()):
            verdict.wrong.append(f"{origin}: entry {index} is of another place")
        if entries and read["recorded_at"] < entries[-1].recorded_at:
            verdict.wrong.append(f"{origin}: time goes back at entry {index}")
        entries.append(
            Stored(
                index=index,
                leaf_hash=row["leaf_hash"].hex(),
                chain_hash=row["chain_hash"].hex(),
                recorded_at=read["recorded_at"],
                event=read["event"],
            )
        )
    return entries


def _check_answers(chain: str, lines: Sequence[Line], entries: Sequence[Stored], verdict: Judgement) -> None:
    """What was acknowledged is there as the receipt says; what was refused is nowhere."""
    by_index = {entry.index: entry for entry in entries}
    contents = {entry.content for entry in entries}
    acknowledged: set[str] = set()
    for line in lines:
        if line.kind == "refused":
            verdict.refused += 1
            if line.content in contents:
                verdict.wrong.append(f"{chain}: {line.id} was refused and is recorded")
        if line.kind != "ok" or line.receipt is None:
            continue
        acknowledged.add(line.id)
        entry = by_index.get(line.receipt["index"])
        if line.content not in contents:
            verdict.lost.append(f"{chain}: {line.id} was acknowledged and is not there")
        elif entry is None or line.receipt != {
            "origin": chain,
            "index": entry.index,
            "recorded_at": entry.recorded_at,
            "leaf_hash": entry.leaf_hash,
            "chain_hash": entry.chain_hash,
            **{name: entry.event[name] for name in ("source", "id", "time")},
        }:
            verdict.wrong.append(f"{chain}: the receipt of {line.id} is of another history")
        elif entry.content != line.content:
            verdict.wrong.append(f"{chain}: the receipt of {line.id} is another event's")
    verdict.acknowledged += len(acknowledged)


def _check_sent(
    chain: str, lines: Sequence[Line], entries: Sequence[Stored], verdict: Judgement, *, resolved: bool
) -> None:
    """No event is recorded twice, none was recorded without being sent, and every event sent was answered."""
    sent = {(line.id, line.content) for line in lines if line.kind == "sent"}
    definite = {(line.id, line.content) for line in lines if line.kind in {"ok", "refused"}}
    seen: dict[tuple[str, str], int] = {}
    for entry in entries:
        key = (entry.event["source"], entry.event["id"])
        if key in seen:
            verdict.duplicated.append(f"{chain}: {key[1]} is there twice, at {seen[key]} and {entry.index}")
        seen[key] = entry.index
        if (entry.event["id"], entry.content) not in sent:
            verdict.wrong.append(f"{chain}: entry {entry.index} was sent by nobody")
    if resolved:
        verdict.wrong += [f"{chain}: {event_id} had no definite answer" for event_id, _ in sorted(sent - definite)]


def _check_order(chain: str, lines: Sequence[Line], verdict: Judgement) -> None:
    """What was acknowledged before another was first sent has the smaller index."""
    first_sent: dict[str, int] = {}
    first_ok: dict[str, tuple[int, int]] = {}
    for line in lines:
        if line.kind == "sent":
            first_sent.setdefault(line.id, line.at)
        elif line.kind == "ok" and line.receipt is not None:
            first_ok.setdefault(line.id, (line.at, line.receipt["index"]))
    answers = sorted(first_ok.values())
    times = [at for at, _ in answers]
    highest: list[int] = []
    for _, index in answers:
        highest.append(max(index, highest[-1]) if highest else index)
    for event_id, (_, index) in first_ok.items():
        before = bisect_right(times, first_sent[event_id] - 1)
        if before and highest[before - 1] >= index:
            verdict.wrong.append(f"{chain}: {event_id} comes before what was acknowledged when it was sent")


def _check_heads(chain: str, lines: Sequence[Line], entries: Sequence[Stored], verdict: Judgement) -> None:
    """Every head that was ever shown is a head of the one history there is."""
    for line in lines:
        if line.kind == "head" and line.receipt is not None:
            size = line.receipt["size"]
            stands = entries[size - 1].chain_hash if 0 < size <= len(entries) else genesis(chain).chain_hash.hex()
            if size > len(entries) or line.receipt["chain_hash"] != stands:
                verdict.wrong.append(f"{chain}: the head shown at size {size} is of another history")
