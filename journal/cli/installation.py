"""An installation: database, keys and certificates, made at the first `serve` and opened by every command."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

import sql
from journal.admin.administration import DEFAULT_CATEGORIES, Administration
from journal.clock import CLOCK_DEPARTURE_LIMIT, Clock, SystemClock
from journal.core.chain import genesis
from journal.core.entry import JOURNAL_CATEGORY, RESERVED_TENANT, Compartment
from journal.core.errors import KeyStoreError, NotStampedError, OperatorError, StoreError, UnavailableError
from journal.core.times import format_seconds
from journal.database.embedded import EmbeddedPostgres
from journal.database.facts import SuspendedError
from journal.database.migrate import migrate, read_pending
from journal.database.pools import translated
from journal.database.refusals import read_place
from journal.database.servers import Servers
from journal.database.store import Store
from journal.keys.files import make_private_directory
from journal.keys.store import open_facts, open_keystore
from journal.keys.wrapped import make_master_key
from journal.seals.dev_authority import make_development_authority
from journal.seals.renewal import check_vouched
from journal.service import Service
from journal.settings import DEFAULT_SERVICE_NAME
from journal.signer.identity import load_certified
from journal.signer.memory import LEAVE
from journal.status.restored import refuse_restored
from retention.closing import Closing
from retention.destruction import Destruction
from retention.handover import Handover
from retention.maintenance import Maintenance
from retention.purge import Purger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from journal.keys.store import KeyStore
    from journal.metrics import Metrics
    from journal.settings import Settings

log = structlog.get_logger()

# A running service seals at least daily: after a longer gap it was down, or its clock is wrong.
LAST_SEAL_LIMIT = timedelta(days=7)
FOUND_ATTEMPTS = 5
FOUND_PAUSE_SECONDS = 0.2


def is_made(settings: Settings) -> bool:
    """Return whether there is an embedded database to open."""
    return (settings.home_path / "postgresql").exists()


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[str]:
    """Yield the owner's DSN of the configured database, starting the embedded one if it does not run."""
    async with open_server(settings) as (dsn, _):
        yield dsn


@asynccontextmanager
async def open_server(settings: Settings) -> AsyncIterator[tuple[str, EmbeddedPostgres | None]]:
    """Yield the owner's DSN and the embedded server, None if another one is configured."""
    if settings.dsn is not None:
        yield settings.dsn, None
        return
    make_private_directory(settings.home_path)
    server = EmbeddedPostgres(settings.home_path)
    starting = asyncio.ensure_future(asyncio.to_thread(server.attach))
    try:
        await asyncio.shield(starting)
        yield server.dsn(), server
    finally:
        # A thread cannot be cancelled: if it is still starting the server, the server would be left behind.
        await asyncio.wait([starting])
        await asyncio.to_thread(server.stop)


async def prepare(dsn: str, settings: Settings, clock: Clock, *, simulate: timedelta | None = None) -> None:
    """Bring the schema up to date and make what a first start needs; repeating it changes nothing.

    `simulate` moves the database's clock, for tests and the demo only.
    """
    await bring_up_to_date(dsn, settings, clock)
    if simulate is not None:
        await simulate_clock(dsn, simulate)
    if settings.dsn is None:
        _make_master_key(settings)
    keystore = open_keystore(settings)
    keystore.check_master_key()
    facts = open_facts(keystore, clock)
    store = await Store.connect(dsn, application="openepm-journal prepare", facts=facts)
    try:
        with suppress(KeyStoreError):  # readiness names it; nothing can be changed until it is put right
            await store.settle_facts()
        name, is_new = await _name(store, settings)
        if settings.dsn is None:
            make_development_authority(
                settings.signing_key_path.parent, name, clock.now(), trust_path=settings.trust_path
            )
        elif is_new:
            check_first(settings, name, clock.now())
        for attempt in range(FOUND_ATTEMPTS):
            try:
                await _found(store, keystore, name)
            except StoreError:
                # Another command may be doing the same: the next attempt finds what it has made.
                if attempt == FOUND_ATTEMPTS - 1:
                    raise
                await clock.sleep(FOUND_PAUSE_SECONDS)
            else:
                break
        await _vouch(settings, clock)
    finally:
        await store.close()


async def bring_up_to_date(dsn: str, settings: Settings, clock: Clock) -> list[str]:
    """Apply the missing migrations; return their names. Raises OperatorError, StoreError.

    First the key store vouches for the schema that they make: a service of the version before, which runs meanwhile,
    then knows it.
    """
    await _vouch(settings, clock)
    with translated(read_place(dsn)):
        return await migrate(dsn)


async def _vouch(settings: Settings, clock: Clock) -> None:
    # Not this journal's key store, not whole, or not made yet: the start says so.
    with suppress(KeyStoreError, OperatorError):
        keystore = open_keystore(settings)
        keystore.read_tenant_key(RESERVED_TENANT)
        await asyncio.to_thread(open_facts(keystore, clock).vouch_catalog, sql.read("catalog.json"))


def _make_master_key(settings: Settings) -> None:
    """Make the master key, unless the key store has keys, which a new one could not open."""
    path, keys = settings.master_key_path, settings.keystore_path
    if not path.exists() and keys.is_dir() and any(keys.iterdir()):
        raise OperatorError(f"master key {path} is missing, but the keys in {keys} need it: restore it")
    make_master_key(path)


def check_first(settings: Settings, name: str, now: datetime) -> None:
    """Refuse a first start whose signing identity could not serve it: the name is fixed by it. Raises OperatorError."""
    identity = load_certified(settings.signing_cert_path, name)
    if identity.service != name:
        raise OperatorError(
            f"the signing certificate {settings.signing_cert_path} is for {identity.service}, but the journal is to be "
            f"{name}: correct JOURNAL_SERVICE_NAME, or install a certificate for {name}"
        )
    check_vouched(identity, settings.trust_path, now)


def check_identity(settings: Settings, clock: Clock) -> None:
    """Refuse a start with a certificate that the trust anchors did not vouch for while it was valid.

    One that has expired is no reason: entries are accepted, and readiness says that nothing is sealed. Raises
    OperatorError.
    """
    identity = load_certified(settings.signing_cert_path, settings.service_name or DEFAULT_SERVICE_NAME)
    at = min(max(clock.now(), identity.not_before), identity.not_after)
    check_vouched(identity, settings.trust_path, at)


async def _name(store: Store, settings: Settings) -> tuple[str, bool]:
    """Return the service's name and whether it is new: the database's, else the configured one.

    Raises OperatorError if they differ, or if a configured database is new and no name is configured.
    """
    wanted = settings.service_name
    try:
        name = (await store.read_service()).name
    except UnavailableError:
        raise
    except SuspendedError as error:
        raise OperatorError(str(error)) from error
    except StoreError as error:
        if wanted is None and settings.dsn is not None:
            raise OperatorError(
                "this database holds no journal yet, and a journal's name is fixed for ever: set JOURNAL_SERVICE_NAME "
                "to its DNS name"
            ) from error
        return wanted or DEFAULT_SERVICE_NAME, True
    if wanted is not None and wanted != name:
        raise OperatorError(
            f"this journal is {name}, but JOURNAL_SERVICE_NAME is {wanted}: a name cannot be changed; "
            "unset it, or set JOURNAL_HOME and JOURNAL_DSN to the journal of that name"
        )
    return name, False


async def _found(store: Store, keystore: KeyStore, name: str) -> None:
    """Give a new service its name, its default categories and the reserved tenant, in that order.

    The reserved tenant comes last: until it exists, the next start resumes an interrupted one.
    """
    try:
        await store.read_service()
    except SuspendedError:
        raise
    except StoreError:
        # First, for the key store vouches for all that follows.
        keystore.make_tenant_key(RESERVED_TENANT)
        await store.create_service(name)
    if await store.read_tenants(RESERVED_TENANT) or keystore.ledger.knows("tenant", RESERVED_TENANT):
        return
    if damage := keystore.ledger.problems():
        raise OperatorError(damage[0])  # it may have known of more: nothing is founded beside it
    keystore.make_tenant_key(RESERVED_TENANT)
    made = {category.code for category in await store.read_categories()}
    for category in DEFAULT_CATEGORIES:
        if category.code not in made:
            await store.add_category(
                category.code,
                label=category.label,
                regime=category.regime,
                retention_days=category.retention_days,
                needs_authorisation=category.needs_authorisation,
                genesis={},
            )
    origin = Compartment(name, RESERVED_TENANT, JOURNAL_CATEGORY).origin
    await store.add_tenant(RESERVED_TENANT, "the service itself", {JOURNAL_CATEGORY: genesis(origin).chain_hash})


async def check_restored(dsn: str, settings: Settings) -> None:
    """Refuse a database that is older than its key store. Raises OperatorError."""
    keystore = open_keystore(settings)
    facts = open_facts(keystore, SystemClock())
    async with await Store.connect(dsn, application="openepm-journal check", facts=facts) as store:
        await refuse_restored(store, keystore)


@asynccontextmanager
async def open_service(
    dsn: str, settings: Settings, clock: Clock, metrics: Metrics | None = None
) -> AsyncIterator[Installation]:
    """Open the service without serving requests: the writer runs, nothing is sealed automatically."""
    service = await Service.open(dsn=dsn, settings=settings, clock=clock, metrics=metrics)
    service.start(seal=False)
    try:
        yield Installation(service, dsn)
    finally:
        await service.close()


@asynccontextmanager
async def opened(
    settings: Settings, *, make: bool = False, writes: bool = True, recovers: bool = False
) -> AsyncIterator[Installation]:
    """Open the configured installation; a service may be running on it.

    Only with `make` is a missing one made: a command in the wrong directory must not report on an empty journal. For a
    command that only reads (`writes` false) nothing is migrated, made or prepared, and no task runs; it may open a
    database that has lost a purge; of the others, only one that `recovers` may. Raises OperatorError.
    """
    if not make and settings.dsn is None and not is_made(settings):
        raise OperatorError(
            f"there is no journal in {settings.home_path}: start one with openepm-journal serve, or set JOURNAL_HOME "
            "(or JOURNAL_DSN) to an existing one"
        )
    clock = SystemClock()
    async with open_database(settings) as dsn:
        if not writes:
            await check_schema(dsn)
            async with open_still(dsn, settings) as installation:
                yield installation
            return
        await prepare(dsn, settings, clock)
        if not recovers:
            await check_restored(dsn, settings)
        async with open_service(dsn, settings, clock) as installation:
            installation.service.chronicle.operator = settings.operator
            await installation.maintenance.prepare()
            yield installation


@asynccontextmanager
async def open_still(dsn: str, settings: Settings) -> AsyncIterator[Installation]:
    """Open the service to read only: none of its tasks runs."""
    service = await Service.open(dsn=dsn, settings=settings, clock=SystemClock())
    try:
        yield Installation(service, dsn)
    finally:
        await service.close()


async def check_schema(dsn: str) -> None:
    """Refuse a database whose schema is not this software's, without changing it. Raises OperatorError, StoreError."""
    with translated(read_place(dsn)):
        pending = await read_pending(dsn)
    if not pending:
        return
    if pending[0].startswith("0001"):
        raise OperatorError(
            f"{read_place(dsn)} holds no journal: it is new, or another server answers at its address; see which with "
            "pg_lsclusters, start the one that has the journal, or correct JOURNAL_DSN, or restore the database"
        )
    raise OperatorError(
        f"the schema of the database is older than this software: it lacks {', '.join(pending)}; openepm-journal "
        "migrate, or the start of this version's service, adds it; a command that only reads does not"
    )


class Installation:
    """A service with its administration, hand-over, purge, maintenance, closing and destruction."""

    def __init__(self, service: Service, dsn: str) -> None:
        """Build the parts; `dsn` is the owner's."""
        self.service = service
        self._dsn = dsn
        self.administration = Administration(service)
        self.closing = Closing(service, self.administration)
        self.destruction = Destruction(service, self.administration)
        self.maintenance = Maintenance(store=service.store, keyring=service.keyring, clock=service.clock)
        self.purger = Purger(service)
        self.handover = Handover(service)

    async def vacuum_removed(self) -> None:
        """Vacuum the rows of a destroyed tenant, as the owner: a function cannot. Raises StoreError."""
        with translated(read_place(self._dsn)):
            connection = await Servers(self._dsn).connect(server_settings={"application_name": "journal-vacuum"})
            try:
                await connection.execute(sql.load("owner")["vacuum_removed"])
            finally:
                await connection.close()

    async def check_clock(self, *, confirmed: bool) -> None:
        """Refuse a clock that the last seal makes implausible, unless the operator has confirmed it.

        ClockGuard cannot detect a clock that is wrong from the start (see `journal.clock`). If a time-stamping
        authority is configured and answers, its time decides. Raises OperatorError.
        """
        latest = await self.service.store.latest_seal()
        now = self.service.clock.now().replace(microsecond=0)
        if latest is None or confirmed or abs(now - latest.sealed_at) <= CLOCK_DEPARTURE_LIMIT:
            return
        if await self.service.sealer.accepts(latest.sealed_at):
            return
        witness = await self._ask_witness()
        if witness is not None and abs(witness - self.service.clock.now()) > CLOCK_DEPARTURE_LIMIT:
            raise OperatorError(
                f"this machine's clock says {format_seconds(now)}, the time-stamping authority "
                f"{format_seconds(witness.replace(microsecond=0))}: correct the clock (timedatectl), or, if "
                "it is right, confirm it once with --clock-is-right"
            )
        if witness is not None or -CLOCK_DEPARTURE_LIMIT <= now - latest.sealed_at <= LAST_SEAL_LIMIT:
            return
        confirm = "confirm it once with --clock-is-right"
        if latest.sealed_at > now:
            confirm = f"accept that seal for good with {LEAVE} (with --clock-is-right alone nothing is sealed)"
        raise OperatorError(
            f"this machine's clock says {format_seconds(now)}, the last seal {format_seconds(latest.sealed_at)}: "
            f"correct the clock (timedatectl), or, if it is right, {confirm}"
        )

    async def _ask_witness(self) -> datetime | None:
        """Return the time-stamping authority's time; None if none is configured or it does not answer."""
        if self.service.stamper is None:
            return None
        try:
            return await self.service.stamper.ask_time()
        except NotStampedError as error:
            log.warning("no time-stamp confirms this machine's clock", reason=str(error))
            return None


async def simulate_clock(dsn: str, ahead: timedelta) -> None:
    """Move the database's clock, for tests and the demo only; `doctor` reports it."""
    connection = await Servers(dsn).connect()
    try:
        if await connection.fetchval("SELECT to_regclass('journal.simulated_clock')") is None:
            await connection.execute(sql.read("simulated_clock.sql"))
        await connection.execute("UPDATE journal.simulated_clock SET ahead = $1", ahead)
    finally:
        await connection.close()
