"""Where notices go: a mail server (SMTP) and a webhook (JSON over HTTP). Both are tried a few times, then given up."""

from __future__ import annotations

import asyncio
import hmac
import json
import smtplib
import socket
import ssl
from base64 import b64encode
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from hashlib import sha256
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp

from journal.core.errors import OperatorError
from journal.core.times import format_seconds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from journal.settings import Settings

NOTICE_TYPE = "fr.openepm.journal.notice"
ATTEMPTS = 3
PAUSE_SECONDS = 5.0
TIMEOUT_SECONDS = 10.0
SESSION_SECONDS = 60.0
# What telling may raise. An address or a text that cannot be a mail's is a ValueError.
FAILURES = (smtplib.SMTPException, aiohttp.ClientError, OSError, ValueError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What to tell: a line for the subject, and the lines of the text. Nothing personal."""

    service: str
    host: str
    subject: str
    lines: Sequence[str]

    @property
    def text(self) -> str:
        """Return all of it."""
        return "\n".join([self.subject, "", *self.lines])


class Channel(Protocol):
    """One way to tell."""

    name: str

    async def send(self, notice: Notice) -> None:
        """Tell once. Raises OSError, SMTPException, or aiohttp.ClientError."""
        ...


class Mail:
    """Mail, by a server that takes it from this host."""

    name = "mail"

    def __init__(self, settings: Settings) -> None:
        """Read what says whom to tell, and by which server. Raises OperatorError."""
        self._to = settings.notify_mail_to
        self._server = SmtpServer(settings)

    async def send(self, notice: Notice) -> None:
        """Send one mail to all addresses."""
        message = EmailMessage()
        message["From"] = self._server.sender
        message["To"] = ", ".join(self._to)
        message["Subject"] = subject_of(notice.subject)
        message["Date"] = formatdate()
        message["Message-ID"] = make_msgid(domain=notice.service)
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
        message.set_content("\n".join(notice.lines))
        await asyncio.to_thread(self._send, message)

    def _send(self, message: EmailMessage) -> None:
        with self._server.connect() as server:
            server.send_message(message)


class SmtpServer:
    """The mail server of the settings. Its library is the standard one: it blocks, but only a process of its own."""

    def __init__(self, settings: Settings) -> None:
        """Read the password, if one is set. Raises OperatorError."""
        host, _, port = settings.notify_smtp.rpartition(":")
        if not host or not port.isdigit():
            raise OperatorError(f"setting notify_smtp is {settings.notify_smtp!r}: write it host:port")
        self._host, self._port = host.strip("[]"), int(port)
        self._tls = settings.notify_smtp_tls
        self._user = settings.notify_smtp_user
        self._password = _read_secret(settings.notify_smtp_password_file)
        if not settings.notify_mail_from:
            raise OperatorError("setting notify_mail_to needs notify_mail_from, the address that mail comes from")
        self.sender = settings.notify_mail_from

    @contextmanager
    def connect(self, *, limit_seconds: float = SESSION_SECONDS) -> Iterator[smtplib.SMTP]:
        """Lend a session, cut off after `limit_seconds`: a server that answers by single bytes holds up nothing.

        Raises OSError, SMTPException.
        """
        server = self._connect(limit_seconds)
        try:
            if self._tls == "starttls":
                server.starttls(context=ssl.create_default_context())
            if self._user:
                server.login(self._user, self._password)
            yield server
            with suppress(smtplib.SMTPException, OSError):
                server.quit()  # what was accepted is accepted, whatever becomes of the farewell
        finally:
            server.close()

    def _connect(self, limit_seconds: float) -> smtplib.SMTP:
        if self._tls == "tls":
            context = ssl.create_default_context()
            return _LimitedTls(self._host, self._port, limit_seconds, timeout=TIMEOUT_SECONDS, context=context)
        return _Limited(self._host, self._port, limit_seconds, timeout=TIMEOUT_SECONDS)


class _Limited(smtplib.SMTP):
    """A session that is cut off after a time, its greeting included."""

    def __init__(self, host: str, port: int, limit_seconds: float, **options: Any) -> None:
        self._limit = Timer(limit_seconds, self._cut_off)
        self._limit.daemon = True
        self._limit.start()
        try:
            super().__init__(host, port, **options)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._limit.cancel()
        super().close()

    def _cut_off(self) -> None:
        if self.sock is not None:
            with suppress(OSError):
                # Not that of TLS, which says goodbye first.
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


class _LimitedTls(_Limited, smtplib.SMTP_SSL):
    """The same, with TLS from the start."""


class Webhook:
    """A POST of a CloudEvent; its `text` is what Mattermost, Rocket.Chat and Slack show.

    With a secret it is signed as Standard Webhooks say: whoever has the secret can tell that this host sent it, when,
    and whether it was sent before.
    """

    name = "webhook"

    def __init__(self, url: str, secret: bytes = b"") -> None:
        """Post there. The address may hold a secret: it is never shown."""
        self._url = url
        self._secret = secret

    async def send(self, notice: Notice) -> None:
        """Post it once."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        identifier, at = str(uuid4()), datetime.now(UTC).replace(microsecond=0)
        body = json.dumps(
            {
                "data": {"host": notice.host, "lines": list(notice.lines), "subject": notice.subject},
                "datacontenttype": "application/json",
                "id": identifier,
                "source": f"/journal/{notice.service}",
                "specversion": "1.0",
                "text": notice.text,
                "time": format_seconds(at),
                "type": NOTICE_TYPE,
            }
        ).encode()
        # Chat programs know no other type; a program that checks the signature does.
        headers = {"Content-Type": "application/json"}
        if self._secret:
            signed = f"{identifier}.{int(at.timestamp())}.".encode() + body
            headers = {
                "Content-Type": "application/cloudevents+json",
                "webhook-id": identifier,
                "webhook-signature": f"v1,{b64encode(hmac.digest(self._secret, signed, sha256)).decode()}",
                "webhook-timestamp": str(int(at.timestamp())),
            }
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(self._url, data=body, headers=headers, allow_redirects=False) as answer,
        ):
            if answer.status // 100 != 2:  # noqa: PLR2004  (2xx: taken)
                raise OSError(f"it answered {answer.status}")


def channels(settings: Settings) -> list[Channel]:
    """Return the channels that are set. Raises OperatorError."""
    found: list[Channel] = []
    if settings.notify_mail_to:
        found.append(Mail(settings))
    if settings.notify_webhook:
        if not _is_private(settings.notify_webhook):
            raise OperatorError(
                "setting notify_webhook is no https:// address: anybody on the way could read and forge"
            )
        found.append(Webhook(settings.notify_webhook, _read_secret(settings.notify_webhook_secret_file).encode()))
    return found


async def deliver(
    channel: Channel, notice: Notice, *, pause: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> str | None:
    """Tell, a few times if need be; return why it failed, else None. The reason names no address and no secret."""
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            await pause(PAUSE_SECONDS)
        try:
            await channel.send(notice)
        except FAILURES as error:
            reason = why(error)
        else:
            return None
    return reason


def subject_of(text: str) -> str:
    """Return a text as it may be a Subject: the mail library would decode an encoded word in it, line ends included."""
    return text.replace("=?", "= ?")


def why(error: Exception) -> str:
    """Return why something was not told, without an address or a secret."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return f"the mail server refused the address with {min(code for code, _ in error.recipients.values())}"
    if isinstance(error, smtplib.SMTPResponseException):
        return f"the mail server answered {error.smtp_code}"
    if isinstance(error, OSError) and not isinstance(error, (smtplib.SMTPException, aiohttp.ClientError, TimeoutError)):
        return error.strerror or str(error)
    return type(error).__name__


def _is_private(url: str) -> bool:
    """Tell whether what is posted there goes through TLS, or does not leave this host."""
    parts = urlsplit(url)
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in {"127.0.0.1", "::1", "localhost"})


def _read_secret(path: str | None) -> str:
    if path is None:
        return ""
    try:
        secret = Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise OperatorError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise OperatorError(f"{path} is no text in UTF-8: write the secret in letters and digits") from error
    if not secret:
        raise OperatorError(f"{path} is empty: nothing would be signed, or proven, with it")
    return secret
