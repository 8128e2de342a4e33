"""Reasons of alarms in French: their entries are read by the commune, in tables that are in French.

Logs, mails and readiness keep the English ones. What the audit finds stays as `verify-store` says it.
"""

from __future__ import annotations

import re

_SENTENCES = [
    (
        r"the day reached its limit before it was handed over: it was purged",
        "le jour est arrivé à son terme avant d'être remis : il a été purgé",
    ),
    (
        r"the day reached its limit, handed over to a commune that has not confirmed that it can open it",
        "le jour est arrivé à son terme, remis sans que la commune ait confirmé qu'elle peut l'ouvrir : il a été purgé",
    ),
    (
        r"the database was restored from before the day's purge: it no longer says whether it was handed over",
        "la base de données a été restaurée d'avant la purge du jour : elle ne dit plus s'il a été remis",
    ),
    (
        r"the certificate registered for the hand-over cannot be used",
        "le certificat enregistré pour les remises ne peut pas servir",
    ),
    (
        r"the directory of the hand-over cannot be written",
        "le répertoire des remises n'est pas accessible en écriture",
    ),
    (
        r"the extract for the hand-over could not be made",
        "l'extrait à remettre n'a pas pu être établi",
    ),
    (
        r"the purge is late: what is handed over now would not verify",
        "la purge est en retard : ce qui serait remis maintenant ne se vérifierait pas",
    ),
    (
        (
            r"the source (?P<source>\S+)(?: in the epoch (?P<epoch>.+) of its counter)? "
            r"gave the number (?P<number>\d+) to an event that never came"
        ),
        "la source {source}{epoch} a donné le numéro {number} à un événement qui n'est jamais arrivé",
    ),
    (
        (
            r"the source (?P<source>\S+) has sent nothing numbered since (?P<since>\S+), "
            r"and is to every (?P<minutes>\d+) minutes"
        ),
        "la source {source} n'a rien envoyé de numéroté depuis {since}, et le devrait toutes les {minutes} minutes",
    ),
    (
        r"its time-stamp was lost, and another one was obtained, which is of a later time",
        "son horodatage a été perdu, et un autre a été obtenu, d'une heure plus tardive",
    ),
]
_PATTERNS = [(re.compile(english, re.DOTALL), french) for english, french in _SENTENCES]


def french_reason(reason: str) -> str:
    """Return the reason of an alarm in French; one that has no French sentence as it is."""
    for english, french in _PATTERNS:
        if match := english.fullmatch(reason):
            epoch = f", époque {said}," if (said := match.groupdict().get("epoch")) else ""
            return french.format(**match.groupdict() | {"epoch": epoch})
    return reason
