"""Answers the signer's clients, each on its own connection; what they send is not trusted."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import structlog

from journal.core.errors import BusyError, JournalError, OperatorError, SignerError
from journal.signer import protocol
from journal.signer.protocol import Message, decode_evidence, decode_request, encode, failure_of, receive

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from journal.database.heads import LeafRun, LeafSpan, SealHeadRow
    from journal.signer.evidence import Rule, StoredSeal
    from journal.signer.protocol import Request
    from journal.signer.session import Session
    from journal.signer.signing import Signer

    Answer = TypeVar("Answer", bound=Message)

log = structlog.get_logger()

# How long a client may keep the signer waiting: for a frame, or to take one. It then loses its session.
CLIENT_SECONDS = 30.0
CONNECTIONS = 32


class Server:
    """Serves one signer to any number of connections."""

    def __init__(self, signer: Signer) -> None:
        """Serve this signer."""
        self._signer = signer
        self._connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection until either side ends it."""
        connection = _Connection(reader, writer)
        self._connections += 1
        try:
            if self._connections > CONNECTIONS:
                raise BusyError(f"the signer has {CONNECTIONS} clients already", retry_after_seconds=1)  # noqa: TRY301
            identity = self._signer.identity
            await connection.send(protocol.Greeting(service=identity.service, certificate=identity.fingerprint))
            while True:
                await self._answer(connection, decode_request(await connection.receive()))
        except ConnectionError:
            pass  # the client has gone, or hangs: its session ends here
        except JournalError as error:
            await connection.send_last(failure_of(error))
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            reason = f"the signer cannot use its files ({where}{error.strerror}): put that right"
            await connection.send_last(failure_of(OperatorError(reason)))
        except Exception as error:  # noqa: BLE001 - whatever a client sends, the others are served on
            log.error("a request to the signer failed", kind=type(error).__name__)
            await connection.send_last(failure_of(SignerError(f"the signer failed ({type(error).__name__})")))
        finally:
            self._connections -= 1
            writer.close()

    async def _answer(self, connection: _Connection, request: Request) -> None:
        signer = self._signer
        match request:
            case protocol.Look():
                await connection.send(await signer.look(request.number, request.text))
            case protocol.Sign():
                signature = await signer.sign(request.content, request.at)
                await connection.send(protocol.Signature(signature=signature))
            case protocol.SignDocument():
                signature = await signer.sign_document(request.attributes, request.content, request.at)
                await connection.send(protocol.Signature(signature=signature))
            case protocol.VouchForKey():
                text, signature = signer.vouch_for_key(request.key)
                await connection.send(protocol.Delegation(text=text, signature=signature))
            case protocol.Begin():
                async with signer.session(connection, is_lost=request.is_lost) as session:
                    await connection.send(protocol.Ok())
                    while True:
                        content = await connection.receive()
                        await connection.send(await _step(session, decode_request(content), len(content)))
            case _:
                raise _out_of_turn(request)


async def _step(session: Session, request: Request, size: int) -> Message:
    """Do one step of a session, asked for in so many bytes; return the answer."""
    match request:
        case protocol.Compare():
            await session.compare(request.stored)
        case protocol.Offer():
            session.offer(request.heads, size)
        case protocol.Propose():
            return await session.propose(request.day, even_if_still=request.even_if_still)
        case protocol.Done():
            await session.done()
        case protocol.Learn():
            await session.learn(request.stored, declares_loss=request.declares_loss)
        case protocol.Leave():
            return protocol.Left(until=await session.leave())
        case _:
            raise _out_of_turn(request)
    return protocol.Ok()


def _out_of_turn(request: Request) -> JournalError:
    return SignerError(f"{type(request).__name__} comes out of turn")


class _Connection:
    """One client: frames either way, and the evidence that it is asked for."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def receive(self) -> bytes:
        try:
            return await receive(self._reader, CLIENT_SECONDS)
        except (EOFError, TimeoutError, OSError) as error:
            raise ConnectionAbortedError from error

    async def send(self, message: Message) -> None:
        self._writer.write(encode(message))
        try:
            async with asyncio.timeout(CLIENT_SECONDS):
                await self._writer.drain()
        except (TimeoutError, OSError) as error:
            raise ConnectionAbortedError from error

    async def send_last(self, message: Message) -> None:
        with suppress(ConnectionError):
            await self.send(message)

    async def _ask(self, question: Message, kind: type[Answer]) -> Answer:
        await self.send(question)
        return decode_evidence(await self.receive(), kind)

    async def tenants(self) -> set[str]:
        return set((await self._ask(protocol.AskTenants(), protocol.Tenants)).found)

    async def rules(self) -> dict[str, Rule]:
        return {rule.category: rule for rule in (await self._ask(protocol.AskRules(), protocol.Rules)).found}

    async def fences(self, categories: Sequence[str]) -> Mapping[str, date]:
        return (await self._ask(protocol.AskFences(categories=list(categories)), protocol.Fences)).found

    async def ended_tenants(self) -> set[str]:
        return set((await self._ask(protocol.AskEnded(), protocol.Tenants)).found)

    async def leaves(self, spans: Sequence[LeafSpan], since: date | None, through: date | None) -> list[LeafRun]:
        question = protocol.AskLeaves(spans=list(spans), since=since, through=through)
        return (await self._ask(question, protocol.Leaves)).found

    async def close_seals(self, since: date) -> list[StoredSeal]:
        return (await self._ask(protocol.AskCloses(since=since), protocol.Closes)).found

    async def heads_of_seal(self, number: int) -> list[SealHeadRow] | None:
        return (await self._ask(protocol.AskHeads(number=number), protocol.Heads)).found

    async def last_signature(self) -> bytes:
        return (await self._ask(protocol.AskSignature(), protocol.LastSignature)).found
