"""The operator's commands for the hand-over, as they are typed."""

from __future__ import annotations

import os
import subprocess
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest_asyncio

from journal.cli.installation import prepare
from journal.clock import SystemClock
from journal.keys.files import why_unwritable
from journal.pki.certificates import pem_to_der
from journal.settings import Settings
from tests.support import commands
from tests.support.commands import DONE, FAILED, NOT_RUN, SERVICE
from tests.support.databases import fresh_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

    from journal.database.embedded import EmbeddedPostgres

NOBODY = 65534


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """Give an installation with one commune, on a server that runs, and a certificate made with openssl beside it."""
    directory = tmp_path_factory.mktemp("cli")
    async with fresh_database(postgres) as name:
        dsn = postgres.dsn(database=name)
        (directory / "dsn").write_text(dsn)
        await prepare(dsn, Settings(home=str(directory / "var"), service_name=SERVICE), SystemClock())
        done = command(directory / "var", "tenant", "add", "albi", "--name", "Ville d'Albi")
        assert done.returncode == DONE, done.stderr
        subprocess.run(
            ["openssl", "req", "-x509", "-nodes", "-days", "700", "-newkey", "rsa:3072", "-subj", "/O=Ville d'Albi",
             "-keyout", directory / "key.pem", "-out", directory / "cert.pem"],
            check=True, capture_output=True,
        )  # fmt: skip
        yield directory / "var"


def command(home: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run openepm-journal on that installation's database."""
    return commands.command(home, *arguments, JOURNAL_DSN=(home.parent / "dsn").read_text(), **settings)


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
    assert done.returncode == NOT_RUN
    assert (
        f"FAIL handover: {nowhere}: No such file or directory: mount it, make it writable for the service, or set "
        "JOURNAL_HANDOVER_DIRECTORY to "
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
