"""Telling somebody: real mail, a real webhook; once, again after a day, at the end, and never anything personal."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import os
import ssl
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from aiohttp import web
from cloudevents.core.bindings.http import HTTPMessage, from_http_event

from journal.core.errors import OperatorError
from journal.core.times import day_of, format_day
from journal.notices.channels import ATTEMPTS, Mail, Notice, channels, deliver
from journal.notices.host import copied_path, problems
from journal.notices.progress import progress_of
from journal.notices.told import AGAIN_SECONDS, Told
from journal.seals.dev_authority import make_development_authority
from journal.settings import Settings
from tests.support import forks
from tests.support.addressees import add_person
from tests.support.edge import CATEGORY, EXTRACTS, TENANT
from tests.support.mail import MailServer, running_mail_server
from tests.support.proxies import make_pair

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.edge import RunningEdge

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVICE = "journal.test"


@dataclass(slots=True, kw_only=True)
class Hook:
    """A webhook: what arrived, and the statuses it answers first."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    arrived: list[dict[str, Any]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        """Take a notice."""
        self.bodies.append(await request.read())
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.arrived.append(json.loads(self.bodies[-1]))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 204)


@asynccontextmanager
async def running_hook() -> AsyncIterator[Hook]:
    """Run a webhook on the loopback."""
    hook = Hook()
    app = web.Application()
    app.router.add_post("/hooks/s3cr3t", hook.take)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        hook.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hooks/s3cr3t"
        yield hook
    finally:
        await runner.cleanup()


@pytest_asyncio.fixture(loop_scope="module")
async def mail() -> AsyncIterator[MailServer]:
    """A mail server."""
    async with running_mail_server() as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def hook() -> AsyncIterator[Hook]:
    """A webhook."""
    async with running_hook() as made:
        yield made


def make_settings(tmp_path: Path, mail: MailServer, hook: Hook, **more: Any) -> Settings:
    """Return settings that tell by both, of a service that has its certificate."""
    identity = tmp_path / "identity"
    if not identity.exists():
        make_development_authority(identity, SERVICE, datetime.now(UTC), trust_path=tmp_path / "trust.pem")
    values = {
        "home": str(tmp_path),
        "listen": "127.0.0.1:1",
        "service_name": SERVICE,
        "notify_mail_to": ("a@example.fr", "b@example.fr"),
        "notify_mail_from": "journal@example.fr",
        "notify_smtp": f"127.0.0.1:{mail.port}",
        "notify_webhook": hook.url,
    }
    return Settings(**(values | more))


async def command(settings: Settings, *arguments: str) -> tuple[int, str]:
    """Run `openepm-journal notify`; return its status and what it said."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JOURNAL_")}
    environment = kept | {
        "JOURNAL_HOME": settings.home,
        "JOURNAL_LISTEN": settings.listen,
        "JOURNAL_SERVICE_NAME": SERVICE,
        "JOURNAL_NOTIFY_MAIL_TO": ",".join(settings.notify_mail_to),
        "JOURNAL_NOTIFY_MAIL_FROM": settings.notify_mail_from or "",
        "JOURNAL_NOTIFY_SMTP": settings.notify_smtp,
        "JOURNAL_NOTIFY_WEBHOOK": settings.notify_webhook or "",
    }
    done = await asyncio.to_thread(forks.run, ["notify", *arguments], environment)
    return done.returncode, done.stderr


async def test_a_unit_that_failed(tmp_path: Path, mail: MailServer, hook: Hook) -> None:
    """Both are told, once an hour however often it fails."""
    settings = make_settings(tmp_path, mail, hook)
    for _ in range(2):
        assert await command(settings, "--unit", "openepm-journal-purge.service") == (0, "")
    (message,) = mail.arrived
    assert mail.recipients == ["<a@example.fr>", "<b@example.fr>"]
    assert str(message["Subject"]).startswith(f"[{SERVICE}] 1 problem on ")
    assert message["Auto-Submitted"] == "auto-generated"
    assert "openepm-journal-purge.service has failed" in message.get_content()
    (posted,) = hook.arrived
    assert (posted["type"], posted["source"]) == ("fr.openepm.journal.notice", f"/journal/{SERVICE}")
    assert "openepm-journal-purge.service has failed" in posted["text"]
    assert (await command(settings, "--unit", "a\nb"))[0] == 2


async def test_a_service_that_does_not_answer(tmp_path: Path, mail: MailServer, hook: Hook) -> None:
    """It is told once; that it is over, once; a channel that failed is told by itself later."""
    settings = make_settings(tmp_path, mail, hook)
    hook.statuses = [500] * ATTEMPTS
    status, said = await command(settings)
    assert (status, len(mail.arrived), len(hook.arrived)) == (1, 1, ATTEMPTS)
    assert said.strip() == "openepm-journal: nothing was told by webhook: it answered 500"
    assert "does not answer" in mail.arrived[0].get_content()
    assert await command(settings) == (0, "")
    assert (len(mail.arrived), len(hook.arrived)) == (1, ATTEMPTS + 1)
    told = json.loads((tmp_path / "notices.json").read_text())
    assert {channel: set(of) for channel, of in told.items()} == {"mail": {"service"}, "webhook": {"service"}}


async def test_what_is_over(edge: RunningEdge, tmp_path: Path, mail: MailServer, hook: Hook) -> None:
    """A service in order is not talked of; what was told before is told to be over, once."""
    settings = make_settings(tmp_path, mail, hook, listen=f"127.0.0.1:{edge.port}")
    assert "check seals" in await problems(settings)
    await edge.service.sealer.seal_open(even_if_still=True)
    edge.clock.offset += timedelta(seconds=1)  # readiness keeps its answer for a second
    await edge.service.snapshot.refresh()
    async with asyncio.timeout(60):
        while await problems(settings) != {}:  # noqa: ASYNC110  (readiness tells nobody that it changes)
            await asyncio.sleep(0.1)
    Told(tmp_path / "notices.json").note("mail", ["service"], [], time.time())
    for _ in range(2):
        assert await command(settings) == (0, "")
    (message,) = mail.arrived
    assert message.get_content().strip() == "over: service"
    assert hook.arrived == []


async def test_what_is_seen_of_the_host(tmp_path: Path, mail: MailServer, hook: Hook) -> None:
    """A certificate that has expired, a copy of the keys that is late: each has its sentence."""
    soon = datetime.fromtimestamp(time.time() - 800 * 86_400, UTC)
    make_development_authority(
        tmp_path / "identity", SERVICE, datetime.now(UTC), not_before=soon, trust_path=tmp_path / "trust.pem"
    )
    settings = make_settings(tmp_path, mail, hook)
    copied_path(settings).touch()
    os.utime(copied_path(settings), (time.time() - 3 * 3600,) * 2)
    found = await problems(settings)
    assert {"service", "keys copy", "certificate"} <= found.keys()
    assert "has expired" in found["certificate"]
    assert "3 h ago" in found["keys copy"]


async def test_a_server_that_is_busy_for_a_moment(tmp_path: Path, mail: MailServer, hook: Hook) -> None:
    """It is asked again, a few times and no more; what is said of a failure names no address and no secret."""
    settings = make_settings(tmp_path, mail, hook)
    notice = Notice(service=SERVICE, host="h", subject="s", lines=["l"])
    post, call = channels(settings)
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    mail.refusals = 2
    assert await deliver(post, notice, pause=pause) is None
    assert (mail.connections, len(mail.arrived), len(pauses)) == (3, 1, 2)
    mail.refusals = 9
    assert await deliver(post, notice, pause=pause) == "the mail server answered 421"
    assert mail.connections == 3 + ATTEMPTS
    hook.statuses = [302] * ATTEMPTS
    assert await deliver(call, notice, pause=pause) == "it answered 302"
    (gone,) = channels(Settings(notify_webhook="http://127.0.0.1:1/s3cr3t"))
    failure = await deliver(gone, notice, pause=pause)
    assert failure is not None
    assert "s3cr3t" not in failure


async def test_a_webhook_with_a_secret(tmp_path: Path, mail: MailServer, hook: Hook) -> None:
    """It is signed over id, time and body; nothing is posted in clear to another host."""
    secret = tmp_path / "webhook.secret"
    secret.write_text("geheim\n")
    _, call = channels(make_settings(tmp_path, mail, hook, notify_webhook_secret_file=str(secret)))
    assert await deliver(call, Notice(service=SERVICE, host="h", subject="s", lines=["l"])) is None
    (headers,), (body,) = hook.headers, hook.bodies
    assert headers["content-type"] == "application/cloudevents+json"
    event = from_http_event(HTTPMessage(headers=headers, body=body))
    assert (event.get_id(), event.get_data()) == (headers["webhook-id"], {"host": "h", "lines": ["l"], "subject": "s"})
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.digest(b"geheim", signed, "sha256")).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    for content, reason in ((b" \n", "is empty"), (b"\xff", "is no text")):
        secret.write_bytes(content)
        with pytest.raises(OperatorError, match=reason):
            channels(make_settings(tmp_path, mail, hook, notify_webhook_secret_file=str(secret)))
    with pytest.raises(OperatorError, match="notify_webhook is no https"):
        channels(Settings(notify_webhook="http://chat.example/s3cr3t"))


async def test_a_commune_is_told_by_the_command(edge: RunningEdge, mail: MailServer) -> None:
    """The timer's command tells what a client of the commune did, once; without a server, nothing is lost."""
    login = "a.roche@albi.example"
    await add_person(edge.service, login, tenant=TENANT, categories=[CATEGORY], mails="extract seals-never")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JOURNAL_")} | {
        "JOURNAL_DSN": edge.installation._dsn,
        "JOURNAL_HOME": edge.service.settings.home,
        "JOURNAL_SIGNER_SOCKET": "none",
        "JOURNAL_NOTIFY_MAIL_FROM": "journal@hebergeur.example",
        "JOURNAL_NOTIFY_CONTACT": "l'astreinte de l'hébergeur, 05 00 00 00 00",
    }
    today = format_day(day_of(edge.clock.now()))
    asked = {"from": today, "to": today, "purpose": "lawfulness", "requester": "Jeanne Obé"}

    async def notify(port: int) -> tuple[int, str]:
        done = await asyncio.to_thread(
            forks.run, ["notify"], environment | {"JOURNAL_NOTIFY_SMTP": f"127.0.0.1:{port}"}
        )
        return done.returncode, done.stderr.strip()

    await notify(mail.port)
    assert (await edge.post(asked, token="client", path=EXTRACTS, media_type="application/json")).status == 200
    assert await notify(1) == (1, "openepm-journal: the communes were not told: Connection refused")
    progress = progress_of(edge.service.settings)
    progress.server.again_at = 0
    progress.keep()
    for _ in range(2):
        assert await notify(mail.port) == (0, "")
    # A test is for the host's own channels, of which there is none here.
    assert forks.run(["notify", "--test"], environment).returncode == 2
    (message,) = mail.arrived
    assert message["To"] == login
    said = " ".join(message.get_content().split())
    assert "Catégorie : Main courante" in said
    assert "Qui appeler : l’astreinte de l’hébergeur, 05 00 00 00 00, puis le délégué" in said
    assert "Jeanne" not in message.as_string()


async def test_a_test_is_always_told(tmp_path: Path, mail: MailServer, hook: Hook) -> None:
    """`notify --test` shows whether notices arrive."""
    settings = make_settings(tmp_path, mail, hook)
    for _ in range(2):
        assert await command(settings, "--test") == (0, "")
    assert (len(mail.arrived), len(hook.arrived)) == (2, 2)
    assert "nothing is wrong" in hook.arrived[0]["text"]


async def test_told_again_after_a_day(tmp_path: Path) -> None:
    """What lasts is told once a day; a damaged file costs one notice too many, not one too few."""
    path = tmp_path / "notices.json"
    Told(path).note("mail", ["service"], [], 1_000_000)
    told = Told(path)
    assert told.due("mail", ["service", "disk home"], 1_000_100, AGAIN_SECONDS) == ["disk home"]
    assert told.due("mail", ["service"], 1_000_000 + AGAIN_SECONDS, AGAIN_SECONDS) == ["service"]
    assert told.due("webhook", ["service"], 1_000_100, AGAIN_SECONDS) == ["service"]
    for damage in ("", "[]", '{"mail": 1}', '{"mail": {"service": "x"}}'):
        path.write_text(damage)
        assert Told(path).due("mail", ["service"], 1_000_100, AGAIN_SECONDS) == ["service"]


@pytest.mark.parametrize("way", ["starttls", "tls"])
async def test_mail_with_tls_and_a_password(
    way: str, tmp_path: Path, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that demands both gets both; nothing goes in clear, and nothing to a server that nobody vouches for."""
    pair = make_pair(tmp_path / "tls", "localhost")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    password = tmp_path / "smtp.password"
    password.write_text("geheim\n", encoding="utf-8")
    asked = {"notify_smtp_tls": way, "notify_smtp_user": "journal", "notify_smtp_password_file": str(password)}
    notice = Notice(service=SERVICE, host="h", subject="a check fails", lines=["look"])

    async def no_pause(_: float) -> None:
        return

    async with running_mail_server(tls=context, implicit=way == "tls", secret=("journal", "geheim")) as server:

        def mail_of(**changes: Any) -> Mail:
            return Mail(
                make_settings(tmp_path, server, hook, **(asked | {"notify_smtp": f"localhost:{server.port}"} | changes))
            )

        assert await deliver(mail_of(), notice, pause=no_pause) is not None, "nobody vouches for its certificate"
        assert server.arrived == []
        monkeypatch.setenv("SSL_CERT_FILE", str(pair.certificate))
        assert await deliver(mail_of(), notice) is None
        assert [str(message["Subject"]) for message in server.arrived] == ["a check fails"]
        # One who listens on the way reads a greeting.
        assert not any(b"AUTH" in line.upper() or b"RCPT" in line.upper() for line in server.in_clear)
        password.write_text("falsch\n", encoding="utf-8")
        reason = await deliver(mail_of(), notice, pause=no_pause)
        assert reason == "the mail server answered 535"
        assert "falsch" not in reason
        if way == "starttls":
            reason = await deliver(mail_of(notify_smtp_tls="none"), notice, pause=no_pause)
            assert reason is not None, "a server that demands TLS takes nothing in clear"
        assert len(server.arrived) == 1


async def test_a_server_without_starttls_gets_nothing(tmp_path: Path, mail: MailServer, hook: Hook) -> None:
    """It may be somebody on the way who took the offer out: neither mail nor password goes in clear."""
    password = tmp_path / "smtp.password"
    password.write_text("geheim\n", encoding="utf-8")
    settings = make_settings(
        tmp_path,
        mail,
        hook,
        notify_smtp_tls="starttls",
        notify_smtp_user="journal",
        notify_smtp_password_file=str(password),
    )

    async def no_pause(_: float) -> None:
        return

    notice = Notice(service=SERVICE, host="h", subject="a check fails", lines=["look"])
    assert await deliver(Mail(settings), notice, pause=no_pause) == "SMTPNotSupportedError"
    assert mail.arrived == []
    assert {line[:4].upper() for line in mail.in_clear} <= {b"EHLO", b"QUIT", b"HELO"}
