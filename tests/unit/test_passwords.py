"""Passwords that are refused: common ones, in any spelling, and those that hold what is known of their owner."""

from __future__ import annotations

import pytest

from journal.admin.passwords import common_words, is_guessable

KNOWN = ("a.martin", "Anne Lefèvre", "Albi")


@pytest.mark.parametrize(
    "password",
    [
        *("motdepasse12", "M0tDeP@sse!2026", "azerty azerty azerty", "Azertyuiop123", "123456789012", "password1234"),
        *("abcabcabcabc", "Bonjour2026!!", "police municipale", "SoleilSoleil1", "qwertyuiop[]", "aaaaaaaaaaaab"),
        *("zkvmartinqqwub", "lefevre-zkvuqwb", "LEFÈVRE-zkvuqwb", "albi zkv uqw ubg", "mon journal zkvuqw"),
        *("0penEPM-zkvuqwb", "zkvuqw-openepm-ub"),
    ],
)
def test_what_can_be_guessed(password: str) -> None:
    """It is refused, whatever digits, signs and accents are in it."""
    assert is_guessable(password, KNOWN)


@pytest.mark.parametrize(
    "password",
    ["quatre mots sans rapport", "cheval correct pile agrafe", "f7Kq-w2Lp-x9Zr-v4Tn-b", "lampe genou tiroir oseille"],
)
def test_what_cannot(password: str) -> None:
    """It is taken."""
    assert not is_guessable(password, KNOWN)


def test_the_list_is_small() -> None:
    """A few hundred words, each as it is compared: lower-case ASCII letters."""
    assert 200 < len(common_words()) < 1_000
    assert all(word.isascii() and word.isalpha() and word.islower() for word in common_words())
