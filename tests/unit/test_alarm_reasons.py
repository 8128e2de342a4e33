"""Reasons of alarms in entries: French where a commune reads them."""

from __future__ import annotations

import pytest

from journal.writing.alarm_reasons import french_reason


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("the purge is late: what is handed over now would not verify", "la purge est en retard : ce qui serait remis"),
        (
            "the source /a in the epoch {0} of its counter gave the number 3 to an event that never came",
            "la source /a, époque {0}, a donné le numéro 3",
        ),
        ("the source /a gave the number 3 to an event that never came", "la source /a a donné le numéro 3"),
        ("a table has a trigger", "a table has a trigger"),
    ],
)
def test_known_reasons_are_told_in_french(reason: str, said: str) -> None:
    """Whatever text a source has put into them; the others stay as they are."""
    assert french_reason(reason).startswith(said)
