"""A small mail server (RFC 5321) that keeps what it is sent, and refuses as often as it is told to.

It may demand TLS from the start or by STARTTLS (RFC 3207), and a password (RFC 4954, PLAIN).
"""

from __future__ import annotations

import asyncio
import base64
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator
    from email.message import EmailMessage


@dataclass(slots=True, kw_only=True)
class MailServer:
    """What arrived, and how many connections are still to be refused.

    `tls` is offered by STARTTLS, and demanded, unless it is `implicit`; `secret` is (user, password). An address of
    `unknown` is refused. One that `dawdles` greets without end.
    """

    port: int = 0
    refusals: int = 0
    connections: int = 0
    tls: ssl.SSLContext | None = None
    implicit: bool = False
    secret: tuple[str, str] | None = None
    unknown: set[str] = field(default_factory=set)
    dawdles: bool = False
    arrived: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    # Lines that came in clear: with TLS, what anyone on the way has read.
    in_clear: list[bytes] = field(default_factory=list)
    _serving: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak with one client, and close its connection however that ends."""
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            await self._speak(reader, writer)
        finally:
            writer.close()
            self._serving.discard(task)

    async def end(self) -> None:
        """Close what is open."""
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _speak(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        is_refused = self.refusals > 0
        self.refusals -= is_refused
        while self.dawdles and not reader.at_eof():
            writer.write(b"220-wait\r\n")
            await writer.drain()
            await asyncio.sleep(0.05)
        is_secure, is_known = self.implicit or self.tls is None, self.secret is None
        writer.write(b"421 busy\r\n" if is_refused else b"220 mail.test ESMTP\r\n")
        while not is_refused and (line := await reader.readline()):
            if self.tls is None or not is_secure:
                self.in_clear.append(line)
            match line[:4].upper():
                case b"EHLO":
                    offers = [b"mail.test"] + [b"STARTTLS"] * (not is_secure) + [b"AUTH PLAIN"] * (not is_known)
                    writer.writelines(b"250-%s\r\n" % offer for offer in offers[:-1])
                    writer.write(b"250 %s\r\n" % offers[-1])
                case b"STAR" if self.tls is not None:
                    writer.write(b"220 go on\r\n")
                    await writer.start_tls(self.tls)
                    is_secure = True
                case b"QUIT":
                    writer.write(b"221 bye\r\n")
                    break
                case b"AUTH" if is_secure:
                    is_known = self._knows(line)
                    writer.write(b"235 known\r\n" if is_known else b"535 unknown\r\n")
                case _ if not (is_secure and is_known):
                    writer.write(b"530 STARTTLS and a password first\r\n")
                case verb:
                    writer.write(await self._take(verb, line, reader, writer))

    async def _take(
        self, verb: bytes, line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes:
        """Take what makes a mail; return the answer."""
        if verb == b"DATA":
            writer.write(b"354 go on\r\n")
            content = await reader.readuntil(b"\r\n.\r\n")
            self.arrived.append(message_from_bytes(content[:-5], policy=policy.default))
        elif verb == b"RCPT":
            address = line.decode().partition(":")[2].strip()
            if address.strip("<>") in self.unknown:
                return b"550 nobody of that name\r\n"
            self.recipients.append(address)
        return b"250 ok\r\n"

    def _knows(self, line: bytes) -> bool:
        """Tell whether a line `AUTH PLAIN …` holds the secret."""
        assert self.secret is not None
        _, _, given = line.strip().rpartition(b" ")
        return base64.b64decode(given).decode().split("\0")[1:] == list(self.secret)


@asynccontextmanager
async def running_mail_server(
    *, tls: ssl.SSLContext | None = None, implicit: bool = False, secret: tuple[str, str] | None = None
) -> AsyncIterator[MailServer]:
    """Run it on a free port of the loopback."""
    mail = MailServer(tls=tls, implicit=implicit, secret=secret)
    server = await asyncio.start_server(mail.serve, "127.0.0.1", 0, ssl=tls if implicit else None)
    mail.port = server.sockets[0].getsockname()[1]
    async with server:
        yield mail
    await mail.end()
