"""A small mail server (RFC 5321) that keeps what it is sent, and refuses as often as it is told to."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from email.message import EmailMessage


@dataclass(slots=True, kw_only=True)
class MailServer:
    """What arrived, and how many connections are still to be refused."""

    port: int = 0
    refusals: int = 0
    connections: int = 0
    arrived: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak with one client."""
        self.connections += 1
        is_refused = self.refusals > 0
        self.refusals -= is_refused
        writer.write(b"421 busy\r\n" if is_refused else b"220 mail.test ESMTP\r\n")
        while not is_refused and (line := await reader.readline()):
            verb = line[:4].upper()
            if verb == b"DATA":
                writer.write(b"354 go on\r\n")
                content = await reader.readuntil(b"\r\n.\r\n")
                self.arrived.append(message_from_bytes(content[:-5], policy=policy.default))
            elif verb == b"RCPT":
                self.recipients.append(line.decode().partition(":")[2].strip())
            writer.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")
            if verb == b"QUIT":
                break
        writer.close()


@asynccontextmanager
async def running_mail_server() -> AsyncIterator[MailServer]:
    """Run it on a free port of the loopback."""
    mail = MailServer()
    server = await asyncio.start_server(mail.serve, "127.0.0.1", 0)
    mail.port = server.sockets[0].getsockname()[1]
    async with server:
        yield mail
