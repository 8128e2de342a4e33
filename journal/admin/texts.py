"""What an operator may write where it is recorded."""

from __future__ import annotations

from typing import Final

from journal.core.errors import OperatorError

TEXT_LIMIT_CHARACTERS: Final = 256


def check_text(option: str, text: str) -> None:
    """Refuse what cannot be recorded, or could disturb the terminal that lists it. Raises OperatorError."""
    if len(text) > TEXT_LIMIT_CHARACTERS or not text.isprintable():
        raise OperatorError(f"{option}: at most {TEXT_LIMIT_CHARACTERS} characters, all of them printable")
