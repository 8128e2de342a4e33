"""What the verifier says, in French: whole sentences are translated when they are printed.

Reasons and remarks are made in English where a fault is found. Here each is held against the catalogue's sentences,
whose places take what stands there. A sentence that is not in the catalogue stays as it is: no verdict depends on it.
"""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Callable

from journal.core.times import format_seconds
from journal.extract.manifest import Filter
from journal.extract.purges import LATE
from journal.extract.words import PURPOSES
from journal.verifier.french_reasons import CORE, ERRORS, EXTRACT, RECEIPTS, SIGNATURES
from journal.verifier.french_sentences import REPORT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from re import Pattern

    from journal.extract.report import Report

# The class of a verdict, as the page names it, then what it means.
CLASSES = {
    "malformed": "Malformé",
    "rewritten": "Empaqueté de nouveau",
    "bad signature": "Signature invalide",
    "untrusted": "Signataire non reconnu",
    "mismatched part": "Parties discordantes",
    "broken chain": "Chaîne rompue",
    "gap": "Lacune",
    "foreign entry": "Entrée étrangère",
    "fork": "Histoire divergente",
    "early deletion": "Suppression prématurée",
    "over-retention": "Conservation excessive",
    "not covered": "Période non couverte",
}
_MEANINGS = """
malformed
= Ce fichier n’est pas dans l’unique écriture que le format admet : il est abîmé, modifié, ou n’est pas un extrait.

rewritten
= Ce que contient ce fichier est authentique, mais ce n’est plus le fichier qui a été émis : un programme l’a ouvert et
enregistré, ou l’a compressé de nouveau.

bad signature
= Une signature ne porte pas sur ces données, ou n’a pas été faite par cette clé.

untrusted
= La signature tient, mais son certificat ne mène à aucun de ceux auxquels vous faites confiance.

mismatched part
= Deux parties de l’extrait qui devraient concorder ne concordent pas.

broken chain
= Une empreinte ne découle pas de la précédente : des entrées ont été changées.

gap
= Il manque au moins une entrée à l’intérieur de l’extrait.

foreign entry
= L’extrait contient une entrée d’une autre chaîne, d’un autre jour ou d’une autre place.

fork
= Deux histoires différentes du même journal ont été montrées.

early deletion
= Des entrées ont disparu avant leur terme, ou sans que les sceaux le justifient.

over-retention
= Des données étaient conservées au-delà de leur durée quand l’extrait a été établi.

not covered
= Les sceaux de l’extrait n’atteignent pas toute la période demandée.
"""
# What becomes of receipts.
OUTCOMES = {
    "covered": "couvert",
    "purged": "purgé selon sa règle",
    "not yet sealed": "pas encore scellé",
    "not shown": "non montré",
    "missing": "manquant",
    "declared lost": "déclaré perdu",
    "foreign": "étranger",
    "authentic": "authentique",
}
_MONTHS = (
    "janvier",
    "février",
    "mars",
    "avril",
    "mai",
    "juin",
    "juillet",
    "août",
    "septembre",
    "octobre",
    "novembre",
    "décembre",
)
_THIN_SPACE = "\u202f"


def french_day(text: str) -> str:
    """Return a day spelt YYYY-MM-DD as the page writes it."""
    year, month, day = map(int, text.split("-"))
    return f"{'1er' if day == 1 else day} {_MONTHS[month - 1]} {year}"


def french_time(text: str) -> str:
    """Return a time in UTC as the page writes it, to the second."""
    return f"{french_day(text[:10])} à {text[11:19]} UTC"


def french_count(text: str) -> str:
    """Return a number with thin spaces between its thousands."""
    return f"{int(text):,}".replace(",", _THIN_SPACE)


def _moment(text: str) -> str:
    time, _, accuracy = text.partition(" (")
    return french_time(time) + (f" ({accuracy.replace('.', ',')}" if accuracy else "")


def _seal(text: str) -> str:
    """Return the name of a seal, as `seal_text` gives it."""
    found = re.fullmatch(_SEAL, text)
    assert found is not None
    number, day, time = found.group(1, 2, 3)
    kind = "ouvert" if day is None else f"clôture du {french_day(day)}"
    return f"sceau {number}, {kind}, fait le {french_time(time)}"


def _days(text: str) -> str:
    """Return a day, or the first and the last."""
    first, _, last = text.partition(" to ")
    return french_period(date.fromisoformat(first), date.fromisoformat(last)) if last else f"le {french_day(first)}"


def _late(text: str) -> str:
    """Return by how many days something was late."""
    span = text.removesuffix("s").removesuffix(" day").replace(" to ", " à ")
    most = "up à " in f"{span} " or span.startswith("up à ")
    number = span.removeprefix("up à ")
    unit = "jour" if number == "1" else "jours"
    return f"{number} {unit}{' au plus' if most else ''}"


def _numbers(text: str) -> str:
    """Return what is not in order among the numbers of a source."""

    def missing(found: re.Match[str]) -> str:
        gaps = re.sub(r"(\d+)-(\d+)", r"\1 à \2", found[2])
        told = _plural(int(found[1]), "numéro manque", "numéros manquent")
        return f"{told} ({gaps}{', et d’autres' if found[3] else ''})"

    if text == "none is missing":
        return "aucun ne manque"
    text = re.sub(r"(\d+) numbers are missing \((.*?)(, and others)?\)", missing, text)
    text = re.sub(
        r"(\d+) are declared lost",
        lambda found: _plural(int(found[1]), "est déclaré perdu", "sont déclarés perdus"),
        text,
    )
    return re.sub(
        r"(\d+) events repeat a number",
        lambda found: _plural(int(found[1]), "événement répète un numéro", "événements répètent un numéro"),
        text,
    )


def _class(text: str) -> str:
    return {**CLASSES, **OUTCOMES}.get(text, text)


_DAY = r"\d{4}-\d\d-\d\d"
_TIME = _DAY + r"T\d\d:\d\d:\d\d(?:\.\d+)?Z"
_SEAL = rf"seal (\d+) \((?:open|close of ({_DAY})), ({_TIME})\)"
_ONE_SEAL = rf"seal \d+ \((?:open|close of {_DAY}), {_TIME}\)"
# What may stand in a place of a sentence, and how it is put into French.
_KINDS: dict[str, tuple[str, Callable[[str], str]]] = {
    "n": (r"-?\d+", str),
    "count": (r"\d+", french_count),
    "hash": (r"[0-9a-f]{64}", str),
    "day": (_DAY, french_day),
    "time": (_TIME, french_time),
    "clock": (_TIME, lambda text: f"{text[11:19]} UTC"),
    "moment": (_TIME + r"(?: \(± [0-9.e+-]+ s\))?", _moment),
    "seal": (_ONE_SEAL, _seal),
    "seals": (rf"{_ONE_SEAL}(?:, {_ONE_SEAL})*", lambda text: re.sub(_ONE_SEAL, lambda one: _seal(one[0]), text)),
    "days": (rf"{_DAY}(?: to {_DAY})?", _days),
    "late": (r"(?:up to )?\d+(?: to \d+)? days?", _late),
    "numbers": (r"none is missing|\d+ (?:numbers are missing|are declared lost|events repeat).*", _numbers),
    "class": ("|".join(map(re.escape, [*CLASSES, *OUTCOMES])), _class),
    "purpose": ("|".join(map(re.escape, PURPOSES)), lambda text: PURPOSES[text]),
    "sentence": (r".+", lambda text: translate(text) or text),
    "text": (r".+", str),
}
_PLACE = re.compile(r"\{([a-z]+)(\d*)\}")


def _kind(place: str) -> tuple[str, Callable[[str], str]]:
    return _KINDS[place.rstrip("0123456789")]


def _pattern(sentence: str) -> Pattern[str]:
    """Return what matches the English of a sentence, each place a group of its name."""
    pieces, end = [], 0
    for place in _PLACE.finditer(sentence):
        name = place[1] + place[2]
        pieces += [re.escape(sentence[end : place.start()]), f"(?P<{name}>{_kind(name)[0]})"]
        end = place.end()
    return re.compile("".join([*pieces, re.escape(sentence[end:])]), re.DOTALL)


def _pairs(catalogue: str) -> Iterator[tuple[str, str]]:
    for paragraph in catalogue.strip("\n").split("\n\n"):
        english, _, text = paragraph.partition("\n= ")
        yield " ".join(english.split("\n")), " ".join(text.split("\n"))


def sentences() -> Iterator[tuple[str, str]]:
    """Yield every sentence known, English and French."""
    for catalogue in (REPORT, CORE, SIGNATURES, EXTRACT, RECEIPTS, ERRORS):
        yield from _pairs(catalogue)


MEANINGS = dict(_pairs(_MEANINGS))


def _order(english: str) -> tuple[bool, int]:
    """Of several that match, the one that holds a whole verdict is meant, else that with the most words of its own."""
    return "{class}: {sentence}" not in english, -len(_PLACE.sub("", english))


_CATALOGUE = [(_pattern(english), text) for english, text in sorted(sentences(), key=lambda pair: _order(pair[0]))]


def translate(sentence: str) -> str | None:
    """Return a sentence in French; None if it is not in the catalogue."""
    for pattern, text in _CATALOGUE:
        found = pattern.fullmatch(sentence)
        if found is not None:
            places = {name: _kind(name)[1](value) for name, value in found.groupdict().items()}
            return _PLACE.sub(lambda place: places[place[1] + place[2]], text)  # noqa: B023 - used at once
    return None


def french(sentence: str) -> str:
    """Return a sentence in French, or as it is where it is not in the catalogue."""
    return translate(sentence) or sentence


def french_period(first: date, last: date) -> str:
    """Return whole days as the page writes them."""
    if first == last:
        return f"du {french_day(first.isoformat())}"
    kept = 3 if first.year != last.year else 2 if first.month != last.month else 1
    return f"du {' '.join(_words(first)[:kept])} au {' '.join(_words(last))}"


def _words(day: date) -> list[str]:
    return french_day(day.isoformat()).split(" ")


def _plural(count: int, one: str, many: str = "") -> str:
    return f"{french_count(str(count))} {one if count < 2 else many or one + 's'}"  # noqa: PLR2004 - as French counts


def verdict(report: Report) -> str:
    """Return the verdict of a report in the words of the page."""
    manifest = report.manifest
    until = f", jusqu’au {french_time(format_seconds(report.covered_until))}" if report.covered_until else ""
    days = french_period(manifest.first_day, manifest.last_day)
    late = " ; des jours ont été purgés en retard" if report.purged and report.purged.of(LATE) else ""
    if manifest.filter == Filter():
        still = " encore conservées" if report.purged else ""
        told = f"toutes les entrées{still} ({french_count(str(manifest.disclosed))})"
        if not manifest.disclosed:
            told = "aucune entrée" + (" n’est encore conservée pour la période" if report.purged else "")
        sentence = f"Authentique et complet : {told} {days}{until}{late}."
    else:
        kept = " parmi celles encore conservées" if report.purged else ""
        sentence = (
            f"Authentique : {_plural(manifest.disclosed, 'entrée communiquée', 'entrées communiquées')} {days}{until}, "
            f"{_plural(manifest.withheld, 'non communiquée', 'non communiquées')}, aucune manquante{kept}{late}."
        )
    stamped = [(one, one.timestamp) for one in report.seals if one.timestamp is not None]
    for checked, timestamp in stamped[-1:]:
        seconds = timestamp.accuracy.total_seconds() if timestamp.accuracy else 0
        accuracy = f" (± {f'{seconds:g}'.replace('.', ',')} s)" if seconds else ""
        moment = french_time(format_seconds(timestamp.stamped_at.replace(microsecond=0))) + accuracy
        sentence += f" Ce que couvre le sceau {checked.seal.number} n’a pas pu être réécrit après le {moment}."
    return sentence
