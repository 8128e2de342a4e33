"""What commands print with `--json`: one document, members sorted, times in RFC 3339, days as YYYY-MM-DD."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from typing import Any

import orjson

from journal.core.times import format_time


def print_json(value: object) -> None:
    """Print a value as JSON, indented, on standard output."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_APPEND_NEWLINE
    sys.stdout.write(orjson.dumps(value, default=_plain, option=options).decode())


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return str(value)
