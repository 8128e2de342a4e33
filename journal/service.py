"""The running service: its parts put together, started, watched and stopped."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from journal.clock import Clock, ClockGuard
from journal.core.entry import RESERVED_TENANT
from journal.core.errors import KeyStoreError, OperatorError
from journal.database.store import Store
from journal.keys.ring import Keyring
from journal.keys.store import KeyStore, open_keystore
from journal.reading.plan import Extraction
from journal.reading.reader import Reader
from journal.seals import identity as signing
from journal.seals.sealer import Sealer
from journal.seals.stamper import Stamper
from journal.snapshot import Snapshot
from journal.status.checks import Checks
from journal.status.figures import Status, read_status
from journal.writing.instruments import Instruments
from journal.writing.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from journal.metrics import Metrics
    from journal.seals.identity import SigningIdentity
    from journal.settings import Settings

CANCEL_AGAIN_SECONDS = 0.5


@dataclass(slots=True, kw_only=True)
class Service:
    """Everything a process needs to record, seal and extract; `start` makes it live."""

    name: str
    clock: Clock
    settings: Settings
    store: Store
    keyring: Keyring
    identity: SigningIdentity
    snapshot: Snapshot
    writer: Writer
    sealer: Sealer
    reader: Reader
    extraction: Extraction
    stamper: Stamper | None
    guard: ClockGuard
    instruments: Instruments
    checks: Checks
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

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
        snapshot = Snapshot(store, keyring, clock)
        await snapshot.refresh()
        _check_keystore(keyring.keystore, snapshot, settings)
        writer = Writer(
            store=store,
            keyring=keyring,
            snapshot=snapshot,
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
            snapshot=snapshot,
            writer=writer,
            sealer=sealer,
            reader=reader,
            identity=identity,
            service_name=name,
            clock=clock,
        )
        stamper = Stamper.configured(settings, store=store, service_name=name, clock=clock)
        guard = ClockGuard(clock)
        checks = Checks(
            store=store,
            snapshot=snapshot,
            keystore=keyring.keystore,
            writer=writer,
            identity=identity,
            stamper=stamper,
            clock=clock,
            guard=guard,
            settings=settings,
        )
        return cls(
            name=name,
            clock=clock,
            settings=settings,
            store=store,
            keyring=keyring,
            identity=identity,
            snapshot=snapshot,
            writer=writer,
            sealer=sealer,
            reader=reader,
            extraction=extraction,
            stamper=stamper,
            guard=guard,
            instruments=instruments,
            checks=checks,
        )

    def start(self, *, seal: bool = True) -> None:
        """Start writing, following the small tables and (unless another process does) sealing."""
        self.watch("writer", self.writer.run())
        self.watch("directory", self.snapshot.run())
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

    async def readiness(self, status: Status | None = None) -> dict[str, str | None]:
        """Return, for each thing that must hold, None or what is wrong with it; `status` spares asking again."""
        return await self.checks.run(status)

    async def status(self) -> Status:
        """Return where the service stands, right or wrong. Raises StoreError, KeyStoreError, OSError."""
        return await read_status(
            store=self.store,
            snapshot=self.snapshot,
            keystore=self.keyring.keystore,
            clock=self.clock,
            is_stamping=self.stamper is not None,
            certificate_not_after=self.identity.not_after,
        )


def _check_keystore(keystore: KeyStore, snapshot: Snapshot, settings: Settings) -> None:
    """Refuse a key store that is not this service's: an unmounted one would be filled with rival keys."""
    if snapshot.tenant(RESERVED_TENANT) is None:
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
