"""The breach dossier, in French: what happened, whom to tell, and in which words.

Sources: GDPR art. 33 and 34; Directive (EU) 2016/680 art. 30 and 31; loi n° 78-17 art. 102.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from journal.core.times import parse_day
from journal.document.french import (
    french_moment,
    french_number,
    french_range,
    paris_moment,
    solid_days,
    solid_entries,
    solid_moment,
)
from journal.document.paper import (
    Lines,
    Paper,
    Section,
    bad,
    blanks,
    caption,
    digest,
    facts,
    good,
    grid,
    letter,
    named,
    note,
    paragraphs,
    plain,
    points,
    small,
    steps,
    strong,
)
from journal.extract.words import CHANGES, ROLES
from journal.papers.breach import is_own
from journal.papers.breach_words import (
    CONSEQUENCES,
    DO,
    ENDED,
    FEARED,
    NO_CONSEQUENCE,
    NOT_ENDED,
    NOT_ENTERED,
    OF_REGISTER,
    UNREAD,
    WHO,
    WHY,
    WITH_KEYS,
)
from journal.papers.controls import LOOKED_AT
from journal.papers.situation import entry_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from journal.document.paper import Block
    from journal.papers.breach import Asked, Breach, Changed, Exposure
    from journal.papers.situation import Situation

CHANGES_TOLD = 40
REQUESTS_TOLD = 40
ALARMS_TOLD = 10


def dossier(situation: Situation, breach: Breach, json_sha256: str) -> Paper:
    """Return the dossier; `json_sha256` names the same facts for programs."""
    told = breach.suspected
    return Paper(
        title="Dossier de violation de données",
        subtitle=f"Soupçon : {FEARED[told.suspicion]}, {solid_days(told.first, told.last)}",
        reference=f"violation / {situation.tenant.code}",
        tenant_name=situation.tenant.name,
        lead=f"{_verdict(breach)} {_deadline(breach)}",
        sections=[
            Section(title="Ce qui est soupçonné", blocks=[_suspected(situation, breach, json_sha256)]),
            Section(title="Ce que le voleur a pu lire, et pourquoi", blocks=_reading(situation, breach)),
            *([Section(title="Ses demandes d'extrait", blocks=_requests(situation, breach))] if breach.asked else []),
            Section(title="Ce qui a été remplacé ou révoqué depuis", blocks=_changed(breach)),
            Section(title="Ce qu'il reste à faire chez l'hébergeur", blocks=[steps(_left_to_do(breach))]),
            Section(title="Texte pour la CNIL", blocks=_authority(situation, breach)),
            Section(title="Texte pour les personnes", blocks=_people(situation, breach)),
        ],
        seals=[situation.seal],
    )


def _left_to_do(breach: Breach) -> Sequence[str]:
    """Return what the host still has to do: what is revoked already is not to be revoked again."""
    first = 1 if breach.revoked_at is not None else 0
    return DO[breach.suspected.suspicion][first:]


def _verdict(breach: Breach) -> str:
    readable = breach.readable
    if not readable:
        verdict = "Rien de ce que disent les entrées n'a pu être lu par ce moyen."
        if breach.shows_register:
            verdict += " Le registre des demandes d'extrait a pu l'être."
        return verdict
    count = sum(one.total for one in readable)
    where = "une catégorie" if len(readable) == 1 else f"{len(readable)} catégories"
    return f"Le contenu de {solid_entries(count)}, dans {where}, a pu être lu."


def _deadline(breach: Breach) -> str:
    return (
        "Si un risque pour les personnes n'est pas exclu, la commune notifie la violation à la CNIL dans les 72 heures "
        f"après en avoir pris connaissance : connue le {french_moment(breach.suspected.known_at)}, avant le "
        f"{french_moment(breach.deadline)}, soit le {paris_moment(breach.deadline)}."
    )


def _suspected(situation: Situation, breach: Breach, json_sha256: str) -> Block:
    told = breach.suspected
    rows: list[tuple[str, Lines]] = [("Soupçon", strong(FEARED[told.suspicion]))]
    if told.holder is not None and breach.role is not None:
        rows.append(("Accès", plain(f"{told.holder}, rôle : {ROLES.get(breach.role, breach.role)}")))
        revoked = breach.revoked_at
        state = good(f"révoqué le {french_moment(revoked.replace(microsecond=0))}") if revoked else bad("en vigueur")
        rows.append(("État de l'accès", state))
        asked = f"satisfaites : {french_number(breach.requests)} ; refusées : {french_number(breach.refused)}"
        rows.append(("Ses demandes d'extrait", plain(asked) + small("journal de la commune")))
    elif told.suspicion != "root":
        rows.append(("Clés volées aussi", bad("oui") if told.with_keys else plain("non")))
    failing = [f"« {LOOKED_AT.get(name, name)} »" for name in breach.failing]
    rows.append(
        (
            "Contrôles du service",
            bad(f"en défaut : {' ; '.join(failing)}") if failing else good("conformes"),
        )
    )
    rows.append(("Alarmes depuis", _alarms(breach.alarms)))
    if breach.unread:
        are_more = "s" if breach.unread > 1 else ""
        lost = f"{solid_entries(breach.unread)} altérée{are_more} ou ôtée{are_more}"
        rows.append(("Journal de la commune", bad(lost) + small(UNREAD)))
    rows.append(("Appui", plain(f"{situation.seal_name} ; mêmes faits en JSON, SHA-256 :") + digest(json_sha256)))
    return facts(rows)


def _alarms(indexes: Sequence[int]) -> Lines:
    if not indexes:
        return plain("aucune")
    last = ", ".join(french_number(index) for index in indexes[-ALARMS_TOLD:])
    are_more = len(indexes) > ALARMS_TOLD
    told = "les dernières : " if are_more else ""
    return plain(french_number(len(indexes))) + small(f"{told}entrées n° {last} du journal de la commune")


def _reading(situation: Situation, breach: Breach) -> list[Block]:
    told = breach.suspected
    why = list(WHY[breach.role or told.suspicion])
    if told.with_keys:
        why.append(WITH_KEYS)
    blocks: list[Block] = [paragraphs(*why)]
    rows = [_exposed(situation, one) for one in breach.exposures if one.total]
    if not rows:
        return [*blocks, paragraphs("Aucune entrée n'est concernée sur ces jours.")]
    columns = ["Catégorie", "Lisible", "Entrées", "Fiches", "Comptes", "Jours d'inscription (UTC)"]
    remark = (
        "Fiches et comptes : combien de différents, sans les nommer ; la commune les connaît en ouvrant un extrait "
        "dans le lecteur. « Détruites depuis » : d'après les inscriptions des destructions."
    )
    if any(one.damaged or one.missing for one in breach.exposures):
        remark += (
            " « Altérées » et « manquantes » : une main les a modifiées, ôtées ou rendues illisibles dans la base ; "
            "verify-store les nomme, et une sauvegarde d'avant les rend."
        )
    return [*blocks, grid(columns, rows, [36, 16, 56, 14, 18, "1"]), note(remark)]


def _exposed(situation: Situation, one: Exposure) -> list[Lines]:
    entries = plain(french_number(one.entries))
    if one.first_index is not None and one.last_index is not None:
        entries += small(french_range(one.first_index, one.last_index))
    if one.overdue:
        entries += small(f"et {french_number(one.overdue)} au-delà de leur terme, non relues")
    told = ((one.purged_since, "détruite", " depuis"), (one.damaged, "altérée", ""), (one.missing, "manquante", ""))
    for count, what, when in told:
        if count:
            entries += small(f"et {french_number(count)} {what}{'s' if count > 1 else ''}{when}")
    days = plain("–")
    if one.first_day is not None and one.last_day is not None:
        days = plain(solid_days(one.first_day, one.last_day))
    # Of entries that nobody reads any more, nothing of the kind is known.
    is_unknown = is_own(one.category) or not one.entries
    return [
        strong(situation.label(one.category)),
        bad("oui") if one.readable else good("non"),
        entries,
        plain("–" if is_unknown else french_number(one.subjects)),
        plain("–" if is_unknown else french_number(one.accounts)),
        days,
    ]


def _requests(situation: Situation, breach: Breach) -> list[Block]:
    rows = []
    for one in breach.asked[-REQUESTS_TOLD:]:
        answer = "satisfaite" if one.is_granted else "refusée"
        rows.append(
            [
                plain(solid_moment(one.at.replace(microsecond=0))),
                strong(situation.label(one.category)) + small(_asked_of(one)),
                plain(f"{answer}, avec un filtre" if one.is_filtered else answer),
                plain(entry_name(one.index)),
            ]
        )
    words = "La commune reconnaît les siennes, et sait ainsi celles du voleur : elle les a toutes à son registre."
    if len(breach.asked) > REQUESTS_TOLD:
        words += f" Ici les {french_number(REQUESTS_TOLD)} dernières ; toutes sont dans le JSON."
    return [grid(["Quand (UTC)", "Catégorie et jours", "Suite", "Appui"], rows, [44, "1", 34, 50]), note(words)]


def _asked_of(one: Asked) -> str:
    if not (one.first and one.last):
        return "jours non dits"
    return solid_days(parse_day(one.first), parse_day(one.last))


def _changed(breach: Breach) -> list[Block]:
    if not breach.changed:
        return [paragraphs("Rien n'a été révoqué, remplacé ni ajouté depuis le premier jour."), note(NOT_ENTERED)]
    rows = [
        [
            plain(solid_moment(one.at.replace(microsecond=0))),
            strong(CHANGES[one.change][0].upper() + CHANGES[one.change][1:]) + small(_about(one)),
            plain(entry_name(one.index)),
        ]
        for one in breach.changed[-CHANGES_TOLD:]
    ]
    return [grid(["Quand (UTC)", "Changement", "Appui"], rows, [48, "1", 62]), note(NOT_ENTERED)]


def _about(changed: Changed) -> str:
    """Write what was changed: a credential or a person by its id, which names nobody."""
    what = {"credential": "accès d'un logiciel", "person": "personne du bureau", "setting": "réglage"}
    told = what.get(changed.about, "")
    return told if changed.about == "setting" else f"{told}, {named(changed.subject)}"


def _authority(situation: Situation, breach: Breach) -> list[Block]:
    readable = breach.readable
    subjects = sum(one.subjects for one in readable if not is_own(one.category))
    accounts = sum(one.accounts for one in readable if not is_own(one.category))
    entries = sum(one.total for one in readable)
    told = breach.suspected
    days = solid_days(told.first, told.last)
    data = "comptes d'agents, références de fiches, motifs, dates et opérations"
    if breach.shows_register or any(is_own(one.category) for one in readable):
        data += " ; au journal du journal, le nom de qui a demandé un extrait"
    unread = []
    if any(one.purged_since or one.overdue for one in readable):
        unread.append("détruites depuis ou au-delà de leur terme")
    if any(one.damaged or one.missing for one in readable):
        unread.append("altérées ou manquantes")
    unknown = f", sans celles des entrées {', '.join(unread)}" if unread else ""
    volume = "aucune entrée lisible."
    if breach.role == "module":
        appended = solid_entries(sum(one.entries for one in breach.exposures))
        volume = f"aucune entrée lisible ; {appended} au nom de cet accès, de son titulaire ou du voleur."
    if entries:
        volume = (
            f"environ {solid_entries(entries)} lisibles ; {french_number(accounts)} comptes d'agents et "
            f"{french_number(subjects)} références de fiches au plus, catégorie par catégorie{unknown}."
        )
    words = [
        f"Responsable de traitement : {situation.commune}. Sous-traitant : l'hébergeur de {situation.service.name}.",
        (
            f"Nature de la violation : {_nature(breach)}. Origine : {FEARED[told.suspicion]}, {days} ; "
            f"connue le {french_moment(told.known_at)}."
        ),
        f"Données : le journal des accès (art. 101 de la loi n° 78-17) : {data}. Le contenu des fiches n'y figure pas.",
        f"Volume : {volume}",
        f"Conséquences probables : {_consequences(breach)}",
        f"Mesures prises : {_done(breach)} Les sceaux montrent toute altération de ce qui était inscrit.",
    ]
    return [
        caption("Qui notifie", WHO),
        letter(*words),
        blanks(("Délégué à la protection des données, contact", "Notification initiale ou complémentaire, le")),
    ]


def _nature(breach: Breach) -> str:
    if breach.role == "module":
        return "atteinte possible à l'intégrité, des événements ayant pu être inscrits par un tiers ; rien n'a été lu"
    if breach.shows_register and not breach.readable:
        return "lecture possible du registre des demandes d'extrait ; aucune entrée d'accès n'a été lue"
    nature = (
        "perte de confidentialité" if breach.readable else "copie ou accès possible, sans que les données soient lues"
    )
    if breach.suspected.suspicion in {"database", "root"}:
        nature += " ; atteinte possible à l'intégrité ou à la disponibilité"
    return nature


def _consequences(breach: Breach) -> str:
    if breach.readable:
        return CONSEQUENCES
    return OF_REGISTER if breach.shows_register else NO_CONSEQUENCE


def _done(breach: Breach) -> str:
    """Write what was revoked or replaced, as entries tell: nothing that was not done."""
    if not breach.ended:
        return "aucun accès n'est encore révoqué ni remplacé (à compléter)."
    indexes = ", ".join(french_number(one.index) for one in breach.ended[-10:])
    if len(breach.ended) == 1:
        return f"un accès révoqué ou remplacé (entrée n° {indexes} du journal de la commune)."
    count = french_number(len(breach.ended))
    return f"{count} accès révoqués ou remplacés (entrées n° {indexes} du journal de la commune)."


def _people(situation: Situation, breach: Breach) -> list[Block]:
    days = solid_days(breach.suspected.first, breach.suspected.last)
    if not breach.readable:
        named_ones = "Les personnes nommées au registre des demandes d'extrait sont à prévenir, si le risque le veut."
        return [
            *([paragraphs(named_ones)] if breach.shows_register else []),
            paragraphs(
                "Aucune entrée n'ayant pu être lue, ou comprise, de qui n'y était pas autorisé, la communication aux "
                "personnes n'est en principe pas requise (règlement (UE) 2016/679, art. 34, § 3, a). La commune en "
                "juge, avec son délégué."
            ),
        ]
    return [
        paragraphs(
            "Si le risque est élevé (règlement (UE) 2016/679, art. 34 ; directive (UE) 2016/680, art. 31), la commune "
            "écrit aux personnes, en termes simples. La directive (art. 31, § 5) permet de différer ou de limiter "
            "cette communication pour ne pas gêner une enquête."
        ),
        letter(
            f"Madame, Monsieur, le journal qui enregistre les accès aux données de la police municipale de "
            f"« {situation.commune} » a pu être lu par un tiers, {days}. Il indique quel compte a consulté "
            "quelle fiche, quand et pour quel motif ; il ne contient pas les fiches elles-mêmes.",
            f"{ENDED if breach.ended else NOT_ENDED} La CNIL est informée [à confirmer]. Vous pouvez joindre notre "
            "délégué à la protection des données, exercer vos droits (art. 104 à 108 de la loi n° 78-17), et saisir la "
            "CNIL.",
            "Soyez attentif à toute sollicitation qui ferait état de ces consultations, et signalez-la nous.",
        ),
        points(
            (
                (
                    "aux agents : la liste de leurs accès s'obtient par un extrait, ouvert dans le lecteur, avec "
                    "l'autorisation que demande un seul compte ;"
                ),
                (
                    "aux personnes dont une fiche est citée : la référence de la fiche ne les nomme pas ; la commune "
                    "les retrouve dans OpenEPM."
                ),
            )
        ),
    ]
