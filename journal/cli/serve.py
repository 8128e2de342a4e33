"""`serve`: run the service until it is stopped."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from ingest.app import create_app
from ingest.server import Runner
from journal.audit.watch import Watch
from journal.cli.allocation import bound_arenas
from journal.cli.doctor import look
from journal.cli.installation import (
    Installation,
    check_identity,
    check_restored,
    open_server,
    open_service,
    prepare,
)
from journal.cli.supervision import Supervision
from journal.cli.workers import Workers
from journal.clock import Clock, SystemClock
from journal.core.errors import JournalError, OperatorError, UnavailableError
from journal.metrics import Metrics, make_shared_memory
from journal.papers.making import Papers
from journal.signer.connect import NOT_SEPARATED
from journal.writing.remote import connect_writer
from retention.attestation import Attestations
from retention.slips import Slips

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Callable

    from journal.database.embedded import EmbeddedPostgres
    from journal.settings import Settings

log = structlog.get_logger()

# As the socket of systemd: a connection beyond it looks open to its caller, and what it sends waits for minutes.
BACKLOG = 4096
# uvloop accepts one connection of a socket in a turn of the event loop: where turns are long, callers would wait for
# seconds to be heard. As many copies of the socket accept as many; more would make the turn itself long for the others.
ACCEPTED_AT_ONCE = 8
DATABASE_LOOK_SECONDS = 1.0
# Allocations before a collection, collections before an older generation is collected too: the objects of requests
# die by their counts, and a collection walks the heads and submissions that live on.
COLLECTIONS = (50_000, 20, 50)
FAILED = 1
STOPPING = (signal.SIGTERM, signal.SIGINT)


async def serve(settings: Settings, arguments: argparse.Namespace) -> int:
    """Run the service; 0 once it was stopped and everything accepted is written, 1 if a part of it failed.

    If stopped during its start, it undoes the start: nothing has been accepted yet.
    """
    stop_at_signals()
    bound_arenas()
    clock = SystemClock()
    try:
        if arguments.worker_socket is None:
            return await _lead(settings, arguments, clock)
        return await _work(settings, arguments, clock)
    except asyncio.CancelledError:
        return 0


def stop_at_signals() -> None:
    """Cancel the current task at the first SIGTERM or SIGINT; further signals do not interrupt its cleanup."""
    task = asyncio.current_task()

    def stop() -> None:
        _answer_signals(lambda: None)
        if task is not None:
            task.cancel()

    _answer_signals(stop)


def _answer_signals(answer: Callable[[], None]) -> None:
    for number in STOPPING:
        asyncio.get_running_loop().add_signal_handler(number, answer)


def _refuse_to_go_on() -> None:
    """Raise CancelledError again if the driver turned the cancellation into a lost connection."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _lead(settings: Settings, arguments: argparse.Namespace, clock: Clock) -> int:
    """Run the first process: the embedded database, the workers, the background tasks."""
    supervision = Supervision.take(os.environ)
    # Connections wait in the supervisor's socket until this process, or the next one, accepts them.
    listener = supervision.listener() or bind(settings)
    is_held = supervision.descriptors > 0
    async with open_server(settings) as (dsn, server):
        await prepare(dsn, settings, clock)
        # Before any worker listens.
        await check_restored(dsn, settings)
        check_identity(settings, clock)
        processes = arguments.workers or settings.workers
        shared_memory = make_shared_memory(processes)
        workers = Workers(dsn, listener, shared_memory, processes - 1, is_held=is_held)
        try:
            await workers.start()
            async with open_service(dsn, settings, clock, Metrics(shared_memory)) as installation:
                try:
                    await installation.check_clock(confirmed=arguments.clock_is_right)
                    await first_steps(installation)
                    await workers.write_by(installation.service.writer)
                    async with listening(installation, listener, is_held=is_held):
                        run_forever(installation)
                        if settings.signer_socket_path is None:
                            log.warning("the signer is not separated", reason=NOT_SEPARATED)
                        if server is not None:
                            installation.service.watch("postgresql", watch_database(server))
                        if supervision.watchdog_seconds is not None:
                            installation.service.watch("watchdog", supervision.pulse())
                        host, port = listener.getsockname()[:2]
                        print(f"{installation.service.name} listens on http://{host}:{port}", file=sys.stderr)
                        supervision.tell("READY=1")
                        try:
                            return await until_failed(installation, workers)
                        finally:
                            supervision.tell("STOPPING=1")
                finally:
                    # What they have accepted is still to be written here.
                    await workers.stop()
        finally:
            await workers.stop()


async def watch_database(server: EmbeddedPostgres) -> None:
    """Restart the embedded PostgreSQL when its programs were replaced; return when it has ended.

    The service then stops, and its supervisor restarts it.
    """
    refused = ""
    while server.pid is not None:
        await asyncio.sleep(DATABASE_LOOK_SECONDS)
        if not server.is_outdated():
            continue
        try:
            if not refused:
                log.warning("the programs of the embedded PostgreSQL were replaced: it restarts")
            await asyncio.to_thread(server.restart)
            refused = ""
        except OperatorError as error:
            if str(error) != refused:
                log.error("the embedded PostgreSQL cannot restart with its new programs", reason=str(error))
            refused = str(error)


def bind(settings: Settings) -> socket.socket:
    """Bind the listening address, before anything else starts. Raises OperatorError."""
    host, port = settings.address
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        raise OperatorError(
            f"cannot listen on {settings.listen}: {error.strerror}; choose another address with JOURNAL_LISTEN"
        ) from error
    return listener


async def first_steps(installation: Installation) -> None:
    """Do what must precede the first request: keys, partitions, close seals, overdue purges.

    If sealing or purging fails, it is logged, fails a readiness check and is tried again; entries are accepted anyway.
    """
    await installation.maintenance.prepare()
    for step in (
        installation.service.sealer.close_due_days,
        # Days that wait for their hand-over stay up to their limit: the hand-over starts only after this.
        partial(installation.purger.run, to_the_limit=True),
        partial(installation.service.sealer.seal_open, even_if_still=False),
    ):
        try:
            await step()
        except (JournalError, OSError) as error:
            log.error("a first step failed", kind=type(error).__name__, reason=str(error))


def run_forever(installation: Installation) -> None:
    """Start the background tasks, in one process of the service."""
    service = installation.service
    service.watch("sealer", service.sealer.run(service.settings.seal_interval_seconds))
    service.watch("maintenance", installation.maintenance.run())
    service.watch("handover", installation.handover.run_forever())
    service.watch("audit", Watch(service).run())
    service.watch("purge", installation.purger.run_forever())
    if service.stamper is not None:
        service.watch("stamper", service.stamper.run())


def collect_seldom() -> None:
    """Have no collection walk what the start has made, which stays, and few what comes after it."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTIONS)


@asynccontextmanager
async def listening(
    installation: Installation, listener: socket.socket, *, is_held: bool = False
) -> AsyncIterator[None]:
    """Serve requests on the listener; at the end, answer those already accepted.

    If a supervisor holds the listener too, clients with an open connection are then asked to open another one, which
    waits for the next process: nothing they send is refused.
    """
    collect_seldom()
    service = installation.service
    papers = Papers(service, partial(look, installation))
    runner = Runner(create_app(service, attest=Attestations(service).issue, slip=Slips(service).issue, papers=papers))
    await runner.setup()
    # Without a backlog given, aiohttp lowers it to its own.
    sites = [web.SockSite(runner, listener.dup(), backlog=BACKLOG) for _ in range(ACCEPTED_AT_ONCE)]
    for site in sites:
        await site.start()
    installation.service.watch("receipt key", installation.service.receipt_keys.run())
    try:
        yield
    finally:
        # Closed first: otherwise the kernel would accept further connections, which nobody would answer.
        for site in sites:
            await site.stop()
        listener.close()
        if is_held:
            await runner.drain()
        await runner.cleanup()


async def _work(settings: Settings, arguments: argparse.Namespace, clock: Clock) -> int:
    """Serve requests in a worker; the first process runs the background tasks."""
    listener = socket.socket(fileno=arguments.worker_socket)
    metrics = Metrics(arguments.worker_metrics, arguments.worker_number or 0)
    # From the parent, and not from the environment, because it may hold a password.
    dsn = sys.stdin.readline().strip()
    _end_with_parent()
    async with AsyncExitStack() as stack:
        installation = await _open_patiently(stack, dsn, settings, clock, metrics)
        pair = socket.socket(fileno=arguments.worker_writer)
        remote = await connect_writer(pair)
        stack.callback(remote.close)
        installation.service.remote = remote
        await stack.enter_async_context(listening(installation, listener, is_held=bool(arguments.worker_held)))
        return await until_failed(installation)


def _end_with_parent() -> None:
    """Stop this worker when its parent, which holds the other end of its standard input, has ended.

    Otherwise a worker would keep the address that the next service needs.
    """
    loop = asyncio.get_running_loop()
    descriptor = sys.stdin.fileno()

    def stop() -> None:
        loop.remove_reader(descriptor)
        signal.raise_signal(signal.SIGTERM)

    loop.add_reader(descriptor, stop)


async def _open_patiently(
    stack: AsyncExitStack, dsn: str, settings: Settings, clock: Clock, metrics: Metrics
) -> Installation:
    """Open the service, waiting for a database that became unavailable after the first process opened it."""
    while True:
        _refuse_to_go_on()
        try:
            return await stack.enter_async_context(open_service(dsn, settings, clock, metrics))
        except UnavailableError as error:
            log.warning("a worker waits for the database", reason=str(error))
            await clock.sleep(DATABASE_LOOK_SECONDS)


async def until_failed(installation: Installation, workers: Workers | None = None) -> int:
    """Wait until a task ends, which is a failure: return 1. Cancelled when the service is stopped.

    A worker that ends meanwhile is replaced.
    """
    _refuse_to_go_on()
    if workers is not None:
        workers.keep()
    failed = asyncio.create_task(installation.service.failed())
    try:
        log.error("the service stops because a part of it failed", part=await failed)
        return FAILED
    finally:
        # Further signals must not interrupt the cleanup.
        _answer_signals(lambda: None)
        failed.cancel()
        if workers is not None:
            workers.ask_to_stop()
