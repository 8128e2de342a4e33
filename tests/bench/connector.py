"""What the connector costs a page: a real php-fpm, the journal up, down and hanging; and the spool alone."""

from __future__ import annotations

import socket
import statistics
import tempfile
from pathlib import Path
from time import perf_counter

from journal.cli.installation import open_database
from journal.settings import Settings
from tests.bench.figures import say
from tests.support.fpm import Fpm, running_fpm
from tests.support.php import DIRECTORY, Connector
from tests.support.ports import free_port
from tests.support.serving import Serving, Site, found_site

# The floor is what any program does that keeps its word: it appends a line, and has it on the disk.
FLOOR = "$file = fopen('{home}/floor', 'ab'); fwrite($file, str_repeat('x', 330)); fsync($file); fclose($file);"
PAGE = (
    """<?php
session_start();
$began = hrtime(true);
if ($_GET['journal'] === '') {{
    """
    + FLOOR
    + """
}} else {{
    require '{connector}';
    OpenepmJournal::fromFile('{config}')->agent('c.martin')->consultation('MC-1', 'Relecture');
}}
echo (hrtime(true) - $began) / 1e6;
"""
)
SPOOL = (
    """
for ($i = 0; $i < {count}; $i++) {{
    $began = hrtime(true); """
    + FLOOR
    + """ echo (hrtime(true) - $began) / 1e6, ' ';
    $began = hrtime(true); $j->consultation("MC-$i", 'Relecture'); echo (hrtime(true) - $began) / 1e6, ' ';
}}
"""
)


def show(title: str, milliseconds: list[float], floor: list[float] | None = None) -> None:
    """Print median and 99th percentile, and their ratio to a floor of the same run."""
    p50, p99 = statistics.median(milliseconds), statistics.quantiles(milliseconds, n=100)[98]
    ratio = ""
    if floor:
        least = statistics.quantiles(floor, n=100)
        ratio = f"   {p50 / least[49]:5.2f} and {p99 / least[98]:5.2f} of its floor"
    say(f"{title:<56} p50 {p50:8.2f}   p99 {p99:8.2f} ms{ratio}")


async def measure_connector(count: int) -> None:
    """Measure so many events of the spool, and as many pages in each state of the journal."""
    with tempfile.TemporaryDirectory(prefix="oej-bench-") as name:
        home = Path(name)
        async with open_database(Settings(home=str(home / "journal"))) as dsn:
            site = (await found_site(home / "site", dsn)).sealing_as_usual()
            _measure_spool(Connector.install(site, home / "spooling"), count)
            async with running_fpm(home / "fpm") as fpm:
                await _measure_pages(site, fpm, home, count)


def _measure_spool(connector: Connector, count: int) -> None:
    figures = [float(figure) for figure in connector.run(SPOOL.format(count=count, home=connector.home)).split()]
    show("a line is appended and synced", figures[::2])
    show("the connector: an event is spooled", figures[1::2], figures[::2])


async def _measure_pages(site: Site, fpm: Fpm, home: Path, count: int) -> None:
    connector = Connector.install(site, home / "module", send="after-response")
    page = home / "page.php"
    page.write_text(
        PAGE.format(connector=DIRECTORY / "OpenepmJournal.php", config=connector.config, home=home), encoding="utf-8"
    )
    floor, inner = await _ask(fpm, page, count, journal="")
    show("a page that appends and syncs a line", floor)
    show("… of it, the line", inner)
    async with await Serving.start(site):
        await _show_pages("the journal is up", fpm, page, count, floor)
    await _show_pages("the journal is down", fpm, page, count, floor)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", free_port()))
        listener.listen(1024)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        Connector.install(site, home / "module", send="after-response", url=url)
        await _show_pages("the journal hangs", fpm, page, count, floor)


async def _show_pages(state: str, fpm: Fpm, page: Path, count: int, floor: list[float]) -> None:
    whole, inner = await _ask(fpm, page, count, journal="1")
    show(f"a page, {state}", whole, floor)
    show("… of it, the connector", inner)


async def _ask(fpm: Fpm, page: Path, count: int, *, journal: str) -> tuple[list[float], list[float]]:
    """Ask for a page again and again, in sessions of their own; return how long each took, and its own figure."""
    whole, inner = [], []
    for number in range(count):
        began = perf_counter()
        answer = await fpm.ask(page, f"journal={journal}", cookie=f"PHPSESSID=bench{number}")
        whole.append(1000 * (perf_counter() - began))
        inner.append(float(answer.rpartition(b"\r\n")[2]))
    return whole, inner
