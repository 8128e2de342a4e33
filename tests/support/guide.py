"""The operator's guide as a test types it."""

from __future__ import annotations

import re
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "deploy" / "GUIDE.fr.md"


def install_commands() -> list[str]:
    """Return what the install chapter says to type, each `$ …` with the lines that continue it."""
    text = GUIDE.read_text(encoding="utf-8")
    chapter = text[text.index("## 1. Installer") : text.index("## 2. ")]
    blocks = re.findall(r"^```\n(.*?)^```$", chapter, re.MULTILINE | re.DOTALL)
    return [command.strip() for block in blocks for command in re.split(r"(?m)^\$ ", block)[1:]]
