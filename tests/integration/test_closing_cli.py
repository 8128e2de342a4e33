"""The end of a contract as the operator types it, beside a running service."""

from __future__ import annotations

import shlex
import subprocess
from hashlib import sha256
from typing import TYPE_CHECKING

import orjson
import pytest

from tests.support.commands import DONE, SERVICE, command, plain_line, serving
from tests.support.pdf import read_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a running service of two communes; their certificate was made with openssl beside it."""
    directory = tmp_path_factory.mktemp("closing")
    subprocess.run(
        ["openssl", "req", "-x509", "-nodes", "-days", "700", "-newkey", "rsa:2048", "-keyout", directory / "key.pem",
         "-out", directory / "cert.pem", "-subj", "/O=Ville d'Albi"],
        check=True, capture_output=True,
    )  # fmt: skip
    with serving(directory / "var") as _:
        for code in ("albi", "sete"):
            assert command(directory / "var", "tenant", "add", code, "--name", code.capitalize()).returncode == DONE
        yield directory / "var"


def test_a_contract_ends(home: Path, tmp_path: Path) -> None:
    """The next command is printed; wrong ones are refused in a line; the report is checked as the output says."""
    certificate, record = str(home.parent / "cert.pem"), tmp_path / "record.json"
    destroy = ["tenant", "destroy", "albi", "--report", str(record), "--confirm"]
    assert "the contract of albi has not ended" in plain_line(command(home, *destroy, "albi"))
    nowhere = ("tenant", "close", "albi", "--certificate", certificate, "--export-to", str(tmp_path / "nowhere"))
    assert "nowhere: No such file or directory" in plain_line(command(home, *nowhere))
    unnamed = ("tenant", "close", "albi", "--certificate", str(tmp_path / "no.pem"), "--export-to", str(tmp_path))
    assert "no.pem cannot be read: No such file" in plain_line(command(home, *unnamed))
    both = ("tenant", "close", "albi", "--certificate", certificate, "--without-export")
    assert "--certificate cannot be combined with --without-export" in plain_line(command(home, *both))
    done = command(home, "tenant", "close", "albi", "--certificate", certificate, "--export-to", str(tmp_path))
    assert done.returncode == DONE, done.stderr
    assert f"{tmp_path / 'albi.export'}: 5 files, listed with their hashes in albi_export.json" in done.stdout
    assert "openepm-journal tenant destroy albi --confirm albi --report FILE" in done.stdout
    # Neither by a slip of the pen, nor over another file.
    assert "--confirm says sete, not albi" in plain_line(command(home, *destroy, "sete"))
    record.write_text("mine")
    assert "record.json exists: choose another name with --report; a report is never" in plain_line(
        command(home, *destroy, "albi")
    )
    assert not (home / "keys" / "ended" / "albi").exists()
    signature = record.rename(tmp_path / "record.json.p7s")
    assert "record.json.p7s exists: choose another name with --report" in plain_line(command(home, *destroy, "albi"))
    signature.unlink()
    done = command(home, *destroy, "albi")
    assert done.returncode == DONE, done.stderr
    told = done.stdout.partition("check it with: ")[2]
    assert subprocess.run(shlex.split(told), check=False, capture_output=True).returncode == 0
    assert f"{tmp_path / 'record.pdf'}: the same as pages, signed, for the commune" in done.stdout
    pages = read_text((tmp_path / "record.pdf").read_bytes(), tmp_path / "read.pdf")
    assert "Procès-verbal de destruction" in pages
    assert sha256(record.read_bytes()).hexdigest() in pages
    content = orjson.loads(record.read_bytes())
    assert (content["format"], content["tenant"]) == ("openepm-journal/destruction/v1", "albi")
    assert (home / "keys" / "ended" / "albi").exists()
    assert "albi\tAlbi\tdestroyed\n" in command(home, "tenant", "list").stdout
    assert command(home, "verify-store").returncode == DONE
    # Lost, it is written again; in place of another, it is not.
    record.write_text("mine")
    assert "record.json has other content; the data is destroyed" in plain_line(command(home, *destroy, "albi"))
    record.unlink()
    assert command(home, *destroy, "albi").returncode == DONE
    assert orjson.loads(record.read_bytes()) == content
    assert "codes are never reused" in plain_line(command(home, "tenant", "add", "albi", "--name", "Albi"))


def test_a_move_and_an_end_without_an_export(home: Path, tmp_path: Path) -> None:
    """Each is said, and then holds."""
    inventory = tmp_path / "sete_move.json"
    move = ("tenant", "move", "sete", "--to", "journal2.example.fr", "--inventory")
    assert "is no directory" in plain_line(command(home, *move, str(tmp_path / "nowhere" / "sete_move.json")))
    for wrong in (SERVICE, "the other one", ""):  # this service is no other one
        refused = command(home, "tenant", "move", "sete", "--to", wrong, "--inventory", str(inventory))
        assert f"--to says {wrong!r}: give the name of the other service" in plain_line(refused)
    assert "sete\tSete\n" in command(home, "tenant", "list").stdout
    done = command(home, *move, str(inventory))
    assert done.returncode == DONE, done.stderr
    assert "tenant sete moved to journal2.example.fr" in done.stdout
    assert "openepm-journal tenant continue sete --export sete_move.json --trust old-trust.pem" in done.stdout
    assert {chain["size"] for chain in orjson.loads(inventory.read_bytes())["chains"]} == {0, 2}
    assert "sete\tSete\tmoved\n" in command(home, "tenant", "list").stdout
    elsewhere = ("tenant", "move", "sete", "--to", "journal3.example.fr", "--inventory", str(tmp_path / "again.json"))
    done = command(home, *elsewhere)
    assert "tenant sete moved on " in done.stdout
    assert "journal3" not in done.stdout
    assert (
        orjson.loads((tmp_path / "again.json").read_bytes())["chains"] == orjson.loads(inventory.read_bytes())["chains"]
    )
    # A file that states its modules makes them no credentials that would be refused.
    stated = tmp_path / "communes.toml"
    stated.write_text(
        '[[credential]]\ntenant = "sete"\nlabel = "module"\nrole = "module"\ncategories = ["ecrits"]\n'
        'source_prefix = "/openepm/"\n',
        encoding="utf-8",
    )
    refused = command(home, "provision", str(stated), "--tokens", str(tmp_path / "tokens"))
    assert refused.returncode != DONE
    assert "sete has moved: its modules record at the service it went to" in refused.stderr
    assert not (tmp_path / "tokens").exists()
    done = command(home, "tenant", "close", "sete", "--without-export")
    assert done.returncode == DONE, done.stderr
    assert "closed without an export" in done.stdout
    certificate = str(home.parent / "cert.pem")
    late = command(home, "tenant", "close", "sete", "--certificate", certificate, "--export-to", str(tmp_path))
    assert "sete was closed without an export" in plain_line(late)
    done = command(home, "tenant", "destroy", "sete", "--confirm", "sete", "--report", str(tmp_path / "record.json"))
    assert done.returncode == DONE, done.stderr
