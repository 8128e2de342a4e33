"""Where notices go: a mail server (SMTP) and a webhook (JSON over HTTP). Both are tried a few times, then given up."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import aiohttp

from journal.core.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from journal.settings import Settings

ATTEMPTS = 3
PAUSE_SECONDS = 5.0
TIMEOUT_SECONDS = 10.0


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
        """Read the password, if one is set. Raises OperatorError."""
        self._to = settings.notify_mail_to
        self._from = settings.notify_mail_from
        host, _, port = settings.notify_smtp.rpartition(":")
        if not host or not port.isdigit():
            raise OperatorError(f"setting notify_smtp is {settings.notify_smtp!r}: write it host:port")
        self._host, self._port = host.strip("[]"), int(port)
        self._tls = settings.notify_smtp_tls
        self._user = settings.notify_smtp_user
        self._password = _read_secret(settings.notify_smtp_password_file)
        if not self._from:
            raise OperatorError("setting notify_mail_to needs notify_mail_from, the address that mail comes from")

    async def send(self, notice: Notice) -> None:
        """Send one mail to all addresses."""
        await asyncio.to_thread(self._send, notice)

    def _send(self, notice: Notice) -> None:
        message = EmailMessage()
        message["From"] = self._from
        message["To"] = ", ".join(self._to)
        message["Subject"] = notice.subject
        message["Date"] = formatdate()
        message["Message-ID"] = make_msgid(domain=notice.service)
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
        message.set_content("\n".join(notice.lines))
        with self._connect() as server:
            if self._user:
                server.login(self._user, self._password)
            server.send_message(message)

    def _connect(self) -> smtplib.SMTP:
        if self._tls == "tls":
            context = ssl.create_default_context()
            return smtplib.SMTP_SSL(self._host, self._port, timeout=TIMEOUT_SECONDS, context=context)
        server = smtplib.SMTP(self._host, self._port, timeout=TIMEOUT_SECONDS)
        if self._tls == "starttls":
            try:
                server.starttls(context=ssl.create_default_context())
            except BaseException:
                server.close()
                raise
        return server


class Webhook:
    """A POST of JSON; its `text` is what Mattermost, Rocket.Chat and Slack show."""

    name = "webhook"

    def __init__(self, url: str) -> None:
        """Post there. The address may hold a secret: it is never shown."""
        self._url = url

    async def send(self, notice: Notice) -> None:
        """Post it once."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        body = {"service": notice.service, "host": notice.host, "text": notice.text}
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(self._url, json=body, allow_redirects=False) as answer,
        ):
            if answer.status // 100 != 2:  # noqa: PLR2004  (2xx: taken)
                raise OSError(f"it answered {answer.status}")


def channels(settings: Settings) -> list[Channel]:
    """Return the channels that are set. Raises OperatorError."""
    found: list[Channel] = []
    if settings.notify_mail_to:
        found.append(Mail(settings))
    if settings.notify_webhook:
        found.append(Webhook(settings.notify_webhook))
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
        except smtplib.SMTPResponseException as error:
            reason = f"the mail server answered {error.smtp_code}"
        except (smtplib.SMTPException, aiohttp.ClientError, TimeoutError) as error:
            reason = type(error).__name__
        except OSError as error:
            reason = error.strerror or str(error)
        else:
            return None
    return reason


def _read_secret(path: str | None) -> str:
    if path is None:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise OperatorError(f"{path} cannot be read: {error.strerror}") from error
