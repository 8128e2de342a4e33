"""Judges mutants: a pytest plugin that collects once, then forks a process for each mutant.

A database server that tests need is started before: each test makes its own database on it.

In the forked process the code of one function is replaced wherever it is held, and the tests that reach the mutant's
statement run, the quickest first, until one fails. Its processor time is bounded, so that a mutant that never ends is
found on a slow machine as on a quick one.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import shutil
import signal
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Final

import pytest
from _pytest.runner import runtestprotocol
from coverage import Coverage
from hypothesis import HealthCheck, Phase, settings

from tests.mutants.scope import NOT_JUDGES, ROOT, SCOPE, modules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.mutants.mutating import Mutant

KILLED: Final = "killed"
SURVIVED: Final = "survived"
TIMEOUT: Final = "timeout"
UNREACHED: Final = "unreached"
# Ten times what its tests take, and this much at least.
CPU_SECONDS: Final = 10
# A mutant may wait for ever for what never comes, and take no processor time.
WAITING_SECONDS: Final = 600
# A survivor takes all tests that reach it: of a line that everything reaches, these many.
TESTS_LIMIT: Final = 300
PROFILE: Final = "mutants"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a mutant: the first test that failed, and how many there were to run."""

    outcome: str
    by: str
    tests: int


@dataclass(frozen=True, slots=True)
class Map:
    """Which tests reach a line of a module, and the processor seconds of each test."""

    reached: dict[str, dict[int, list[str]]]
    seconds: dict[str, float]

    def tests_of(self, mutant: Mutant) -> list[str]:
        """Return the tests that reach the statement of a mutant: its own file's, then of each file the quick ones.

        One of each file, then another of each: hundreds of one kind would else leave no place for any other.
        """
        lines = self.reached.get(mutant.module, {})
        found = {test for line in mutant.lines for test in lines.get(line, ())}
        own = f"/test_{Path(mutant.module).stem}.py"
        ranks: dict[str, int] = {}
        counts: Counter[str] = Counter()
        for test in sorted(found, key=lambda test: (self.seconds[test], test)):
            file = test.partition("::")[0]
            ranks[test] = -1 if file.endswith(own) else counts[file]
            counts[file] += 1
        return sorted(ranks, key=lambda test: (ranks[test], self.seconds[test]))[:TESTS_LIMIT]


class Judge:
    """The plugin: draws the map, then judges."""

    def __init__(
        self, mutants: Sequence[Mutant], folder: Path, workers: int, tell: Callable[[Mutant, Verdict], None]
    ) -> None:
        """Judge these mutants, with so many processes; `tell` is called with each verdict."""
        self._mutants, self._folder, self._workers, self._tell = mutants, folder, workers, tell
        self._items: dict[str, pytest.Item] = {}
        folders = ("journal", "ingest", "retention", "tests/support", "tests/vectors")
        files = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
        self._code = sha256(b"".join(path.read_bytes() for path in files)).digest()

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Take the place of the run of the tests."""
        self._items = {item.nodeid: item for item in session.items}
        self._start_shared()
        drawn = self._draw()
        gc.unfreeze()
        functions = _functions({str(ROOT / mutant.module) for mutant in self._mutants})
        gc.collect()
        gc.freeze()
        running: dict[int, tuple[Mutant, int, float]] = {}
        for mutant in self._mutants:
            tests = drawn.tests_of(mutant)
            if not tests:
                self._tell(mutant, Verdict(UNREACHED, "", 0))
                continue
            while len(running) >= self._workers:
                self._await(running)
            seconds = CPU_SECONDS + 10 * sum(drawn.seconds[test] for test in tests)
            child = self._fork(partial(self._run_mutant, mutant, tests, seconds, functions))
            running[child] = (mutant, len(tests), time.monotonic())
        while running:
            self._await(running)
        return True

    def _start_shared(self) -> None:
        """Run one test of each file that needs a database: its server is then there for all processes forked later."""
        firsts: dict[str, str] = {}
        for test, item in self._items.items():
            if "postgres" in getattr(item, "fixturenames", ()):
                firsts.setdefault(test.partition("::")[0], test)
        for file, test in firsts.items():
            other = next(name for name in self._items if name.partition("::")[0] != file)
            if self._failed(test, other):
                raise RuntimeError(f"it fails without a mutant: {test}")

    def _fork(self, work: Callable[[], None]) -> int:
        child = os.fork()
        if child:
            return child
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(null, descriptor)
        base = self._base(os.getpid())
        base.mkdir(parents=True)
        next(iter(self._items.values())).config._tmp_path_factory._basetemp = base  # type: ignore[attr-defined]
        try:
            work()
        finally:
            os._exit(2)
        return 0

    def _base(self, process: int) -> Path:
        return self._folder / f"tmp-{process}"

    def _failed(self, test: str, following: str) -> bool:
        """Run one test; tell whether it failed."""
        item = self._items[test]
        return any(report.failed for report in runtestprotocol(item, log=False, nextitem=self._items[following]))

    def _run_mutant(
        self,
        mutant: Mutant,
        tests: list[str],
        seconds: float,
        functions: dict[tuple[str, str, int], list[FunctionType]],
    ) -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds) + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        path = str(ROOT / mutant.module)
        code = _code(compile(mutant.source, path, "exec"), mutant.function, mutant.first_line)
        held = functions[path, mutant.function, mutant.first_line]
        for function in held:
            function.__code__ = code
        other = next(name for name in self._items if name != tests[-1])
        for test, following in zip(tests, [*tests[1:], other], strict=True):
            if self._failed(test, following):
                (self._base(os.getpid()) / "killer").write_text(test)
                os._exit(1)
        os._exit(0)

    def _await(self, running: dict[int, tuple[Mutant, int, float]]) -> None:
        """Wait for one of the processes, and tell its verdict."""
        while True:
            child, status = os.waitpid(-1, os.WNOHANG)
            if child in running:
                break
            for late, (_, _, began) in running.items():
                if time.monotonic() - began > WAITING_SECONDS:
                    os.kill(late, signal.SIGKILL)
            time.sleep(0.005)
        mutant, count, _ = running.pop(child)
        killer = self._base(child) / "killer"
        by = killer.read_text() if killer.exists() else ""
        shutil.rmtree(self._base(child), ignore_errors=True)
        exit_code = os.waitstatus_to_exitcode(status)
        outcome = {0: SURVIVED, 1: KILLED}.get(exit_code, TIMEOUT if exit_code < 0 else "error")
        self._tell(mutant, Verdict(outcome, by, count))

    def _draw(self) -> Map:
        """Return the map of all tests; what a file of tests gave is kept while neither it nor the code changes."""
        by_file: dict[str, list[str]] = defaultdict(list)
        for test in self._items:
            by_file[test.partition("::")[0]].append(test)
        self._draw_all({file: tests for file, tests in by_file.items() if not self._kept(file).exists()})
        drawn = Map({}, {})
        for file in by_file:
            kept = json.loads(self._kept(file).read_text())
            for test in kept["failed"]:
                print(f"left out, for it fails without a mutant: {test}", file=sys.stderr)
            drawn.seconds.update(kept["seconds"])
            for module, lines in kept["reached"].items():
                reached = drawn.reached.setdefault(module, defaultdict(list))
                for line, tests in lines.items():
                    reached[int(line)].extend(test for test in tests if test not in kept["failed"])
        return drawn

    def _draw_all(self, waiting: dict[str, list[str]]) -> None:
        """Draw and keep the map of each of these files."""
        children: dict[int, str] = {}
        while waiting or children:
            while waiting and len(children) < self._workers:
                file, tests = waiting.popitem()
                children[self._fork(partial(self._run_covered, file, tests))] = file
            child, status = os.wait()
            shutil.rmtree(self._base(child), ignore_errors=True)
            if os.waitstatus_to_exitcode(status):
                raise RuntimeError(f"no map of {children[child]}")
            children.pop(child)

    def _kept(self, file: str) -> Path:
        digest = sha256((ROOT / file).read_bytes() + self._code).hexdigest()
        return self._folder / "maps" / f"{Path(file).stem}-{digest[:16]}.json"

    def _run_covered(self, file: str, tests: list[str]) -> None:
        measured = Coverage(data_file=None, config_file=False, include=[str(ROOT / path) for path in modules(SCOPE)])
        measured.set_option("run:disable_warnings", ["no-data-collected"])
        measured.start()
        seconds, failed = {}, []
        other = next(name for name in self._items if name != tests[-1])
        for test, following in zip(tests, [*tests[1:], other], strict=True):
            measured.switch_context(test)
            began = time.process_time()
            if self._failed(test, following):
                failed.append(test)
            seconds[test] = time.process_time() - began
        measured.stop()
        data = measured.get_data()
        reached = {
            str(Path(path).relative_to(ROOT)): {
                line: [test for test in contexts if test] for line, contexts in data.contexts_by_lineno(path).items()
            }
            for path in data.measured_files()
        }
        self._kept(file).parent.mkdir(parents=True, exist_ok=True)
        self._kept(file).write_text(json.dumps({"seconds": seconds, "failed": failed, "reached": reached}))
        os._exit(0)


def _functions(paths: set[str]) -> dict[tuple[str, str, int], list[FunctionType]]:
    """Return the functions that live in this process, by file, qualified name and first line."""
    found: dict[tuple[str, str, int], list[FunctionType]] = defaultdict(list)
    for one in gc.get_objects():
        if type(one) is FunctionType and one.__code__.co_filename in paths:
            code = one.__code__
            found[code.co_filename, code.co_qualname, code.co_firstlineno].append(one)
    return found


def _code(module: CodeType, function: str, first_line: int) -> CodeType:
    def within(code: CodeType) -> Iterator[CodeType]:
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                yield constant
                yield from within(constant)

    return next(code for code in within(module) if (code.co_qualname, code.co_firstlineno) == (function, first_line))


def judge(
    mutants: Sequence[Mutant],
    files: Sequence[Path],
    folder: Path,
    workers: int,
    tell: Callable[[Mutant, Verdict], None],
) -> int:
    """Judge mutants by the tests of these files; return pytest's exit code."""
    # A test that fails has done its work: no smaller example is looked for.
    settings.register_profile(
        PROFILE,
        deadline=None,
        derandomize=True,
        database=None,
        max_examples=50,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    arguments = [
        *map(str, files),
        *(f"--deselect={test}" for test in NOT_JUDGES),
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:cov",
        # Hypothesis is loaded already, here.
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
        "--capture=sys",
        "--timeout=0",
        "-m",
        "not campaign and not control",
        f"--hypothesis-profile={PROFILE}",
    ]
    return int(pytest.main(arguments, plugins=[Judge(mutants, folder, workers, tell)]))
