"""Templates, and the French of what pages say of moments, days and numbers."""

from __future__ import annotations

import functools
import re
from datetime import UTC, date, datetime
from hashlib import sha256
from importlib import resources
from typing import TYPE_CHECKING, Any

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined

from journal.core.paris import paris_time
from journal.core.times import format_time
from journal.document.french import MONTHS, WEEKDAYS, bound, french_day, french_number, printable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

# Nothing from elsewhere, no inline script or style, no frame around a page; a form goes to this site alone.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
# Within a page: a tag, with what is copied as it stands.
_TAG = re.compile(r"(<code[^>]*>.*?</code>|<[^>]*>)", re.DOTALL)
FILES = {"console.css": "text/css", "console.js": "text/javascript"}


def moment(at: datetime) -> str:
    """Write a moment in Paris time, to the minute."""
    local = paris_time(format_time(at.astimezone(UTC)))
    day, _, hour = local.partition(" à ")
    return f"{french_day(date.fromisoformat(day))} à {hour.rpartition(':')[0].replace(':', ' h ')}" if local else ""


def in_fours(digits: str) -> str:
    """Write a fingerprint in groups of four signs, as the page that verifies does, to be read out."""
    return " ".join(re.findall(".{1,4}", digits))


def keep_together(html: str) -> str:
    """Return a page whose lines do not break before « : » or within « 10 h 34 »; fields and codes stay as they are."""
    parts = _TAG.split(html)
    # Every other part is a tag or a code.
    parts[::2] = [bound(text) for text in parts[::2]]
    return "".join(parts)


def _weekday(day: date) -> str:
    return f"{WEEKDAYS[day.weekday()]} {french_day(day)}"


def _short_day(day: date) -> str:
    return f"{'1er' if day.day == 1 else day.day} {MONTHS[day.month - 1]}"


def _duration(length: timedelta) -> str:
    days, hours = length.days, length.seconds // 3600
    if days:
        return f"{days} jour{'s' if days > 1 else ''}"
    return f"{hours} heure{'s' if hours > 1 else ''}" if hours else "moins d’une heure"


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("ingest.console"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "duree": _duration,
        "empreinte": in_fours,
        "jour": french_day,
        "jour_court": _short_day,
        "jour_semaine": _weekday,
        "moment": moment,
        "nombre": french_number,
        "visible": printable,
    }
    environment.globals["versions"] = {name: _version(name) for name in FILES}
    return environment


def page(template: str, values: Mapping[str, Any], *, status: int = 200) -> web.Response:
    """Return a page."""
    text = _environment().get_template(template).render(**values)
    return web.Response(
        text=keep_together(text), status=status, content_type="text/html", charset="utf-8", headers=HEADERS
    )


@functools.cache
def read_file(name: str) -> bytes:
    """Return the style sheet or the script of the pages."""
    return resources.files("ingest.console").joinpath("templates", name).read_bytes()


def _version(name: str) -> str:
    """Return what changes in the address of a file with its content, so that browsers may keep it."""
    return sha256(read_file(name)).hexdigest()[:12]
