"""The running service: its parts put together, started, watched and stopped."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import time, timedelta
from functools import partial
from typing import TYPE_CHECKING, Self

from journal import identity as signing
from journal.clock import Clock, ClockGuard
from journal.core.entry import RESERVED_TENANT
from journal.core.errors import JournalError, KeyStoreError, OperatorError
from journal.core.rule import overdue_through, purgeable_through
from journal.core.times import day_of, format_day, format_seconds
from journal.directory import Directory
from journal.extraction import Extraction
from journal.files import why_unwritable
from journal.instruments import Instruments
from journal.keyring import Keyring
from journal.keystore import KeyStore, open_keystore
from journal.reader import Reader
from journal.restored import communes_back, describe_back, describe_lost, forgotten_purges, forgotten_seal
from journal.sealer import Sealer
from journal.stamper import Stamper
from journal.standing import Standing, read_standing
from journal.store import Store
from journal.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from datetime import datetime

    from journal.identity import SigningIdentity
    from journal.metrics import Metrics
    from journal.settings import Settings

DAYS_AHEAD_WANTED = 3
# A day that goes tonight was handed over the day before, or where it is kept for two days, in these hours.
HANDOVER_BY = time(3)
STALE_DIRECTORY_SECONDS = 5.0
CANCEL_AGAIN_SECONDS = 0.5
STALE_SEAL = timedelta(minutes=10)


@dataclass(slots=True, kw_only=True)
class Service:
    """Everything a process needs to record, seal and extract; `start` makes it live."""

    name: str
    clock: Clock
    settings: Settings
    store: Store
    keyring: Keyring
    identity: SigningIdentity
    directory: Directory
    writer: Writer
    sealer: Sealer
    reader: Reader
    extraction: Extraction
    stamper: Stamper | None
    guard: ClockGuard
    instruments: Instruments
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    # The last seal when heads were first seen to have moved since, and when they had.
    _unsealed: tuple[int, datetime] | None = None

    @classmethod
    async def open(cls, *, dsn: str, settings: Settings, clock: Clock, metrics: Metrics | None = None) -> Self:
        """Connect to a migrated database and read keys and identity; nothing runs yet.

        What it counts goes into `metrics`, where other processes may share them.

        Raises OperatorError where the database would acknowledge what it may lose, where keys or
        certificates are missing, or where the database belongs to another service.
        """
        store = await Store.connect(dsn, application="openepm-journal")
        try:
            return await cls._assemble(store, settings, clock, Instruments(metrics))
        except BaseException:
            await store.close()
            raise

    @classmethod
    async def _assemble(cls, store: Store, settings: Settings, clock: Clock, instruments: Instruments) -> Self:
        if problems := await store.check_durability():
            raise OperatorError("the database is not set to keep what it acknowledges: " + "; ".join(problems))
        name = (await store.read_service()).name
        identity = signing.load(settings.signing_key_path, settings.signing_cert_path)
        if identity.service != name:
            raise OperatorError(
                f"the signing certificate is for {identity.service}, this journal is {name}: "
                "set JOURNAL_SIGNING_CERT to a certificate whose subject alternative name is the service"
            )
        keyring = Keyring(open_keystore(settings))
        directory = Directory(store, keyring, clock)
        await directory.refresh()
        _check_keystore(keyring.keystore, directory, settings)
        writer = Writer(
            store=store,
            keyring=keyring,
            directory=directory,
            clock=clock,
            queue_events=settings.queue_events,
            queue_bytes=settings.queue_bytes,
            instruments=instruments,
        )
        sealer = Sealer(store=store, keystore=keyring.keystore, identity=identity, service_name=name, clock=clock)
        reader = Reader(store=store, service_name=name, trust_path=settings.trust_path)
        extraction = Extraction(
            store=store,
            keyring=keyring,
            directory=directory,
            writer=writer,
            sealer=sealer,
            reader=reader,
            identity=identity,
            service_name=name,
            clock=clock,
        )
        return cls(
            name=name,
            clock=clock,
            settings=settings,
            store=store,
            keyring=keyring,
            identity=identity,
            directory=directory,
            writer=writer,
            sealer=sealer,
            reader=reader,
            extraction=extraction,
            stamper=Stamper.configured(settings, store=store, service_name=name, clock=clock),
            guard=ClockGuard(clock),
            instruments=instruments,
        )

    def start(self, *, seal: bool = True) -> None:
        """Start writing, following the small tables and (unless another process does) sealing."""
        self.watch("writer", self.writer.run())
        self.watch("directory", self.directory.run())
        self.watch("pulse", self.instruments.pulse(self.guard))
        if seal:
            self.watch("sealer", self.sealer.run(self.settings.seal_interval_seconds))

    def watch(self, name: str, work: Coroutine[None, None, None]) -> None:
        """Run `work` as long as the service runs; `failed` returns once one of these has ended."""
        self._tasks.append(asyncio.create_task(work, name=name))

    async def failed(self) -> str:
        """Wait until one of the watched tasks ends, which it never should; return which and why."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        task = next(iter(done))
        error = None if task.cancelled() else task.exception()
        return f"{task.get_name()}: {type(error).__name__ if error else 'ended'}"

    async def close(self) -> None:
        """Write what waits, stop everything, disconnect."""
        self.writer.close()
        pending = {*self._tasks}
        while pending:
            # Again until it is heard: one that meets a connection being lost is lost in the driver's own error.
            for task in pending:
                if task.get_name() != "writer":
                    task.cancel()
            _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_SECONDS)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.store.close()

    async def readiness(self, standing: Standing | None = None) -> dict[str, str | None]:
        """Return, for each thing that must hold, None or what is wrong with it; `standing` spares asking again."""
        checks: dict[str, Callable[[], Coroutine[None, None, str | None]]] = {
            "certificate": self._check_certificate,
            "clock": self._check_clock,
            "database": self._check_database,
            "handover": self._check_handover,
            "keys": self._check_keys,
            "partitions": self._check_partitions,
            "retention": self._check_retention,
            "seals": partial(self._check_seals, standing),
            "timestamps": self._check_timestamps,
        }
        answers: dict[str, str | None] = {}
        for name, check in checks.items():
            try:
                answers[name] = await check()
            except (JournalError, OSError) as error:
                answers[name] = str(error)
        return answers

    async def standing(self) -> Standing:
        """Return where the service stands, right or wrong. Raises StoreError, KeyStoreError, OSError."""
        return await read_standing(
            store=self.store,
            directory=self.directory,
            keystore=self.keyring.keystore,
            clock=self.clock,
            is_stamping=self.stamper is not None,
            certificate_not_after=self.identity.not_after,
        )

    async def _check_certificate(self) -> str | None:
        if self.identity.not_before <= self.clock.now() <= self.identity.not_after:
            return None
        return (
            f"the signing certificate is valid from {format_seconds(self.identity.not_before)} to "
            f"{format_seconds(self.identity.not_after)}: nothing is sealed or extracted until it is renewed"
        )

    async def _check_clock(self) -> str | None:
        self.guard.check()
        return None

    async def _check_database(self) -> str | None:
        age = self.directory.age_seconds()
        return f"no answer for {age:.0f} s" if age > STALE_DIRECTORY_SECONDS else self.writer.problem()

    async def _check_handover(self) -> str | None:
        if faults := await self.store.read_handover_faults():
            more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
            return f"since {faults[0].since:%Y-%m-%d %H:%M} UTC: {faults[0].detail}{more}"
        tenants = [row.tenant for row in await self.store.read_recipients()]
        # In a thread: a network file system that hangs must not hold up the service.
        if tenants and (problem := await asyncio.to_thread(_check_outboxes, self.settings, tenants)):
            return problem
        now = self.clock.now()
        if now.time() < HANDOVER_BY:
            return None
        for category in self.directory.categories():
            day = purgeable_through(day_of(now), category.stated_days)
            if late := await self.store.handover_due(category.code, day):
                which = f"{late[0].tenant} {category.code} {format_day(day)}"
                return f"{which} is purged tonight and not handed over yet: run openepm-journal handover"
        return None

    async def _check_keys(self) -> str | None:
        today = day_of(self.clock.now())
        for tenant in self.directory.tenants():
            try:
                self.keyring.keystore.confirm_tenant_key(tenant.code)
            except KeyStoreError as error:
                if not tenant.closed:
                    return str(error)
        for category in self.directory.categories():
            for ahead in range(DAYS_AHEAD_WANTED + 1):
                day = today + timedelta(days=ahead)
                try:
                    self.keyring.keystore.confirm_day_key(category.code, day)
                except KeyStoreError as error:
                    return str(error)
        return None

    async def _check_partitions(self) -> str | None:
        made = {(row.category, row.day) for row in await self.store.partitions()}
        today = day_of(self.clock.now())
        for category in self.directory.categories():
            for ahead in range(DAYS_AHEAD_WANTED + 1):
                day = today + timedelta(days=ahead)
                if (category.code, day) not in made:
                    return f"no partition for {category.code} {format_day(day)}"
        return None

    async def _check_retention(self) -> str | None:
        limits = {
            category.code: overdue_through(day_of(self.clock.now()), category.stated_days)
            for category in self.directory.categories()
        }
        if forgotten := await forgotten_purges(self.store, self.keyring.keystore):
            through = format_day(forgotten[0].destroyed)
            return f"{forgotten[0].category} is destroyed up to {through}, and the database has forgotten it"
        if back := await communes_back(self.store, self.keyring.keystore):
            return describe_back(back[0])
        for row in await self.store.partitions():
            if row.day <= limits[row.category]:
                return f"{row.category} {format_day(row.day)} is kept past its limit: run openepm-journal purge"
        yesterday = day_of(self.clock.now()) - timedelta(days=1)
        for category in self.directory.categories():
            days, since = category.next_retention_days, category.next_since
            if days is not None and days < category.stated_days and since is not None and since < yesterday:
                asked = f"the rule of {days} days, asked for on {format_day(since)}"
                return f"{category.code}: {asked}, waits: run openepm-journal handover, then openepm-journal purge"
        return None

    async def _check_timestamps(self) -> str | None:
        return await self.stamper.problem() if self.stamper is not None else None

    async def _check_seals(self, standing: Standing | None) -> str | None:
        row = standing.row if standing is not None else await self.store.read_standing()
        if lost := await forgotten_seal(self.store, self.keyring.keystore):
            return describe_lost(lost)
        if row.number is None:
            return "no seal was made yet"
        # A head moves on while it waits: since when one does is what is remembered, from one question to the next.
        waiting = row.unsealed_since
        if waiting is None or self._unsealed is None or self._unsealed[0] != row.number:
            self._unsealed = (row.number, waiting) if waiting else None
        if self._unsealed is not None and waiting and row.at - min(self._unsealed[1], waiting) > STALE_SEAL:
            return f"heads have moved since the last seal, {row.number}, more than 10 minutes ago"
        return None


def _check_outboxes(settings: Settings, tenants: list[str]) -> str | None:
    """Say so where communes are to be handed what they cannot be: before a day is due, while there is time."""
    root = settings.handover_path
    if settings.handover_directory is None and not root.exists():
        return None  # made with the first hand-over
    boxes = [root / tenant for tenant in tenants]
    for directory in (root, *(box for box in boxes if box.exists())):
        if why := why_unwritable(directory):
            return (
                f"{directory}: {why}: mount it, let the service write there, or name another directory with "
                "JOURNAL_HANDOVER_DIRECTORY"
            )
    return None


def _check_keystore(keystore: KeyStore, directory: Directory, settings: Settings) -> None:
    """Refuse a key store that is not this service's: an unmounted one would be filled with rival keys."""
    if directory.tenant(RESERVED_TENANT) is None:
        return  # not founded yet
    try:
        keystore.read_tenant_key(RESERVED_TENANT)
    except KeyStoreError as error:
        raise OperatorError(
            f"the key store {settings.keystore_path} is not that of this journal ({error}): mount it, set "
            "JOURNAL_KEYSTORE and JOURNAL_MASTER_KEY_FILE, or, if it is lost, bring it back from its copy with "
            "openepm-journal keys restore"
        ) from error
    try:
        keystore.check_mounted()
    except KeyStoreError as error:
        raise OperatorError(str(error)) from error
