"""`journal-verify.pyz`: one file, the same wherever it is made, that runs on old and new Pythons or says why not."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from journal.verifier.pyz import NAME, build, modules

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests" / "vectors" / "v1" / "extracts"
UNFILTERED = (str(VECTORS / "unfiltered.asice"), "--trust", str(VECTORS / "trust.pem"))

# Verify every published extract with the modules of the file alone, and print the verdicts.
EVERY_VECTOR = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
folder = Path(sys.argv[2])
from journal.extract import verify
from journal.pki.certificates import pem_to_der
from journal.core.errors import VerificationError
from journal.extract.known import read_known
from journal.verifier.receipts import judge_by_seals, read_all
assert verify.__file__.startswith(sys.argv[1]), verify.__file__
verdicts = {}
for case in json.loads((folder / "index.json").read_text(encoding="utf-8"))["cases"]:
    try:
        known = []
        for kept in case["known"]:
            with (folder / kept["file"]).open("rb") as file:
                known.append(read_known(file, kept["name"]))
        brought = [(folder / case[name]).read_bytes() if name in case else b"" for name in ("trust", "tsa_trust")]
        anchors, tsa = (pem_to_der(pem) if pem else None for pem in brought)
        receipts, _ = read_all([folder / kept["file"] for kept in case.get("receipts", ())], anchors)
        if "file" in case:
            with (folder / case["file"]).open("rb") as file:
                verify.verify_extract(file, anchors=anchors, tsa_anchors=tsa, known=known, receipts=receipts)
        else:
            judge_by_seals(receipts, known, anchors, tsa)
        verdicts[case["name"]] = "verified"
    except VerificationError as error:
        verdicts[case["name"]] = error.verdict
print(json.dumps(verdicts))
"""


@pytest.fixture
def pyz(tmp_path: Path) -> Path:
    """Return the file, in a directory of its own."""
    path = tmp_path / NAME
    path.write_bytes(build())
    return path


def run(python: Sequence[str | Path], pyz: Path, *arguments: str, path: Path | None = None) -> tuple[int, str, str]:
    """Run the file away from the project; return exit status, standard output and standard error."""
    environment = {"PATH": os.environ["PATH"], **({"PYTHONPATH": str(path)} if path else {})}
    result = subprocess.run(
        [*python, pyz, *arguments], cwd=pyz.parent, env=environment, capture_output=True, text=True, check=False
    )
    return result.returncode, result.stdout, result.stderr


def test_it_verifies_by_itself(pyz: Path) -> None:
    """Isolated from the project and from the user's own modules."""
    status, out, err = run([sys.executable, "-I"], pyz, *UNFILTERED)
    assert (status, err) == (0, "")
    assert out.startswith("VERIFIED  authentic and complete")
    damaged = pyz.with_name("damaged")
    damaged.write_bytes(Path(UNFILTERED[0]).read_bytes()[:-1])
    status, out, err = run([sys.executable, "-I"], pyz, str(damaged), *UNFILTERED[1:])
    assert (status, err) == (1, "")
    assert out.startswith("NOT VERIFIED  malformed")


def test_its_bytes_follow_from_the_sources_alone() -> None:
    """Sorted, stored, dated 1980; nothing in it but the sources, whatever was loaded meanwhile."""
    whole = build()
    assert whole == build()
    assert whole.startswith(b"#!/usr/bin/env python3\nPK")
    with zipfile.ZipFile(BytesIO(whole)) as archive:
        members = archive.infolist()
        assert [member.filename for member in members] == sorted(member.filename for member in members)
        assert {member.date_time for member in members} == {(1980, 1, 1, 0, 0, 0)}
        assert {member.compress_type for member in members} == {zipfile.ZIP_STORED}
        for member in members:
            name = member.filename if member.filename != "__main__.py" else "journal/verifier/opening.py"
            assert archive.read(member) == (ROOT / name).read_bytes()


def test_it_holds_the_verifier_and_nothing_else(pyz: Path) -> None:
    """Every module that verifying loads, and no other of the project: nothing that reads a clock or a database."""
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); from journal.verifier.cli import main; main(sys.argv[1:]);"
        "print(*sorted(name[8:] for name in sys.modules if name.startswith('journal.')))"
    )
    command = [sys.executable, "-I", "-c", code, pyz, *UNFILTERED]
    out = subprocess.run(command, cwd=pyz.parent, capture_output=True, text=True, check=True).stdout
    assert set(out.splitlines()[-1].split()) <= {"core", "extract", "pki", "verifier", *modules()}
    others = {name for name in modules() if not name.startswith(("core.", "extract.", "pki."))}
    french = {"verifier.french", "verifier.french_reasons", "verifier.french_sentences"}
    program = {f"verifier.{name}" for name in ("arguments", "cli", "files", "processes", "receipts", "repair", "text")}
    assert others == program | french


def test_a_missing_library_is_named(pyz: Path) -> None:
    """With what to type, on standard error, and exit status 2."""
    status, out, err = run([sys.executable, "-I", "-S"], pyz, *UNFILTERED)
    assert (status, out) == (2, "")
    assert err.startswith("journal-verify: the library cryptography is missing, version 38 or later is needed: ")
    assert "pip install cryptography" in err
    assert err.count("\n") == 1


def test_a_library_too_old_is_named(pyz: Path) -> None:
    """By the version found."""
    (pyz.parent / "old" / "cryptography").mkdir(parents=True)
    (pyz.parent / "old" / "cryptography" / "__init__.py").write_text('__version__ = "37.0.4"\n')
    status, out, err = run([sys.executable], pyz, *UNFILTERED, path=pyz.parent / "old")
    assert (status, out) == (2, "")
    assert err.startswith("journal-verify: the library cryptography is too old (37.0.4), version 38 or later")


def test_its_beginning_is_read_by_any_python() -> None:
    """By the grammar of Python 3.6, long gone; the rest by that of 3.9."""
    ast.parse((ROOT / "journal" / "verifier/opening.py").read_bytes(), feature_version=(3, 6))
    for name in modules():
        ast.parse((ROOT / "journal" / f"{name.replace('.', '/')}.py").read_bytes(), feature_version=(3, 9))


# --- at both ends of what is promised (campaign: environments are made for it)


def interpreter(version: str) -> str:
    """Return a Python of that version; the test fails, naming it, where there is none."""
    installed = (Path.home() / ".pyenv" / "versions").glob(f"{version}.*/bin/python")
    for python in (*map(str, installed), f"python{version}"):
        # A name on PATH may stand for a version that is not there.
        if (
            shutil.which(python)
            and subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0
        ):
            return python
    pytest.fail(f"this test needs Python {version}, as python{version} on PATH or by pyenv install {version}")


@pytest.mark.campaign
@pytest.mark.parametrize(("version", "library"), [("3.9", "cryptography==38.0.4"), ("3.13", "cryptography")])
def test_it_runs_at_both_ends(pyz: Path, version: str, library: str) -> None:
    """The oldest Python and library promised, and the newest: every published extract has its verdict."""
    home = pyz.parent / "environment"
    python = home / "bin" / "python"
    subprocess.run([interpreter(version), "-m", "venv", home], check=True)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", library]
    subprocess.run(install, check=True, capture_output=True)
    status, out, err = run([python, "-I"], pyz, *UNFILTERED)
    assert (status, err) == (0, "")
    assert out == run([sys.executable, "-I"], pyz, *UNFILTERED)[1]
    command = [python, "-I", "-W", "error", "-c", EVERY_VECTOR, pyz, VECTORS]
    result = subprocess.run(command, cwd=pyz.parent, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    cases = json.loads((VECTORS / "index.json").read_text(encoding="utf-8"))["cases"]
    assert json.loads(result.stdout) == {case["name"]: case["class"] for case in cases}


@pytest.mark.campaign
@pytest.mark.parametrize("version", ["3.6", "3.7", "3.8"])
def test_an_old_python_is_told_so(pyz: Path, version: str) -> None:
    """In one sentence, and not by a traceback."""
    status, out, err = run([interpreter(version)], pyz, *UNFILTERED)
    assert (status, out) == (2, "")
    assert err == f"journal-verify: Python 3.9 or later is needed, and this is Python {version}: try python3\n"


@pytest.mark.campaign
@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_every_python_makes_the_same_file(pyz: Path, version: str) -> None:
    """A release can be reproduced."""
    code = "import sys; from journal.verifier.pyz import build; sys.stdout.buffer.write(build())"
    made = subprocess.run([interpreter(version), "-c", code], cwd=ROOT, capture_output=True, check=True).stdout
    assert made == pyz.read_bytes()
