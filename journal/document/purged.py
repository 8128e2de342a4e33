"""What the document of an extract says of purged days and of their rule, in French."""

from __future__ import annotations

from typing import TYPE_CHECKING

from journal.core.times import day_of
from journal.document.french import bounded, french_day, french_number
from journal.extract.purges import IN_TIME, LATE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from journal.extract.grounds import Rule
    from journal.extract.purges import PurgedDays

MAX_TEXT_CHARACTERS = 240


def period(first: date, last: date) -> str:
    """Write the days from the first to the last."""
    return f"le {french_day(first)}" if first == last else f"du {french_day(first)} au {french_day(last)}"


def rule_text(rule: Rule, retention_days: int) -> str:
    """Write a rule: how many days, what it rests on, and by which instructions it was changed."""
    said = f"{retention_days} jours, {_text(rule.basis)}"
    for change in rule.changes:
        day = french_day(day_of(change.changed_at))
        said += f" ; instruction {_text(change.instruction)} du {day} : {change.retention_days} jours"
    return said


def purge_text(days: Sequence[PurgedDays]) -> str:
    """Write when each day was purged, as far as the seals show it."""
    return " ; ".join(f"{period(one.first, one.last)}{_count(one)}, {_when(one)}" for one in days)


def purge_sentence(days: Sequence[PurgedDays], rule: Rule, retention_days: int) -> str:
    """Write, in one sentence, that days were purged, under which rule, and when."""
    under = f"de la règle de conservation ({retention_days} jours, {_text(rule.basis)})"
    first, last = days[0].first, days[-1].last
    gone = f"Les entrées {f'du {french_day(first)}' if first == last else period(first, last)} ont été détruites"
    if all(one.outcome == IN_TIME for one in days):
        return f"{gone} au terme {under}, dans le délai, comme le montrent les sceaux."
    return f"{gone} en application {under}. Les sceaux montrent quand : {purge_text(days)}."


def _text(text: str) -> str:
    return bounded(text, MAX_TEXT_CHARACTERS)


def _count(days: PurgedDays) -> str:
    if days.entries is None:
        return ""
    return f" ({french_number(days.entries)} entrée{'s' if days.entries > 1 else ''})"


def _when(days: PurgedDays) -> str:
    if days.outcome == IN_TIME:
        return "dans le délai"
    if days.outcome != LATE:
        return "à une date qu'ils ne montrent pas, et que donne l'attestation de ces jours"
    least, most = days.late_days
    unit = "jour" if most == 1 else "jours"
    span = f"d'au plus {most} {unit}" if least == 0 else f"de {most} {unit}"
    return f"avec un retard {span if least in {0, most} else f'de {least} à {most} {unit}'}"
