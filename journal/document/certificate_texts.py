"""The sentences of the attestation of a destruction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from journal.document.french import cell, french_number, solid, solid_entries, solid_weekday, typeset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from journal.document.destruction import CategoryFacts, Certificate

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
_SIGNATURE = (
    "La signature : avec un lecteur PDF ou la commande pdfsig, et le certificat de confiance (trust.pem) obtenu par "
    "une autre voie."
)
_LAW = (
    f"loi n° 78-17 du {solid('6 janvier 1978')}, {solid('article 101')}",
    f"directive (UE) 2016/680 du {solid('27 avril 2016')}, {solid('article 25')}",
    f"contrat d’hébergement, qui limite la conservation à {solid('60 jours')}",
)
_GDPR = f"règlement (UE) 2016/679 du {solid('27 avril 2016')}, {solid('article 5')}"


def tenant_name(certificate: Certificate) -> str:
    """Return the commune's name: nothing hidden, nothing endless."""
    return cell(certificate.tenant_name, NAME_CHARACTERS)


def label(facts: CategoryFacts) -> str:
    """Return a category's name likewise."""
    return cell(facts.label, LABEL_CHARACTERS)


def lead(certificate: Certificate) -> str:
    """Say the whole in a few sentences."""
    destroyed = certificate.of_state("destroyed")
    count = sum(facts.count for facts in destroyed)
    commune = f"la commune « {tenant_name(certificate)} »"
    day = solid_weekday(certificate.day)
    if count == 0:
        said = (
            f"Le service {certificate.service} atteste que le journal des accès de {commune} ne comptait aucune entrée "
            f"le {day}{_scope(certificate)}. Ce jour est clos et sa clé de chiffrement détruite : rien ne peut plus y "
            "être inscrit."
        )
    else:
        which, verb = f"les {solid_entries(count)} inscrites", "ont été détruites"
        if count == 1:
            which, verb = "l’unique entrée inscrite", "a été détruite"
        said = (
            f"Le service {certificate.service} atteste que {which} le {day}{_scope(certificate)} au journal des accès "
            f"de {commune} {verb} {_punctuality(destroyed)}. Le service n’en garde rien de lisible."
        )
    return typeset(said + _rest(certificate))


def _scope(certificate: Certificate) -> str:
    """Say in which categories, where it is not in all."""
    destroyed = certificate.of_state("destroyed")
    if len(destroyed) == len(certificate.categories):
        return ""
    if len(destroyed) == 1:
        return f" dans la catégorie « {label(destroyed[0])} »"
    return f" dans {len(destroyed)} des {len(certificate.categories)} catégories"


def _punctuality(destroyed: Sequence[CategoryFacts]) -> str:
    went = [facts for facts in destroyed if facts.count]
    if any(facts.lateness for facts in went):
        return "au-delà du terme de leur conservation, avec le retard indiqué ci-dessous"
    if all(facts.gone_at is not None and facts.may_go_at <= facts.gone_at < facts.must_go_at for facts in went):
        return "au terme de leur conservation, dans le délai prescrit"
    return "au terme de leur conservation"


def _rest(certificate: Certificate) -> str:
    """Say what is not attested, for still kept."""
    kept, untold = certificate.of_state("kept"), certificate.of_state("untold")
    if not kept:
        return ""
    if len(kept) == 1:
        which = f"La catégorie « {label(kept[0])} » est encore conservée"
        return f" {which} : cette attestation ne porte pas sur elle."
    which = f"{len(kept)} des catégories" if untold else f"Les {len(kept)} autres catégories"
    return f" {which} sont encore conservées : cette attestation ne porte pas sur elles."


def notes(gone: Sequence[CategoryFacts]) -> list[str]:
    """Say which parts can no longer be told, and why."""
    said = [_UNTOLD] if any(facts.state == "untold" for facts in gone) else []
    if any(facts.state == "destroyed" and facts.count and facts.closing is None for facts in gone):
        said.append(_NO_CLOSING)
    return [typeset(text) for text in said]


def how(certificate: Certificate) -> list[str]:
    """Say what was done, and what this does not cover."""
    copies = certificate.key_copies
    where = "le magasin de clés" if copies == 1 else f"les {french_number(copies)} copies du magasin de clés"
    done = (
        "Les lignes ont été supprimées de la base de données avec la partition du jour, et la clé de chiffrement du "
        f"jour a été détruite dans {where} ; {_BACKUPS}"
    )
    return [typeset(text) for text in (done, _NOT_COVERED)]


def steps(certificate: Certificate, gone: Sequence[CategoryFacts]) -> list[str]:
    """Say how a reader checks each part, without trusting the service."""
    shown = [facts.shown for facts in gone if facts.shown is not None]
    seals = (
        f"Les sceaux : GET /v1/seals?after={certificate.closing.number - 1} en donne le texte, dont le SHA-256 figure "
        "ci-dessus, et la signature, que contrôle openssl cms -verify."
    )
    if any(seal.day is None for seal in shown):
        seals += " Un sceau qui ne clôt pas un jour n’est gardé que sept jours."
    said = [_SIGNATURE, seals]
    if shown:
        since = french_number(max(seal.number for seal in shown))
        closing = any(facts.closing is not None for facts in gone)
        same = ", et l’empreinte à la clôture y est la même." if closing else "."
        said.append(
            "La destruction : tout extrait et toute réponse à GET /v1/categories/…/head faits depuis le sceau "
            f"n° {since} portent un kept_from supérieur au dernier numéro détruit de la catégorie."
        )
        said.append(
            "Un extrait de ce jour remis avant la destruction se vérifie toujours (journal-verify) : ses numéros sont "
            f"ceux du tableau{same}"
        )
    return [typeset(text) for text in said]


def law(categories: Sequence[CategoryFacts]) -> str:
    """Name what the rule rests on."""
    led, directive, contract = _LAW
    gdpr = [_GDPR] if any(facts.regime == "GDPR" for facts in categories) else []
    return typeset("Fondement de la règle : " + " ; ".join([led, directive, *gdpr, contract]) + ".")
