"""What verified time-stamps let a report say: since when nobody, the service included, could rewrite what.

A time-stamp late by years is as good as any for what came after it, and says nothing of what came before: so every
sentence tells its time.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from journal.core.timestamp import time_text
from journal.extract.statement import Statement, seal_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from journal.core.timestamp import Timestamp

# What a time-stamp may be later than its seal without a word.
PROMPT = timedelta(days=1)


def stamped(statements: Sequence[Statement]) -> list[tuple[Statement, Timestamp]]:
    """Return the seals whose time-stamp was verified, with it, in their order."""
    return [(statement, statement.timestamp) for statement in statements if statement.timestamp is not None]


def moment_text(timestamp: Timestamp) -> str:
    """Spell the time an authority attests, with its accuracy."""
    seconds = timestamp.accuracy.total_seconds() if timestamp.accuracy else 0
    return f"{time_text(timestamp.stamped_at)}{f' (± {seconds:g} s)' if seconds else ''}"


def checked_texts(statements: Sequence[Statement]) -> list[str]:
    """Say of each authority how many seals it attests; when, of the first and the last."""
    by_authority: dict[str, list[str]] = {}
    for statement, timestamp in stamped(statements):
        text = f"{seal_text(statement)} at {moment_text(timestamp)}"
        by_authority.setdefault(timestamp.authority, []).append(text)
    sentences = []
    for authority, texts in by_authority.items():
        ends = " to ".join(dict.fromkeys((texts[0], texts[-1])))
        sentences.append(
            f"{authority} attests {len(texts)} of the seals by time-stamps, checked at their own times: {ends}."
        )
    return sentences


def remark_texts(statements: Sequence[Statement]) -> list[str]:
    """Say which time-stamps came late, and whether one names its certificate by SHA-1."""
    found = stamped(statements)
    sentences = [
        f"{seal_text(statement)} was time-stamped only at {moment_text(timestamp)}: until then it could be rewritten."
        for statement, timestamp in found
        if timestamp.stamped_at - statement.seal.sealed_at > PROMPT
    ]
    if any(timestamp.by_sha1_alone for _, timestamp in found):
        sentences.append(
            "Time-stamps name their certificate by SHA-1 alone; its path, which does without, was checked."
        )
    return sentences


def unchecked_texts(statements: Sequence[Statement]) -> list[str]:
    """Say which time-stamps were not checked, and which close seals bear none where others do."""
    sentences = []
    unchecked = sum(statement.timestamped and statement.timestamp is None for statement in statements)
    if unchecked:
        sentences.append(f"{unchecked} seals bear a time-stamp: no certificate to check it with was given.")
    without = [one for one in statements if one.seal.day is not None and not one.timestamped]
    if without and stamped(statements):
        sentences.append(f"{len(without)} close seals bear no time-stamp, the latest being {seal_text(without[-1])}.")
    return sentences
