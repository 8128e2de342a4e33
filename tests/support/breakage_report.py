"""`tests/faults/BREAKAGES.md`: what is said of each breakage, word for word, as it was played.

`python -m tests.support.breakage_report [NAME…]` plays all of them, or those named, and writes their sections; those of
others stay. As root: it mounts small disks.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support.breakages import ALL
from tests.support.broken import running

if TYPE_CHECKING:
    from tests.support.breakages import Breakage
    from tests.support.broken import Seen

REPORT: Final = Path(__file__).parents[1] / "faults" / "BREAKAGES.md"
LOGGED: Final = 3
HEAD: Final = """# What breaks, and what is said of it

Each breakage is played on a real service (`serve`, its own signer) with a PostgreSQL of its own beside it: broken,
looked at as an operator does, mended. What stands here was said, word for word; only paths and ports are those of the
Debian package. `make campaign-breakages` plays all and writes this file; `make test` plays most of them
(`tests/faults/test_breakages.py`), and holds that each is here, in words of today's code. Of `doctor` the lines are
shown that are not fine; of the log the first warnings, without their time.

"""


def section(row: Breakage, seen: Seen, seconds: float) -> str:
    """Return what is written of a breakage."""
    doctor = "\n".join(seen.doctor)
    log = "\n".join(sorted(seen.log, key=lambda line: not any(words in line for words in row.log))[:LOGGED])
    lines = [
        f"## {row.name}: {row.title}\n",
        f"`doctor`, exit code {seen.code}:\n",
        f"```text\n{doctor}\n```\n",
        f"`/readyz`: {seen.readiness}\n",
        f"Log:\n\n```text\n{log}\n```\n" if log else "Log: nothing.\n",
        f"It heals {row.heals}; ready again {seconds:.0f} s after the repair.\n",
    ]
    return "\n".join([*lines, f"{row.note}\n"] if row.note else lines)


def read_sections() -> dict[str, str]:
    """Return the sections that are in the file, by name."""
    text = REPORT.read_text(encoding="utf-8") if REPORT.exists() else ""
    found = re.findall(r"^(## ([a-z-]+): .*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return {name: whole.rstrip() + "\n" for whole, name in found}


def main(names: list[str]) -> int:
    """Play, and write."""
    failed = 0
    with running() as broken:
        for row in ALL:
            if names and row.name not in names:
                continue
            try:
                seen, seconds = row.play(broken)
            except AssertionError as error:
                failed += 1
                print(f"{row.name}: FAILED: {error}", flush=True)  # noqa: T201
                continue
            print(f"{row.name}: doctor {seen.code}, {seen.readiness}; ready again after {seconds:.1f} s", flush=True)  # noqa: T201
            sections = read_sections() | {row.name: section(row, seen, seconds)}
            REPORT.write_text(
                HEAD + "\n".join(sections[each.name] for each in ALL if each.name in sections), encoding="utf-8"
            )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
