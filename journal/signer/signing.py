"""What the signer signs besides seals, and what it says of its memory to whoever asks."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from journal.clock import CLOCK_DEPARTURE_LIMIT, Clock, ClockGuard
from journal.core.errors import OperatorError, SignerError, VerificationError
from journal.core.receipt import ReceiptKey
from journal.core.times import format_seconds
from journal.database.heads import SealTrees
from journal.signer.identity import to_second
from journal.signer.judge import Judge
from journal.signer.protocol import CONTENT_LIMIT_BYTES, DOCUMENT_LIMIT_BYTES, View
from journal.signer.session import Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime
    from pathlib import Path

    from journal.signer.evidence import Evidence, HeldChain
    from journal.signer.identity import SigningIdentity
    from journal.signer.memory import Memory

# So long can a stolen receipt key be used.
RECEIPT_KEY_DAYS = timedelta(days=30)
# A long extract is signed at its end, with the time at which its manifest was made.
SIGNING_DELAY_LIMIT = timedelta(days=1)


class Signer:
    """The signing key, the memory and the clock, and what they are used for."""

    def __init__(self, *, identity: SigningIdentity, memory: Memory, trust_path: Path, clock: Clock) -> None:
        """Sign under this identity; `trust_path` holds the trust anchors for seals made before (PEM)."""
        self.identity = identity
        self.memory = memory
        self.trust_path = trust_path
        self.guard = ClockGuard(clock)
        self.trees = SealTrees(identity.service)
        self.judge = Judge(memory=memory, service_name=identity.service)
        # Chains that do not follow any more, until a client was told.
        self.untold: list[HeldChain] = []

    async def sign(self, content: bytes, at: datetime) -> bytes:
        """Return the detached signature of a content. Raises SignerError if it is too long or a seal, OperatorError."""
        if len(content) > CONTENT_LIMIT_BYTES:
            raise SignerError(f"{len(content)} bytes are not signed: {CONTENT_LIMIT_BYTES} are the most")
        await self._check_time(at)
        try:
            return self.identity.sign(content, at)
        except ValueError as error:
            raise SignerError(str(error)) from error

    async def sign_document(self, attributes: bytes, content: bytes, at: datetime) -> bytes:
        """Return the bare signature of a PDF's signed attributes. Raises SignerError if they are not, OperatorError."""
        if len(content) > DOCUMENT_LIMIT_BYTES:
            raise SignerError(f"a document of {len(content)} bytes is not signed: {DOCUMENT_LIMIT_BYTES} are the most")
        await self._check_time(at)
        try:
            return await asyncio.to_thread(self.identity.sign_document, attributes, content, at)
        except (ValueError, VerificationError) as error:
            raise SignerError(f"no document is signed: {error}") from error

    def vouch_for_key(self, key: bytes) -> tuple[bytes, bytes]:
        """Return the delegation of a receipt key, from now on, and its signature.

        It ends with the certificate, after RECEIPT_KEY_DAYS at the latest. Raises SignerError if that is no such key,
        OperatorError.
        """
        now = to_second(self.guard.check())
        try:
            until = min(now + RECEIPT_KEY_DAYS, self.identity.not_after)
            delegation = ReceiptKey(self.identity.service, now, max(now, until), key)
        except ValueError as error:
            raise SignerError(str(error)) from error
        return delegation.text, self.identity.sign_receipt_key(delegation)

    async def _check_time(self, at: datetime) -> None:
        """Raise OperatorError if a time is not about that of the signer's clock."""
        now = self.guard.check()
        if now - SIGNING_DELAY_LIMIT <= at <= now + CLOCK_DEPARTURE_LIMIT:
            return
        await asyncio.to_thread(self.memory.look)
        left = self.memory.left_until
        if now < at and left is not None and at <= left:
            return
        raise OperatorError(
            f"nothing is signed with the time {format_seconds(at.replace(microsecond=0))}: the signer's clock says "
            f"{format_seconds(now.replace(microsecond=0))}. Correct the clock (timedatectl)"
        )

    async def look(self, number: int, text: bytes | None) -> View:
        """Return what the memory says of the last stored seal. Raises OSError."""
        memory = self.memory
        try:
            await asyncio.to_thread(memory.look)
            found = memory.difference(number, text)
        except OperatorError as error:
            found = str(error)
        return View(
            number=memory.number, difference=found, held=list(memory.held_back.values()), left_until=memory.left_until
        )

    @asynccontextmanager
    async def session(self, evidence: Evidence, *, is_lost: bool) -> AsyncIterator[Session]:
        """Use the memory alone. Raises as `Memory.held` does."""
        async with self.memory.held(is_lost=is_lost):
            yield Session(self, evidence)
