"""`tests/faults/REPORT.md`: what the campaign's cases showed, each on its commit, from the lines that they left.

What the report says of cases that never ran here stays in it: the campaign may be run in parts, on several machines.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.faults.cases import PASSED, Case
from tests.faults.shown import Shown, add_up, bound_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    Shows = Sequence[tuple[Case, Shown]]

REPORT: Final = Path(__file__).with_name("REPORT.md")
HEAD: Final = """# What the fault campaign showed

`make campaign` runs the cases and writes this file; each row is of the commit that it names (`+`: with changes that
were not committed). Clients post to the real service (`serve`) on a real PostgreSQL, note on disk what they were told,
and ask again until the answer is definite; a judge that shares no code with the service's path compares that with what
is stored (`tests/faults/oracle.py`). *Lost*: acknowledged, and not there. *Doubled*: there twice. *Wrong*: a receipt,
an order, a head or a refusal that does not agree. No fault in n trials excludes a rate of more than 3/n at 95 %.

"""
FAULTS: Final = """## Faults

| Fault | n | acknowledged | lost | doubled | wrong | excluded at 95 % | commit | seeds | what else |
|---|---|---|---|---|---|---|---|---|---|
"""
CONTROLS: Final = """## Broken builds

The same faults on a build with a deliberate fault: the test named must find it, or the rows above mean nothing.

| Broken build | under | n | lost | doubled | wrong | found by | commit |
|---|---|---|---|---|---|---|---|
"""
OTHERS: Final = """## Other cases

"""


def write_report(cases: Iterable[Case]) -> bool:
    """Write the report; return whether every case passed."""
    ordered = sorted(cases, key=lambda case: case.case)
    passed = [case for case in ordered if case.outcome == PASSED]
    figures = [(case, shown) for case in passed for shown in case.figures]
    failed = [case for case in ordered if case.outcome not in {PASSED, "skipped"}]
    parts = {
        FAULTS: _rows([(case, shown) for case, shown in figures if not shown.broken], _fault_row),
        CONTROLS: _rows([(case, shown) for case, shown in figures if shown.broken], _control_row),
        OTHERS: _other_lines(passed),
    }
    merged = {title: _merge(_earlier(title), lines, title) for title, lines in parts.items()}
    kept = sum(len(lines) for lines in merged.values()) - sum(len(lines) for lines in parts.values())
    text = "\n".join(title + "".join(lines) for title, lines in merged.items())
    REPORT.write_text(HEAD + _totals(ordered, failed, kept) + text, encoding="utf-8")
    return not failed


def _earlier(title: str) -> list[str]:
    """Return the lines that the report has below a title."""
    text = REPORT.read_text(encoding="utf-8") if REPORT.exists() else ""
    return [f"{line}\n" for line in text.partition(title)[2].partition("\n##")[0].splitlines() if line]


def _merge(earlier: list[str], lines: list[str], title: str) -> list[str]:
    """Put what cases here showed in the place of what the report says of the same; all else of it stays."""
    new = {_subject(line, title) for line in lines}
    merged = [line for line in earlier if _subject(line, title) not in new] + lines
    return sorted(merged, key=lambda line: _subject(line, title))


def _subject(line: str, title: str) -> tuple[str, ...]:
    """Return what a line is about: a fault, and on which build."""
    if title == OTHERS:
        return (line.partition(": ")[0],)
    first, second, *_ = (cell.strip() for cell in line.strip("|\n").split("|"))
    return (first,) if title == FAULTS else (second, first)


def _totals(cases: list[Case], failed: list[Case], kept: int) -> str:
    """Say how many ran, and name those that failed or could not run; and how many lines are of other runs."""
    hours = sum(case.seconds for case in cases) / 3600
    skipped = [case for case in cases if case.outcome == "skipped"]
    text = f"{len(cases)} cases, {len(failed)} failed, {len(skipped)} could not run here; {hours:.1f} hours of cases."
    text += f"\nLines of earlier runs, of cases that did not run again: {kept}." if kept else ""
    text += "\n\n"
    text += "".join(f"- FAILED: `{case.case}` ({case.commit})\n" for case in failed)
    text += "".join(f"- could not run: `{case.case}`\n" for case in skipped)
    return text + ("\n" if failed or skipped else "")


def _rows(figures: Shows, make: Callable[[Shows], str]) -> list[str]:
    groups: dict[tuple[str, str], list[tuple[Case, Shown]]] = defaultdict(list)
    for case, shown in figures:
        groups[shown.fault, shown.broken].append((case, shown))
    return [make(group) for _, group in sorted(groups.items())]


def _fault_row(group: Shows) -> str:
    shown = [shown for _, shown in group]
    trials = sum(each.trials for each in shown)
    seeds = ", ".join(sorted({str(each.seed) for each in shown if each.seed}))
    notes = "; ".join(dict.fromkeys(told for told in (add_up(shown), *(each.note for each in shown)) if told))
    return (
        f"| {shown[0].fault} | {trials:,} | {sum(each.acknowledged for each in shown):,} |{_found(shown)} "
        f"| {bound_of(trials):.2%} | {_commits(group)} | {seeds} | {notes} |\n"
    )


def _control_row(group: Shows) -> str:
    shown = [shown for _, shown in group]
    tests = ", ".join(sorted({f"`{case.case.rpartition('/')[2]}`" for case, _ in group}))
    trials = sum(each.trials for each in shown)
    return f"| {shown[0].broken} | {shown[0].fault} | {trials} |{_found(shown)} | {tests} | {_commits(group)} |\n"


def _found(shown: list[Shown]) -> str:
    return "|".join(
        f" {sum(count):,} "
        for count in (
            [each.lost for each in shown],
            [each.doubled for each in shown],
            [each.wrong for each in shown],
        )
    ).rstrip()


def _commits(group: Shows) -> str:
    return ", ".join(sorted({case.commit for case, _ in group}))


def _other_lines(cases: list[Case]) -> list[str]:
    """Name the cases whose evidence is only a sentence, and count those without, by module."""
    lines: list[str] = []
    silent: dict[str, int] = defaultdict(int)
    for case in cases:
        told = {str(shown) for shown in case.figures}
        lines += [f"- {line} ({case.commit})\n" for line in case.evidence if line not in told]
        silent[case.module] += not case.evidence
    return lines + [f"- `{module}`: {count} cases passed\n" for module, count in sorted(silent.items()) if count]
