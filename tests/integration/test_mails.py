"""Mails to the persons of communes: each alert by its real cause, once; seals to keep; nothing personal."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from journal.audit.watch import Watch
from journal.core.entry import Compartment
from journal.core.errors import ForkError
from journal.notices.channels import SmtpServer
from journal.notices.kinds import KINDS, Choice, read_choice
from journal.notices.progress import LONG_SECONDS, progress_of
from journal.pki.certificates import der_to_pem
from journal.verifier.cli import main
from tests.support.addressees import add_person, tell_all
from tests.support.communes import SHORT, commune, commune_world, root
from tests.support.mail import MailServer, running_mail_server
from tests.support.markers import Markers
from tests.support.obedience import let_the_signer_obey
from tests.support.rewriting import HEAD, rewrite
from tests.support.scrape import listening, scrape
from tests.support.world import CATEGORY, DAY, FIRST, OTHER_TENANT, SERVICE, TENANT, World, copied, make_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

ANNE, PAUL, SETE = "a.martin@albi.example", "p.roux@albi.example", "j.petit@sete.example"
# None of them prevents a later one.
ORDER = ("extract", "silence", "certificate", "handover", "fact", "purge", "integrity", "seal")
ALL_BUT_SEALS = Choice(frozenset(KINDS)).text()


@copied
@asynccontextmanager
async def two_communes(postgres: EmbeddedPostgres, home: Path) -> AsyncIterator[World]:
    """Give an installation whose first commune receives its days, with a référent in each who is told everything."""
    async with commune_world(postgres, home) as made:
        for login, tenant in ((ANNE, TENANT), (SETE, OTHER_TENANT)):
            await add_person(made.service, login, tenant=tenant, categories=[CATEGORY, SHORT.code], mails=ALL_BUT_SEALS)
        # Of one who has chosen nothing and is no référent, nobody thinks.
        await add_person(made.service, PAUL, tenant=TENANT, categories=[CATEGORY], role="reader")
        yield made


pytestmark = [pytest.mark.world(made_by=two_communes), pytest.mark.usefixtures("no_documents")]


@pytest_asyncio.fixture
async def mail() -> AsyncIterator[MailServer]:
    """A mail server."""
    async with running_mail_server() as server:
        yield server


def text_of(mail: MailServer, number: int = -1) -> str:
    """Return the text of a mail that arrived, on one line."""
    body = mail.arrived[number].get_body()
    assert body is not None
    return " ".join(body.get_content().split())


async def told(world: World, mail: MailServer) -> dict[str, list[str]]:
    """Let two rounds run; return the titles that each address got, which only the first round may send."""
    before = len(mail.arrived)
    await tell_all(world.service, mail)
    found: dict[str, list[str]] = {}
    for message in mail.arrived[before:]:
        body = message.get_body()
        assert body is not None
        found[str(message["To"])] = re.findall(r"^\d+\. (.+?)\r?$", body.get_content(), re.MULTILINE)
    assert await tell_all(world.service, mail) == 0
    return found


class Causes:
    """What really raises each alert."""

    def __init__(self, world: World, draw: Callable[[], str]) -> None:
        """Act on a world; `draw` gives what must be in no mail."""
        self.world = world
        self.draw = draw

    async def extract(self) -> None:
        """Somebody else asks for an extract, with everything that names people."""
        world = self.world
        await world.extract(
            world.today, world.today, requester=self.draw(), request_reference=self.draw(), account=None
        )

    async def silence(self) -> None:
        """A source that is to send something every minute does not."""
        service, source = self.world.service, f"/openepm/{self.draw()}"
        compartment = Compartment(SERVICE, TENANT, CATEGORY)
        key, name = service.keyring.source(compartment, source, "")
        await service.store.set_rhythm(compartment, key=key, name=name, minutes=1)
        await self.world.travel(self.world.clock.now() + timedelta(minutes=5))
        await service.sources.look()
        await service.alarms.look()

    async def certificate(self) -> None:
        """The commune's certificate ends soon."""
        holder = commune(end=self.world.clock.now().replace(microsecond=0) + 20 * DAY)
        administration = self.world.installation.administration
        await administration.register_recipient(TENANT, der_to_pem([holder.certificate]))

    async def handover(self) -> None:
        """Days are due, and there is no place for them."""
        root(self.world).mkdir(exist_ok=True)
        (root(self.world) / TENANT).write_text("in the way")
        await self.world.travel_to(FIRST + 3 * DAY)
        await self.world.installation.handover.run()

    async def fact(self) -> None:
        """Somebody writes a rule into the database."""
        async with self.world.superuser() as superuser:
            await superuser.execute("UPDATE journal.tenant SET name = $1 WHERE code = $2", self.draw(), "_service")
        await self.world.service.snapshot.refresh(whole=True)
        await self.world.service.alarms.look()

    async def purge(self) -> None:
        """A day is past its limit."""
        await self.world.travel_to(FIRST + 6 * DAY)

    async def integrity(self) -> None:
        """An entry of a closed day is deleted, which the audit finds."""
        await self.world.seal()
        async with self.world.superuser() as superuser:
            await superuser.execute(f"DELETE FROM journal.entry {HEAD} AND index = 1")
        watch = Watch(self.world.service)
        await watch.pass_once()
        await self.world.service.alarms.look()

    async def seal(self) -> None:
        """The head of a chain is moved back."""
        async with self.world.superuser() as superuser:
            await superuser.execute(f"UPDATE journal.head SET size = size - 1, chain_hash = $1 {HEAD}", bytes(32))
        await self.world.seal()


async def test_each_alert_by_its_real_cause(
    world: World, mail: MailServer, record_property: Callable[[str, object], None]
) -> None:
    """Each is mailed once, to those who chose it, of the communes concerned; with not one of a thousand markers."""
    markers = Markers()
    events = []
    while markers.count < 1000:
        data = {
            "actor": {"account": markers.draw(), "name": markers.draw(), "unit": markers.draw()},
            "justification": markers.draw(),
            "outcome": "success",
        }
        source = f"/openepm/{markers.draw()}"
        events.append(make_event(world.clock.now(), data=data, subject=markers.draw(), source=source))
    await world.record(0, events=events)
    await world.record(2, tenant=TENANT, category=SHORT.code)
    await add_person(
        world.service, PAUL.upper() + ".fr", tenant=TENANT, categories=[CATEGORY], name=markers.draw(),
        function=markers.draw(), mails=ALL_BUT_SEALS,
    )  # fmt: skip
    everybody_of_albi = {ANNE, PAUL.upper() + ".fr"}
    assert await told(world, mail) == {}
    causes = Causes(world, markers.draw)
    # Also of the other commune: the fact is of the service, and days of a category are of everybody who sees it.
    shared = {"fact": everybody_of_albi | {SETE}, "purge": {ANNE, SETE}, "handover": {ANNE}}
    for code in ORDER:
        kind = KINDS[code]
        await getattr(causes, code)()
        found = await told(world, mail)
        assert found.keys() == shared.get(code, everybody_of_albi), code
        assert all(kind.title in titles for titles in found.values()), (code, found)
        said = text_of(mail)
        for part in (kind.means, kind.do, "Qui appeler : votre hébergeur"):
            assert part in said, code
    for message in mail.arrived:
        body = message.get_body()
        assert body is not None
        assert markers.find(message.as_bytes() + body.get_content().encode()) == set()
    assert markers.count >= 1000
    record_property(
        "evidence", f"mails: {len(mail.arrived)} about {len(KINDS)} kinds, {markers.count} markers, 0 found"
    )


async def ask(world: World) -> None:
    """Let somebody else ask for an extract."""
    await world.extract(world.today, world.today)


async def test_a_server_that_is_down(world: World, mail: MailServer) -> None:
    """What happens meanwhile is told together once it answers; after a pause that grows to an hour, and no sooner."""
    async with running_mail_server() as gone:
        pass
    await tell_all(world.service, mail)
    await ask(world)
    for attempt in range(8):
        assert await tell_all(world.service, gone, limit_reached=True) == 0
        trouble = progress_of(world.settings).server
        assert trouble.attempts == attempt + 1
        assert trouble.reason == "Connection refused"
    assert trouble.again_at - trouble.since < 3700
    await ask(world)
    assert await tell_all(world.service, mail) == 0  # it is not time yet
    assert mail.connections == 0
    assert await tell_all(world.service, mail, limit_reached=True) == 1
    assert str(mail.arrived[0]["Subject"]).endswith("Extrait demandé par quelqu’un d’autre (et 1 de plus)")
    assert progress_of(world.settings).server.since == 0
    assert await tell_all(world.service, mail) == 0


async def test_an_address_that_is_refused(world: World, mail: MailServer) -> None:
    """Nobody else waits for it; hours later doctor says which person, by id; nothing is lost."""
    other = "a.durand@albi.example"
    row = await add_person(world.service, other, tenant=TENANT, categories=[CATEGORY], mails=ALL_BUT_SEALS)
    await tell_all(world.service, mail)
    mail.unknown = {other}
    await ask(world)
    assert await tell_all(world.service, mail) == 1
    assert await tell_all(world.service, mail) == 0
    progress = progress_of(world.settings)
    since = progress.persons[row.id].trouble.since
    assert progress.waiting(since + LONG_SECONDS) == {}
    (said,) = progress.waiting(since + LONG_SECONDS + 1).values()
    assert f"person {row.id} (the mail server refused the address with 550)" in said
    assert other not in said
    mail.unknown = set()
    assert await tell_all(world.service, mail, limit_reached=True) == 1
    assert [str(message["To"]) for message in mail.arrived] == [ANNE, other]
    await world.service.store.revoke_person(row.id)
    await world.service.snapshot.refresh()
    await ask(world)
    assert await tell_all(world.service, mail) == 1
    assert row.id not in progress_of(world.settings).persons


async def test_what_waits_is_measured(world: World, mail: MailServer) -> None:
    """As many mails as a round left unsent, and for how long, also while nothing is tried; then none."""

    async def measured() -> tuple[float, float]:
        async with listening(world.service) as session:
            found = await scrape(session)
        return found.value("mails_waiting"), found.value("mails_waiting_seconds")

    await tell_all(world.service, mail)
    assert await measured() == (0, 0)
    for refusals, unknown in ((1, set()), (0, {ANNE})):
        await ask(world)
        mail.refusals, mail.unknown = refusals, unknown
        # The second round is within the pause.
        for _ in range(2):
            assert await tell_all(world.service, mail) == 0
            mails, seconds = await measured()
            assert mails == 1
            assert seconds > 0
        mail.unknown = set()
        assert await tell_all(world.service, mail, limit_reached=True) == 1
        assert await measured() == (0, 0)


async def test_a_server_that_never_ends_its_greeting(world: World, mail: MailServer) -> None:
    """It holds nobody up for longer than a session may last, however often it sends a byte."""
    mail.dawdles = True
    settings = world.settings.__class__(notify_mail_from="a@b.example", notify_smtp=f"127.0.0.1:{mail.port}")

    def speak() -> None:
        with SmtpServer(settings).connect(limit_seconds=0.3):
            pass

    with pytest.raises(OSError, match=r"closed|timed out"):
        await asyncio.to_thread(speak)


async def test_somebody_who_is_told_nothing_for_days(world: World, mail: MailServer) -> None:
    """What came in between is told when the address works again, and not to somebody who is new."""
    mail.unknown = {ANNE}
    await tell_all(world.service, mail)
    await ask(world)
    assert await tell_all(world.service, mail) == 0
    await world.travel_to(FIRST + 3 * DAY)
    assert await tell_all(world.service, mail, limit_reached=True) == 0
    await add_person(
        world.service, "new@albi.example", tenant=TENANT, categories=[CATEGORY], mails="extract seals-never"
    )
    await ask(world)
    mail.unknown = set()
    assert await tell_all(world.service, mail, limit_reached=True) == 2
    subjects = {str(message["To"]): str(message["Subject"]) for message in mail.arrived}
    assert subjects[ANNE].endswith("Extrait demandé par quelqu’un d’autre (et 1 de plus)")
    assert subjects["new@albi.example"].endswith("Extrait demandé par quelqu’un d’autre")


async def test_an_end_between_the_mail_and_its_note(world: World, mail: MailServer) -> None:
    """The mail comes again, under the same Message-ID, which mailboxes show once."""
    await tell_all(world.service, mail)
    kept = (world.settings.home_path / "mails.json").read_bytes()
    await ask(world)
    assert await tell_all(world.service, mail) == 1
    (world.settings.home_path / "mails.json").write_bytes(kept)
    assert await tell_all(world.service, mail) == 1
    first, again = mail.arrived
    assert first["Message-ID"] == again["Message-ID"]
    # A file that is damaged: the last day is told again, rather than nothing.
    (world.settings.home_path / "mails.json").write_text("{")
    assert await tell_all(world.service, mail) == 1


async def test_a_mailed_seal_convicts_a_rewritten_journal(
    world: World,
    mail: MailServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What the commune has in its mailbox is `GET …/head`, byte for byte: whoever has every key is convicted by it."""
    await add_person(
        world.service, "dpd@albi.example", tenant=TENANT, categories=[CATEGORY], role="auditor",
        mails=Choice(seals="day").text(),
    )  # fmt: skip
    await world.record(20)
    await world.seal()
    await tell_all(world.service, mail)
    (message,) = mail.arrived
    assert str(message["To"]) == "dpd@albi.example"
    (attached,) = message.iter_attachments()
    seal = attached.get_payload(decode=True)
    assert attached.get_filename() == f"sceau-{TENANT}-{CATEGORY}-{FIRST}.json"
    assert seal == await world.service.reader.head(Compartment(SERVICE, TENANT, CATEGORY))
    assert len(seal) < 8000
    world.verify(await world.extract(FIRST, FIRST), known=[seal])
    let_the_signer_obey(monkeypatch)
    async with world.superuser() as superuser:
        await rewrite(world, superuser, 5, with_keys=True)
    forged = await world.extract(FIRST, FIRST)
    world.verify(forged)
    with pytest.raises(ForkError):
        world.verify(forged, known=[seal])
    extract, kept = tmp_path / "forged.asice", tmp_path / str(attached.get_filename())
    extract.write_bytes(forged)
    kept.write_bytes(seal)
    capsys.readouterr()
    assert (
        main([str(extract), "--trust", str(world.settings.trust_path), "--known-seal", str(kept), "--lang", "en"]) == 1
    )
    assert "fork" in capsys.readouterr().out
    await tell_all(world.service, mail)
    await world.travel_to(FIRST + DAY)
    await tell_all(world.service, mail)
    names = [message["Subject"] for message in mail.arrived if message["To"] == "dpd@albi.example"]
    assert [re.findall(r"sceaux du .+ 2026", name) for name in names] == [
        ["sceaux du 2 mars 2026"], ["sceaux du 3 mars 2026"],
    ]  # fmt: skip


def test_what_goes_where_nothing_was_chosen() -> None:
    """A référent is told everything, and gets the seals each month; nobody else is told anything."""
    assert read_choice("", "referent") == Choice(frozenset(KINDS), "month")
    assert read_choice("", "reader") == read_choice("", "auditor") == Choice()
    assert read_choice("unknown integrity seals-hourly", "reader") == Choice(frozenset({"integrity"}))
    for choice in (Choice(), Choice(frozenset({"purge"}), "day")):
        assert read_choice(choice.text(), "referent") == choice
