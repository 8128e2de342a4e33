"""The papers that go with what a commune is given: slips of a hand-over and of an export, the destruction report.

Each says in French what the signed JSON beside it says (FORMAT.md, sections 13 and 14), and is made from that alone.
Plain data, without layout.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from journal.core.times import parse_day, parse_time
from journal.document.french import (
    bounded,
    cell,
    french_day,
    french_number,
    french_range,
    solid,
    solid_day,
    solid_days,
    solid_entries,
    solid_moment,
    solid_weekday,
    typeset,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from journal.document.signatory import Signatory

    Content = dict[str, Any]
    Members = Mapping[str, Any]

NAME_CHARACTERS = 120
LABEL_CHARACTERS = 64
FILE_CHARACTERS = 200
_UNITS = ("octets", "ko", "Mo", "Go")


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """What a paper tells besides the JSON, which has the name `json_name` and this content.

    `labels` are the names of categories, by code; `key_copies` is the number of copies of the key store; `remarks` what
    the service says besides.
    """

    tenant_name: str
    labels: Mapping[str, str]
    key_copies: int
    signatory: Signatory
    json_name: str
    content: bytes
    remarks: Sequence[str] = ()


def handover_content(paper: Paper) -> Content:
    """Return the slip of what was handed over in a night (a UTC day), made of its inventory."""
    said = json.loads(paper.content)
    files = said["files"]
    lead = (
        f"Le service {said['service']} a remis à la commune « {_commune(paper)} », avant que leur durée de "
        f"conservation prenne fin, les entrées de son journal des accès énumérées ici, en {_files(files)} : chaque "
        "fichier est un extrait complet, chiffré pour elle seule, à l'endroit convenu avec elle. L'hébergeur ne peut "
        "pas l'ouvrir."
    )
    sections = [
        {"title": "Ce qui est remis", **_file_table(paper, files)},
        {"title": "Pour quel certificat", "facts": _recipients(files)},
        _steps(*_OPENING, _CONFIRMING),
        {"title": "Ce que vaut ce bordereau", "paragraphs": [_beside(paper, "l'inventaire")]},
    ]
    subtitle = f"remise du {solid_weekday(parse_day(said['night']))}"
    return _content(paper, said["tenant"], ("Bordereau de remise", subtitle), lead, sections)


def preservation_content(paper: Paper) -> Content:
    """Return the slip of what an authority asked to preserve, made of its inventory; neither who asked, nor why."""
    said = json.loads(paper.content)
    files = said["files"]
    lead = (
        f"À la demande d'une autorité, le service {said['service']} a remis, le {_at(files[-1]['placed_at'])} (temps "
        f"universel), les entrées du journal des accès de la commune « {_commune(paper)} » énumérées ici, en "
        f"{_files(files)} : chaque fichier est un extrait complet, chiffré pour le seul titulaire du certificat "
        "ci-dessous. L'hébergeur ne peut pas l'ouvrir."
    )
    what = [typeset(remark) for remark in (*paper.remarks, _NOT_BENT)]
    sections = [
        {"title": "Ce qui est remis", **_file_table(paper, files)},
        {"title": "Pour quel certificat", "facts": _recipients(files)},
        {"title": "Ce qu’il advient de ces jours dans le service", "paragraphs": what},
        _steps(_OPENING[0], _BY_HOLDER, _OPENING[2], who="le destinataire"),
        {"title": "Ce que vaut ce bordereau", "paragraphs": [_beside(paper, "l'inventaire")]},
    ]
    return _content(paper, said["tenant"], ("Bordereau de conservation", "conservation demandée"), lead, sections)


def remark_of_request(index: int) -> str:
    """Say where the request is recorded."""
    return (
        f"La demande est l'entrée n° {french_number(index)} du journal de la commune : ses référents seuls la voient."
    )


def remark_of_term(label: str, first: date, last: date) -> str:
    """Say when the service destroys the days of a category that were handed over."""
    when = solid_days(first, last)
    return f"« {cell(label, LABEL_CHARACTERS)} » : le service détruit ces jours {when}, à 0 h (UTC) au plus tard."


def remark_of_gone(label: str, through: date) -> str:
    """Say that days that were asked for are gone."""
    named = cell(label, LABEL_CHARACTERS)
    return f"« {named} » : les jours jusqu'au {solid_day(through)} étaient déjà détruits ; personne ne peut les rendre."


def export_content(paper: Paper) -> Content:
    """Return the slip of the export that ends a contract, made of its inventory."""
    said = json.loads(paper.content)
    files = said["files"]
    lead = (
        f"Le contrat de la commune « {_commune(paper)} » a pris fin le {_at(said['closed_at'])} (temps universel). Le "
        f"service {said['service']} lui remet tout ce qu'il conserve encore de son journal des accès, en "
        f"{_files(files)} : chaque fichier est un extrait complet, chiffré pour elle seule."
    )
    facts = [*_recipients(files), *_seal("Dernier sceau, dans chaque extrait", said["seal"])]
    kept = _chain_table(paper, said["chains"], "Encore conservées")
    sections = [
        {"title": "Ce qui est remis", **_file_table(paper, files)},
        {"title": "Ce qui est encore conservé, par catégorie", **kept},
        {"title": "Pour quel certificat, et jusqu’à quel sceau", "facts": facts},
        _steps(*_OPENING, _ENDING),
        {"title": "Ce que vaut ce bordereau", "paragraphs": [_beside(paper, "l'inventaire")]},
    ]
    return _content(paper, said["tenant"], ("Bordereau d’export", "fin du contrat"), lead, sections)


def destruction_content(paper: Paper) -> Content:
    """Return the destruction report, as pages."""
    said = json.loads(paper.content)
    where = "le magasin de clés"
    if paper.key_copies > 1:
        where = f"les {french_number(paper.key_copies)} copies du magasin de clés"
    lead = (
        f"Le contrat de la commune « {_commune(paper)} » ayant pris fin, le service {said['service']} constate que "
        f"{_of_entries(said['entries'])}, et que la clé sans laquelle aucune copie n'en est lisible a été détruite "
        f"dans {where}. Il n'en garde rien de lisible."
    )
    exported = said.get("export")
    facts = [
        ["Fin du contrat", _at(said["closed_at"])],
        ["Export", f"remis le {_at(exported['exported_at'])}" if exported else "aucun : la commune y a renoncé"],
        *([["SHA-256 de son inventaire", exported["inventory"]]] if exported else []),
        ["Destruction commencée", _at(said["destroyed_at"])],
        ["Destruction achevée", _at(said["finished_at"])],
        *_seal("Dernier sceau avant elle", said["seals"]["before"]),
        *_seal("Sceau qui la montre", said["seals"]["after"]),
    ]
    gone = _chain_table(paper, said["chains"], "Entrées détruites")
    sections = [
        {"title": "Ce qui a été détruit, par catégorie", **gone},
        {"title": "Quand (temps universel), et ce qui le montre", "facts": facts},
        {"title": "Jusqu’où", "paragraphs": [typeset(text) for text in _LIMITS]},
        {"title": "Ce que vaut ce procès-verbal", "paragraphs": [_beside(paper, "le rapport")]},
    ]
    return _content(paper, said["tenant"], ("Procès-verbal de destruction", "fin du contrat"), lead, sections)


_OPENING = [
    "Copier les fichiers ailleurs, tels quels, et comparer leur SHA-256 à celui du tableau.",
    (
        "Les ouvrir avec la clé de la commune : dans un navigateur, sur la page verifier.html, même hors ligne ; ou "
        "avec openssl, comme l'explique le mode d'emploi."
    ),
    "Vérifier chaque extrait sur la même page, avec le certificat de confiance (trust.pem) obtenu par une autre voie.",
]
_BY_HOLDER = (
    "Les ouvrir avec la clé privée de ce certificat : dans un navigateur, sur la page verifier.html, même hors ligne ; "
    "ou avec openssl, comme l'explique le mode d'emploi."
)
_NOT_BENT = (
    "La demande ne retarde aucune destruction. Ce qui est conservé, ce sont les fichiers remis : leur destinataire en "
    "répond."
)
_CONFIRMING = (
    "Pour la première remise à un certificat : donner le code de confirmation que montre le fichier ouvert, à la page "
    "« Remises » du bureau de la commune, ou à l'hébergeur. Tant que la commune ne l'a pas fait, rien ne prouve "
    "qu'elle peut ouvrir ce qui lui est remis."
)
_ENDING = "Confirmer à l'hébergeur que tout s'ouvre et se vérifie : il détruit ensuite la clé et les entrées."
_LIMITS = [
    (
        "Les chaînes et tous les sceaux restent : ils ne contiennent rien de lisible, et les extraits remis auparavant "
        "se vérifient toujours. Les sceaux faits depuis montrent que plus rien n'est conservé ; ils ne montrent pas "
        "qu'il n'existe aucune copie ailleurs : de cela, ce procès-verbal est la parole de l'hébergeur."
    ),
    "Il ne porte ni sur les extraits déjà remis, ni sur les remises et l'export : leurs destinataires en répondent.",
]


def _content(paper: Paper, tenant: str, titles: tuple[str, str], lead: str, sections: Sequence[Members]) -> Content:
    signatory = paper.signatory
    return {
        "title": titles[0],
        "subtitle": f"Journal des accès, {titles[1]}",
        "service": signatory.service,
        "tenant_name": _commune(paper),
        "reference": solid(f"réf. {tenant} / {french_day(signatory.signed_at.date())}"),
        "warning": signatory.warning(),
        "lead": typeset(lead),
        "sections": sections,
        "signature": signatory.rows(),
        "software": signatory.software,
    }


def _commune(paper: Paper) -> str:
    return cell(paper.tenant_name, NAME_CHARACTERS)


def _at(text: str) -> str:
    return solid_moment(parse_time(text))


def _steps(*steps: str, who: str = "la commune") -> Members:
    return {"title": f"Ce que fait {who}", "steps": [typeset(step) for step in steps]}


def _files(files: Sequence[Members]) -> str:
    return "un fichier" if len(files) == 1 else f"{french_number(len(files))} fichiers"


def _of_entries(count: int) -> str:
    if count == 0:
        return "plus aucune entrée n'était conservée"
    gone = f"{solid_entries(count)} ont été supprimées" if count > 1 else "l'unique entrée conservée a été supprimée"
    return f"{gone} de la base de données"


def _file_table(paper: Paper, files: Sequence[Members]) -> Members:
    return {
        "columns": ["Catégorie et fichier", "Jours d’inscription (UTC)", "Entrées", "Taille"],
        "rows": [
            [
                [_label(paper, file), bounded(file["name"], FILE_CHARACTERS), file["sha256"]],
                _days(file["from"], file["to"]),
                _entries(file["base"]["size"], file["head"]["size"]),
                _size(file["bytes"]),
            ]
            for file in files
        ],
    }


def _chain_table(paper: Paper, chains: Sequence[Members], what: str) -> Members:
    return {
        "columns": ["Catégorie, et empreinte de sa chaîne", "Inscrites en tout", what],
        "rows": [
            [
                [_label(paper, chain), chain["chain_hash"]],
                french_number(chain["size"]),
                _entries(chain["kept_from"], chain["size"]),
            ]
            for chain in chains
        ],
    }


def _label(paper: Paper, of: Members) -> str:
    code = of["origin"].rpartition("/")[2]
    return cell(paper.labels.get(code, code), LABEL_CHARACTERS)


def _entries(first: int, end: int) -> list[str]:
    count = end - first
    return [french_number(count), solid(french_range(first, end - 1))] if count else ["aucune"]


def _days(first: str, last: str) -> str:
    return solid_days(parse_day(first), parse_day(last))


def _size(count: int) -> str:
    """Write a number of bytes in the largest unit of which there is one, rounded down."""
    power = min((len(str(count)) - 1) // 3, len(_UNITS) - 1)
    return solid(f"{french_number(count // 1000**power)} {_UNITS[power]}")


def _recipients(files: Sequence[Members]) -> list[list[str]]:
    return [["SHA-256 du certificat", digest] for digest in sorted({file["recipient"] for file in files})]


def _seal(name: str, seal: Members) -> list[list[str]]:
    return [[name, solid(f"n° {french_number(seal['number'])}")], ["SHA-256 de son texte", seal["sha256"]]]


def _beside(paper: Paper, what: str) -> str:
    return typeset(
        f"Il dit, pour être lu, ce que dit {what} {bounded(paper.json_name, FILE_CHARACTERS)}, signé et mis à côté de "
        f"lui, dont le SHA-256 est {sha256(paper.content).hexdigest()} ; en cas de différence, ce fichier fait foi. La "
        "signature se vérifie avec un lecteur PDF, et le certificat de confiance obtenu par une "
        "autre voie."
    )
