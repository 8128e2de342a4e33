"""Where a command is to write what it makes: looked at before it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from journal.core.errors import OperatorError

if TYPE_CHECKING:
    from pathlib import Path


def check_free(output: Path, option: str, what: str) -> None:
    """Refuse a file that is there, or whose directory is not: `option` names it, and `what` says what it would be.

    Raises OperatorError.
    """
    if output.exists():
        raise OperatorError(f"{output} exists: choose another name with {option}, {what} is never overwritten")
    check_directory(output)


def check_directory(output: Path) -> None:
    """Refuse a file whose directory is not there. Raises OperatorError."""
    if not output.absolute().parent.is_dir():
        raise OperatorError(f"there is no directory {output.absolute().parent}")
