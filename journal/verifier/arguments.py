"""The arguments of `journal-verify`, and its help: in English or in French, argparse's own words included."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from journal import __version__
from journal.verifier.text import LANGUAGES, language

if TYPE_CHECKING:
    from collections.abc import Sequence

_DESCRIPTION: Final = """\
Verify an extract of an access journal, offline, trusting only the certificates you give.
"""
_EPILOG: Final = """\
example:
  journal-verify extract.asice --trust trust.pem --known-seal head-2025-03-01.json

Get trust.pem from its owner by another channel than the extract. A known seal is an earlier answer of the service
to GET …/head, or an older extract that you kept: it shows whether anything was rewritten since.

An extract that a program has opened and saved, or packed again, is "rewritten": its parts are authentic, but it is not
the file that was issued. --repair NEW writes them as one, and verifies that:
  journal-verify from-mail.zip --trust trust.pem --repair extract.asice

A receipt is what a module was answered when it submitted an event. --receipt says of each whether the extract, or the
known seals, hold it (covered), need not (purged, not yet sealed, not shown), or convict the host (missing):
  journal-verify extract.asice --trust trust.pem --receipt answer-1.json answer-2.json

exit status: 0 if and only if everything you asked for was verified; 1 if something is wrong with the extract (bad
signature, untrusted, malformed, rewritten, mismatched part, broken chain, gap, foreign entry, fork, early deletion,
over-retention, not covered) or with a receipt (one of these, or missing); 2 if it could not be verified, or something
you asked for could not be checked.
"""
_HELP: Final = {
    "file": "the extract",
    "--trust": "certificates you trust to certify the service",
    "--tsa-trust": "certificates you trust to certify time-stamps",
    "--known-seal": "an answer of GET …/head, or an older extract; may be given several times",
    "--receipt": (
        "answers to submissions, each in a file: says what became of each receipt in the extract or known seals"
    ),
    "--repair": "where to write an extract that is only rewritten",
    "--strict": "read every entry by itself, as is done where something is wrong: slower, and of the same verdict",
    "--version": "show program's version number and exit",
    "--lang": "language of the result (default: that of the locale); JSON is the same in both",
    "--json": "print the result as one JSON object",
    "--help": "show this help message and exit",
}

_FRENCH_DESCRIPTION: Final = """\
Vérifie un extrait du journal des accès, hors ligne, sans se fier à rien d’autre qu’aux certificats que vous donnez.
"""
_FRENCH_EPILOG: Final = """\
exemple :
  journal-verify extrait.asice --trust trust.pem --known-seal head-2025-03-01.json

Obtenez trust.pem de son propriétaire, par une autre voie que l’extrait. Un sceau connu est une réponse antérieure du
service à GET …/head, ou un extrait plus ancien que vous avez gardé : il montre si quelque chose a été réécrit depuis.

Un extrait qu’un programme a ouvert et enregistré, ou compressé de nouveau, est « empaqueté de nouveau » : ses parties
sont authentiques, mais ce n’est plus le fichier qui a été émis. --repair NOUVEAU les réunit en un extrait, et le
vérifie :
  journal-verify du-courriel.zip --trust trust.pem --repair extrait.asice

Un reçu est ce qui a été répondu à un logiciel qui transmettait un événement. --receipt dit de chacun si l’extrait, ou
les sceaux connus, le contiennent (couvert), n’ont pas à le contenir (purgé, pas encore scellé, non montré), ou
confondent l’hébergeur (manquant) :
  journal-verify extrait.asice --trust trust.pem --receipt reponse-1.json reponse-2.json

code de sortie : 0 si, et seulement si, tout ce que vous avez demandé a été vérifié ; 1 si l’extrait n’est pas en règle
(signature invalide, signataire non reconnu, malformé, empaqueté de nouveau, parties discordantes, chaîne rompue,
lacune, entrée étrangère, histoire divergente, suppression prématurée, conservation excessive, période non couverte),
ou un reçu (de même, ou manquant) ; 2 s’il n’a pas pu être vérifié, ou si une de vos demandes n’a pas pu être contrôlée.
"""
_FRENCH_HELP: Final = {
    "file": "l’extrait",
    "--trust": "certificats auxquels vous vous fiez pour certifier le service",
    "--tsa-trust": "certificats auxquels vous vous fiez pour certifier les horodatages",
    "--known-seal": "une réponse à GET …/head, ou un extrait plus ancien ; peut être donné plusieurs fois",
    "--receipt": (
        "réponses à des envois, chacune dans un fichier : dit ce que chaque reçu est devenu dans l’extrait ou les "
        "sceaux connus"
    ),
    "--repair": "où écrire un extrait qui n’a été qu’empaqueté de nouveau",
    "--strict": "lit chaque entrée séparément, comme là où quelque chose ne va pas : plus lent, pour un même verdict",
    "--version": "affiche la version et se termine",
    "--lang": "langue du résultat (par défaut, celle de l’environnement) ; le JSON est le même dans les deux",
    "--json": "affiche le résultat en un objet JSON",
    "--help": "affiche cette aide et se termine",
}
_FRENCH_PLACES: Final = {"FILE": "FICHIER", "NEW": "NOUVEAU", "PEM": "PEM"}
# What argparse says of wrong arguments: each pattern, and its French.
_FRENCH_ERRORS: Final = (
    (r"the following arguments are required: (.*)", r"il manque : \1"),
    (r"unrecognized arguments: (.*)", r"arguments inconnus : \1"),
    (r"argument (\S+): expected one argument", r"\1 : il faut une valeur"),
    (r"argument (\S+): expected at least one argument", r"\1 : il faut au moins une valeur"),
    (r"argument (\S+): ignored explicit argument (.*)", r"\1 : ne prend pas de valeur, et \2 est donné"),
    (r"argument (\S+): invalid choice: (.*) \(choose from (.*)\)", r"\1 : \2 n’est pas admis (au choix : \3)"),
)


class _Parser(argparse.ArgumentParser):
    """A parser that speaks one language."""

    def __init__(self, *, is_french: bool) -> None:
        super().__init__(
            prog="journal-verify",
            description=_FRENCH_DESCRIPTION if is_french else _DESCRIPTION,
            epilog=_FRENCH_EPILOG if is_french else _EPILOG,
            formatter_class=_FrenchFormatter if is_french else argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            add_help=False,
        )
        self._is_french = is_french
        if is_french:
            self._positionals.title, self._optionals.title = "arguments", "options"

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the arguments, and exit."""
        if not self._is_french:
            super().error(message)
        self.print_usage()
        for pattern, text in _FRENCH_ERRORS:
            if found := re.fullmatch(pattern, message, re.DOTALL):
                message = found.expand(text)
                break
        self.exit(2, f"{self.prog} : erreur : {message}\n")


class _FrenchFormatter(argparse.RawDescriptionHelpFormatter):
    """The usage begins in French."""

    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: str | None = None) -> None:
        """Add the usage."""
        super().add_usage(usage, actions, groups, "utilisation : " if prefix is None else prefix)


def lang_of(arguments: Sequence[str]) -> str:
    """Return the language to parse in: that of --lang where it is one, else that of the locale."""
    chosen = [
        text.partition("=")[2] if text.startswith("--lang=") else following
        for text, following in zip(arguments, [*arguments[1:], ""])
        if text == "--lang" or text.startswith("--lang=")
    ]
    return chosen[-1] if chosen and chosen[-1] in LANGUAGES else language(os.environ)


def make_parser(lang: str) -> argparse.ArgumentParser:
    """Return what reads the arguments, and tells of them in this language."""
    is_french = lang == "fr"
    parser = _Parser(is_french=is_french)
    told = _FRENCH_HELP if is_french else _HELP

    def add(*names: str, **options: Any) -> None:
        if is_french and "metavar" in options:
            options["metavar"] = _FRENCH_PLACES[options["metavar"]]
        parser.add_argument(*names, help=told[names[-1]], **options)

    add("file", metavar="FILE", type=Path, nargs="?")
    add("-h", "--help", action="help")
    add("--trust", metavar="PEM", type=Path, required=True)
    add("--tsa-trust", metavar="PEM", type=Path)
    add("--known-seal", metavar="FILE", type=Path, action="append", default=[])
    add("--receipt", metavar="FILE", type=Path, action="extend", nargs="+", default=[])
    add("--repair", metavar="NEW", type=Path)
    add("--strict", action="store_true")
    add("--version", action="version", version=f"%(prog)s {__version__}")
    add("--lang", choices=LANGUAGES)
    add("--json", action="store_true")
    return parser
