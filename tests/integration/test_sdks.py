"""The CloudEvents SDKs, as deploy/openepm/SDK.md shows them: structured mode is recorded, binary mode is refused."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.php import DIRECTORY, Connector
from tests.support.rig import CATEGORY
from tests.support.serving import Serving, found_site

if TYPE_CHECKING:
    from pathlib import Path

PREFIX = "/openepm/albi/sdk"
JAVASCRIPT_SDK = "cloudevents@10.0.0"
PHP_SDK = "cloudevents/sdk-php:^1.1"
# The same with the other mode.
OTHER_MODE = {
    "python": ("to_structured_event", "to_binary_event"),
    "js": ("HTTP.structured(event)", "HTTP.binary(event)"),
}


def shown(language: str) -> str:
    """Return the page's lines for a language."""
    page = (DIRECTORY / "SDK.md").read_text(encoding="utf-8")
    (lines,) = re.findall(rf"^```{language}\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    return str(lines)


async def play(dsn: str, directory: Path, language: str, command: list[str], begin: str = "") -> None:
    """Run the lines in both modes against a service; the first is in the journal, the second is told what to do."""
    site = await found_site(directory / "service", dsn, source_prefix=PREFIX)
    environment = os.environ | {
        "JOURNAL_URL": f"{site.url}/v1/categories/{CATEGORY}/events",
        "JOURNAL_TOKEN": site.modules["albi"],
    }

    def run(code: str) -> str:
        done = subprocess.run(
            [*command, begin + code], env=environment, cwd=directory, capture_output=True, text=True, check=False
        )
        return done.stdout + done.stderr

    async with await Serving.start(site):
        said = await asyncio.to_thread(run, shown(language))
        assert "201" in said, said
        assert '"receipts"' in said
        (event,) = await Connector(site=site, home=directory, source=PREFIX).entries()
        assert event["subject"] == "MC-2026-04127"
        if language in OTHER_MODE:
            said = await asyncio.to_thread(run, shown(language).replace(*OTHER_MODE[language]))
            assert "415" in said, said


async def test_python(dsn: str, tmp_path: Path) -> None:
    """Python."""
    await play(dsn, tmp_path, "python", [sys.executable, "-c"])


@pytest.mark.campaign
@pytest.mark.needs("node", "npm")
async def test_javascript(dsn: str, tmp_path: Path) -> None:
    """JavaScript, the SDK taken from npm."""
    install = [
        "npm",
        "install",
        "--no-audit",
        "--no-fund",
        "--ignore-scripts",
        "--prefix",
        str(tmp_path),
        JAVASCRIPT_SDK,
    ]
    await asyncio.to_thread(subprocess.run, install, check=True, capture_output=True)
    await play(dsn, tmp_path, "js", ["node", "-e"])


@pytest.mark.campaign
@pytest.mark.needs("php", "composer")
async def test_php(dsn: str, tmp_path: Path) -> None:
    """PHP, the SDK taken from Packagist."""
    install = ["composer", "require", "--no-interaction", "--quiet", f"--working-dir={tmp_path}", PHP_SDK]
    done = await asyncio.to_thread(subprocess.run, install, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"composer cannot have {PHP_SDK}: {done.stderr[-200:]}")
    autoload = f"require {str(tmp_path / 'vendor' / 'autoload.php')!r};"
    await play(dsn, tmp_path, "php", ["php", "-r"], autoload)
