"""`make campaign-tamper`: every kind on its own clone of the world; the results are tests/tamper/REPORT.md."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import asdict
from pathlib import Path

from journal.database import binaries, cluster
from journal.database.embedded import EmbeddedPostgres
from journal.document import makers
from tests.campaign import logged
from tests.campaign.play import Result, play
from tests.campaign.report import REPORT, judge, read_report, write_report
from tests.campaign.scene import Scene
from tests.campaign.scripts import KINDS
from tests.campaign.serving import stamping
from tests.campaign.table import read_list
from tests.campaign.world import Witness, build_world, copy_directory, read_witness
from tests.support.documents import start_nothing
from tests.support.memory import choose_directory
from tests.support.programs import copy_programs

WORKERS = 2
AT_ONCE = 6
LIMIT_SECONDS = 900.0
SMALL_DISK_BYTES = 512 * 1024**2
# Settings that an operator's own server has in files, where a reload can change them.
FIXED = ("fsync", "full_page_writes", "synchronous_commit", "data_sync_retry")


def quiet() -> None:
    """Log nothing; make no documents, which are not what is tampered with."""
    logged.keep_quiet()
    makers.start_origin = start_nothing
    cluster.SETTINGS = {name: value for name, value in cluster.SETTINGS.items() if name not in FIXED}  # type: ignore[misc]


class Worker:
    """Plays kinds, some at once, on one server; kinds that need it get a server of their own."""

    def __init__(self, root: Path, number: int) -> None:
        """Work below `root`."""
        self.root = root
        self.place = root / f"w{number}"
        self.results = root / "results"
        self._places = asyncio.Semaphore(AT_ONCE)
        self._alone = asyncio.Lock()

    async def run(self, identifiers: list[str]) -> None:
        """Play these kinds."""
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir()
        copy_directory(self.root / "server", self.place / "server")
        server = EmbeddedPostgres(self.place / "server")
        await asyncio.to_thread(server.start)
        try:
            await asyncio.gather(*(self._play(server, name) for name in identifiers))
        finally:
            await asyncio.to_thread(server.stop)
            shutil.rmtree(self.place, ignore_errors=True)

    async def _play(self, server: EmbeddedPostgres, identifier: str) -> None:
        listed, kind = read_list()[identifier], KINDS[identifier]
        witness = read_witness(self.root)
        async with contextlib.AsyncExitStack() as stack:
            if kind.own_server:
                await stack.enter_async_context(self._alone)
            await stack.enter_async_context(self._places)
            try:
                async with asyncio.timeout(LIMIT_SECONDS):
                    scene = await self._scene(stack, server, identifier, witness)
                    result = await play(scene, kind, listed)
            except Exception as error:  # noqa: BLE001  (the campaign goes on, and says so)
                text = traceback.format_exc(limit=-3)
                result = Result(identifier, listed.done, listed.noticed_by, error=f"{type(error).__name__}: {text}")
        (self.results / f"{identifier}.json").write_text(json.dumps(asdict(result)), encoding="utf-8")
        said = judge(result)
        print(f"{identifier} {said.verdict} {said.first}", flush=True)

    async def _scene(
        self,
        stack: contextlib.AsyncExitStack,
        server: EmbeddedPostgres,
        identifier: str,
        witness: Witness,
    ) -> Scene:
        kind = KINDS[identifier]
        place = self.place / identifier.lower()
        programs = None
        if kind.own_server:
            place.mkdir()
            if kind.small_disk:
                _mount(place)
                stack.callback(_unmount, place)
            copy_directory(self.root / "server", place / "server")
            if kind.own_programs:
                programs = copy_programs(place / "programs").directory
                real = binaries._candidates
                binaries._candidates = lambda origin: [programs]  # noqa: ARG005
                stack.callback(lambda: setattr(binaries, "_candidates", real))
            server = EmbeddedPostgres(place / "server")
            await asyncio.to_thread(server.start)
            stack.callback(server.stop)
        scene = Scene(
            root=place / "files",
            world=self.root,
            server=server,
            database=f"k{identifier.lower()}",
            witness=witness,
            programs=programs,
            owns_server=kind.own_server,
        )
        if kind.small_disk:
            scene.disk = place
        await scene.clone()
        scene.tsa = await stack.enter_async_context(stamping(scene.clock, scene.root))
        stack.push_async_callback(scene.close)
        return scene


def _mount(place: Path) -> None:
    """Give a directory a file system of its own, small enough to be filled. Needs root."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_BYTES}", "tmpfs", place], check=True)


def _unmount(place: Path) -> None:
    subprocess.run(["umount", "--lazy", place], check=True)


def _share(identifiers: list[str]) -> list[list[str]]:
    """Deal the kinds out; those that need a server of their own evenly."""
    ordered = sorted(identifiers, key=lambda name: KINDS[name].own_server)
    return [ordered[number::WORKERS] for number in range(WORKERS)]


def campaign(root: Path, identifiers: list[str]) -> list[Result]:
    """Build the world, play the kinds in processes of their own, return the results, those of earlier runs too."""
    started = time.monotonic()
    line = [sys.executable, "-m", "tests.campaign"]
    if not (root / "witness").exists():
        subprocess.run([*line, "--build", root], check=True)
        print(f"the world is built: {time.monotonic() - started:.0f} s", flush=True)
    (root / "results").mkdir(exist_ok=True)
    workers = [
        subprocess.Popen([*line, "--worker", str(number), "--root", root, *share])
        for number, share in enumerate(_share(identifiers))
    ]
    for worker in workers:
        worker.wait()
    return read_results(root / "results")


def read_results(directory: Path) -> list[Result]:
    """Return the results of all runs, each with what the list promises now."""
    results = [Result(**json.loads(file.read_text(encoding="utf-8"))) for file in sorted(directory.iterdir())]
    for result in results:
        listed = read_list()[result.id]
        result.done, result.expected = listed.done, listed.noticed_by
    return results


def main() -> int:
    """Run the campaign, or one of its parts in a process of its own; 0 if everything was noticed as promised."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign")
    parser.add_argument("kinds", nargs="*", help="only these")
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help="build the world there and keep it, or use the one that is there")
    parser.add_argument(
        "--report",
        type=Path,
        help="the report; kinds not played now stay in it (default, if all are: the committed one)",
    )
    chosen = parser.parse_args()
    quiet()
    if chosen.build is not None:
        build_world(chosen.build)
        return 0
    if chosen.worker is not None:
        asyncio.run(Worker(chosen.root, chosen.worker).run(chosen.kinds))
        return 0
    started = time.monotonic()
    root = chosen.root or Path(tempfile.mkdtemp(prefix="oej-campaign-", dir=choose_directory()))
    try:
        results = campaign(root, chosen.kinds or list(KINDS))
    finally:
        if chosen.root is None:
            shutil.rmtree(root, ignore_errors=True)
    report = chosen.report or (None if chosen.kinds else REPORT)
    seconds: float | None = time.monotonic() - started
    if chosen.kinds and report is not None and report.exists():
        earlier = {result.id: result for result in read_report(report.read_text(encoding="utf-8"))}
        results = list((earlier | {result.id: result for result in results}).values())
    if not set(chosen.kinds or KINDS) >= {result.id for result in results}:
        seconds = None
    summary = write_report(sorted(results, key=lambda result: result.id), seconds, os.cpu_count() or 1)
    if report is not None:
        report.write_text(summary.text, encoding="utf-8")
    print(summary.totals)
    return 0 if summary.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
