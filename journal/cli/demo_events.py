"""The demo's events: a week in two municipal police services, the same in every run."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ingest.shapes import NEED_JUSTIFICATION, NEED_RECIPIENTS, NO_SUBJECT
from journal.core.entry import MODULE_ACTIONS, OUTCOMES, TYPE_PREFIX
from journal.core.times import format_day

SEED = 20261123
WEIGHTS = (14, 40, 18, 20, 4, 2, 2)
_OPERATIONS = {
    "access": ("login", "logout", "search"),
    "consultation": ("view", "list", "print", "attachment"),
    "collection": ("create", "import"),
    "modification": ("update", "validate", "sign"),
    "disclosure": ("transmit", "export"),
    "combination": ("link", "search"),
    "erasure": ("delete",),
}

_FIRST = ("Camille", "Dominique", "Élodie", "Fabrice", "Hélène", "Jérôme", "Maëlle", "Noémie", "Régis", "Zoé")
_LAST = ("Allègre", "Bésiers", "Cazenave", "Delmas", "Faure", "Gély", "Laborde", "Maurel", "Puech", "Vidal")
_ROLES = ("agent", "chef de service", "opérateur vidéo", "secrétariat")
_PLACES = (
    "place du Marché",
    "rue de l'Hôtel-de-Ville",
    "quai Choiseul",
    "avenue de la Gare",
    "parc Rochegude",
)
_REASONS = {
    "main-courante": (
        "Suite d'intervention {place}",
        "Relecture avant transmission au chef de service",
        "Réponse à la demande d'un requérant, {place}",
        "Vérification d'un doublon de signalement",
        "Préparation du point de situation hebdomadaire",
    ),
    "ecrits": (
        "Rédaction du procès-verbal de constatation, {place}",
        "Transmission au parquet",
        "Correction demandée par l'officier de police judiciaire",
        "Contrôle hiérarchique du rapport de mise à disposition",
    ),
    "assistance": ("Assistance sur demande écrite de la commune",),
}
_PREFIXES = {"main-courante": "MC", "ecrits": "PV", "assistance": "AS"}
_RECIPIENTS = ("parquet du tribunal judiciaire", "commissariat", "brigade de gendarmerie", "maire")
_FIELDS = ("objet", "lieu", "requerant", "vehicule", "suite_donnee", "pieces_jointes")


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoTenant:
    """One of the demo's communes."""

    code: str
    name: str


TENANTS = (
    DemoTenant(code="albi", name="Ville d'Albi"),
    DemoTenant(code="sete", name="Ville de Sète"),
)


class DemoActivity:
    """The events of one commune and category; equal arguments give equal events."""

    def __init__(self, tenant: str, category: str) -> None:
        """Choose the accounts."""
        self._random = random.Random(f"{SEED}/{tenant}/{category}")  # noqa: S311 - made-up events, no secret
        self._tenant = tenant
        self._category = category
        self._count = 0
        self._accounts = [
            (f"{first[0]}.{last}".lower(), f"{first} {last}", self._random.choice(_ROLES))
            for first, last in zip(self._random.sample(_FIRST, 6), self._random.sample(_LAST, 6), strict=True)
        ]

    @property
    def source(self) -> str:
        """Return the source of the events."""
        return f"/openepm/{self._tenant}/{self._category}"

    def day(self, midnight: datetime, count: int, *, until: datetime) -> list[dict[str, Any]]:
        """Return `count` events of a day up to `until`, mostly in office hours, in order of time."""
        latest = (until - midnight).total_seconds()
        offsets = sorted(min(latest, max(0.0, self._random.gauss(46_800, 12_600))) for _ in range(count))
        return [self.event(midnight + timedelta(seconds=offset)) for offset in offsets]

    def event(self, at: datetime) -> dict[str, Any]:
        """Return the next event, as a module would post it."""
        draw = self._random
        self._count += 1
        action = draw.choices(list(MODULE_ACTIONS), WEIGHTS)[0]
        account, name, role = draw.choice(self._accounts)
        reason = draw.choice(_REASONS[self._category]).format(place=draw.choice(_PLACES))
        data: dict[str, Any] = {
            "actor": {"account": account, "name": name, "role": role, "unit": "police municipale"},
            "client": {
                "address": f"10.1.{draw.randrange(4)}.{draw.randrange(1, 250)}",
                "workstation": "PM-02",
            },
            "operation": draw.choice(_OPERATIONS[action]),
            "outcome": draw.choices(list(OUTCOMES), (96, 3, 1))[0],
        }
        if self._category == "assistance":
            given = {"date": format_day(at.date()), "issuer": "Mairie", "reference": f"AS-{self._count:04}"}
            data |= {"authorisation": given, "justification": reason}
        if action in NEED_JUSTIFICATION or draw.random() < 1 / 2:
            data["justification"] = reason
        if action in NEED_RECIPIENTS:
            data["recipients"] = [draw.choice(_RECIPIENTS)]
        if action in ("modification", "collection"):
            data["fields"] = sorted(draw.sample(_FIELDS, draw.randrange(1, 4)))
        event: dict[str, Any] = {
            "specversion": "1.0",
            "type": TYPE_PREFIX + action,
            "source": self.source,
            "id": f"{self._category}-{self._count:06d}",
            "time": at.isoformat(timespec="milliseconds"),
            "sequence": str(self._count),
            "data": data,
        }
        if action not in NO_SUBJECT or self._category == "assistance":
            event["subject"] = f"{_PREFIXES[self._category]}-{at.year}-{draw.randrange(1, 900):04d}"
        return event
