"""What commands print with `--json`: one document, members sorted, times in RFC 3339, days as YYYY-MM-DD."""

from __future__ import annotations

import sys
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson

from journal.core.times import format_day, format_time

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable


def print_json(value: object) -> None:
    """Print a value as JSON, indented, on standard output."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_APPEND_NEWLINE
    sys.stdout.write(orjson.dumps(value, default=_plain, option=options).decode())


def as_json(arguments: argparse.Namespace) -> bool:
    """Tell whether a command was given --json."""
    return bool(getattr(arguments, "json", False))


def members_of(row: object, names: Iterable[str]) -> dict[str, Any]:
    """Return these attributes of a row; what is missing is null."""
    return {name: getattr(row, name) for name in names}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, date):
        return format_day(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return str(value)
