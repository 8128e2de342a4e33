"""The process that runs the verifier on trial after trial, under hard limits, until its time is up.

What is tried is written to a file shared with the parent before it is tried: whatever ends this process, the
parent has the bytes. Trials that reach lines of the verifier in an order not seen before, or a verdict for a new
reason, are kept and changed further.
"""

from __future__ import annotations

import json
import mmap
import re
import resource
import signal
import sys
import time
import traceback
from io import BytesIO
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from journal.core.errors import VerificationError
from journal.extract.known import read_known
from journal.extract.verify import verify_extract
from tests.fuzz.maker import Maker, Trial, anchors, time_anchors
from tests.fuzz.truth import UntruthError

if TYPE_CHECKING:
    from types import CodeType, FrameType

    from journal.extract.sweep import Run

MEMORY_BYTES = 200 * 2**20
# Of processor time: what else the machine does says nothing about the verifier.
HANG_SECONDS = 5.0
SHARED_BYTES = 2**20
# Tracing costs threefold: one trial in so many is traced, and each with a new verdict.
TRACED = 6

_JOURNAL = str(Path(__file__).parents[2] / "journal")
_VARYING = re.compile(r"[0-9]+|[0-9a-f]{8,}|'[^']*'|CN=.*")


class Edges:
    """Which pairs of lines of the verifier were ever run one after the other."""

    def __init__(self) -> None:
        """Know none."""
        self._seen: dict[CodeType, set[tuple[int, int]]] = {}
        self._last: dict[int, int] = {}
        self.count = 0

    def trace(self, frame: FrameType, _: str, __: Any) -> Any:
        """Follow a call, if it is of the verifier."""
        if not frame.f_code.co_filename.startswith(_JOURNAL):
            return None
        last = 0
        seen = self._seen.setdefault(frame.f_code, set())

        def line(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal last
            if event == "line":
                edge = (last, frame.f_lineno)
                last = frame.f_lineno
                if edge not in seen:
                    seen.add(edge)
                    self.count += 1
            return line

        return line


class Worker:
    """Tries the verifier and counts."""

    def __init__(self, seed: int, shared: mmap.mmap) -> None:
        """Begin with the extracts of the maker."""
        self._random = Random(seed)
        self._maker = Maker(self._random)
        self._shared = shared
        self._edges = Edges()
        self._reasons: set[tuple[str, str, str]] = set()
        self.verdicts: dict[str, int] = {}
        self.slowest_seconds = 0.0

    def run(self, seconds: float) -> dict[str, Any]:
        """Try for so many seconds of processor time; return the figures."""
        end = time.process_time() + seconds
        begun_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        executions = kept = 0
        while time.process_time() < end:
            executions += 1
            if self._try(self._maker.draw()):
                kept += 1
        return {
            "executions": executions,
            "kept": kept,
            "edges": self._edges.count,
            "reasons": len(self._reasons),
            "verdicts": self.verdicts,
            "slowest_seconds": round(self.slowest_seconds, 3),
            "memory_mib": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begun_kib) // 1024,
        }

    def _try(self, trial: Trial) -> bool:
        """Verify once, or twice where the verdict is new; tell whether the trial is worth changing further."""
        self._write(trial)
        outcome = self._verdict(trial)
        verdict, _, _ = outcome
        self.verdicts[verdict] = self.verdicts.get(verdict, 0) + 1
        is_new = outcome not in self._reasons
        self._reasons.add(outcome)
        if is_new or not self._random.randrange(TRACED):
            before = self._edges.count
            sys.settrace(self._edges.trace)
            try:
                self._verdict(trial)
            finally:
                sys.settrace(None)
            is_new = is_new or self._edges.count > before
        if is_new:
            self._maker.keep(trial)
        return is_new

    def _verdict(self, trial: Trial) -> tuple[str, str, str]:
        """Return class, part and reason without what varies in them, of the strict way: the fast one must say the same.

        Whatever else is raised ends the process.
        """
        strict, fast = (self._verify(trial, run) for run in (None, map))
        if strict != fast:
            raise UntruthError(f"two ways to verify: {strict}, {fast}")
        return strict

    def _verify(self, trial: Trial, run: Run | None) -> tuple[str, str, str]:
        begun = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, HANG_SECONDS)
        try:
            known = [read_known(BytesIO(data), name) for name, data in trial.known]
            report = verify_extract(
                BytesIO(trial.extract),
                anchors=anchors(),
                tsa_anchors=time_anchors(),
                known=known,
                run=run,
                progress=lambda done, total: None if 0 <= done <= 2 * total + 1 else _fail("progress runs over"),
            )
        except VerificationError as error:
            str(error)
            return error.verdict, _VARYING.sub("?", error.part), _VARYING.sub("?", error.reason)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            self.slowest_seconds = max(self.slowest_seconds, time.process_time() - begun)
        json.dumps(report.as_json())
        self._maker.truth.check(trial.extract)
        return "verified", "", _VARYING.sub("?", report.verdict)

    def _write(self, trial: Trial) -> None:
        """Share what is about to be tried, its parts one after another behind their lengths."""
        parts = [trial.extract, *(data for _, data in trial.known)]
        whole = b"".join(len(part).to_bytes(4, "big") + part for part in parts)[: SHARED_BYTES - 4]
        self._shared[: 4 + len(whole)] = len(whole).to_bytes(4, "big") + whole


def _fail(text: str) -> None:
    raise UntruthError(text)


def _hang(*_: object) -> None:
    raise TimeoutError(f"a trial takes longer than {HANG_SECONDS} s")


def main() -> int:
    """Run with the arguments seed, seconds, shared file; print the figures, or what went wrong, as JSON."""
    signal.signal(signal.SIGPROF, _hang)
    seed, seconds, path = int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])
    with path.open("r+b") as file, mmap.mmap(file.fileno(), SHARED_BYTES) as shared:
        worker = Worker(seed, shared)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, used + MEMORY_BYTES))
        try:
            figures = worker.run(seconds)
        except BaseException:  # noqa: BLE001  (whatever it is, it is what we look for)
            sys.stdout.write(json.dumps({"failure": traceback.format_exc(limit=-8)}))
            return 1
    sys.stdout.write(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
