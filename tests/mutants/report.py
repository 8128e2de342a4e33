"""`tests/mutants/REPORT.md`: what came of the mutants, and why those that survived may."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.mutants.scope import SCOPE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

REPORT: Final = Path(__file__).with_name("REPORT.md")
# Per module, per function: what a line was, what it became, and why no test is to find it.
EXPLAINED: Final = Path(__file__).with_name("explained.json")
FOUND: Final = ("killed", "timeout")
HEAD: Final = """# What mutants the unit tests kill

`make mutants` writes this file. A mutant is one change of one function, by mutmut's operators; it is killed when one
of the unit tests that reach the changed statement fails, or (*timeout*) takes ten times the processor time that they
take. *Unreached*: no unit test runs the statement. The score counts everything that is not killed as a survivor, also
what is explained below as the same program. The purge policy is judged by the tests of `test_purge_plan.py` too, on a
real database: `retention/purge_plan.py` asks one.

Not mutated: docstrings, the wording of errors and of the log (texts with a space in them), names of codecs in another
case, types named for `cast`, and what runs when a module is loaded (constants, defaults of arguments, decorators). Of
`journal/reading/plan.py`, only the checks of a request are in the scope.

| Part | Module | mutants | judged | killed | timeout | survived | explained | unreached | score |
|---|---|---|---|---|---|---|---|---|---|
"""
SAMPLES: Final = """
Where not all mutants of a module are judged, a seed draws them. The tests were mended after the samples of seeds 0 and
1, not after those of the seeds that follow them.

| Part | Seed | judged | killed | score | drawn |
|---|---|---|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Run:
    """The mutants of a module that were judged, of how many, drawn by which seed."""

    total: int
    chosen: int
    seed: int
    mutants: Mapping[str, Mapping[str, Any]]

    @property
    def of(self) -> str:
        """How many were judged, and of how many drawn, where the run was cut short."""
        judged = len(self.mutants)
        return str(judged) if judged == self.chosen else f"{judged} of {self.chosen}"


@dataclass(frozen=True, slots=True)
class Judged:
    """What the runs on a module found, one a seed: a mutant that several of them drew counts once."""

    runs: Sequence[Run]

    @property
    def total(self) -> int:
        """How many mutants the module has."""
        return self.runs[-1].total

    @property
    def mutants(self) -> list[Mapping[str, Any]]:
        """What came of each mutant that was judged."""
        return list({name: one for run in self.runs for name, one in run.mutants.items()}.values())


def write_report(found: Mapping[str, Judged]) -> None:
    """Write the report of all modules that were judged."""
    explained = _explained()
    rows = [row for part in SCOPE for row in _rows(part, found, explained)]
    text = HEAD + "".join(rows) + "".join(_samples(found)) + "".join(_survivors(found, explained))
    REPORT.write_text(text)


def _explained() -> dict[tuple[str, str, str, str], str]:
    return {
        (module, one["in"], one["was"], became): one["why"]
        for module, ones in json.loads(EXPLAINED.read_text()).items()
        for one in ones
        for became in one["became"]
    }


def _key(module: str, one: Mapping[str, Any]) -> tuple[str, str, str, str]:
    return module, one["function"], one["was"], one["became"]


def _rows(part: str, found: Mapping[str, Judged], explained: Mapping[Any, str]) -> Iterator[str]:
    sums: Counter[str] = Counter()
    for module in SCOPE[part]:
        if module not in found:
            yield f"| {part} | `{module}` | not run | | | | | | | |\n"
            continue
        judged = found[module]
        counts = Counter(str(one["outcome"]) for one in judged.mutants)
        counts["mutants"], counts["judged"] = judged.total, len(judged.mutants)
        counts["explained"] = sum(
            _key(module, one) in explained for one in judged.mutants if one["outcome"] not in FOUND
        )
        sums += counts
        yield _row(part, f"`{module}`", counts)
    yield _row(f"**{part}**", "all", sums)


def _row(part: str, name: str, counts: Counter[str]) -> str:
    killed = sum(counts[outcome] for outcome in FOUND)
    survived = counts["survived"] + counts["error"]
    score = f"{100 * killed / counts['judged']:.1f} %" if counts["judged"] else ""
    columns = (
        counts["mutants"],
        counts["judged"],
        counts["killed"],
        counts["timeout"],
        survived,
        counts["explained"],
        counts["unreached"],
    )
    return f"| {part} | {name} | {' | '.join(map(str, columns))} | {score} |\n"


def _samples(found: Mapping[str, Judged]) -> Iterator[str]:
    """Tell each seed's sample apart: tests were written for the first two, and for none drawn after them."""
    yield SAMPLES
    for part in SCOPE:
        runs = [(module, run) for module in SCOPE[part] if module in found for run in found[module].runs]
        for seed in sorted({run.seed for _, run in runs}):
            of_seed = [(module, run) for module, run in runs if run.seed == seed]
            outcomes = [one["outcome"] for _, run in of_seed for one in run.mutants.values()]
            killed = sum(outcome in FOUND for outcome in outcomes)
            drawn = ", ".join(f"`{Path(module).name}` {run.of}" for module, run in of_seed)
            yield f"| {part} | {seed} | {len(outcomes)} | {killed} | {100 * killed / len(outcomes):.1f} % | {drawn} |\n"


def _survivors(found: Mapping[str, Judged], explained: Mapping[Any, str]) -> Iterator[str]:
    yield "\n## Survivors\n"
    for module in (module for modules in SCOPE.values() for module in modules if module in found):
        left = [one for one in found[module].mutants if one["outcome"] not in FOUND]
        if left:
            yield f"\n### `{module}`\n\n"
        for one in sorted(left, key=lambda one: (one["function"], one["was"], one["became"])):
            why = explained.get(_key(module, one), "not explained")
            yield f"- `{one['function']}` ({one['outcome']}): {why}\n"
            yield f"  - was `{one['was']}`\n  - became `{one['became']}`\n"
