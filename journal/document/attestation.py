"""The content of an attestation, as plain data: words and figures without layout or markup."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from journal.document.french import (
    TRIALS,
    cell,
    french_day,
    french_number,
    french_range,
    printable,
    solid,
    solid_day,
    solid_duration,
    solid_entries,
    solid_moment,
    solid_weekday,
    typeset,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from journal.document.attested import Attestation, CategoryFacts, NamedSeal


REGIMES = {"LED": "directive (UE) 2016/680", "GDPR": "RGPD"}


def attestation_content(attestation: Attestation) -> dict[str, Any]:
    """Return everything the template shows, in French; equal attestations give equal content."""
    gone = attestation.of_state("destroyed", "untold")
    return {
        "title": "Attestation de destruction",
        "subtitle": f"Journal des accès, entrées du {solid_weekday(attestation.day)}",
        "service": attestation.service,
        "reference": solid(f"réf. {attestation.tenant} / {french_day(attestation.day)}"),
        "tenant_name": tenant_name(attestation),
        "warning": typeset(TRIALS) if attestation.anchor and attestation.anchor.is_development else "",
        "lead": lead(attestation),
        "columns": ["Catégorie", "Entrées détruites", "Conservation et terme, à 0 h (UTC)", "Destruction (UTC)"],
        "gone": [_gone(facts) for facts in gone],
        "kept_title": "Encore conservées, hors de cette attestation",
        "kept": [_kept(facts, attestation.issued_at) for facts in attestation.of_state("kept")],
        "notes": notes(gone),
        "seal_columns": ["Sceau", "Ce qu’il montre", "Fait le (temps universel)", "SHA-256 de son texte"],
        "seals": _seals(attestation.closing, gone),
        "how": how(attestation),
        "steps": steps(gone),
        "law": law(attestation.categories),
        "signature": [
            ["Établie le", f"{solid_moment(attestation.issued_at)} (temps universel)"],
            ["Signée par", printable(attestation.signer)],
            ["Certificat", f"valable jusqu’au {solid_day(attestation.signer_until.date())}"],
            ["Son SHA-256", attestation.signer_sha256.hex()],
            ["Confiance", printable(attestation.anchor.subject if attestation.anchor else "inconnue")],
            *([["SHA-256, à comparer", attestation.anchor.sha256.hex()]] if attestation.anchor else []),
        ],
        "software": attestation.software,
    }


def _category(facts: CategoryFacts) -> dict[str, Any]:
    """Return the cells of every category's row: its name and its retention."""
    days = f"{facts.retention_days} jours"
    if facts.retention_days_before != facts.retention_days:
        days = f"{days} ({facts.retention_days_before} auparavant)"
    return {
        "label": label(facts),
        "rule": f"{solid(days)} · {solid(REGIMES[facts.regime])}",
        "window": f"dès le {solid_day(facts.may_go_at.date())}, avant le {solid_day(facts.must_go_at.date())}",
        "range": "",
        "verdict": "",
        "closing": [],
        "alarm": False,
    }


def _gone(facts: CategoryFacts) -> dict[str, Any]:
    """Return the row of a purged category, with the head of its chain at the close of the day if it is known."""
    row = _category(facts)
    if facts.closing is not None:
        size = solid_entries(facts.closing.size)
        row["closing"] = [f"Chaîne à la clôture du jour : {size}, empreinte", facts.closing.chain_hash.hex()]
    if facts.state == "untold":
        return row | {"count": "non établi", "when": "détruites"}
    if facts.count == 0:
        return row | {"count": "aucune entrée", "when": "sans objet"}
    when, verdict, alarm = _when(facts)
    indexes = solid(french_range(facts.first_index, facts.end_index - 1))
    count = french_number(facts.count)
    return row | {"count": count, "range": indexes, "when": when, "verdict": verdict, "alarm": alarm}


def _when(facts: CategoryFacts) -> tuple[str, str, bool]:
    """Return when a category's entries were purged, whether that obeyed the rule, and whether to mark it."""
    seal = "sceau non conservé" if facts.shown is None else f"sceau n° {french_number(facts.shown.number)}"
    if facts.gone_at is None:
        return "date non établie", solid(seal), False
    if not facts.recorded:
        in_time = "dans le délai ; " if facts.gone_at < facts.must_go_at else ""
        return f"au plus tard le {solid_moment(facts.gone_at)}", solid(in_time + seal), False
    if facts.gone_at < facts.may_go_at:
        return solid_moment(facts.gone_at), f"plus tôt que la règle le permet ; {solid(seal)}", True
    if facts.lateness:
        return solid_moment(facts.gone_at), f"retard : {solid_duration(facts.lateness)} ; {solid(seal)}", True
    return solid_moment(facts.gone_at), solid(f"dans le délai ; {seal}"), False


def _kept(facts: CategoryFacts, now: datetime) -> dict[str, Any]:
    """Return the row of a category that is still kept; an overdue one is marked."""
    overdue = now >= facts.must_go_at
    when = f"due, terme dépassé de {solid_duration(now - facts.must_go_at)}" if overdue else "pas encore faite"
    return _category(facts) | {"count": "conservées", "when": when, "alarm": overdue}


def _seals(closing: NamedSeal, gone: Sequence[CategoryFacts]) -> list[list[str]]:
    """Return a row for each seal: the day's close seal, then those that show the purges, each once."""
    shown = {facts.shown.number: facts.shown for facts in gone if facts.shown is not None}
    rows = [(closing, "entrées présentes" if shown else "jour clos")]
    rows += [(shown[number], "entrées détruites") for number in sorted(shown)]
    return [
        [solid(f"n° {french_number(seal.number)}"), what, solid_moment(seal.sealed_at), seal.digest.hex()]
        for seal, what in rows
    ]


NAME_CHARACTERS = 120
LABEL_CHARACTERS = 48

_UNTOLD = (
    "Non établi : ces entrées sont détruites, mais ce qui en montrait le nombre (l’inscription de la purge et les "
    "têtes des sceaux) l’a été à son tour, au terme de sa propre conservation."
)
_NO_CLOSING = (
    "L’empreinte de la chaîne à la clôture du jour n’est plus conservée : la chaîne commence désormais plus loin. Le "
    "nombre et les numéros sont ceux que donne l’inscription de la purge, et les sceaux ne la contredisent pas."
)
_BACKUPS = (
    "l’absence de l’une et de l’autre a été constatée en établissant ce document. Ce qu’une sauvegarde de la base "
    "contiendrait encore de ce jour reste chiffré par cette clé, donc illisible ; une copie de secours du magasin de "
    "clés, s’il en est tenu une, perd la clé à sa mise à jour suivante."
)
_NOT_COVERED = (
    "Cette attestation ne porte pas sur les extraits déjà remis, ni sur les dépôts faits à la commune avant la purge : "
    "leurs destinataires en répondent."
)
_SIGNATURE = "La signature : avec un lecteur PDF, et le certificat de confiance (trust.pem) obtenu par une autre voie."
_LAW = (
    f"loi n° 78-17 du {solid('6 janvier 1978')}, {solid('article 101')}",
    f"directive (UE) 2016/680 du {solid('27 avril 2016')}, {solid('article 25')}",
    f"contrat d’hébergement, qui limite la conservation à {solid('60 jours')}",
)
_GDPR = f"règlement (UE) 2016/679 du {solid('27 avril 2016')}, {solid('article 5')}"


def tenant_name(attestation: Attestation) -> str:
    """Return the commune's name, printable and of bounded length."""
    return cell(attestation.tenant_name, NAME_CHARACTERS)


def label(facts: CategoryFacts) -> str:
    """Return a category's name, printable and of bounded length."""
    return cell(facts.label, LABEL_CHARACTERS)


def lead(attestation: Attestation) -> str:
    """Return the summary in a few sentences."""
    destroyed = attestation.of_state("destroyed")
    count = sum(facts.count for facts in destroyed)
    commune = f"la commune « {tenant_name(attestation)} »"
    day = solid_weekday(attestation.day)
    if count == 0:
        said = (
            f"Le service {attestation.service} atteste que le journal des accès de {commune} ne comptait aucune entrée "
            f"le {day}{_scope(attestation)}. Ce jour est clos et sa clé de chiffrement détruite : rien ne peut plus y "
            "être inscrit."
        )
    else:
        which, verb = f"les {solid_entries(count)} inscrites", "ont été détruites"
        if count == 1:
            which, verb = "l’unique entrée inscrite", "a été détruite"
        said = (
            f"Le service {attestation.service} atteste que {which} le {day}{_scope(attestation)} au journal des accès "
            f"de {commune} {verb} {_punctuality(destroyed)}. Le service n’en garde rien de lisible."
        )
    return typeset(said + _rest(attestation))


def _scope(attestation: Attestation) -> str:
    """Return in which categories, unless in all."""
    destroyed = attestation.of_state("destroyed")
    if len(destroyed) == len(attestation.categories):
        return ""
    if len(destroyed) == 1:
        return f" dans la catégorie « {label(destroyed[0])} »"
    return f" dans {len(destroyed)} des {len(attestation.categories)} catégories"


def _punctuality(destroyed: Sequence[CategoryFacts]) -> str:
    """Return whether the rule was obeyed, as far as that is established: else the table tells."""
    went = [facts for facts in destroyed if facts.count]
    late = sum(facts.count for facts in went if facts.lateness)
    if late == sum(facts.count for facts in went):
        return "au-delà du terme de leur conservation, avec le retard indiqué ci-dessous"
    others = (facts for facts in went if not facts.lateness)
    if not all(facts.gone_at is not None and facts.may_go_at <= facts.gone_at < facts.must_go_at for facts in others):
        return "à la date indiquée ci-dessous, dans la mesure où elle est établie"
    if late:
        return f"au terme de leur conservation, dont {french_number(late)} avec le retard indiqué ci-dessous"
    return "au terme de leur conservation, dans le délai prescrit"


def _rest(attestation: Attestation) -> str:
    """Return which categories are not attested because they are still kept."""
    kept, untold = attestation.of_state("kept"), attestation.of_state("untold")
    if not kept:
        return ""
    if len(kept) == 1:
        which = f"La catégorie « {label(kept[0])} » est encore conservée"
        return f" {which} : cette attestation ne porte pas sur elle."
    which = f"{len(kept)} des catégories" if untold else f"Les {len(kept)} autres catégories"
    return f" {which} sont encore conservées : cette attestation ne porte pas sur elles."


def notes(gone: Sequence[CategoryFacts]) -> list[str]:
    """Return which parts are no longer known, and why."""
    said = [_UNTOLD] if any(facts.state == "untold" for facts in gone) else []
    if any(facts.state == "destroyed" and facts.count and facts.closing is None for facts in gone):
        said.append(_NO_CLOSING)
    return [typeset(text) for text in said]


def how(attestation: Attestation) -> list[str]:
    """Return what was done, and what the attestation does not cover."""
    copies = attestation.key_copies
    where = "le magasin de clés" if copies == 1 else f"les {french_number(copies)} copies du magasin de clés"
    done = (
        "Les lignes ont été supprimées de la base de données avec la partition du jour, et la clé de chiffrement du "
        f"jour a été détruite dans {where} ; {_BACKUPS}"
    )
    return [typeset(text) for text in (done, _NOT_COVERED)]


def steps(gone: Sequence[CategoryFacts]) -> list[str]:
    """Return how a reader checks each part without trusting the service."""
    shown = [facts.shown for facts in gone if facts.shown is not None]
    seals = (
        "Les sceaux : le service en remet le texte, dont le SHA-256 figure ci-dessus, et la signature, que contrôle le "
        "logiciel openssl."
    )
    if any(seal.day is None for seal in shown):
        seals += " Un sceau qui ne clôt pas un jour n’est gardé que sept jours."
    said = [_SIGNATURE, seals]
    if shown:
        since = french_number(max(seal.number for seal in shown))
        closing = any(facts.closing is not None for facts in gone)
        same = ", et l’empreinte à la clôture y est la même." if closing else "."
        said.append(
            f"La destruction : tout extrait fait depuis le sceau n° {since} énonce, pour la catégorie, un premier "
            "numéro conservé supérieur au dernier numéro détruit."
        )
        said.append(
            "Un extrait de ce jour remis avant la destruction se vérifie toujours : ses numéros sont "
            f"ceux du tableau{same}"
        )
    return [typeset(text) for text in said]


def law(categories: Sequence[CategoryFacts]) -> str:
    """Return the legal basis of the rule."""
    led, directive, contract = _LAW
    gdpr = [_GDPR] if any(facts.regime == "GDPR" for facts in categories) else []
    return typeset("Fondement de la règle : " + " ; ".join([led, directive, *gdpr, contract]) + ".")
