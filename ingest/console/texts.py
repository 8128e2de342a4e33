"""French sentences for what is refused, by the place in the request that is at fault (FORMAT.md has no say in them)."""

from __future__ import annotations

from typing import Final

REFUSED: Final = {
    "": "Cette catégorie n’existe pas pour votre commune, ou son contrat est terminé.",
    "/from": "Le service ne connaît pas de jour si ancien.",
    "/to": "Cette catégorie n’existait pas encore à la fin de cette période, ou ce jour n’a pas commencé.",
    "/purpose": "Choisissez l’une des quatre finalités que la loi permet.",
    "/requester": "Votre nom ne peut pas être inscrit tel quel : signalez-le à l’hébergeur.",
    "/request_reference": "Cette référence est vide, trop longue, ou contient un caractère invisible.",
    "/authorisation": (
        "Il faut une autorisation pour cette demande : elle porte sur un seul compte ou une seule fiche, sur une "
        "procédure pénale, ou sur une catégorie qui l’exige. Indiquez son auteur, sa date et sa référence."
    ),
    "/authorisation/issuer": "L’auteur de l’autorisation est vide, trop long, ou contient un caractère invisible.",
    "/authorisation/date": "L’autorisation ne peut pas être datée d’un jour à venir.",
    "/authorisation/reference": "Cette référence est vide, trop longue, ou contient un caractère invisible.",
    "/filter": "Un extrait sans contenu n’a pas d’autre filtre.",
    "/filter/account": "Ce compte est vide, trop long, ou contient un caractère invisible.",
    "/filter/subject": "Cette fiche est vide, trop longue, ou contient un caractère invisible.",
    "/filter/action": "Choisissez une action de la liste.",
}
REFUSED_OTHERWISE: Final = (
    "Cette demande n’est pas acceptée : relisez les champs, puis appelez l’hébergeur si elle vous semble juste."
)
# What a program may do with its access.
USES: Final = {
    "module": "inscrit des accès",
    "client": "demande des extraits",
    "auditor": "vérifie sans contenu",
    "operator": "lit les mesures du service",
}
