"""Which passwords can be guessed (NIST SP 800-63B section 5.1.1.2): common ones, and what they are made of.

What a password adds to common words, to digits and signs around them, and to rows of keys is what a guesser must find.
"""

from __future__ import annotations

import functools
import re
from importlib import resources
from typing import TYPE_CHECKING, Final
from unicodedata import normalize

if TYPE_CHECKING:
    from collections.abc import Iterable

MIN_DIFFERENT: Final = 5
# Letters that a password must have besides common words.
MIN_UNCOMMON_LETTERS: Final = 6
# A shorter part of a name is in too many words.
MIN_CONTEXT_LETTERS: Final = 4
CONTEXT: Final = ("journal", "openepm")
_SPELT = str.maketrans("013457@$!", "oieastasi")
_NO_LETTER = re.compile(r"[^a-z]")


@functools.cache
def common_words() -> tuple[str, ...]:
    """Return the words that passwords are made of most often, in French and elsewhere, the longest first."""
    text = resources.files("journal.admin").joinpath("common_words.txt").read_text(encoding="utf-8")
    return tuple(sorted(set(text.split()), key=lambda word: (-len(word), word)))


def is_guessable(password: str, context: Iterable[str]) -> bool:
    """Tell whether a password is common, or holds what is known of its owner: login, name, service, commune."""
    plain = _plain(password)
    if len(set(password)) < MIN_DIFFERENT:
        return True
    known = {part for text in (*CONTEXT, *context) for part in re.split("[^a-z0-9]+", _plain(text))}
    spellings = {re.sub("[^a-z0-9]", "", plain), _NO_LETTER.sub("", plain), _NO_LETTER.sub("", plain.translate(_SPELT))}
    if any(part in spelt for part in known if len(part) >= MIN_CONTEXT_LETTERS for spelt in spellings):
        return True
    return min(map(_uncommon_letters, spellings)) < MIN_UNCOMMON_LETTERS


def _uncommon_letters(spelt: str) -> int:
    """Count the letters that are in no common word; a part said again counts once."""
    for word in common_words():
        if len(word) >= MIN_CONTEXT_LETTERS:
            spelt = spelt.replace(word, " ")
    left = _NO_LETTER.sub("", re.sub(r"(.{2,})\1+", r"\1", spelt))
    return len(left)


def _plain(text: str) -> str:
    """Return lower-case letters without accents; all else as it is."""
    return "".join(sign for sign in normalize("NFKD", text).casefold() if sign.isascii())
