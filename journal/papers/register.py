"""The extract of the processing register (GDPR art. 30, Directive (EU) 2016/680 art. 24, loi n° 78-17 art. 100)."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from journal.admin.longer import asks_for_longer
from journal.document.french import french_moment, french_number
from journal.document.paper import (
    Lines,
    Paper,
    Section,
    blanks,
    facts,
    grid,
    named,
    note,
    paragraphs,
    plain,
    points,
    small,
    strong,
)
from journal.extract.words import PURPOSES
from journal.papers.situation import REGIMES, entry_name, last_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from journal.core.entry import Entry
    from journal.papers.situation import Situation

BASIS_CHARACTERS = 200
_DATA = (
    "le compte de l'agent, et, si le module les donne, son nom, son rôle et son unité ;",
    (
        "la date et l'heure, l'action (accès, consultation, collecte, modification, communication, interconnexion, "
        "effacement), l'opération et son résultat ;"
    ),
    "la référence de la fiche, jamais son contenu ; le motif ; les destinataires d'une communication ;",
    "le cas échéant, l'adresse, le poste ou la session de l'agent, et le nom des champs, sans leur valeur.",
)
_NOT_DATA = "Les critères d'une recherche et le contenu des fiches ne sont pas inscrits."
_ROLES = {
    "module": "logiciels qui inscrivent des accès, sans rien pouvoir lire",
    "client": "accès de logiciels qui demandent des extraits",
    "auditor": "accès d'auditeurs, qui reçoivent la preuve sans le contenu",
}
_PEOPLE = {
    "referent": "référents, qui demandent des extraits et invitent",
    "reader": "lecteurs, qui voient l'état et le registre",
    "auditor": "auditeurs, qui reçoivent la preuve sans le contenu",
}


async def register(situation: Situation) -> Paper:
    """Return the commune's extract of the register. Raises StoreError."""
    entries = await situation.entries("setting", "credential", "person", "tenant")
    return Paper(
        title="Registre des traitements",
        subtitle="Extrait : le journal des accès à OpenEPM",
        reference=f"registre / {situation.tenant.code}",
        tenant_name=situation.tenant.name,
        lead=(
            f"Cet extrait décrit, pour le registre de « {situation.commune} », le traitement par lequel chaque accès "
            "aux données de la police municipale est journalisé. Il est établi depuis les réglages en vigueur, et les "
            f"durées sont celles que le {situation.seal_name} énonce."
        ),
        sections=[
            Section(title="Le traitement", blocks=[_processing(situation)]),
            Section(title="Les données inscrites", blocks=[points(_DATA), note(_NOT_DATA)]),
            Section(title="Catégories, fondements et durées", blocks=_categories(situation)),
            Section(title="Qui y accède", blocks=_access(situation, entries)),
            Section(title="Remise à la commune", blocks=_handover(situation, entries)),
            Section(
                title="À compléter par la commune",
                blocks=[
                    paragraphs("Ce que les réglages du service ne disent pas :"),
                    blanks(
                        (
                            "Responsable de traitement : adresse et contact",
                            "Délégué à la protection des données",
                            "Lieu d'hébergement, transferts hors de l'Union",
                            "Date d'inscription au registre",
                        )
                    ),
                ],
            ),
        ],
        seals=[situation.seal],
    )


def _processing(situation: Situation) -> dict[str, object]:
    organisation = situation.service.identity.organisation
    signer = f"{named(organisation.name)}, qui signe sous ce nom" if organisation is not None else "non nommé ici"
    purposes = " ; ".join(PURPOSES.values())
    return facts(
        [
            ("Finalités", plain(purposes[0].upper() + purposes[1:]) + small("les seules que l'article 101 permette")),
            ("Responsable de traitement", strong(situation.commune)),
            (
                "Sous-traitant",
                plain(f"l'hébergeur du service {situation.service.name}")
                + small(f"organisation du certificat de signature : {signer}"),
            ),
            (
                "Personnes concernées",
                plain(
                    "les agents titulaires d'un compte ; les personnes visées par une fiche, par la seule référence "
                    "de celle-ci"
                ),
            ),
            (
                "Textes",
                plain("loi n° 78-17 du 6 janvier 1978, art. 100 (registre) et 101 (journal)")
                + plain("directive (UE) 2016/680, art. 24 et 25 ; règlement (UE) 2016/679, art. 30"),
            ),
            (
                "Mesures de sécurité",
                plain("document « Mesures de sécurité », établi de même depuis l'installation"),
            ),
        ]
    )


def _categories(situation: Situation) -> list[dict[str, object]]:
    rows: list[list[Lines]] = []
    for row in situation.categories:
        head = situation.heads[row.code]
        rule = strong(f"{head.retention_days} jours") + small(named(row.basis, BASIS_CHARACTERS))
        if row.next_retention_days is not None:
            rule += small(f"{row.next_retention_days} jours demandés, pas encore en vigueur")
        if row.required_days:
            longer = ", donc remise à la commune" if asks_for_longer(row) else ""
            rule += small(f"{french_number(row.required_days)} jours demandés par le fondement{longer}")
        rows.append(
            [
                strong(situation.label(row.code)) + small(REGIMES[row.regime]),
                plain(named(row.legal_basis, BASIS_CHARACTERS)),
                rule,
                plain(situation.chain(row.code)),
            ]
        )
    columns = ["Catégorie", "Fondement de la journalisation", "Conservation depuis l'inscription", "Appui"]
    late = situation.service.settings.lateness_days
    return [
        grid(columns, rows, [34, "1", 42, 50]),
        note(
            f"Un accès est inscrit dans les {late} jours : une entrée peut donc exister {late} jours de plus depuis "
            "l'accès lui-même. Au terme, les entrées et leurs clés sont détruites, et les sceaux le montrent."
        ),
    ]


def _access(situation: Situation, entries: Sequence[Entry]) -> list[dict[str, object]]:
    snapshot, code, now = situation.service.snapshot, situation.tenant.code, situation.service.clock.now()
    valid = [
        row
        for row in snapshot.credentials()
        if row.tenant == code and row.revoked_at is None and (row.expires_at is None or row.expires_at > now)
    ]
    roles = Counter(row.role for row in valid)
    people = Counter(
        row.role
        for row in snapshot.persons()
        if row.tenant == code and row.revoked_at is None and row.invitation_hash is None
    )
    rows = [[plain(_ROLES[role]), plain(f"{count}")] for role, count in roles.items() if role in _ROLES]
    rows += [[plain(f"personnes du bureau : {_PEOPLE[role]}"), plain(f"{count}")] for role, count in people.items()]
    rows.append([plain("la Commission nationale de l'informatique et des libertés (art. 101)"), plain("sur demande")])
    last = [one for one in entries if one.event["type"].endswith((".credential", ".person"))]
    told = f"dernier changement : {entry_name(last[-1].index)}" if last else "aucun changement depuis 60 jours"
    return [
        grid(["Destinataires", "Nombre"], rows, ["1", 24]),
        note(
            f"Comptés le {french_moment(situation.now)} parmi les accès dont le magasin de clés se "
            f"porte garant ; {told}. L'hébergeur exploite le service ; ses propres accès d'assistance à OpenEPM sont "
            "eux-mêmes inscrits, avec l'autorisation de la commune."
        ),
    ]


def _handover(situation: Situation, entries: Sequence[Entry]) -> list[dict[str, object]]:
    if situation.recipient is None:
        return [paragraphs("Aucune : rien n'est remis à la commune avant la destruction.")]
    entry = last_of(entries, "hand-over certificate registered")
    told = f" ({entry_name(entry.index)})" if entry is not None else ""
    confirmed = last_of(entries, "hand-over confirmed")
    known = f" ({entry_name(confirmed.index)})" if confirmed is not None else ""
    opened = (
        f"Elle a confirmé qu'elle les ouvre{known}."
        if situation.is_confirmed
        else "Elle n'a pas encore confirmé qu'elle les ouvre."
    )
    return [
        paragraphs(
            f"Avant leur destruction, les jours sont remis à la commune, chiffrés pour son certificat{told}. {opened} "
            "Elle les conserve sous sa responsabilité, pour la durée qu'elle fixe."
        )
    ]
