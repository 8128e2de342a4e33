"""`demo`: from an empty directory to a verified extract and a proven purge, over HTTP, on a simulated clock.

Every figure printed is measured in this run; a step that fails ends it with an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from journal.admin.persons import People
from journal.audit.run import Audit
from journal.cli import serve
from journal.cli.demo_client import DemoClient
from journal.cli.demo_events import TENANTS, DemoActivity
from journal.cli.installation import Installation, open_database, open_service, prepare, simulate_clock
from journal.cli.sandbox import DIRECTORY as SANDBOX
from journal.cli.sandbox import open_sandbox
from journal.clock import SimulatedClock
from journal.core.errors import JournalError, OperatorError
from journal.core.times import day_of
from journal.extract import layout
from journal.extract.container import Container
from journal.extract.grounds import Person
from journal.extract.packing import ContainerWriter
from journal.keys.files import make_private_directory
from journal.keys.persons import Identity

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from journal.settings import Settings

MARKER = ".openepm-journal-demo"
CATEGORIES = ("main-courante", "ecrits")
OLD_DAYS_AGO = (63, 62)
OLD_EVENTS = 120
WEEK_DAYS = 7
WEEK_EVENTS = 150
SINGLES = 10
BATCH = 500
_ACCOUNT = re.compile(rb'("account":)"[^"]+"')
EVENING = timedelta(hours=20)
FAILED = 1
CLERK = Identity(name="Claire Martin", function="secrétaire générale", login="claire.martin@albi.example")
_CONSOLE = f"""\
The commune's desk, in French: {{}}
It serves once, for {CLERK.name}, {CLERK.login}: choose a password, and register a telephone's application."""


class Demo:
    """The steps of the demo, and the table of their results."""

    def __init__(self, installation: Installation, dsn: str, clock: SimulatedClock, client: DemoClient) -> None:
        """Use a service that already listens."""
        self._installation = installation
        self._service = installation.service
        self._dsn = dsn
        self._clock = clock
        self._client = client
        self._directory = installation.service.settings.home_path / "extracts"
        self._activity = {
            (tenant.code, category): DemoActivity(tenant.code, category)
            for tenant in TENANTS
            for category in CATEGORIES
        }
        self.table: list[tuple[str, str, float]] = []

    async def run(self, today: date) -> None:
        """Run every step. Raises OperatorError at the first that fails."""
        await self._step("two communes, their categories and credentials", self._found())
        old = [today - timedelta(days=ago) for ago in OLD_DAYS_AGO]
        await self._step("two days, more than two months ago", self._live(old, OLD_EVENTS))
        before = await self._step("an extract of those days, made then", self._extract("avant", old[0], old[1]))
        self._client.sent.clear()  # too old for `_repeat`
        week = [today - timedelta(days=ago) for ago in range(WEEK_DAYS, 0, -1)]
        await self._step("a week of activity, to last night", self._live(week, WEEK_EVENTS))
        await self._travel(datetime.now(UTC))
        await self._step("the same events sent again", self._repeat())
        await self._step("malformed events", self._refuse())
        now = await self._step("an extract of the week", self._extract("semaine", week[0], today))
        await self._step("journal-verify on it", self._verify(now, expect=0))
        await self._step("another account in one entry", self._tamper(now))
        await self._step("openssl on the same signature", self._openssl(now))
        await self._step("the purge of what is older than 60 days", self._purge())
        across = await self._step("an extract across the purge", self._extract("purge", old[0], today))
        await self._step("journal-verify on it", self._verify(across, expect=0, says="purged under their rule"))
        await self._step("the extract made before the purge", self._verify(before, expect=0))
        await self._step("every row, chain and seal in the store", self._audit())

    async def _step(self, title: str, work: Any) -> Any:
        print(f"  {title} …", end="", flush=True)
        started = time.perf_counter()
        figure, result = await work
        seconds = time.perf_counter() - started
        self.table.append((title, figure, seconds))
        print(
            f"\r\x1b[K  {title}: {figure} ({seconds:.1f} s)" if sys.stdout.isatty() else f" {figure} ({seconds:.1f} s)"
        )
        return result

    async def _found(self) -> tuple[str, None]:
        for tenant in TENANTS:
            await self._installation.administration.add_tenant(tenant.code, tenant.name)
            for category in CATEGORIES:
                _, token = await self._installation.administration.credentials.add(
                    role="module",
                    tenant=tenant.code,
                    categories=[category],
                    source_prefix=f"/openepm/{tenant.code}/",
                    label=f"logiciel de {category}",
                )
                self._client.tokens[tenant.code, category] = token
            _, token = await self._installation.administration.credentials.add(
                role="client",
                tenant=tenant.code,
                categories=[*CATEGORIES, "journal"],
                person=Person("Hélène Marchand", "déléguée à la protection des données"),
                label="commune",
            )
            self._client.tokens[tenant.code, "client"] = token
        return f"{len(TENANTS)} communes, {len(self._client.tokens)} credentials", None

    async def _live(self, days: Sequence[date], events: int) -> tuple[str, None]:
        """Post each day's events on its evening."""
        count = 0
        for day in days:
            midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
            await self._travel(midnight + EVENING)
            for (tenant, category), activity in self._activity.items():
                made = activity.day(midnight, events, until=midnight + EVENING)
                await self._client.post_all(tenant, category, made[:SINGLES], made[SINGLES:], BATCH)
                count += len(made)
        return f"{count} events accepted", None

    async def _travel(self, moment: datetime) -> None:
        """Move the clocks of the service and the database together, and prepare the days around."""
        self._clock.offset = moment - datetime.now(UTC)
        await simulate_clock(self._dsn, self._clock.offset)
        await self._service.snapshot.refresh()
        await self._installation.maintenance.prepare()
        await self._service.sealer.seal_open(even_if_still=False)

    async def _repeat(self) -> tuple[str, None]:
        again = await self._client.repeat()
        return f"{again} sent twice, the same receipts, nothing added", None

    async def _refuse(self) -> tuple[str, None]:
        refused = await self._client.refuse(self._clock.now())
        return f"{refused} refused with their reason, nothing stored", None

    async def _extract(self, name: str, first: date, last: date) -> tuple[str, Path]:
        make_private_directory(self._directory)
        path = self._directory / f"albi-{name}.asice"
        size = await self._client.extract("albi", "main-courante", first, last, path)
        with path.open("rb") as file:
            manifest = msgspec.json.decode(Container(file).read(layout.MANIFEST))
        return f"{manifest['disclosed']} entries, {size / 1024:.0f} KiB", path

    async def _verify(self, path: Path, *, expect: int, says: str = "") -> tuple[str, None]:
        code, output = await _run(
            [
                str(Path(sys.executable).with_name("journal-verify")),
                str(path),
                "--trust",
                str(self._service.settings.trust_path),
            ]
        )
        if code != expect or says not in output.lower():
            raise OperatorError(f"journal-verify ended with {code}, not {expect}:\n{output}")
        return (output.strip().splitlines() or [""])[0], None

    async def _tamper(self, path: Path) -> tuple[str, None]:
        """Replace the account of one entry, and pack the extract as its format wants it."""
        forged, writer = path.with_name("forged.asice"), ContainerWriter()
        with path.open("rb") as file, forged.open("wb") as written:
            container = Container(file)
            for name in container.names:
                content = b"".join(container.stream(name))
                if name == layout.ENTRIES:
                    content = _ACCOUNT.sub(rb'\1"nobody"', content, count=1)
                written.write(writer.add(name, content))
            written.write(writer.close())
        return await self._verify(forged, expect=1, says=f"mismatched part: {layout.ENTRIES}")

    async def _openssl(self, path: Path) -> tuple[str, None]:
        openssl = shutil.which("openssl")
        if openssl is None:
            return "NOT DONE: there is no openssl on this machine", None
        with path.open("rb") as file:
            container = Container(file)
            for name in (layout.DIGESTS, layout.SIGNATURE):
                (self._directory / Path(name).name).write_bytes(container.read(name))
        command = [openssl, "cms", "-verify", "-cades", "-binary", "-inform", "DER", "-out", "/dev/null"]
        command += ["-in", str(self._directory / Path(layout.SIGNATURE).name)]
        command += ["-content", str(self._directory / Path(layout.DIGESTS).name)]
        code, output = await _run([*command, "-CAfile", str(self._service.settings.trust_path)])
        if code:
            raise OperatorError(f"openssl refuses the signature:\n{output}")
        return output.strip().splitlines()[0], None

    async def _purge(self) -> tuple[str, None]:
        keys = self._service.keyring.keystore
        before = sum(len(keys.day_keys(category)) for category in CATEGORIES)
        done = await self._installation.purger.run(max_days=None)
        left = await self._installation.purger.due()
        after = sum(len(keys.day_keys(category)) for category in CATEGORIES)
        if left or not done or before - after < len(OLD_DAYS_AGO) * len(CATEGORIES):
            raise OperatorError("the purge left something behind")
        return f"{len(done)} days of {len({due.category for due in done})} categories gone, rows and keys", None

    async def _audit(self) -> tuple[str, None]:
        audit = Audit(self._service)
        if findings := await audit.run(lambda _: None):
            raise OperatorError(f"verify-store: {findings[0]}")
        return f"{audit.entries} entries, {audit.chains} chains, {audit.seals} seals: everything verifies", None


async def demo(settings: Settings, arguments: argparse.Namespace) -> int:
    """Run the demo in its own directory; 0 if every step succeeded."""
    home = Path(arguments.directory) if arguments.directory else settings.home_path / "demo"
    settings = msgspec.structs.replace(settings, home=str(home.absolute()), dsn=None, service_name="journal.example.fr")
    _make_anew(settings.home_path)
    if not arguments.keep_running:
        settings = msgspec.structs.replace(settings, listen="127.0.0.1:0")
    listener = serve.bind(settings)
    today = day_of(datetime.now(UTC))
    start = datetime(today.year, today.month, today.day, 9, tzinfo=UTC) - timedelta(days=OLD_DAYS_AGO[0])
    clock = SimulatedClock(start - datetime.now(UTC))
    print(f"The access journal, in {home}")
    started = time.perf_counter()
    async with AsyncExitStack() as stack:
        dsn = await stack.enter_async_context(open_database(settings))
        await prepare(dsn, settings, clock, simulate=clock.offset)
        installation = await stack.enter_async_context(open_service(dsn, settings, clock))
        await installation.maintenance.prepare()
        await stack.enter_async_context(serve.listening(installation, listener))
        host, port = listener.getsockname()[:2]
        client = await stack.enter_async_context(DemoClient(f"http://{host}:{port}"))
        steps = Demo(installation, dsn, clock, client)
        try:
            await steps.run(today)
        except JournalError as error:
            print(f"\nthe demo stopped: {error}", file=sys.stderr)
            return FAILED
        _print_table(steps.table, time.perf_counter() - started)
        if arguments.keep_running:
            serve.run_forever(installation)
            with contextlib.suppress(asyncio.CancelledError):
                serve.stop_at_signals()
                url = f"http://{host}:{port}"
                async with open_sandbox(installation, url, TENANTS[0].code, (*CATEGORIES, "comptes")) as told:
                    invitation = f"{url}/console/invitation/{await _invite(installation)}"
                    _print_usage(url, client, settings, [_CONSOLE.format(invitation), told])
                    return await serve.until_failed(installation)
    return 0


async def _invite(installation: Installation) -> str:
    """Invite a clerk of the first commune to the console; return what the address ends with."""
    row, secret = await People(installation.service).invite(
        tenant=TENANTS[0].code, role="referent", categories=CATEGORIES, identity=CLERK
    )
    return f"{row.id}_{secret}"


def _make_anew(home: Path) -> None:
    """Empty the directory, only if it holds an earlier demo; what an author's module has spooled there stays."""
    if home.exists() and any(home.iterdir()) and not (home / MARKER).exists():
        raise OperatorError(f"{home} is not empty and not a demo: choose another directory with --directory")
    make_private_directory(home)
    for path in home.iterdir():
        if path.is_dir() and path.name != SANDBOX:
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != SANDBOX:
            path.unlink()
    (home / MARKER).touch()


async def _run(command: Sequence[str]) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode(errors="replace")


def _print_table(table: list[tuple[str, str, float]], seconds: float) -> None:
    width = max(len(title) for title, _, _ in table)
    print("\nEvery step succeeded.\n")
    for title, figure, took in table:
        print(f"  {title:<{width}}  {took:6.1f} s  {figure}")
    print(f"  {'in all':<{width}}  {seconds:6.1f} s\n")


def _print_usage(url: str, client: DemoClient, settings: Settings, told: Sequence[str]) -> None:
    print(
        f"The service runs on {url}; stop it with Ctrl-C. Its address, and the token of a module, which posts events:\n"
    )
    print(f"URL={url}\nTOKEN={client.tokens['albi', 'main-courante']}\n")
    print("Record an event with it; then, with the commune's token, fetch the seal that an auditor keeps:\n")
    print(
        f"curl -sS {url}/v1/categories/main-courante/events \\\n"
        f"  -H 'Authorization: Bearer {client.tokens['albi', 'main-courante']}' \\\n"
        "  -H 'Content-Type: application/cloudevents+json' \\\n"
        '  -d \'{"specversion":"1.0","type":"fr.openepm.journal.consultation","source":"/openepm/albi/main-courante",'
        '"id":"\'"$(date +%s%N)"\'","time":"\'"$(date -u +%FT%TZ)"\'","subject":"MC-2026-0001",'
        '"data":{"actor":{"account":"c.martin"},"justification":"Relecture","outcome":"success"}}\'\n'
    )
    print(
        f"curl -sS {url}/v1/categories/main-courante/head \\\n"
        f"  -H 'Authorization: Bearer {client.tokens['albi', 'client']}'\n"
    )
    print(f"The trust anchor for auditors is {settings.trust_path}; the demo's extracts are in extracts/ beside it.\n")
    print("\n\n".join([*told, "What arrives:"]), flush=True)
