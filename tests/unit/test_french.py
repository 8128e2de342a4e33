"""`journal-verify` in French: every sentence has its French, and nothing else depends on the language."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from journal.core.errors import VerificationError
from journal.extract import layout
from journal.extract.known import read_known
from journal.extract.manifest import FORMAT
from journal.extract.verify import verify_extract
from journal.pki.certificates import pem_to_der
from journal.verifier import french
from journal.verifier.cli import main
from journal.verifier.text import language
from tests.support.extracts import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from journal.extract.report import Report

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "tests" / "vectors" / "v1" / "extracts"
CASES = json.loads((FOLDER / "index.json").read_text(encoding="utf-8"))["cases"]
PURE = ("journal/core", "journal/pki", "journal/extract")
CONSTANTS = {"DIGESTS": layout.DIGESTS, "FORMAT": FORMAT, "DEPTH_LIMIT": "{}"}
CLASSES = {error.__name__ for error in VerificationError.__subclasses__()}


def places_left_out(sentence: str) -> str:
    """Return a sentence whose places have lost their names."""
    return re.sub(r"\{[a-z]+\d*\}", "{}", sentence)


def written(node: ast.expr) -> str | None:
    """Return the text of a reason as the source writes it, places left out; None if it is made elsewhere."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if not isinstance(node, ast.JoinedStr):
        return None
    pieces = []
    for part in node.values:
        if isinstance(part, ast.Constant):
            pieces.append(str(part.value))
        else:
            assert isinstance(part, ast.FormattedValue)
            pieces.append(CONSTANTS.get(ast.unparse(part.value), "{}"))
    return "".join(pieces)


def reasons() -> Iterator[tuple[str, str]]:
    """Yield every reason that the pure core raises, with its module."""
    for folder in PURE:
        for path in sorted((ROOT / folder).glob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and node.args and getattr(node.func, "id", "") in CLASSES:
                    reason = written(node.args[0])
                    if reason is not None:
                        yield path.name, reason


def test_every_reason_for_a_refusal_has_its_french() -> None:
    """Whoever writes a new reason finds here that its French is missing (journal/verifier/french_reasons.py)."""
    known = {places_left_out(english) for english, _ in french.sentences()}
    found = list(reasons())
    assert len(found) > 150
    # The place of a line in the table, of which there are two kinds.
    made = {"{} does not match the entries"}
    assert sorted({(module, reason) for module, reason in found if reason not in known | made}) == []


def test_the_places_of_a_sentence_are_those_of_its_french() -> None:
    """Nothing is put where it is not known, and no number is lost; each sentence is in the catalogue once."""
    pairs = list(french.sentences())
    for english, text in pairs:
        places = re.findall(r"\{([a-z]+\d*)\}", english)
        assert len(set(places)) == len(places), english
        assert set(re.findall(r"\{([a-z]+\d*)\}", text)) <= set(places), english
        assert text, english
    assert len({english for english, _ in pairs}) == len(pairs)


def judged(case: dict[str, Any]) -> Report | VerificationError:
    """Verify a vector."""
    anchors = pem_to_der((FOLDER / case["trust"]).read_bytes())
    tsa = pem_to_der((FOLDER / case["tsa_trust"]).read_bytes()) if "tsa_trust" in case else None
    try:
        known = [read_known(opened((FOLDER / one["file"]).read_bytes()), one["name"]) for one in case["known"]]
        whole = opened((FOLDER / case["file"]).read_bytes())
        return verify_extract(whole, anchors=anchors, tsa_anchors=tsa, known=known)
    except VerificationError as error:
        return error


def said(found: Report | VerificationError) -> list[str]:
    """Return every sentence that is said of it."""
    if isinstance(found, VerificationError):
        return [found.reason]
    return [*found.warnings, *found.checked, *found.remarks, *found.not_checked, *found.unanswered]


@pytest.mark.untraced
def test_every_sentence_about_a_vector_has_its_french() -> None:
    """Reports and refusals, with what stands in their places."""
    missing = {
        sentence
        for case in CASES
        if "file" in case
        for sentence in said(judged(case))
        if french.translate(sentence) is None
    }
    assert sorted(missing) == []


def test_every_class_has_its_words() -> None:
    """A label and what it means."""
    verdicts = {error.verdict for error in VerificationError.__subclasses__()}
    assert french.CLASSES.keys() == french.MEANINGS.keys() == verdicts


@pytest.mark.parametrize(
    ("english", "text"),
    [
        ("2 seals bear a time-stamp that was not checked: no certificate for it was given.", "2 sceau(x)"),
        (
            "From seal 3 (close of 2026-03-01, 2026-03-02T00:00:05Z) on, entries are kept 30 days; before, 60.",
            "À partir du sceau 3, clôture du 1er mars 2026, fait le 2 mars 2026 à 00:00:05 UTC, la durée",
        ),
        ("not a seal: not a day of the calendar", "ce n’est pas un sceau : ce jour n’existe pas"),
        (
            "The source a in the epoch b of its counter gave numbers up to 9: 3 numbers are missing (1-2, and others).",
            "La source a, dans l’époque b de son compteur, a numéroté jusqu’à 9 : 3 numéros manquent (1 à 2, et",
        ),
        (
            "A source gave numbers up to 9: 1 are declared lost, 2 events repeat a number.",
            "Une source a numéroté jusqu’à 9 : 1 est déclaré perdu, 2 événements répètent un numéro.",
        ),
        ("The source a gave numbers up to 9: none is missing.", "La source a a numéroté jusqu’à 9 : aucun ne manque."),
        ("2026-03-01: 1 entries purged late, by up to 1 day.", "Purge en retard de 1 jour au plus : le 1er mars 2026"),
        (
            "2026-03-01 to 2026-03-04: entries purged late, by 2 to 3 days.",
            "Purge en retard de 2 à 3 jours : du 1er au 4",
        ),
        ("something nobody has said yet", "something nobody has said yet"),
        ("it says that 3 entries are disclosed; there are 2", "2 entrées sont communiquées, 3 annoncées"),
    ],
)
def test_places_are_put_into_french(english: str, text: str) -> None:
    """Days, times, seals, numbers, sentences within sentences; what is unknown stays as it is."""
    assert french.french(english).startswith(text)


def run(capsys: pytest.CaptureFixture[str], name: str, *options: str) -> tuple[int, str]:
    """Return the exit status and what is printed on standard output."""
    status = main([str(FOLDER / f"{name}.asice"), "--trust", str(FOLDER / "trust.pem"), *options])
    return status, capsys.readouterr().out


@pytest.mark.parametrize(
    "name", ["authorised", "filtered-by-account", "auditor", "signer-expired", "changed-manifest-json"]
)
def test_status_and_json_are_the_same_in_both_languages(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Only what people read differs."""
    english, text = run(capsys, name, "--lang", "en"), run(capsys, name, "--lang", "fr")
    assert english[0] == text[0]
    assert english[1] != text[1]
    assert run(capsys, name, "--lang", "en", "--json") == run(capsys, name, "--lang", "fr", "--json")


def test_what_a_french_reader_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the locale; filter and authorisation before all else, a refusal with what its class means, an error."""
    monkeypatch.setenv("LC_ALL", "fr_FR.UTF-8")
    _, text = run(capsys, "filtered-by-account")
    first, second, third, *_ = text.splitlines()
    assert first == "VÉRIFIÉ  Authentique : 1 entrée communiquée du 2 mars 2026, 3 non communiquées, aucune manquante."
    assert second == "FILTRE    compte = « agent-1 » ; 3 entrée(s) de la période non communiquée(s)"
    assert third == "AUTORISÉ  aucune autorisation n’est indiquée"
    _, text = run(capsys, "changed-manifest-json")
    assert text.startswith(
        "NON VÉRIFIÉ  Parties discordantes (mismatched part) : manifest.json : ce n’est pas la partie"
    )
    assert text.rstrip().endswith("Deux parties de l’extrait qui devraient concorder ne concordent pas.")
    assert main([str(FOLDER / "none"), "--trust", str(FOLDER / "trust.pem")]) == 2
    assert capsys.readouterr().err.startswith("journal-verify: fichier introuvable : ")


def test_usage_help_and_errors_are_french(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By --lang, wherever it stands, or the locale; no word of argparse's, no control picture."""
    _, text = run(capsys, "changed-manifest-json", "--lang", "fr")
    assert "\u240a" not in text
    assert len(text.splitlines()) == 2
    (tmp_path / "trust.pem").write_text("no certificate")
    assert main([str(FOLDER / "authorised.asice"), "--trust", str(tmp_path / "trust.pem"), "--lang", "fr"]) == 2
    assert capsys.readouterr().err.endswith(" : aucun certificat au format PEM\n")
    english = re.compile(
        r"\b(usage|the|required|arguments are|expected|choose|unrecognized|show|file|and)\b", re.IGNORECASE
    )
    monkeypatch.setenv("LC_ALL", "fr_FR.UTF-8")
    for arguments, said in (
        (["--help"], "code de sortie"),
        ([], "il manque : --trust"),
        (["--trust"], "--trust : il faut une valeur"),
        (["--trust", "x", "--receipt"], "--receipt : il faut au moins une valeur"),
        (["--trust", "x", "--strict=1"], "--strict : ne prend pas de valeur"),
        (["--trust", "x", "--lang", "de"], "--lang : 'de' n’est pas admis"),
        (["--trust", "x", "a", "b"], "arguments inconnus : b"),
    ):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        told = "".join(capsys.readouterr())
        assert caught.value.code == (0 if arguments == ["--help"] else 2)
        assert "utilisation : journal-verify" in told
        assert said in " ".join(told.split())
        assert not english.search(told), english.search(told)
    with pytest.raises(SystemExit):
        main(["--help", "--lang=en"])
    assert capsys.readouterr().out.startswith("usage: journal-verify")


def test_the_language_is_that_of_the_locale() -> None:
    """The first variable that is set decides."""
    assert language({}) == "en"
    assert language({"LANG": "fr_FR.UTF-8"}) == "fr"
    assert language({"LANG": "fr_FR.UTF-8", "LC_MESSAGES": "C"}) == "en"
    assert language({"LANG": "C", "LC_MESSAGES": "", "LC_ALL": "fr"}) == "fr"
