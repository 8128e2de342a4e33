"""What breaks on a host: `doctor`, readiness and the log name what, where and the mend, and it heals as is said.

One installation, one service; each scene of `tests.support.breakages` breaks it, looks, mends, and waits for readiness.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from journal.cli.parser import make_parser
from tests.support import bound
from tests.support.breakage_report import REPORT, read_sections
from tests.support.breakages import ALL, NOBODY, Breakage
from tests.support.broken import Broken, running
from tests.support.guide import chapter, commands_in
from tests.support.spoken import strange_pieces, strange_words

if TYPE_CHECKING:
    from collections.abc import Iterator

UNIT = Path(__file__).parents[2] / "deploy" / "openepm-journal.service"


@pytest.fixture(scope="module")
def broken() -> Iterator[Broken]:
    """A service that is ready."""
    with running() as made:
        yield made


def scenes() -> Iterator[object]:
    """Give each breakage by its name; those that are long, to the campaign."""
    for row in ALL:
        marks = [pytest.mark.campaign] if row.is_long else []
        if row.name.startswith("disk-full"):
            marks.append(pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system"))
        if row.name.startswith("keys-unreadable"):
            marks.append(pytest.mark.skipif(not bound.is_possible(), reason="modes bind no process here"))
        if row.name.startswith("time-stamping"):
            marks.append(pytest.mark.needs("openssl"))
        yield pytest.param(row, id=row.name, marks=marks)


@pytest.mark.parametrize("row", list(scenes()))
def test_it_is_named_and_heals(broken: Broken, row: Breakage) -> None:
    """With the words of the scene; readiness and doctor have nothing to say once it is mended."""
    row.play(broken)


def test_systemd_tries_again() -> None:
    """What is refused at the start is tried until it is mended: `heals` of those scenes rests on it."""
    unit = UNIT.read_text(encoding="utf-8").splitlines()
    assert {"Restart=on-failure", "StartLimitIntervalSec=0"} <= set(unit)
    assert [row.name for row in ALL if (NOBODY in row.readiness) != ("systemd" in row.heals)] == []


def test_the_report_has_each() -> None:
    """With its title, its code, and the words that its scene holds the program to."""
    sections = read_sections()
    assert list(sections) == [row.name for row in ALL]
    for row in ALL:
        text = sections[row.name]
        assert text.startswith(f"## {row.name}: {row.title}\n")
        assert f"`doctor`, exit code {row.code}:" in text
        for words in (*row.doctor, *row.log, row.heals, row.note):
            assert words in text, row.name


def test_the_report_speaks_todays_words() -> None:
    """Of what is quoted nothing is left without the texts of the code, but names, paths and figures."""
    blocks = re.findall(r"^```text\n(.*?)^```$", REPORT.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    assert len(lines) > 2 * len(ALL)
    assert {line: words for line in lines if (words := strange_words(line))} == {}


def test_words_of_another_day_are_noticed() -> None:
    """Control: a sentence that the code does not say, and one of which a word is another."""
    assert (
        strange_words("FAIL disk: keys /x: 0 MiB free, 0%; make room, or enlarge the file system; df -h shows it") == []
    )
    assert strange_words("FAIL disk: keys /x: 0 MiB free, 0%; make space, or enlarge the file system; df -h shows it")
    assert strange_words("the moon is not where the signer expects it")


def test_the_guide_has_each() -> None:
    """In the chapter about incidents: every breakage by its name, something to type, and quotations of today."""
    incidents = chapter(12)
    rows = re.findall(r"^### .*?(?=^### |\Z)", incidents, re.MULTILINE | re.DOTALL)
    named = {name: row for row in rows for name in re.findall(r"`([a-z-]+)`", row.split("\n")[0])}
    assert sorted(named) == sorted(row.name for row in ALL)
    for row in rows:
        typed = commands_in(row)
        assert typed, row
        for line in typed:
            if line.startswith("openepm-journal "):
                # What another command gives here is a moment that was noted.
                typed_so = re.sub(r"\$\(cat [^)]*\)", "2026-11-29T12:00:00Z", line.replace("\\\n", " "))
                make_parser().parse_args(shlex.split(typed_so)[1:])
        quoted = [words for words in re.findall(r"`([^`]+)`", row.partition("```")[0]) if words.count(" ") > 1]
        assert quoted or row not in named.values(), row  # others have no message of the service
        assert {words: strange for words in quoted if (strange := strange_pieces(words))} == {}


def test_the_guide_quotes_todays_refusals() -> None:
    """In the chapter about refusals: what stands for a name, a day or a number is one letter, or left out."""
    # `restore` is a script of its own.
    quoted = re.findall(r"^\| `(?!restore: )([^`]+)`", chapter(4), re.MULTILINE)
    assert len(quoted) > 20
    assert {words: strange for words in quoted if (strange := strange_pieces(words))} == {}
