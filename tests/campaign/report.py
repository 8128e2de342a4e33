"""The report of a campaign: what was noticed by whom, and the totals."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from tests.campaign.play import Result, expected_of
from tests.campaign.table import Listed, read_list

if TYPE_CHECKING:
    from collections.abc import Sequence

REPORT = Path(__file__).parents[1] / "tamper" / "REPORT.md"
READY_SECONDS = 60.0
ROLLED_BACK = "rolled back"
_NOTICE = re.compile(r"- \*\*(.+?)\*\*, ([0-9.]+) s: (.*)")


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a kind went: `verdict` is noticed, late, SILENT, quiet, FALSE ALARM or ERROR; `first` who noticed first."""

    verdict: str
    first: str


@dataclass(frozen=True, slots=True)
class Summary:
    """The report, its totals, and whether everything was noticed as promised."""

    text: str
    totals: str
    is_good: bool


def judge(result: Result) -> Verdict:
    """Judge a kind by what the list promises."""
    listed = Listed(result.id, result.done, result.expected)
    if result.error is not None:
        return Verdict("ERROR", result.error[:200])
    # What a control changes is meant to be obeyed; and of everything put back at once, only a witness knows better.
    is_meant = listed.is_control or ROLLED_BACK in listed.noticed_by
    if not is_meant and any(lost.startswith(("OBEYED", "purged")) for lost in result.lost):
        return Verdict("OBEYED", "; ".join(result.lost))
    if not result.notices:
        return Verdict("quiet" if listed.is_control else "SILENT", "")
    first = result.notices[0]
    said = f"{first['who']} after {first['seconds']:.0f} s: {first['said']}"
    if listed.is_control:
        return Verdict("FALSE ALARM", said)
    heard = {notice["who"].partition(":")[0] for notice in result.notices}
    heard |= (
        {"ready"} if "hand-over" in heard or ("alarm entry" in heard and "alarm entry" in result.expected) else set()
    )
    heard |= {"start"} if "ready after a start" in heard else set()
    expected = expected_of(listed)
    early = {notice["who"].partition(":")[0] for notice in result.notices if notice["seconds"] <= READY_SECONDS}
    is_kept = bool(expected & heard) or bool(early & {"ready", "audit", "start"})
    return Verdict("noticed" if is_kept else "late", said)


def read_report(text: str) -> list[Result]:
    """Return what a report says of each kind; `done` and `expected` are those of the list."""
    listed, results = read_list(), []
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        identifier = section[:3]
        result = Result(identifier, listed[identifier].done, listed[identifier].noticed_by)
        for line in section.replace("\\|", "|").splitlines():
            if notice := _NOTICE.fullmatch(line):
                who, seconds, said = notice.groups()
                result.notices.append({"who": who, "seconds": float(seconds), "said": said})
            elif line.startswith("- refused: "):
                result.refused = [line.removeprefix("- refused: ")]
            elif line.startswith("- error: "):
                result.error = line.removeprefix("- error: ")
            elif line.startswith("- lost: ") and line != "- lost: nothing":
                result.lost = line.removeprefix("- lost: ").split("; ")
        results.append(result)
    return results


def write_report(results: Sequence[Result], seconds: float | None, processors: int) -> Summary:
    """Return the report; without `seconds`, of kinds that were played in several parts."""
    verdicts = {result.id: judge(result) for result in results}
    counts = Counter(verdict.verdict for verdict in verdicts.values())
    kinds = [result for result in results if not result.id.startswith("Z")]
    controls = [result for result in results if result.id.startswith("Z")]
    first = Counter(result.notices[0]["who"] for result in kinds if result.notices)
    times = [round(result.notices[0]["seconds"], 1) for result in kinds if result.notices]
    bad = [name for name, verdict in verdicts.items() if verdict.verdict not in {"noticed", "quiet"}]
    not_played = sorted(read_list().keys() - verdicts.keys())
    lines = [
        f"kinds played: {len(kinds)}; clean controls: {len(controls)}; not played: {', '.join(not_played) or 'none'}",
        (
            f"silent: {counts['SILENT']}; false alarms: {counts['FALSE ALARM']}; obeyed: {counts['OBEYED']}; "
            f"noticed later than promised: {counts['late']}; errors of the run: {counts['ERROR']}"
        ),
        "first noticed by: " + ", ".join(f"{who} {count}" for who, count in first.most_common()),
        f"seconds until noticed: median {median(times):.1f}, most {max(times):.1f}" if times else "",
        f"wall time: {seconds / 60:.0f} minutes on {processors} processors"
        if seconds is not None
        else f"played in several parts, each kind's last result counts, on {processors} processors",
    ]
    if bad:
        lines.append("not as promised: " + ", ".join(f"{name} ({verdicts[name].verdict})" for name in bad))
    totals = "\n".join(f"- {line}" for line in lines if line)
    text = _HEAD + totals + "\n\n" + "\n".join(_describe(result, verdicts[result.id]) for result in results)
    return Summary(text.rstrip("\n") + "\n", totals, not bad)


_HEAD = """# Report of the tampering campaign

Written by `make campaign-tamper`; nothing here is typed by hand. Each kind of [KINDS.md](KINDS.md) is done to its own
clone of a world of 62 days, which was recorded over HTTP, sealed, handed over and purged, while its service serves.
Seconds run from the harm to the first time that each of them says something. Where the list expects the
audit inside `serve`, it may use a whole processor here, which other clones use too; by default it uses a twentieth.
`store`, `extract`, `seal`
and `receipt` are asked after readiness and the audit were listened to, so their seconds say nothing.

"""


def _describe(result: Result, verdict: Verdict) -> str:
    lines = [f"## {result.id} {verdict.verdict}", "", f"{result.done}. Expected: {result.expected or 'nobody'}.", ""]
    lines += [f"- **{n['who']}**, {n['seconds']:.1f} s: {_clean(n['said'])}" for n in result.notices]
    if result.refused:
        lines.append(f"- refused: {_clean('; '.join(result.refused))}")
    lines.append(f"- lost: {'; '.join(result.lost) or 'nothing'}")
    if result.error:
        lines.append(f"- error: {_clean(result.error)}")
    return "\n".join(lines) + "\n"


def _clean(text: str) -> str:
    """Return a sentence in one line, without the paths of the run."""
    text = re.sub(r"/\S*?/w[0-9]/", "", " ".join(text.split()))
    return text.replace("|", "\\|")
