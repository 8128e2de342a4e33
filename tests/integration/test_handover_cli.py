"""The operator's commands for the hand-over, as they are typed."""

from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from journal.keys.files import why_unwritable
from journal.pki.certificates import pem_to_der

DONE, FAILED, NOT_RUN = 0, 1, 2
NOBODY = 65534


def command(home: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run openepm-journal with its home there."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JOURNAL_")}
    environment |= {"JOURNAL_HOME": str(home)} | settings
    return subprocess.run(
        [sys.executable, "-m", "journal.cli.main", *arguments],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an installation with one commune, and a certificate made with openssl beside it."""
    directory = tmp_path_factory.mktemp("cli")
    assert command(directory / "var", "tenant", "add", "albi", "--name", "Ville d'Albi").returncode == DONE
    subprocess.run(
        ["openssl", "req", "-x509", "-nodes", "-days", "700", "-newkey", "rsa:3072", "-keyout", directory / "key.pem",
         "-out", directory / "cert.pem", "-subj", "/O=Ville d'Albi"],
        check=True, capture_output=True,
    )  # fmt: skip
    return directory / "var"


def test_a_certificate_is_registered_and_ended(home: Path) -> None:
    """The fingerprint is printed to be compared with the commune's; nothing is due on the first day."""
    certificate = home.parent / "cert.pem"
    done = command(home, "tenant", "handover", "albi", "--certificate", str(certificate))
    assert done.returncode == DONE, done.stderr
    assert sha256(pem_to_der(certificate.read_bytes())[0]).hexdigest() in done.stdout
    assert str(home / "handover" / "albi") in done.stdout
    assert "O=Ville d'Albi" in done.stdout
    done = command(home, "handover")
    assert (done.returncode, done.stdout) == (DONE, "nothing is due\n")
    assert command(home, "tenant", "handover", "albi", "--none").returncode == DONE
    done = command(home, "tenant", "handover", "albi", "--none")
    assert (done.returncode, done.stdout) == (NOT_RUN, "")
    assert "no certificate" in done.stderr


def test_what_fails_is_said_in_words(home: Path) -> None:
    """On standard error, with what to do, and not with exit 0; doctor says it too, until it is put right."""
    command(home, "tenant", "handover", "albi", "--certificate", str(home.parent / "cert.pem"))
    nowhere = {"JOURNAL_HANDOVER_DIRECTORY": str(home.parent / "cert.pem")}
    done = command(home, "handover", **nowhere)
    assert (done.returncode, done.stdout) == (FAILED, "")
    assert f"{home.parent / 'cert.pem'}: Not a directory" in done.stderr
    assert "then run openepm-journal handover" in done.stderr
    assert "FAIL handover" in command(home, "doctor", **nowhere).stdout
    assert command(home, "handover").returncode == DONE
    assert "ok   handover" in command(home, "doctor").stdout
    assert command(home, "tenant", "handover", "albi", "--none").returncode == DONE


def test_doctor_looks_at_the_directory(home: Path) -> None:
    """One that is not there fails before anything is due, in one line, if a commune is to be handed anything over."""
    nowhere = home.parent / "mount"
    certificate = str(home.parent / "cert.pem")
    named = {"JOURNAL_HANDOVER_DIRECTORY": str(nowhere)}
    assert "ok   handover\n" in command(home, "doctor", **named).stdout
    assert command(home, "tenant", "handover", "albi", "--certificate", certificate).returncode == DONE
    done = command(home, "doctor", **named)
    assert done.returncode == FAILED
    assert (
        f"FAIL handover: {nowhere}: No such file or directory: mount it, let the service write there, or name another "
        "directory with JOURNAL_HANDOVER_DIRECTORY\n"
    ) in done.stdout
    nowhere.mkdir()
    assert "ok   handover\n" in command(home, "doctor", **named).stdout
    assert command(home, "tenant", "handover", "albi", "--none").returncode == DONE


def test_a_directory_of_others(home: Path) -> None:
    """It can be looked into, and not written to."""
    assert why_unwritable(home) is None
    with TemporaryDirectory() as place:
        Path(place).chmod(0o555)
        user = os.geteuid()
        if user == 0:  # root writes anywhere
            os.seteuid(NOBODY)
        try:
            assert why_unwritable(Path(place)) == "Permission denied"
        finally:
            os.seteuid(user)


def test_what_is_no_certificate_is_refused(home: Path, tmp_path: Path) -> None:
    """Before anything is changed: no file, a private key, an expired one, a commune that does not exist."""
    both = tmp_path / "both.pem"
    both.write_bytes((home.parent / "cert.pem").read_bytes() + (home.parent / "key.pem").read_bytes())
    for code, file, words in (
        ("albi", tmp_path / "none.pem", "cannot be read"),
        ("albi", both, "private key"),
        ("sete", home.parent / "cert.pem", "no tenant sete"),
    ):
        done = command(home, "tenant", "handover", code, "--certificate", str(file))
        assert (done.returncode, done.stdout) == (NOT_RUN, "")
        assert words in done.stderr
    assert command(home, "tenant", "handover", "albi").returncode == NOT_RUN
    done = command(home, "tenant", "handover", "albi", "--none", "--certificate", "x")
    assert done.returncode == NOT_RUN
