"""The journal's database on this host's PostgreSQL, through the account postgres; or what to do on another host."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

import sql
from journal.cli.setup.host import CONFIGURATION, POSTGRES, SERVICE, replace_text, run
from journal.core.errors import OperatorError
from journal.database.pools import ROLES

if TYPE_CHECKING:
    from collections.abc import Sequence

OLDEST: Final = 150000
BEGIN: Final = "# openepm-journal setup: begin"
END: Final = "# openepm-journal setup: end"
NAMES: Final = [f"journal_{role}" for role in ROLES]
REMOTE_SQL: Final = CONFIGURATION / "database.sql"
PASSWORDS: Final = CONFIGURATION / "pgpass"
QUIET: Final = ("-XAtq", "-F", "\t", "-v", "ON_ERROR_STOP=1", "-d", "postgres")
SQL_TEXT: Final = "setup.sql", "roles.sql"


def hba_lines() -> list[str]:
    """Return the lines of pg_hba.conf for a database on this host."""
    return [
        f"# The account {SERVICE} connects as the journal's roles, by pg_ident.conf; nobody else does.",
        f"local   journal   {','.join(NAMES)}   peer map={SERVICE}",
    ]


def ident_lines() -> list[str]:
    """Return the lines of pg_ident.conf: which of the journal's roles the service's account may be."""
    return [f"{SERVICE}   {SERVICE}   {name}" for name in NAMES]


def prepare_local(settings_file: Path, *, may_edit: bool) -> str:
    """Make roles and database, admit the service's account, and return the owner's address (DSN).

    `settings_file` holds PostgreSQL's settings for the journal. Without `may_edit` no file of PostgreSQL is written:
    what is missing is printed and refused. Raises OperatorError.
    """
    try:
        told = _ask("read_server")
    except OperatorError as error:
        raise OperatorError(
            f"{error}. Is PostgreSQL installed and started here (systemctl start postgresql)? Or name the database of "
            "another host, with --dsn"
        ) from error
    version, config, hba, ident, sockets, port = told.split("\t")
    if int(version) < OLDEST:
        raise OperatorError(f"this PostgreSQL is of version {version}: the journal needs 15 (150000) or later")
    for name in SQL_TEXT:
        run(["psql", *QUIET, "-f", "-"], account=POSTGRES, text=sql.read(name))
    wanted = [(Path(hba), hba_lines()), (Path(ident), ident_lines())]
    changed = [change for path, lines in wanted if (change := merge(path, lines)) is not None]
    copied = Path(config).parent / "conf.d" / settings_file.name
    if copied.parent.is_dir() and not copied.exists():
        changed.append((copied, settings_file.read_text(encoding="utf-8")))
    if changed and not may_edit:
        for path, lines in wanted:
            print(f"\nat the top of {path}:", BEGIN, *lines, END, sep="\n")
        if any(path == copied for path, _ in changed):
            print(f"\nand a copy of {settings_file}, as {copied}")
        raise OperatorError("add what is missing of these, reload PostgreSQL, then type the same command again")
    for path, content in changed:
        replace_text(path, content)
        print(f"written: {path}")
    _ask("reload")
    if pending := _ask("read_pending"):
        print(f"PostgreSQL takes {pending} at its next restart: systemctl restart postgresql")
    directory = sockets.split(",")[0].strip()
    return f"postgresql://journal_owner@/journal?host={directory}&port={port}"


def refuse_password(dsn: str) -> None:
    """Refuse an address that holds a password: everybody on this host can read the settings. Raises OperatorError."""
    place, _, query = dsn.partition("?")
    if ":" in place.partition("://")[2].rpartition("@")[0] or "password" in parse_qs(query):
        raise OperatorError(f"--dsn holds a password, and the settings are no place for it: put it in {PASSWORDS}")


def explain_remote(dsn: str, settings_file: Path) -> None:
    """Say what to do on the database's host, and write the SQL for it here; `settings_file` is PostgreSQL's."""
    replace_text(REMOTE_SQL, "".join(sql.read(name) for name in SQL_TEXT))
    print(
        f"On the database's host, for {dsn}:",
        f"  psql -d postgres -f {REMOTE_SQL.name}          (as postgres, with {REMOTE_SQL} copied there)",
        "  psql -d postgres -c '\\password ROLE'       (for each role below)",
        f"in its conf.d, a copy of {settings_file}; in its pg_hba.conf, this host's address in place of ADDRESS:",
        f"  hostssl   journal   {','.join(NAMES)}   ADDRESS/32   scram-sha-256",
        f"On this host, the passwords in {PASSWORDS}, of the account {SERVICE}, mode 0600, a line each:",
        *(f"  HOST:5432:journal:{name}:PASSWORD" for name in NAMES),
        sep="\n",
    )


def merge(path: Path, lines: Sequence[str]) -> tuple[Path, str] | None:
    """Return the file with these lines on top, in a block that is replaced another time; None if they are there.

    Raises OperatorError if the end of the block is missing.
    """
    text = path.read_text(encoding="utf-8")
    block = "\n".join([BEGIN, *lines, END, ""])
    if block in text:
        return None
    before, _, rest = text.partition(BEGIN)
    if rest:
        _, end, after = rest.partition(END + "\n")
        if not end:
            raise OperatorError(f"{path} has the line {BEGIN!r}, but not {END!r}: put it where the block ends")
        text = before + after
    # On top: the first line that fits a connection decides.
    return path, f"{block}{text}"


def _ask(name: str) -> str:
    return run(["psql", *QUIET, "-c", sql.load("host")[name]], account=POSTGRES).strip()
