"""What the clients saw, kept outside the service: a line for every event sent, one for every answer.

A line is on disk before what it says is acted upon, so that nothing a client was told can be forgotten here.
"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import asdict, dataclass
from hashlib import sha256
from time import monotonic_ns
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Kind = Literal["sent", "ok", "refused", "unknown", "head"]


def content_hash(event: dict[str, Any]) -> str:
    """Return the SHA-256 of an event in a spelling of the tests' own (no code of the service)."""
    text = json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing a client knows. `at` is its monotonic clock, in nanoseconds.

    sent      the event is about to be sent
    ok        it was acknowledged, with `receipt`
    refused   it was refused for good
    unknown   no answer, or one that says to ask again
    head      no event: `receipt` is a head that the service showed, `chain_hash` at `size`
    """

    kind: Kind
    at: int
    chain: str
    id: str = ""
    content: str = ""
    receipt: dict[str, Any] | None = None


class Ledger:
    """Appends lines; concurrent writers share one fsync."""

    def __init__(self, path: Path) -> None:
        """Create the file."""
        self.path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._lines: list[bytes] = []
        self._lock = asyncio.Lock()

    async def write(self, lines: Sequence[Line]) -> None:
        """Keep the lines; they are on disk on return."""
        mine = self._lines
        mine += [json.dumps(asdict(line)).encode() + b"\n" for line in lines]
        async with self._lock:
            if self._lines is mine:  # else whoever held the lock took them along
                self._lines = []
                await asyncio.to_thread(self._sync, b"".join(mine))

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _sync(self, content: bytes) -> None:
        written = 0
        while written < len(content):
            written += os.write(self._descriptor, content[written:])
        os.fsync(self._descriptor)


def now() -> int:
    """Return the clients' clock."""
    return monotonic_ns()


def read_ledger(path: Path) -> list[Line]:
    """Read every line back."""
    return [Line(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
