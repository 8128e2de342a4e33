"""A round of mails to the persons of communes: what is new for each is sent, and noted once the server has taken it.

A mail that the server has not taken is sent in a later round, with what came since: entries wait, and so do days that
last. A server that fails ends the round; an address that is refused keeps nobody else waiting.
"""

from __future__ import annotations

import asyncio
import smtplib
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from journal.core.entry import JOURNAL_CATEGORY, RESERVED_TENANT, Compartment
from journal.core.errors import JournalError, NotCoveredError, UnavailableError
from journal.core.times import day_of, format_day, parse_day
from journal.notices.channels import FAILURES, SESSION_SECONDS, why
from journal.notices.kinds import KINDS
from journal.notices.letters import alert, seal_name, seals
from journal.notices.news import lasting, news_of_entry
from journal.notices.progress import Told

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from datetime import date, datetime
    from email.message import EmailMessage

    from journal.database.store import Store
    from journal.notices.channels import SmtpServer
    from journal.notices.kinds import Choice
    from journal.notices.letters import Sender
    from journal.notices.news import News
    from journal.notices.progress import Progress
    from journal.snapshot import Snapshot
    from journal.writing.chronicle import Chronicle

log = structlog.get_logger()

KINDS_READ = ("alarm", "extract")
# How far back somebody is told who was told nothing before.
NEW_TOLD = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Addressee:
    """A person who may be told: id, commune, categories, mail address, choice."""

    id: str
    tenant: str
    categories: Sequence[str]
    address: str
    choice: Choice


@dataclass(slots=True, kw_only=True)
class _Mail:
    """A mail to be sent, and what is noted of its person once it is."""

    person: str
    message: EmailMessage
    read: dict[str, int]
    lasting: list[str]
    on: str = ""
    seals: str | None = None


class Rounds:
    """Tells the persons of communes. Every method may raise StoreError and KeyStoreError."""

    def __init__(
        self,
        *,
        store: Store,
        snapshot: Snapshot,
        chronicle: Chronicle,
        head: Callable[[Compartment], Awaitable[bytes]],
        sender: Sender,
        server: SmtpServer,
        progress: Progress,
    ) -> None:
        """Read these parts of a service; `head` returns a category's latest seal, as `GET …/head` answers it."""
        self._store = store
        self._snapshot = snapshot
        self._chronicle = chronicle
        self._head = head
        self._sender = sender
        self._server = server
        self._progress = progress
        self._news: dict[str, list[tuple[int, News]]] = {}
        self._sizes: dict[str, int] = {}

    async def run(self, people: Iterable[Addressee], now: datetime, own_until: datetime) -> int:
        """Tell everybody what is due, and return how many mails were sent. Raises OperatorError besides.

        `own_until` is when the signing certificate ends.
        """
        told = {one.id: one for one in people if one.choice.kinds or one.choice.seals != "never"}
        for gone in self._progress.persons.keys() - told.keys():
            del self._progress.persons[gone]
        if self._progress.server.waits(time.time()):
            return 0
        await self._read(told.values(), now)
        lasts = await lasting(self._store, self._snapshot.categories(), now, own_until)
        mails: list[_Mail] = []
        paused = 0
        for one in told.values():
            if self._progress.persons.setdefault(one.id, Told()).trouble.waits(time.time()):
                paused += 1
            else:
                mails += await self._mails(one, lasts, now)
        sent = await asyncio.to_thread(self._send, mails) if mails else 0
        # Of whom is not tried yet, one mail at least waits.
        self._progress.unsent = len(mails) - sent + paused
        self._progress.keep()
        return sent

    async def _read(self, people: Iterable[Addressee], now: datetime) -> None:
        """Read what came since the person who was told least; nobody is told of more than the day before at first."""
        journals = sorted({one.tenant for one in people} | {RESERVED_TENANT})
        for row in await self._store.read_heads(journals, [JOURNAL_CATEGORY] * len(journals)):
            # A journal that was brought back from before begins anew.
            known = [told for told in self._progress.persons.values() if 0 <= told.read.get(row.tenant, -1) < row.size]
            after = min((told.read[row.tenant] for told in known), default=-1)
            # What came after a round is of its day, or later; a clock may be a little off.
            since = min((told.on for told in known), default=format_day(day_of(now)))
            try:
                await self._read_journal(row.tenant, row.size, after, parse_day(since) - NEW_TOLD)
            except UnavailableError:
                raise
            except JournalError as error:
                # The audit finds it too. Nobody else waits for it.
                log.error("what a journal has to tell cannot be read", tenant=row.tenant, reason=str(error))
                self._sizes.pop(row.tenant, None)

    async def _read_journal(self, journal: str, size: int, after: int, since: date) -> None:
        self._news[journal], self._sizes[journal] = [], size
        if after + 1 >= size:
            return
        async for page in self._chronicle.pages(journal, *KINDS_READ, since=since, after=after):
            self._news[journal] += [
                (entry.index, news) for entry in page.entries if (news := news_of_entry(journal, entry)) is not None
            ]
            # What came while this was read is told too.
            self._sizes[journal] = max(self._sizes[journal], page.last_index + 1)

    async def _mails(self, one: Addressee, lasts: Sequence[News], now: datetime) -> list[_Mail]:
        told = self._progress.persons[one.id]
        wanted = [news for news in lasts if news.kind in one.choice.kinds and self._is_for(news, one)]
        still = [news.key for news in wanted]
        read = {
            journal: self._sizes[journal] - 1 for journal in (one.tenant, RESERVED_TENANT) if journal in self._sizes
        }
        news = [item for item in wanted if item.key not in told.lasting]
        for journal, upto in read.items():
            after = told.read.get(journal, -1)
            is_known = 0 <= after <= upto
            news += [
                item
                for index, item in self._news[journal]
                if (index > after if is_known else item.at >= now - NEW_TOLD)
                and item.kind in one.choice.kinds
                and self._is_for(item, one)
            ]
        name = self._commune(one)
        mails = []
        if news:
            labels = {row.code: row.label for row in self._snapshot.categories()}
            message = alert(
                self._sender,
                one.address,
                commune=name,
                at=now,
                news=sorted(news, key=_gravest_first),
                labels=labels,
            )
            mails.append(_Mail(person=one.id, message=message, read=read, lasting=still, on=self._on(told, read, now)))
        else:
            told.read, told.lasting, told.on = told.read | read, still, self._on(told, read, now)
        if (period := _period(one.choice.seals, now)) and period != told.seals:
            message_of_seals = await self._seals(one, name, now)
            if message_of_seals is not None:
                mails.append(_Mail(person=one.id, message=message_of_seals, read={}, lasting=[], seals=period))
        return mails

    def _on(self, told: Told, read: dict[str, int], now: datetime) -> str:
        """Return up to which day the person is told of every journal: of one that could not be read, it stays."""
        is_all = all(journal in read for journal in told.read)
        return format_day(day_of(now)) if is_all or not told.on else told.on

    def _is_for(self, news: News, one: Addressee) -> bool:
        return news.is_for(one.tenant, one.categories, one.id)

    def _commune(self, one: Addressee) -> str:
        tenant = self._snapshot.tenant(one.tenant)
        return tenant.name if tenant is not None else one.tenant

    async def _seals(self, one: Addressee, name: str, now: datetime) -> EmailMessage | None:
        """Return the mail with the latest seals; None before there are any."""
        files: dict[str, bytes] = {}
        for category in one.categories:
            try:
                head = await self._head(Compartment(self._sender.service, one.tenant, category))
            except NotCoveredError:
                continue
            files[seal_name(one.tenant, category, day_of(now))] = head
        return seals(self._sender, one.address, commune=name, at=now, day=day_of(now), files=files) if files else None

    def _send(self, mails: Sequence[_Mail]) -> int:
        """Send in one session; what was taken is noted at once, so that an end between two mails repeats none."""
        sent, ends_at = 0, time.monotonic() + SESSION_SECONDS / 2
        refused: set[str] = set()
        try:
            with self._server.connect() as session:
                for mail in mails:
                    told = self._progress.persons[mail.person]
                    if mail.person in refused:
                        continue
                    if time.monotonic() >= ends_at:
                        break  # the next round goes on
                    try:
                        session.send_message(mail.message)
                    except (smtplib.SMTPServerDisconnected, TimeoutError):
                        raise
                    except (smtplib.SMTPException, ValueError) as error:
                        told.trouble.note(why(error), time.time())
                        refused.add(mail.person)
                    else:
                        _note(told, mail)
                        sent += 1
                    self._progress.keep()
        except FAILURES as error:
            self._progress.server.note(why(error), time.time())
        else:
            self._progress.server.clear()
        return sent


def _gravest_first(news: News) -> tuple[int, datetime]:
    return list(KINDS).index(news.kind), news.at


def _note(told: Told, mail: _Mail) -> None:
    told.trouble.clear()
    if mail.seals is None:
        told.read, told.lasting, told.on = told.read | mail.read, mail.lasting, mail.on
    else:
        told.seals = mail.seals


def _period(seals: str, now: datetime) -> str:
    """Return the period of which a person gets the seals once: a UTC day, a month, or none."""
    day = format_day(day_of(now))
    return {"day": day, "month": day[:7]}.get(seals, "")
