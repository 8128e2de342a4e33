"""The result as text for people, in English or in French; nothing in an extract acts on the terminal."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from journal.core.times import format_day
from journal.extract.manifest import Filter
from journal.extract.receipt_verdicts import summary
from journal.extract.table import visible
from journal.extract.words import CODES, MEMBERS, PURPOSES
from journal.verifier import french
from journal.verifier.receipts import told

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from journal.core.errors import VerificationError
    from journal.extract.manifest import Manifest
    from journal.extract.receipt_verdicts import Judged
    from journal.extract.report import Report

LANGUAGES: Final = ("en", "fr")

_WORDS: Final = {
    "VERIFIED": "VÉRIFIÉ",
    "NOT VERIFIED": "NON VÉRIFIÉ",
    "WARNING": "ATTENTION",
    "FILTER": "FILTRE",
    "ALLOWED": "AUTORISÉ",
    "no authorisation is stated": "aucune autorisation n’est indiquée",
    "origin": "origine",
    "entries": "entrées",
    "requester": "demandeur",
    "signed by": "signé par",
    "seal of": "cachet de",
    "trust": "confiance",
    "compare it with the one you were given": "comparez-la à celle que l’on vous a donnée",
    "receipts": "reçus",
    "checked": "ce qui a été vérifié",
    "worth knowing": "à savoir",
    "not checked": "ce qui n’a pas pu l’être",
}
_WIDTH: Final = 12


def language(environment: Mapping[str, str]) -> str:
    """Return the language of a locale: of the first of these variables that is set (POSIX, chapter 8.2)."""
    named = next(filter(None, map(environment.get, ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
    return "fr" if named.startswith("fr") else "en"


class Text:
    """Puts results into one language."""

    def __init__(self, chosen: str | None = None) -> None:
        """Speak this language; by default that of the locale."""
        self._is_french = (chosen or language(os.environ)) == "fr"

    def say(self, sentence: str) -> str:
        """Return a sentence of the verifier."""
        return french.french(sentence) if self._is_french else sentence

    def about(self, path: Path | None, sentence: str) -> str:
        """Return a sentence of the verifier about a file, if there is one."""
        colon = " : " if self._is_french else ": "
        return (f"{path}{colon}" if path else "") + self.say(sentence)

    def _word(self, word: str) -> str:
        return _WORDS[word] if self._is_french else word

    def refusal(self, error: VerificationError) -> str:
        """Return why nothing is verified."""
        return "\n".join(map(visible, self._refusal(error.verdict, error.part, error.reason)))

    def _refusal(self, verdict: str, part: str, reason: str) -> list[str]:
        if not self._is_french:
            return [f"NOT VERIFIED  {verdict}: {f'{part}: ' if part else ''}{reason}"]
        where = f"{part} : " if part else ""
        label = french.CLASSES.get(verdict) or french.OUTCOMES.get(verdict, verdict)
        line = f"NON VÉRIFIÉ  {label} ({verdict}) : {where}{self.say(reason)}"
        return [line, *([french.MEANINGS[verdict]] if verdict in french.MEANINGS else [])]

    def result(self, report: Report | None, judged: list[Judged], bad: Judged | None) -> str:
        """Return what holds of an extract and of receipts, or what does not."""
        lines = [f"{self._word('VERIFIED')}  {self._verdict(report) if report else self._summary(judged)}"]
        if bad is not None:
            lines = self._refusal(bad.verdict, bad.name, bad.reason)
            holds = "L’extrait lui-même est vérifié : " if self._is_french else "The extract itself holds: "
            lines += ["", holds + self._verdict(report)] if report else []
        sections: list[tuple[str, Sequence[str]]] = [("receipts", told(judged))]
        if report is not None:
            lines += [*(f"{self._word('WARNING'):9} {self.say(warning)}" for warning in report.warnings)]
            lines += [*self._scope(report.manifest), "", *self._facts(report)]
            sections += [
                ("checked", report.checked),
                ("worth knowing", report.remarks),
                ("not checked", (*report.unanswered, *report.not_checked)),
            ]
        colon = " :" if self._is_french else ":"
        for title, sentences in sections:
            if sentences:
                lines += ["", f"{self._word(title)}{colon}", *(f"  - {self.say(sentence)}" for sentence in sentences)]
        return "\n".join(map(visible, lines))

    def _verdict(self, report: Report) -> str:
        return french.verdict(report) if self._is_french else report.verdict

    def _summary(self, judged: list[Judged]) -> str:
        found = summary(judged)
        if not self._is_french:
            return found
        counts = (one.partition(" ") for one in found.split(", ") if one)
        return ", ".join(
            f"{count} {'reçu' if count == '1' else 'reçus'} : {french.OUTCOMES.get(verdict, verdict)}"
            for count, _, verdict in counts
        )

    def _scope(self, manifest: Manifest) -> list[str]:
        """Return what was left out of a filtered extract, and who allowed the question."""
        if manifest.filter == Filter():
            return []
        asked, given = manifest.filter.as_json(), manifest.authorisation
        allowed = self._word("no authorisation is stated")
        if given is not None:
            allowed = f"by {given.issuer} on {format_day(given.day)}, {given.reference}"
            if self._is_french:
                allowed = f"par {given.issuer} le {french.french_day(format_day(given.day))}, {given.reference}"
        told_out = f"{manifest.withheld} entries of the period are withheld"
        named = [f"{name} = {value}" for name, value in asked.items()]
        if self._is_french:
            told_out = f"{manifest.withheld} entrée(s) de la période non communiquée(s)"
            named = [
                f"{MEMBERS.get(name, name)} = « {CODES.get(name, {}).get(value, value)} »"
                for name, value in asked.items()
                if name != "withhold"
            ]
            named = named or ["aucune entrée n’est communiquée (preuve sans contenu)"]
        return [
            f"{self._word('FILTER'):9} {', '.join(named)} ; {told_out}"
            if self._is_french
            else f"{'FILTER':9} {', '.join(named)}: {told_out}",
            f"{self._word('ALLOWED'):9} {allowed}",
        ]

    def _facts(self, report: Report) -> list[str]:
        manifest, signature = report.manifest, report.signature
        at = f"{signature.signing_time:%Y-%m-%dT%H:%M:%SZ}"
        counts = f"{manifest.disclosed} disclosed, {manifest.withheld} withheld"
        purpose, claimed = manifest.purpose, f"at {at} (its own claim)"
        if self._is_french:
            counts = f"{manifest.disclosed} communiquée(s), {manifest.withheld} non communiquée(s)"
            purpose = PURPOSES[manifest.purpose]
            claimed = f"le {french.french_time(at)} (date déclarée par le signataire)"
        facts = [
            ("origin", manifest.origin),
            ("entries", counts),
            ("requester", f"{manifest.requester} ({purpose})"),
            ("signed by", f"{signature.subject}, {claimed}"),
            *([] if signature.organisation is None else [("seal of", str(signature.organisation))]),
            ("trust", signature.anchor.subject),
        ]
        colon = " :" if self._is_french else ":"
        fingerprint = f"SHA-256 {signature.anchor.sha256.hex()}{colon} "
        compared = self._word("compare it with the one you were given")
        return [
            *(f"{self._word(name):{_WIDTH}}{value}" for name, value in facts),
            " " * _WIDTH + fingerprint + compared,
        ]
