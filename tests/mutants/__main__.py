"""`make mutants`: mutates what must not be wrong, and writes `tests/mutants/REPORT.md`.

What was killed is kept in `var/mutants` while neither the module nor the test file that killed it changes.
"""

from __future__ import annotations

import argparse
import json
import sys
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from tests.mutants.judging import KILLED, TIMEOUT, Verdict, judge
from tests.mutants.mutating import mutants_of
from tests.mutants.report import Judged, Run, write_report
from tests.mutants.scope import ROOT, SCOPE, judges, modules, part_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.mutants.mutating import Mutant

FOLDER = ROOT / "var/mutants"
RESULTS = FOLDER / "results"


def main() -> int:
    """Judge the mutants of the parts asked for, then write the report of all that is judged."""
    parser = argparse.ArgumentParser(description="Judge mutants by the unit tests.")
    parser.add_argument("--part", action="append", choices=SCOPE, help="one part of the scope; may be given again")
    parser.add_argument("--module", action="append", help="one module; may be given again")
    parser.add_argument(
        "--sample", type=int, default=0, help="so many mutants of each module, drawn by the seed; 0: all"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    kept: dict[str, Any] = {}
    waiting: list[Mutant] = []
    for module in (asked.module or []) + modules(asked.part or ([] if asked.module else SCOPE)):
        chosen, total = mutants_of(module, asked.sample, asked.seed)
        digest = _digest(module)
        previous = {name: one for run in _runs(module) for name, one in run["mutants"].items()}
        judged = {one.name: previous[one.name] for one in chosen if _still_holds(previous.get(one.name), digest)}
        kept[module] = {"total": total, "seed": asked.seed, "chosen": len(chosen), "mutants": judged}
        waiting += [one for one in chosen if one.name not in judged]
        print(f"{module}: {len(chosen)} of {total} mutants, {len(judged)} judged before", file=sys.stderr)

    def keep(module: str) -> None:
        _results(module, asked.seed).write_text(json.dumps(kept[module], indent=1))

    def tell(mutant: Mutant, verdict: Verdict) -> None:
        kept[mutant.module]["mutants"][mutant.name] = {
            "function": mutant.function,
            "was": mutant.was,
            "became": mutant.became,
            "outcome": verdict.outcome,
            "by": verdict.by,
            "tests": verdict.tests,
            "module": _digest(mutant.module),
            "killer": _digest(verdict.by.partition("::")[0]) if verdict.by else "",
        }
        if verdict.outcome != KILLED:
            print(f"{verdict.outcome}: {mutant.name}", file=sys.stderr, flush=True)
        keep(mutant.module)

    failed = (
        judge(waiting, judges({part_of(one.module) for one in waiting}), FOLDER, asked.workers, tell) if waiting else 0
    )
    for module in kept:
        keep(module)
    runs = {module: [Run(**run) for run in _runs(module)] for module in modules(SCOPE)}
    write_report({module: Judged(found) for module, found in runs.items() if found})
    return failed


def _results(module: str, seed: int) -> Path:
    return RESULTS / f"{module.replace('/', '.')}.{seed}.json"


def _runs(module: str) -> list[dict[str, Any]]:
    """Return what the runs on a module left, one a seed that drew its mutants."""
    found = (json.loads(path.read_text()) for path in RESULTS.glob(f"{module.replace('/', '.')}.*.json"))
    return sorted(found, key=lambda run: int(run["seed"]))


def _digest(path: str) -> str:
    return sha256((ROOT / path).read_bytes()).hexdigest()


def _still_holds(judged: dict[str, Any] | None, module: str) -> bool:
    """Tell whether a mutant is killed by a test that is as it was, in a module that is as it was."""
    if judged is None or judged["outcome"] not in {KILLED, TIMEOUT} or judged["module"] != module:
        return False
    return not judged["by"] or judged["killer"] == _digest(judged["by"].partition("::")[0])


if __name__ == "__main__":
    sys.exit(main())
