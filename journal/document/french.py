"""French typography of the documents: days, times, numbers, and printable text from any input."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from unicodedata import normalize

if TYPE_CHECKING:
    from datetime import date

UNBROKEN_CHARACTERS = 16
MONTHS = (
    *("janvier", "février", "mars", "avril", "mai", "juin"),
    *("juillet", "août", "septembre", "octobre", "novembre", "décembre"),
)
TRIALS = (
    "Pour essais seulement : le certificat de confiance est d'une autorité de développement, que le service s'est "
    "faite. Personne d'autre ne répond de qui a signé."
)
WEEKDAYS = ("lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche")

# All but what the two fonts of typst can show: Latin, Greek, Cyrillic, usual signs. Others would be seen as boxes.
_UNPRINTABLE = re.compile(
    "[^ -~\u00a0-\u00ac\u00ae-\u02ff\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u0482\u048a-\u04ff\u1e00-\u1eff"
    "\u2010-\u2027\u202f-\u2040\u2044-\u2052\u20a0-\u20bf\u2190-\u21ff\u2200-\u22ff\u2500-\u25ff\u27e6\u27e7]"
)
# A space before a high sign, a closing quotation mark or a unit, after an opening one, after "n°", within an hour.
_BOUND = re.compile(r" (?=[:;?!»])|(?<=«) |(?<=n°) |(?<=[0-9]) (?=(?:h|min|s|entrées)\b)|(?<=[0-9] h) (?=[0-9])")
_UNBROKEN = re.compile(rf"\S{{{UNBROKEN_CHARACTERS}}}(?=\S)")
_LONG = re.compile(rf"\S{{{UNBROKEN_CHARACTERS + 1},}}")
# A word of a language, with the signs around it: hyphenation breaks it where that language does.
_PART = r"(?:[^\W\d_]|['’]){1,22}"
_WORD = re.compile(rf"[(«]?{_PART}(?:-{_PART})*[).,;:»…]{{0,2}}")


def printable(text: str) -> str:
    """Return the text with every invisible character, and every one without a glyph, replaced by its code."""
    return _UNPRINTABLE.sub(lambda match: f"⟦U+{ord(match[0]):04X}⟧", normalize("NFC", text))


def french_day(day: date) -> str:
    """Write a day in French."""
    return f"{'1er' if day.day == 1 else day.day} {MONTHS[day.month - 1]} {day.year}"


def french_number(value: int) -> str:
    """Write a whole number with thin spaces between thousands."""
    return f"{value:,}".replace(",", "\u202f")


def french_range(first: int, last: int) -> str:
    """Write the indexes from the first to the last, both included."""
    return f"n° {french_number(first)}" if first == last else f"n° {french_number(first)} à {french_number(last)}"


def bounded(text: str, limit_characters: int) -> str:
    """Return the text printable, with single spaces, and of bounded length."""
    if len(text) > limit_characters:
        text = text[:limit_characters] + " […]"
    return printable(" ".join(text.split()))


def cell(text: str, limit_characters: int) -> str:
    """Return a cell's text: printable, of bounded length, with break points in long words."""
    text = bounded(text, limit_characters)
    return _LONG.sub(lambda long: long[0] if _WORD.fullmatch(long[0]) else _break(long[0]), text)


def _break(word: str) -> str:
    return _UNBROKEN.sub(lambda match: match[0] + "\u200b", word)


def solid(text: str) -> str:
    """Return the text with non-breaking spaces."""
    return text.replace(" ", "\u00a0")


def bound(text: str) -> str:
    """Return the text with non-breaking spaces around signs and units."""
    return _BOUND.sub("\u00a0", text)


def typeset(text: str) -> str:
    """Return our own text with typographic apostrophes and non-breaking spaces around signs and units."""
    return bound(text).replace("'", "\u2019")


def solid_day(day: date) -> str:
    """Write a day with non-breaking spaces."""
    return solid(french_day(day))


def solid_days(first: date, last: date) -> str:
    """Write the days from the first to the last, both included."""
    return f"le {solid_day(first)}" if first == last else f"du {solid_day(first)} au {solid_day(last)}"


def solid_weekday(day: date) -> str:
    """Write a day with its weekday and non-breaking spaces."""
    return solid(f"{WEEKDAYS[day.weekday()]} {french_day(day)}")


def solid_moment(moment: datetime) -> str:
    """Write a moment of universal time, to the second, breakable only between day and hour."""
    return f"{solid_day(moment.date())} " + solid(f"à {moment.hour} h {moment:%M min %S s}")


def french_moment(moment: datetime) -> str:
    """Write a moment, and in which time it is: where no heading says so."""
    return f"{solid_moment(moment)}\u00a0(UTC)"


def paris_moment(moment: datetime) -> str:
    """Write a moment of universal time as a clock in Paris shows it, and say so.

    Summer time is from the last Sunday of March to that of October, at 01:00 UTC (directive 2000/84/CE): computed, as
    a host may have no time zones.
    """
    lasts = [datetime(moment.year, month, 31, 1, tzinfo=moment.tzinfo) for month in (3, 10)]
    begins, ends = (last - timedelta(days=last.isoweekday() % 7) for last in lasts)
    return f"{solid_moment(moment + timedelta(hours=2 if begins <= moment < ends else 1))}\u00a0(heure de Paris)"


def solid_entries(count: int) -> str:
    """Write a number of entries."""
    return solid(f"{french_number(count)} entrée{'s' if count > 1 else ''}")


def solid_duration(span: timedelta) -> str:
    """Write a duration in its two largest units, rounded down, at least one minute."""
    minutes = max(int(span.total_seconds()) // 60, 1)
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        text = f"{french_number(days)} jour{'s' if days > 1 else ''}"
        return solid(f"{text} et {hours} h" if hours else text)
    return solid(f"{hours} h {minutes:02} min" if hours else f"{minutes} min")
