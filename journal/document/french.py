"""French as documents write it: days, moments, numbers, and nothing hidden in what others wrote."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from unicodedata import normalize

if TYPE_CHECKING:
    from datetime import date, datetime, timedelta

UNBROKEN_CHARACTERS = 16
MONTHS = (
    *("janvier", "février", "mars", "avril", "mai", "juin"),
    *("juillet", "août", "septembre", "octobre", "novembre", "décembre"),
)
WEEKDAYS = ("lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche")

# What the two fonts that typst carries can show: Latin, Greek and Cyrillic, and the usual signs. PDF/A refuses a
# document with a character that has no glyph, and no document must be lacking for one strange name.
_UNPRINTABLE = re.compile(
    "[^ -~\u00a0-\u00ac\u00ae-\u02ff\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u0482\u048a-\u04ff\u1e00-\u1eff"
    "\u2010-\u2027\u202f-\u2040\u2044-\u2052\u20a0-\u20bf\u2190-\u21ff\u2200-\u22ff\u2500-\u25ff\u27e6\u27e7]"
)
# A space before a high sign, a closing quotation mark or a unit, after an opening one, after "n°".
_BOUND = re.compile(r" (?=[:;?!»])|(?<=«) |(?<=n°) |(?<=[0-9]) (?=(?:h|min|s|entrées)\b)")
_UNBROKEN = re.compile(rf"\S{{{UNBROKEN_CHARACTERS}}}(?=\S)")


def printable(text: str) -> str:
    """Return the text with every character that hides, or that no font of the document has, replaced by its code."""
    return _UNPRINTABLE.sub(lambda match: f"⟦U+{ord(match[0]):04X}⟧", normalize("NFC", text))


def french_day(day: date) -> str:
    """Write a day as French people read it."""
    return f"{'1er' if day.day == 1 else day.day} {MONTHS[day.month - 1]} {day.year}"


def french_moment(moment: datetime) -> str:
    """Write a moment, to the second, in universal time."""
    return f"{french_day(moment.date())} à {moment:%H h %M min %S s} (UTC)"


def french_number(value: int) -> str:
    """Write a whole number, its thousands apart."""
    return f"{value:,}".replace(",", "\u202f")


def french_range(first: int, last: int) -> str:
    """Write the indexes from the first to the last, both included."""
    return f"n° {french_number(first)}" if first == last else f"n° {french_number(first)} à {french_number(last)}"


def cell(text: str, limit_characters: int) -> str:
    """Return a cell's text: nothing hidden, nothing endless, and no word that cannot be broken."""
    if len(text) > limit_characters:
        text = text[:limit_characters] + " […]"
    text = printable(" ".join(text.split()))
    return _UNBROKEN.sub(lambda match: match[0] + "\u200b", text)


def solid(text: str) -> str:
    """Return the text with spaces at which no line is broken."""
    return text.replace(" ", "\u00a0")


def typeset(text: str) -> str:
    """Return our own prose with French apostrophes, and signs that no line parts from what they belong to."""
    return _BOUND.sub("\u00a0", text).replace("'", "\u2019")


def solid_day(day: date) -> str:
    """Write a day that no line breaks."""
    return solid(french_day(day))


def solid_weekday(day: date) -> str:
    """Write a day with its name, that no line breaks."""
    return solid(f"{WEEKDAYS[day.weekday()]} {french_day(day)}")


def solid_moment(moment: datetime) -> str:
    """Write a moment, to the second, that a line breaks only between the day and the hour."""
    return f"{solid_day(moment.date())} " + solid(f"à {moment.hour} h {moment:%M min %S s}")


def solid_entries(count: int) -> str:
    """Write how many entries."""
    return solid(f"{french_number(count)} entrée{'s' if count > 1 else ''}")


def solid_duration(span: timedelta) -> str:
    """Write a duration by its two greatest units, rounded down; less than a minute is one."""
    minutes = max(int(span.total_seconds()) // 60, 1)
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        text = f"{french_number(days)} jour{'s' if days > 1 else ''}"
        return solid(f"{text} et {hours} h" if hours else text)
    return solid(f"{hours} h {minutes:02} min" if hours else f"{minutes} min")
