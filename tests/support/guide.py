"""The operator's guide as a test types it."""

from __future__ import annotations

import re
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "deploy" / "GUIDE.fr.md"


def chapter(number: int) -> str:
    """Return a chapter's text."""
    text = GUIDE.read_text(encoding="utf-8")
    begin = text.index(f"## {number}. ")
    end = text.find(f"## {number + 1}. ", begin)
    return text[begin:end] if end > 0 else text[begin:]


def commands_in(text: str) -> list[str]:
    """Return what a text says to type, each `$ …` with the lines that continue it, and without what it then shows."""
    blocks = re.findall(r"^```(?:console)?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    typed = [command for block in blocks for command in re.split(r"(?m)^\$ ", block)[1:]]
    return [_typed(command) for command in typed]


def _typed(command: str) -> str:
    """Return the lines that are typed: those continued, and a loop to its end."""
    lines = command.splitlines()
    last = 0
    while lines[last].endswith("\\"):
        last += 1
    if lines[0].endswith("; do"):
        last = next(number for number, line in enumerate(lines) if line.strip() == "done")
    return "\n".join(lines[: last + 1]).strip()


def install_commands() -> list[str]:
    """Return what the install chapter says to type, to the first verified extract."""
    text = GUIDE.read_text(encoding="utf-8")
    steps = text[text.index("## 1. Installer") : text.index("### Une identité d'une autorité")]
    blocks = re.findall(r"^```\n(.*?)^```$", steps, re.MULTILINE | re.DOTALL)
    return [command.strip() for block in blocks for command in re.split(r"(?m)^\$ ", block)[1:]]
