"""The signer as its clients see it: each exchange on a connection of its own, with a limit to every wait."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from journal.core.errors import JournalError, SignerError
from journal.signer import protocol
from journal.signer.memory import LOCK_SECONDS
from journal.signer.protocol import CHAINS_AT_ONCE, Message, Still, decode_reply, encode, error_of, receive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import date, datetime

    from journal.database.heads import HeadRow, SealHeadRow
    from journal.signer.evidence import Evidence, HeldChain, StoredSeals
    from journal.signer.identity import Certified
    from journal.signer.protocol import Reply, View

Wanted = TypeVar("Wanted", bound=Message)

ANSWER_SECONDS = 30.0
# Until another client's session ends.
BEGIN_SECONDS = LOCK_SECONDS + ANSWER_SECONDS

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Connector(Protocol):
    """A way to the signer."""

    remedy: str

    @property
    def greeting_seconds(self) -> float:
        """Return how long its greeting may take."""
        ...

    def connect(self) -> AbstractAsyncContextManager[Streams]:
        """Open a connection. Raises SignerError, OperatorError, OSError."""
        ...

    async def replace(self) -> None:
        """End a signer of its own that hangs: the next connection starts another."""
        ...

    async def close(self) -> None:
        """End what was started to reach it."""
        ...


class SignerClient:
    """Asks the signer, which holds the key of the `identity`'s certificate."""

    def __init__(self, connector: Connector, identity: Certified) -> None:
        """Reach the signer this way; nothing is opened yet."""
        self._connector = connector
        self.identity = identity

    async def sign(self, content: bytes, at: datetime) -> bytes:
        """Return the detached signature (DER) of a content that is no seal, with the signing time `at`.

        Raises SignerError, OperatorError, ExpiredCertificateError.
        """
        async with self._exchange() as exchange:
            return (await exchange.ask(protocol.Sign(content=content, at=at), protocol.Signature)).signature

    async def sign_document(self, attributes: bytes, content: bytes, at: datetime) -> bytes:
        """Return the bare signature of a PDF's signed attributes, which cover `content`. Raises as `sign` does."""
        async with self._exchange() as exchange:
            request = protocol.SignDocument(attributes=attributes, content=content, at=at)
            return (await exchange.ask(request, protocol.Signature)).signature

    async def vouch_for_key(self, key: bytes) -> tuple[bytes, bytes]:
        """Return the delegation of a receipt key (SubjectPublicKeyInfo) and its signature. Raises as `sign` does."""
        async with self._exchange() as exchange:
            found = await exchange.ask(protocol.VouchForKey(key=key), protocol.Delegation)
        return found.text, found.signature

    async def look(self, number: int, text: bytes | None) -> View:
        """Return what the signer's memory says of the last stored seal. Raises SignerError, OperatorError."""
        async with self._exchange() as exchange:
            return await exchange.ask(protocol.Look(number=number, text=text), protocol.View)

    @asynccontextmanager
    async def session(self, evidence: Evidence, *, is_lost: bool = False) -> AsyncIterator[SealingSession]:
        """Use the signer's memory alone; as if there were none, if `is_lost` and it was altered.

        Raises BusyError if another client does for a minute, SignerError, OperatorError; what the evidence raises.
        """
        async with self._exchange() as exchange:
            await exchange.ask(protocol.Begin(is_lost=is_lost), protocol.Ok, seconds=BEGIN_SECONDS)
            yield SealingSession(exchange, evidence)

    async def close(self) -> None:
        """End the signer, if this client has started one."""
        await self._connector.close()

    @asynccontextmanager
    async def _exchange(self) -> AsyncIterator[_Exchange]:
        remedy = self._connector.remedy
        async with AsyncExitStack() as stack:
            try:
                reader, writer = await stack.enter_async_context(self._connector.connect())
            except OSError as error:
                reason = error.strerror or type(error).__name__
                raise SignerError(f"the signer cannot be reached ({reason}): {remedy}") from error
            exchange = _Exchange(reader, writer, remedy)
            try:
                greeting = await exchange.read(protocol.Greeting, self._connector.greeting_seconds)
            except SignerError as error:
                if isinstance(error.__cause__, TimeoutError):
                    await self._connector.replace()
                raise
            if greeting.certificate != self.identity.fingerprint:
                raise SignerError(
                    f"the signer signs under another certificate than JOURNAL_SIGNING_CERT names: {remedy}; then "
                    "restart the service"
                )
            yield exchange


class _Exchange:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, remedy: str) -> None:
        self._reader = reader
        self._writer = writer
        self.remedy = remedy

    async def ask(
        self,
        request: Message,
        kind: type[Wanted],
        *,
        evidence: Evidence | None = None,
        seconds: float = ANSWER_SECONDS,
    ) -> Wanted:
        """Send a request and return its answer, giving the evidence that is asked for before."""
        await self._send(request)
        while True:
            reply = await self._read(seconds)
            if isinstance(reply, kind):
                return reply
            if evidence is None:
                raise self._strange(reply)
            found = await _gather(evidence, reply)
            if found is None:
                raise self._strange(reply)
            await self._send(found)

    async def read(self, kind: type[Wanted], seconds: float) -> Wanted:
        reply = await self._read(seconds)
        if not isinstance(reply, kind):
            raise self._strange(reply)
        return reply

    async def _send(self, message: Message) -> None:
        # A seal's heads, or leaf hashes, take megabytes.
        frame = await asyncio.to_thread(encode, message)
        # What the signer said last explains why it closed the connection.
        with suppress(OSError):
            self._writer.write(frame)
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._writer.drain()

    async def _read(self, seconds: float) -> Reply:
        try:
            reply = await asyncio.to_thread(decode_reply, await receive(self._reader, seconds))
        except TimeoutError as error:
            raise SignerError(f"the signer has not answered for {seconds:.0f} s: {self.remedy}") from error
        except (EOFError, OSError) as error:
            raise SignerError(f"the signer has ended while it was asked: {self.remedy}") from error
        except SignerError as error:
            raise SignerError(f"what answers as the signer says {error}: {self.remedy}") from error
        if isinstance(reply, protocol.Failure):
            raise error_of(reply)
        return reply

    def _strange(self, reply: Reply) -> JournalError:
        return SignerError(f"what answers as the signer says {type(reply).__name__} out of turn: {self.remedy}")


async def _gather(evidence: Evidence, question: Reply) -> Message | None:
    """Return the evidence that is asked for; None if the message asks for none."""
    found: Message | None = None
    match question:
        case protocol.AskTenants():
            found = protocol.Tenants(found=sorted(await evidence.tenants()))
        case protocol.AskRules():
            found = protocol.Rules(found=list((await evidence.rules()).values()))
        case protocol.AskFences():
            found = protocol.Fences(found=dict(await evidence.fences(question.categories)))
        case protocol.AskEnded():
            found = protocol.Tenants(found=sorted(await evidence.ended_tenants()))
        case protocol.AskLeaves():
            found = protocol.Leaves(found=await evidence.leaves(question.spans, question.since, question.through))
        case protocol.AskCloses():
            found = protocol.Closes(found=await evidence.close_seals(question.since))
        case protocol.AskHeads():
            found = protocol.Heads(found=await evidence.heads_of_seal(question.number))
        case protocol.AskSignature():
            found = protocol.LastSignature(found=await evidence.last_signature())
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A seal, with the heads that moved since the last stored one; `told` are chains newly held back."""

    text: bytes
    signature: bytes
    moved: list[SealHeadRow]
    told: list[HeldChain]


class SealingSession:
    """The exclusive use of the signer's memory, until its block ends."""

    def __init__(self, exchange: _Exchange, evidence: Evidence) -> None:
        """Answer the signer's questions with this evidence."""
        self._exchange = exchange
        self._evidence = evidence

    async def compare(self, stored: StoredSeals) -> None:
        """Have the last stored seals compared with those that were signed. Raises OperatorError where they differ."""
        await self._exchange.ask(protocol.Compare(stored=stored), protocol.Ok, evidence=self._evidence)

    async def propose(self, day: date | None, heads: Sequence[HeadRow], *, even_if_still: bool) -> Sealed | Still:
        """Have the next seal made over these heads, after `compare`. Raises OperatorError, StoreError."""
        for start in range(0, len(heads), CHAINS_AT_ONCE):
            await self._exchange.ask(protocol.Offer(heads=list(heads[start : start + CHAINS_AT_ONCE])), protocol.Ok)
        request = protocol.Propose(day=day, even_if_still=even_if_still)
        kinds: Any = protocol.Made | protocol.Still
        found: protocol.Made | Still = await self._exchange.ask(request, kinds, evidence=self._evidence)
        if isinstance(found, Still):
            return found
        if found.moved and max(found.moved) >= len(heads):
            raise SignerError(f"what answers as the signer has sealed another head: {self._exchange.remedy}")
        moved = found.instead
        for start in range(0, len(found.moved), CHAINS_AT_ONCE):
            moved += [heads[place].sealed for place in found.moved[start : start + CHAINS_AT_ONCE]]
            await asyncio.sleep(0)
        return Sealed(text=found.text, signature=found.signature, moved=moved, told=found.told)

    async def done(self) -> None:
        """Tell that the seal just made is stored."""
        await self._exchange.ask(protocol.Done(), protocol.Ok)

    async def learn(self, stored: StoredSeals, *, declares_loss: bool) -> None:
        """Have the memory go on from the last stored seal. Raises OperatorError."""
        request = protocol.Learn(stored=stored, declares_loss=declares_loss)
        await self._exchange.ask(request, protocol.Ok, evidence=self._evidence)

    async def leave(self) -> datetime | None:
        """Accept a last seal of the future, after `compare`; return its time, None if it is not of the future."""
        return (await self._exchange.ask(protocol.Leave(), protocol.Left)).until
