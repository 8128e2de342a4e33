"""The words of today's code: what a document quotes of it must be among them.

A sentence that the program says is put together from the texts in its source, with names, paths and figures between
them. A quotation is of today if nothing but such is left once those texts are taken out of it.
"""

from __future__ import annotations

import ast
import errno
import os
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY: Final = Path(__file__).parents[2]
PACKAGES: Final = ("journal", "ingest", "retention")
SYSTEM: Final = (errno.EACCES, errno.ENOENT, errno.ENOSPC, errno.EADDRINUSE, errno.ECONNREFUSED)
# A text that is too short is found by chance; a name or figure is in the place of these.
LEAST: Final = 6
BLANK: Final = re.compile(r"\{[^{}]*\}|%[sd]")
WORD: Final = re.compile(r"(?<![\w./_'-])[a-z]{4,}(?![\w./_'-])")
# What no text holds: names of checks and categories, and what the host's programs are called.
NAMES: Final = frozenset({"database", "journal", "main", "ingest", "owner", "purge", "read", "seal", "admin"})


def _texts(node: ast.AST) -> Iterator[str]:
    """Yield the texts of a module."""
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            yield each.value


@cache
def fragments() -> list[str]:
    """Return every text of today's code and of the system, longest first."""
    found: set[str] = {os.strerror(code) for code in SYSTEM}
    for package in PACKAGES:
        for path in (REPOSITORY / package).rglob("*.py"):
            for text in _texts(ast.parse(path.read_text(encoding="utf-8"))):
                pieces = BLANK.split(text)
                found |= {piece.strip() for piece in pieces if len(piece.strip()) >= LEAST and "\n" not in piece}
                found |= {text} if text.isidentifier() else set()  # the names of checks, and of what the log holds
    return sorted(found, key=len, reverse=True)


def strange_words(quoted: str) -> list[str]:
    """Return the words of a quotation that no text of today's code holds."""
    left = quoted
    for fragment in fragments():
        if fragment in left:
            # A name is one only where it stands alone.
            left = re.sub(rf"\b{fragment}\b", "|", left) if fragment.isidentifier() else left.replace(fragment, "|")
    return [word for word in WORD.findall(left) if word not in NAMES]


@cache
def _everything() -> str:
    return "\n".join(fragments())


def strange_pieces(quoted: str) -> list[str]:
    """Return the pieces of a part of a sentence that no text of today's code has.

    A name, a day or a figure is one capital letter, digits, or left out (`…`).
    """
    pieces = (piece.strip("():;, ") for piece in re.split(r"…|\b[A-Z]\b|\d+", quoted))
    return [piece for piece in pieces if piece not in _everything()]
