"""`journal-verify`: what it prints where, and how it exits (X-07)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from journal.extract.grounds import Authorisation, Person
from journal.extract.listing import encode_head_answer
from journal.pki.certificates import der_to_pem
from journal.verifier.cli import main
from tests.support import authority
from tests.support.extracts import ANCHORS, World, march, noon, sample
from tests.support.receipts import answered

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
COMMAND = "import sys; from journal.verifier.cli import main; sys.exit(main())"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return a directory with an extract, a damaged one, trusted certificates and a known seal."""
    world = World().live(1, 4)
    (tmp_path / "good").write_bytes(world.extract(march(2), march(3), at=noon(march(5))).pack())
    (tmp_path / "known.json").write_bytes(encode_head_answer(world.closes[march(2)]))
    (tmp_path / "beyond.json").write_bytes(encode_head_answer(world.closes[march(4)]))
    (tmp_path / "bad").write_bytes((tmp_path / "good").read_bytes()[:-1])
    (tmp_path / "trust.pem").write_bytes(der_to_pem(ANCHORS))
    return tmp_path


def run(files: Path, *arguments: str, trust: str = "trust.pem") -> int:
    """Run the command in-process, file names taken from the directory."""
    named = [str(files / text) if (files / text).exists() else text for text in arguments]
    return main([*named, "--trust", str(files / trust)])


def test_a_verified_extract_exits_0(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The result on standard output, nothing on standard error."""
    assert run(files, "good") == 0
    out, err = capsys.readouterr()
    assert out.startswith("VERIFIED  authentic and complete: all 4 entries of 2026-03-02 to 2026-03-03")
    assert "openepm-journal/v1/journal.example.fr/montreuil/main-courante" in out
    for title in ("\nchecked:\n", "\nnot checked:\n"):
        assert title in out
    assert "worth knowing" not in out
    assert err == ""


def test_a_known_seal_that_agrees_exits_0(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It was asked, it was checked; several may be given."""
    assert run(files, "good", "--known-seal", "known.json", "--known-seal", "good") == 0
    assert "known.json seal 2 agrees" in capsys.readouterr().out


def test_something_wrong_exits_1(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The class, the part and the reason are the result."""
    assert run(files, "bad") == 1
    out, err = capsys.readouterr()
    assert out.startswith("NOT VERIFIED  malformed: not an extract")
    assert err == ""
    (files / "other.pem").write_bytes(
        der_to_pem([authority.issue("Other", authority.new_key(8), extensions=authority.AUTHORITY).certificate])
    )
    assert run(files, "good", trust="other.pem") == 1
    assert capsys.readouterr().out.startswith("NOT VERIFIED  untrusted: META-INF/signature.p7s")
    (files / "known.json").write_bytes(b"{}")
    assert run(files, "good", "--known-seal", "known.json") == 1
    assert capsys.readouterr().out.startswith("NOT VERIFIED  malformed: known.json")


def pack_again(path: Path, *, account: bytes = b"") -> None:
    """Write the parts of the good extract as an ordinary program packs them; with another account, if one is given."""
    with ZipFile(path.parent / "good") as good, ZipFile(path, "w", ZIP_DEFLATED) as packed:
        for name in sorted(good.namelist()):
            content = good.read(name)
            packed.writestr(name, content.replace(b'"account":"', b'"account":"' + account))


def test_an_extract_that_was_packed_again_exits_1(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its parts are authentic, and it is told apart from a forgery, which is named however it is packed."""
    pack_again(files / "packed")
    assert run(files, "packed") == 1
    assert capsys.readouterr().out.startswith("NOT VERIFIED  rewritten: every part is authentic")
    pack_again(files / "forged", account=b"x")
    assert run(files, "forged", "--repair", str(files / "new")) == 1
    assert capsys.readouterr().out.startswith("NOT VERIFIED  mismatched part: entries.ndjson")
    assert not (files / "new").exists()


def test_a_repaired_extract_exits_0(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was written is what is verified; nothing is written over, nor for an extract that is whole."""
    pack_again(files / "packed")
    assert run(files, "packed", "--repair", str(files / "new")) == 0
    out, err = capsys.readouterr()
    assert out.startswith("VERIFIED")
    assert "new was written, and is what was verified" in err
    assert run(files, "new") == 0
    assert run(files, "packed", "--repair", "new") == 2
    assert "new was not written" in capsys.readouterr().err
    assert run(files, "good", "--repair", str(files / "other")) == 0
    assert not (files / "other").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--known-seal", "beyond.json"), "beyond.json: cannot be compared"),
        (("--tsa-trust", "trust.pem"), "--tsa-trust: no time-stamp was found"),
    ],
)
def test_what_was_asked_and_cannot_be_had_exits_2(
    files: Path, capsys: pytest.CaptureFixture[str], arguments: Sequence[str], sentence: str
) -> None:
    """0 only if all that was asked was verified; the report still says what was."""
    assert run(files, "good", *arguments) == 2
    out, err = capsys.readouterr()
    assert out.startswith("VERIFIED")
    assert sentence in out
    assert err.startswith("journal-verify: not checked: ")
    assert sentence in err


def test_what_cannot_be_run_exits_2(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message names the file, on standard error alone."""
    (files / "empty.pem").write_bytes(b"")
    (files / "not.pem").write_bytes(der_to_pem([b"not a certificate"]))
    (files / "directory").mkdir()
    cases = [
        (("absent",), "trust.pem", "absent"),
        (("directory",), "trust.pem", "directory"),
        (("good",), "absent.pem", "absent.pem"),
        (("good",), "empty.pem", "empty.pem: no certificate in PEM form"),
        (("good",), "not.pem", "not.pem: "),
        (("good", "--known-seal", "absent"), "trust.pem", "absent"),
        (("good", "--tsa-trust", "empty.pem"), "trust.pem", "empty.pem"),
    ]
    for arguments, trust, words in cases:
        assert run(files, *arguments, trust=trust) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("journal-verify: ")
        assert words in err
        assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [(), ("good",), ("good", "--trust"), ("good", "--trust", "x", "--unknown")])
def test_wrong_arguments_exit_2(arguments: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The usage is told on standard error."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: journal-verify" in capsys.readouterr().err


def test_help_has_an_example_and_the_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    """On standard output, and every class of failure by its name."""
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "journal-verify extract.asice --trust trust.pem --known-seal" in text
    for verdict in ("bad signature", "untrusted", "mismatched part", "early deletion", "over-retention", "not covered"):
        assert verdict in text


def test_json_is_one_object(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of success and of failure alike."""
    assert run(files, "good", "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["verified"], value["disclosed"], value["unanswered"]) == (True, 4, [])
    assert run(files, "bad", "--json") == 1
    value = json.loads(capsys.readouterr().out)
    assert value.keys() == {"verified", "verdict", "sentence", "part", "reason"}
    assert (value["verified"], value["verdict"], value["part"]) == (False, "malformed", "")
    assert value["sentence"] == f"malformed: {value['reason']}"


def test_every_member_of_the_json_is_in_the_format(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What programs rely on is written down, and what is written down is there."""
    text = (ROOT / "FORMAT.md").read_text(encoding="utf-8")
    text = text[text.index("### 12.6 ") : text.index("## 13. ")]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    described = {name for row in rows for name in re.findall("`([a-z_]+)`", row)}
    world = World(retention_days=3).live(1, 3)
    world.purge(march(1))
    for minute in range(2):
        world.append(noon(march(4), hour=9, minutes=minute), id="again", time=f"2026-03-04T12:0{minute}:00.000000Z")
    world.live(4, 4)
    world.purge(march(2))
    allowed = Authorisation("TJ Albi", march(1), "2026/7")
    stated = {"authorisation": allowed, "person": Person("A. Vidal", "DPD")}
    (files / "full").write_bytes(world.extract(march(1), march(5), at=noon(march(5)), **stated).pack())
    (files / "answer.json").write_bytes(answered(world, 5).encode())
    run(files, "full", "--json", "--receipt", "answer.json")
    assert set(json.loads(capsys.readouterr().out)) == described
    run(files, "bad", "--json")
    assert set(json.loads(capsys.readouterr().out)) - described == {"part", "reason"}


def test_nothing_in_an_extract_acts_on_the_terminal(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Escape sequences and bidirectional marks are shown, in the report as in a refusal."""
    (files / "sly").write_bytes(sample(requester="\x1b[2J\u202eVERIFIED").pack())
    assert run(files, "sly") == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "␛[2J⟦U+202E⟧VERIFIED" in out
