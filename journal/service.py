"""The running service: builds its parts, starts, watches and stops them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from journal.clock import Clock, ClockGuard, SimulatedClock
from journal.core.entry import RESERVED_TENANT
from journal.core.errors import KeyStoreError, OperatorError
from journal.core.times import format_day
from journal.database.store import Store
from journal.keys.persons import Persons
from journal.keys.ring import Keyring
from journal.keys.store import KeyStore, open_facts, open_keystore
from journal.reading.plan import Extraction
from journal.reading.reader import Reader
from journal.reading.sources import SourceWatch
from journal.seals.receipt_key import ReceiptKeys
from journal.seals.sealer import Sealer
from journal.seals.stamper import Stamper
from journal.signer.client import SignerClient
from journal.signer.connect import AtPath, Child, Task
from journal.signer.identity import load, load_certified
from journal.signer.memory import Memory
from journal.signer.signing import Signer
from journal.snapshot import Snapshot
from journal.status.alarms import Alarm, Alarms
from journal.status.checks import Checks
from journal.status.figures import Status, read_status
from journal.writing.agreement import Agreement
from journal.writing.chronicle import Chronicle
from journal.writing.instruments import Instruments
from journal.writing.remote import submit_here
from journal.writing.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from journal.core.entry import Compartment, Event
    from journal.metrics import Metrics
    from journal.settings import Settings
    from journal.signer.client import Connector
    from journal.signer.evidence import HeldChain
    from journal.writing.answers import Answer
    from journal.writing.remote import Given, RemoteWriter

CANCEL_AGAIN_SECONDS = 0.5
# Chains, or facts, that get an alarm of their own; the others are counted.
ALARMS_TOLD = 20


class Service:
    """Everything a process needs to record, seal and extract; `start` makes it run."""

    def __init__(
        self,
        *,
        name: str,
        clock: Clock,
        settings: Settings,
        store: Store,
        keyring: Keyring,
        signer: SignerClient,
        snapshot: Snapshot,
        metrics: Metrics | None,
    ) -> None:
        """Build the parts on what `open` has read. Raises OperatorError if the settings of the stamper are wrong."""
        self.name = name
        self.clock = clock
        self.settings = settings
        self.store = store
        self.keyring = keyring
        self.persons = Persons(keyring.keystore)
        self.signer = signer
        self.identity = signer.identity
        self.snapshot = snapshot
        self.instruments = Instruments(metrics)
        self.guard = ClockGuard(clock)
        self.agreement = Agreement(store, clock)
        self.receipt_keys = ReceiptKeys(settings.receipt_key_path, signer, clock)
        self.writer = Writer(
            store=store,
            keyring=keyring,
            snapshot=snapshot,
            clock=clock,
            queue_events=settings.queue_events,
            queue_bytes=settings.queue_bytes,
            lateness_days=settings.lateness_days,
            instruments=self.instruments,
            notary=self.receipt_keys,
        )
        # In a worker: the first process's writer, which records what modules submit.
        self.remote: RemoteWriter | None = None
        self.chronicle = Chronicle(
            store=store, keyring=keyring, snapshot=snapshot, writer=self.writer, service_name=name, clock=clock
        )
        sources = [self._stopped_chains, self._suspended_facts, self._lost_timestamps]
        sources += [self._missing_numbers, self._silent_sources]
        self.sources = SourceWatch(
            store=store, keyring=keyring, service=name, clock=clock, instruments=self.instruments
        )
        self.alarms = Alarms(self.chronicle, clock, self.instruments, sources)
        self.reader = Reader(store=store, keyring=keyring, service_name=name, trust_path=settings.trust_path)
        self.sealer = Sealer(
            store=store,
            keystore=keyring.keystore,
            signer=signer,
            clock=clock,
            tell=self._tell_refusals,
            follow=self.reader.follow,
        )
        self.stamper = Stamper.configured(settings, store=store, service_name=name, clock=clock)
        self.extraction = Extraction(
            store=store,
            keyring=keyring,
            snapshot=snapshot,
            chronicle=self.chronicle,
            sealer=self.sealer,
            reader=self.reader,
            signer=signer,
            clock=clock,
            lateness_days=settings.lateness_days,
            folder=settings.home_path,
        )
        self.checks = Checks(
            store=store,
            snapshot=snapshot,
            keystore=keyring.keystore,
            writer=self.writer,
            instruments=self.instruments,
            sealer=self.sealer,
            alarms=self.alarms,
            identity=self.identity,
            stamper=self.stamper,
            receipt_keys=self.receipt_keys,
            clock=clock,
            guard=self.guard,
            settings=settings,
        )
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def open(cls, *, dsn: str, settings: Settings, clock: Clock, metrics: Metrics | None = None) -> Self:
        """Connect to a migrated database and read keys and identity; nothing runs yet.

        Counts go to `metrics`, which other processes may share.

        Raises OperatorError if the database may lose what it acknowledges, if keys or certificates are missing, or if
        the database belongs to another service.
        """
        keyring = Keyring(open_keystore(settings))
        keyring.keystore.check_master_key()
        store = await Store.connect(dsn, application="openepm-journal", facts=open_facts(keyring.keystore, clock))
        try:
            await _check_durability(store)
            name = (await store.read_service()).name
            snapshot = Snapshot(store, keyring, clock)
            signer = _open_signer(settings, name, clock)
            await snapshot.refresh()
            _check_keystore(keyring.keystore, snapshot, settings)
            return cls(
                name=name,
                clock=clock,
                settings=settings,
                store=store,
                keyring=keyring,
                signer=signer,
                snapshot=snapshot,
                metrics=metrics,
            )
        except BaseException:
            await store.close()
            raise

    async def submit(
        self,
        compartment: Compartment,
        submitted_by: str,
        events: Sequence[Event],
        size_bytes: int,
        *,
        answer_seconds: float | None = None,
    ) -> Given:
        """Record what a module submits, by whichever process writes for all. Raises what `Writer.submit` does."""
        if self.remote is not None:
            return await self.remote.submit(compartment, submitted_by, events, size_bytes, answer_seconds)
        return await submit_here(
            self.writer, compartment, submitted_by, events, size_bytes, answer_seconds=answer_seconds
        )

    def offer(
        self, compartment: Compartment, submitted_by: str, events: Sequence[Event], size_bytes: int, seconds: float
    ) -> asyncio.Future[Given] | asyncio.Future[Answer] | None:
        """Do as `submit`, within so many seconds, without waiting: see `Writer.offer`."""
        if self.remote is not None:
            return self.remote.offer(compartment, submitted_by, events, size_bytes, seconds)
        return self.writer.offer(compartment, submitted_by, events, size_bytes, answer_seconds=seconds)

    def start(self, *, seal: bool = True) -> None:
        """Start the writer, the refresh of the snapshot and, if `seal`, the sealer."""
        self.watch("writer", self.writer.run())
        self.watch("snapshot", self.snapshot.run())
        self.watch("memory", self.writer.appender.memory.run())
        self.watch("alarms", self.alarms.run())
        self.watch("sources", self.sources.run())
        self.watch("pulse", self.instruments.pulse(self.guard))
        if seal:
            self.watch("sealer", self.sealer.run(self.settings.seal_interval_seconds))

    def _stopped_chains(self) -> list[Alarm]:
        return [
            Alarm(what="database", tenant=chain.tenant, subject=chain.category, reason=reason)
            for chain, reason in self.writer.appender.memory.faults.items()
        ]

    def _missing_numbers(self) -> list[Alarm]:
        return [
            Alarm(what="numbers", tenant=missing.tenant, subject=missing.category, reason=missing.describe())
            for missing in self.sources.lasting()
        ]

    def _silent_sources(self) -> list[Alarm]:
        return [
            Alarm(what="rhythm", tenant=silent.tenant, subject=silent.category, reason=silent.describe())
            for silent in self.sources.silent
        ]

    def _suspended_facts(self) -> list[Alarm]:
        problems = self.snapshot.problems()
        more = [f"{len(problems) - ALARMS_TOLD} more administrative facts are suspended"]
        told = problems[:ALARMS_TOLD] + (more if len(problems) > ALARMS_TOLD else [])
        return [Alarm(what="facts", tenant=RESERVED_TENANT, subject="facts", reason=reason) for reason in told]

    def _lost_timestamps(self) -> list[Alarm]:
        days = self.stamper.lost if self.stamper is not None else []
        reason = "its time-stamp was lost, and another one was obtained, which is of a later time"
        return [
            Alarm(what="time-stamps", tenant=RESERVED_TENANT, subject=f"close seal of {format_day(day)}", reason=reason)
            for day in days
        ]

    def watch(self, name: str, work: Coroutine[None, None, None]) -> None:
        """Run `work` for as long as the service runs; `failed` returns when one of these tasks has ended."""
        self._tasks.append(asyncio.create_task(work, name=name))

    async def failed(self) -> str:
        """Wait until a watched task ends, which is always a failure; return its name and the reason."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        task = next(iter(done))
        error = None if task.cancelled() else task.exception()
        return f"{task.get_name()}: {type(error).__name__ if error else 'ended'}"

    async def close(self) -> None:
        """Write what is queued, stop every task, disconnect."""
        self.writer.close()
        pending = {*self._tasks}
        while pending:
            # Repeated, because a cancellation that meets a lost connection is swallowed by the driver's own error.
            for task in pending:
                if task.get_name() != "writer":
                    task.cancel()
            _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_SECONDS)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.extraction.close()
        await self.signer.close()
        await self.store.close()

    async def _tell_refusals(self, refusals: Sequence[HeldChain]) -> None:
        """Record that chains are not sealed as the database has them; many are recorded in one entry."""
        for refusal in refusals[:ALARMS_TOLD]:
            data = {
                "alarm": "chain not sealed",
                "category": refusal.category,
                "reason": refusal.reason,
                "tenant": refusal.tenant,
            }
            await self.chronicle.write("alarm", tenant=RESERVED_TENANT, subject="seal", data=data)
        if len(refusals) > ALARMS_TOLD:
            more = {"alarm": "chain not sealed", "more": len(refusals) - ALARMS_TOLD}
            await self.chronicle.write("alarm", tenant=RESERVED_TENANT, subject="seal", data=more)

    async def status(self) -> Status:
        """Return the status of the service. Raises StoreError, KeyStoreError, OSError."""
        return await read_status(
            store=self.store,
            snapshot=self.snapshot,
            keystore=self.keyring.keystore,
            clock=self.clock,
            is_stamping=self.stamper is not None,
            certificate_not_after=self.identity.not_after,
        )


async def _check_durability(store: Store) -> None:
    if problems := await store.check_durability():
        raise OperatorError("the database is not configured to keep what it commits: " + "; ".join(problems))


def _open_signer(settings: Settings, name: str, clock: Clock) -> SignerClient:
    """Return the way to the signer; nothing is asked yet. Raises OperatorError if its certificate is not the service's.

    A clock that is moved by hand is not believed by a signer of its own: that one is a part of this process.
    """
    identity = load_certified(settings.signing_cert_path, name)
    if identity.service != name:
        raise OperatorError(
            f"the signing certificate is for {identity.service}, but this journal is {name}: "
            f"set JOURNAL_SIGNING_CERT to a certificate whose subject alternative name is {name}"
        )
    connector: Connector
    if isinstance(clock, SimulatedClock):
        key = load(settings.signing_key_path, settings.signing_cert_path, name)
        memory = Memory(settings.signer_state_path, key)
        connector = Task(Signer(identity=key, memory=memory, trust_path=settings.trust_path, clock=clock))
    elif settings.signer_socket_path is not None:
        connector = AtPath(settings.signer_socket_path)
    else:
        connector = Child(settings, name)
    return SignerClient(connector, identity)


def _check_keystore(keystore: KeyStore, snapshot: Snapshot, settings: Settings) -> None:
    """Refuse a key store of another service, or an unmounted one, in which new keys would be made."""
    if snapshot.tenant(RESERVED_TENANT) is None:
        return  # not set up yet
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
