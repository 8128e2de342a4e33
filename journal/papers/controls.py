"""What the service and `doctor` look at, in French: how each thing stands, or why it could not be seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from journal.document.paper import bad, good, grid, note, plain, small
from journal.status.rounds import Rounds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from journal.service import Service

    # What `doctor` found: the name of each thing looked at, and how it stands (ok, note, warning, failure).
    Look = Callable[[], Awaitable[Sequence[tuple[str, str]]]]

_TRIAL_BASE = "base d'essai, lancée par le service"
# The most severe finding of a name is shown.
SEVERITIES = ("ok", "note", "unseen", "warning", "failure")
STATES = {
    "ok": good("conforme"),
    "note": bad("pas en place"),
    "unseen": bad("pas constaté"),
    "warning": bad("avertissement"),
    "failure": bad("en défaut"),
}
# Why something is not in place, or could not be looked at.
WHY = {
    "signer": "il tourne sous le compte du service (mode d'essai)",
    "receipt key": "le service la fait à son démarrage",
    "mails": "aucun courriel aux communes n'est réglé",
    "key copy": "aucune copie n'a été faite depuis cet hôte",
    "accounts": "ce processus ne voit pas le compte de la base",
    "backups": "journal de transactions ni archivé ni lu",
    "time-stamping": "aucune autorité n'est configurée",
    "clock": "l'horloge de la base est simulée (mode d'essai)",
}
LOOKED_AT = {
    "service": "le service répond, et est prêt à inscrire",
    "identity": "le certificat de signature est valable, et le certificat de confiance s'en porte garant",
    "receipt key": "la clé de reçus est valable",
    "receipts": "les reçus sont signés",
    "key store": "chaque copie du magasin de clés est lisible, et la clé maîtresse l'ouvre",
    "ledger": "le registre du magasin de clés est entier",
    "key copy": "une copie du magasin de clés, hors de l'hôte, suit les purges",
    "disk": "chaque disque a de la place",
    "signer": "le signataire a son propre compte",
    "audit": "l'audit continu n'a rien trouvé d'altéré",
    "certificate": "le certificat n'est pas expiré",
    "clock": "les horloges s'accordent",
    "database": "chaque rôle se connecte, et ce qui est validé est durable",
    "facts": "chaque réglage est celui dont le magasin de clés se porte garant",
    "handover": "aucune remise due n'est en retard",
    "hand-over": "chaque commune ouvre ce qui lui est remis",
    "keys": "les clés des jours et des communes sont là",
    "partitions": "la base est prête pour les jours à venir",
    "retention": "rien n'est conservé au-delà de sa durée",
    "seals": "les sceaux suivent les inscriptions",
    "timestamps": "aucun sceau de clôture n'attend depuis un jour son horodatage",
    "time-stamping": "une autorité d'horodatage répond",
    "schema": "fonctions, tables et droits de la base sont ceux de cette version",
    "accounts": "la base tourne sous un autre compte que le service",
    "credentials": "aucun accès n'expire sans successeur",
    "sources": "aucun module ne se tait",
    "mails": "aucun courriel aux communes n'attend depuis longtemps",
    "backups": "la base est sauvegardée en continu",
    "opening": "l'installation s'ouvre",
    "status": "l'état du service se lit",
}


async def looked_at(service: Service, answers: dict[str, str | None], look: Look | None) -> dict[str, str]:
    """Return the severity of everything looked at, by its name: by the service, and from the host where it can be."""
    looked = [] if look is None else [*await look()]
    seen = {name for name, _ in looked}
    looked += [(name, "ok" if told is None else "failure") for name, told in answers.items() if name not in seen]
    worst: dict[str, str] = {}
    for name, severity in looked:
        if name in LOOKED_AT:
            worst[name] = max(worst.get(name, "ok"), severity, key=SEVERITIES.index)
    if answers.get("clock") is None and await service.store.clock_is_simulated():
        worst["clock"] = "unseen"
    # What was noted of these is that it could not be looked at.
    for name in ("receipt key", *(("accounts",) if service.settings.dsn is not None else ())):
        if worst.get(name) == "note":
            worst[name] = "unseen"
    # What cannot fail, as there is none of it, is no control.
    idle = {"timestamps"} if service.stamper is None else set()
    idle |= {"audit"} if not Rounds(service.settings.audit_path).checked else set()
    return {name: severity for name, severity in worst.items() if name not in idle or severity != "ok"}


def looked_table(service: Service, looked: dict[str, str], *, is_whole: bool) -> list[dict[str, Any]]:
    """Return the table of what was looked at; `is_whole` where the host looked too."""
    why = WHY if service.settings.dsn is not None else WHY | dict.fromkeys(("accounts", "backups"), _TRIAL_BASE)
    rows = [
        [
            plain(LOOKED_AT[name][0].upper() + LOOKED_AT[name][1:]),
            STATES[severity] + (small(why[name]) if severity in {"note", "unseen"} and name in why else []),
        ]
        for name, severity in looked.items()
    ]
    by = "l'hôte et le service" if is_whole else "le service seul ; un contrôle de l'hôte en fait davantage"
    told = f"Contrôles faits en établissant ce document, par {by}."
    return [grid(["Contrôle", "Résultat"], rows, ["1", 70]), note(told)]
