"""`journal-verify --receipt`: what is said of each receipt, and how the command exits."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from journal.core.entry import Compartment
from journal.extract.listing import encode_head_answer
from journal.pki.certificates import der_to_pem
from journal.verifier.cli import main
from tests.support import authority
from tests.support.extracts import ANCHORS, World, march, noon
from tests.support.receipts import answered

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return a directory with an extract, known seals, and answers of every kind."""
    world = World().live(1, 4)
    lost = World().live(1, 1)
    lost.append(noon(march(2)), subject="what was deleted")
    elsewhere = World(compartment=Compartment(authority.SERVICE, "bagnolet", "main-courante")).live(1, 1)
    contents = {
        "good": world.extract(march(2), march(3), at=noon(march(5))).pack(),
        "bad": b"",
        "known.json": encode_head_answer(world.closes[march(2)]),
        "covered.json": answered(world, 2, 3).encode(),
        "many.json": answered(world, *(2 for _ in range(30))).encode(),
        "before.json": answered(world, 0).encode(),
        "missing.json": answered(lost, 2).encode(),
        "absent.json": answered(World().live(1, 2, entries=4), 7).encode(),
        "forged.json": answered(world, 2, signing_key=authority.new_key(61)).encode(),
        "unsigned.json": json.dumps({"receipts": answered(world, 2).value()["receipts"]}).encode(),
        "elsewhere.json": answered(elsewhere, 0).encode(),
        "trust.pem": der_to_pem(ANCHORS),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def run(files: Path, *arguments: str) -> int:
    """Run the command in-process, file names taken from the directory."""
    named = [str(files / text) if (files / text).exists() else text for text in arguments]
    return main([*named, "--trust", str(files / "trust.pem")])


def test_receipts_that_are_covered_exit_0(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is said; many of one verdict in one file are counted."""
    assert run(files, "good", "--receipt", "covered.json", "many.json") == 0
    out, err = capsys.readouterr()
    assert out.startswith("VERIFIED  authentic and complete")
    assert "covered.json: entry 2 of 2026-03-02T12:00:00.000000Z (event 00000002 of /openepm/montreuil): covered" in out
    assert "many.json: 10 more, covered" in out
    assert err == ""


def test_a_missing_entry_exits_1(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The host is convicted in the first line, whatever else is given; the extract itself is not blamed."""
    assert run(files, "good", "--receipt", "forged.json", "covered.json", "missing.json") == 1
    out, _ = capsys.readouterr()
    assert out.startswith(
        "NOT VERIFIED  missing: missing.json: the host acknowledged what it does not show: entry 2 is another one"
    )
    assert "\nThe extract itself holds: authentic and complete" in out
    assert run(files, "good", "--json", "--receipt", "missing.json", "covered.json") == 1
    value = json.loads(capsys.readouterr().out)
    assert (value["verified"], value["verdict"], value["part"]) == (False, "missing", "missing.json")
    assert [receipt["verdict"] for receipt in value["receipts"]] == ["missing", "covered", "covered"]


@pytest.mark.parametrize(
    ("name", "verdict", "reason"),
    [
        ("forged.json", "bad signature", "not what the receipt key signed"),
        ("unsigned.json", "malformed", "not signed"),
    ],
)
def test_a_receipt_that_is_not_authentic_exits_1(
    files: Path, capsys: pytest.CaptureFixture[str], name: str, verdict: str, reason: str
) -> None:
    """It says nothing about the host; with or without an extract."""
    for shown in (["good"], []):
        assert run(files, *shown, "--receipt", name) == 1
        out = capsys.readouterr().out
        assert out.startswith(f"NOT VERIFIED  {verdict}: {name}: ")
        assert reason in out


def test_what_cannot_be_said_exits_2(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of another chain, or not shown: it was asked, and is not answered."""
    for name, verdict in (("elsewhere.json", "foreign"), ("before.json", "not shown")):
        assert run(files, "good", "--receipt", name) == 2
        out, err = capsys.readouterr()
        assert out.startswith("VERIFIED")
        assert f": {verdict}: " in out
        assert f"not checked: {name}: entry 0" in err
    assert run(files, "good", "--json", "--receipt", "before.json") == 2
    (sentence,) = json.loads(capsys.readouterr().out)["unanswered"]
    assert "not shown" in sentence


def test_receipts_without_an_extract(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By themselves, or by known seals."""
    assert run(files, "--receipt", "covered.json") == 0
    assert capsys.readouterr().out.startswith("VERIFIED  2 authentic")
    assert run(files, "--lang", "fr", "--receipt", "covered.json") == 0
    told = capsys.readouterr().out
    assert told.startswith("VÉRIFIÉ  2 reçus : authentique")
    assert ") : authentique : journal.example.fr l’a reçue comme entrée" in told
    assert run(files, "--known-seal", "known.json", "--receipt", "covered.json") == 2
    assert capsys.readouterr().out.startswith("VERIFIED  1 not shown, 1 covered")
    assert run(files, "--json", "--known-seal", "known.json", "--receipt", "absent.json") == 1
    value = json.loads(capsys.readouterr().out)
    assert value["verdict"] == "missing"
    assert run(files, "--json", "--receipt", "covered.json") == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["verified"], value["sentence"]) == (True, "2 authentic")
    (files / "known.json").write_bytes(b"{}")
    assert run(files, "--known-seal", "known.json", "--receipt", "covered.json") == 1
    assert capsys.readouterr().out.startswith("NOT VERIFIED  malformed: known.json")


def test_an_extract_that_does_not_verify_is_told_first(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is held against it."""
    assert run(files, "bad", "--receipt", "covered.json") == 1
    assert capsys.readouterr().out.startswith("NOT VERIFIED  malformed: it is empty")


def test_nothing_to_verify_exits_2(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An extract, or receipts; a file that is not there."""
    assert run(files) == 2
    assert "an extract is needed" in capsys.readouterr().err
    assert run(files, "--receipt", "covered.json", "--repair", "new") == 2
    assert run(files, "good", "--receipt", "nowhere.json") == 2
