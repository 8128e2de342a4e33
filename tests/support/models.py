"""The models of the protocols in `tests/models`: which runs there are, and how one is checked with spin.

`python -m tests.support.models` checks every run and writes the table of `tests/models/README.md`.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

MODELS = Path(__file__).parents[1] / "models"
TABLE = MODELS / "README.md"
BEGIN = "| model | defined | properties | states | transitions | depth |\n|---|---|---|---|---|---|\n"
MEMORY_MIB = 6_000
DEPTH = 2_000_000


@dataclass(frozen=True, slots=True)
class Run:
    """A model with what is defined; `fails` are the properties of which one must fail, none for the protocol as it is.

    A run that must fail has a planted fault, or reaches the end that it says is never reached.
    """

    model: str
    defined: tuple[str, ...] = ()
    fails: tuple[str, ...] = ()
    is_long: bool = False

    @property
    def name(self) -> str:
        """Return the model with what is defined."""
        return " ".join((self.model, *self.defined))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was searched: states, transitions, depth; `violated` is the assertion that failed, with what it says."""

    states: int
    transitions: int
    depth: int
    violated: str | None


PROPERTIES = {
    "append": ("lost", "forked", "two_receipts", "false_stop", "own_fork"),
    "seal": ("contradicted", "stuck", "held"),
    "purge": ("unsealed", "unhanded", "unfenced", "uncovered", "readable"),
    "change": ("ghost", "lost", "suspended"),
}
# The protocols as they are.
SOUND = (
    Run("append"),
    Run("append", ("LOSSY", "CRASHES=1")),
    Run("seal"),
    Run("purge"),
    Run("change"),
    Run("change", ("ATTACKS=1", "CHANGES=2")),
    Run("append", ("LOSSY",), is_long=True),
    Run("append", ("LANES=3", "SHARED=2", "CANCELS=0", "CRASHES=1"), is_long=True),
    Run("seal", ("LOSSY",), is_long=True),
    Run("purge", ("CRASHES=4",), is_long=True),
    Run("change", ("CHANGES=4", "CRASHES=3"), is_long=True),
)
# Each with one thing wrong.
FAULTY = (
    Run("append", ("ACK_BEFORE_FLUSH",), ("lost",)),
    Run("append", ("FLUSH_ELSEWHERE",), ("lost",)),
    Run("append", ("KNOWN_UNFLUSHED",), ("lost",)),
    Run("append", ("IGNORE_WARNING",), ("lost",)),
    Run("append", ("ASYNC_STANDBY",), ("lost",)),
    Run("append", ("NO_CAS",), ("forked",)),
    Run("append", ("NO_DEDUPE",), ("two_receipts",)),
    Run("append", ("REMEMBER_UNFLUSHED",), ("false_stop",)),
    Run("append", ("LOSSY", "NO_MEMORY"), ("own_fork",)),
    Run("append", ("LOSSY", "MEMORY_GOES_BACK"), ("own_fork",)),
    Run("append", ("LOSSY", "UNCONFIRMED"), ("own_fork",)),
    Run("append", ("LOSSY", "KNOWN_NOT_REMEMBERED"), ("own_fork",)),
    Run("seal", ("UNFLUSHED",), ("held",)),
    Run("seal", ("LAST_PENDING_ONLY",), ("stuck",)),
    Run("seal", ("SIGN_NOT_DURABLE",), ("stuck",)),
    Run("seal", ("NO_CAS",), ("stuck",)),
    Run("seal", ("ASYNC_STANDBY",), ("stuck",)),
    Run("seal", ("LOSSY", "NO_FLOOR"), ("contradicted",)),
    Run("purge", ("KEY_BEFORE_SEAL",), ("unsealed",)),
    Run("purge", ("KEY_BEFORE_HANDOVER",), ("unhanded",)),
    Run("purge", ("KEY_BEFORE_FENCE",), ("unfenced",)),
    Run("purge", ("NO_BARRIER",), ("unhanded",)),
    Run("purge", ("NO_LOCK",), ("uncovered",)),
    Run("purge", ("NO_SECOND_LOOK",), ("readable",)),
    Run("change", ("SETTLE_UNFLUSHED",), ("suspended",)),
    Run("change", ("SETTLE_BLIND",), ("suspended",)),
    Run("change", ("COMMIT_BEFORE_SET",), ("suspended",)),
    Run("change", ("PENDING_REFUSED",), ("suspended",)),
    Run("change", ("ASYNC_STANDBY",), ("lost",)),
    Run("change", ("ATTACKS=1", "ACCEPT_OLDER"), ("lost",)),
    Run("change", ("ATTACKS=1", "NO_LEDGER"), ("ghost",)),
    Run("change", ("ATTACKS=1", "CHANGES=2", "DONE_NOT_DURABLE"), ("lost",)),
    # No fault: the good end, after every crash, is reached.
    *(Run(model, ("REACH",), ("crashes",)) for model in PROPERTIES),
)


def check(run: Run) -> Outcome:
    """Search every state, or up to the first violation. Raises AssertionError where the search was cut short."""
    with tempfile.TemporaryDirectory() as directory:
        defined = [f"-D{each}" for each in run.defined]
        _call(directory, "spin", "-a", *defined, str(MODELS / f"{run.model}.pml"))
        # A fault is found, and a short search ended, before the compiler has made the search faster.
        speed = "-O0" if run.fails else "-O2" if run.is_long else "-O1"
        _call(directory, "gcc", speed, "-w", "-DSAFETY", f"-DMEMLIM={MEMORY_MIB}", "-o", "pan", "pan.c")
        said = _call(directory, "./pan", f"-m{DEPTH}", "-w20")
    violated = re.search(r"^pan:1: (.*) \(at depth \d+\)$", said, re.MULTILINE)
    for cut in ("max search depth too small", "out of memory", "reached -DMEMLIM"):
        assert cut not in said, f"{run.name}: {cut}"
    errors = int(_number(said, r"errors: (\d+)"))
    assert errors == (violated is not None), said
    assert violated or "Search not completed" not in said, said
    return Outcome(
        states=int(_number(said, r"^\s*(\S+) states, stored")),
        transitions=int(_number(said, r"^\s*(\S+) transitions")),
        depth=int(_number(said, r"depth reached (\d+)")),
        violated=violated[1] if violated else None,
    )


def row(run: Run, found: Outcome) -> str:
    """Return the line of the table."""
    defined, properties = " ".join(run.defined) or "-", ", ".join(PROPERTIES[run.model])
    figures = f"{found.states:,} | {found.transitions:,} | {found.depth:,}"
    return f"| {run.model} | {defined} | {properties} | {figures} |\n"


def _call(directory: str, *command: str) -> str:
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


def _number(said: str, pattern: str) -> str:
    found = re.search(pattern, said, re.MULTILINE)
    assert found is not None, said
    return str(int(float(found[1])))


if __name__ == "__main__":
    text = TABLE.read_text(encoding="utf-8").partition(BEGIN)[0] + BEGIN
    for each in SOUND:
        text += row(each, check(each))
        TABLE.write_text(text, encoding="utf-8")
