"""What PostgreSQL's refusals mean for the operator: one sentence each, what it is and what to do.

PostgreSQL's own messages quote rows and are in the server's language: they are not repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

# By SQLSTATE, else by its class. {where} is "database D on H".
SENTENCES: Final[Mapping[str, str]] = {
    "28000": "{role} may not connect to {where}: no line of pg_hba.conf admits it, or the role was dropped or has no "
    "LOGIN; add the line and reload the server, or run sql/roles.sql as a superuser",
    "28P01": "the password of {role} is refused by {where}: correct it in the password file (~/.pgpass) or on the "
    "server",
    "3D000": "{where} does not exist: restore it, or correct JOURNAL_DSN",
    "3F000": "{where} has no schema journal: it is not this journal's, or was emptied; restore it, or correct "
    "JOURNAL_DSN",
    "42501": "{role} lacks a right in {where}: a grant was taken away; openepm-journal verify-store names it, and "
    "sql/schema.sql has the GRANT to repeat as the owner",
    "42883": "a function is missing in {where}, or has other arguments: openepm-journal verify-store names it; bring "
    "it back from sql/schema.sql as the owner, or update the software to the version that migrated the database",
    "42P01": "a table is missing in {where}: openepm-journal verify-store names it; restore the database",
    "53100": "the disk of {where} is full: make room on its server, where df -h shows none "
    "(data, or pg_wal); what waits is then written",
    "53200": "the server of {where} has no memory left: end what uses it, or lower its settings",
    "53300": "the server of {where} has no connection left for {role}: raise max_connections or the CONNECTION LIMIT "
    "of the database or role, or end other sessions",
    "25006": "{where} takes no writes: it is a standby, or default_transaction_read_only is on; correct JOURNAL_DSN, "
    "or turn the setting off for server, database and role",
    "57P01": "the server of {where} is stopping: wait until it is back, or start it",
    "57P02": "the server of {where} has crashed and recovers: read its log",
    "57P03": "the server of {where} is starting, stopping or recovering: wait; if it lasts, read its log",
    "57P04": "{where} was dropped: restore it",
    "57P05": "the server of {where} ended a session that was idle too long: set idle_session_timeout to 0 for {role}",
    "58030": "the server of {where} cannot read or write its files: check its disk and its log",
    "58P01": "the server of {where} misses files of its own: its programs were replaced while it ran, or files were "
    "removed; restart PostgreSQL, and read its log",
    "XX000": "the server of {where} fails internally: its programs may have been replaced while it ran; restart "
    "PostgreSQL, and read its log",
    "XX001": "{where} has damaged pages: stop the service, check the disk, and restore the database",
    "XX002": "{where} has a damaged index: REINDEX it, then run openepm-journal verify-store",
    "55000": "{where} is in a state that forbids this: read the server's log",
    "08": "the connection of {role} to {where} was lost: it is opened again",
    "53": "the server of {where} lacks a resource: read its log",
    "58": "the server of {where} has a fault of its system: read its log",
    "XX": "the server of {where} fails internally: read its log",
}
# Not of PostgreSQL: nobody answers.
UNREACHABLE: Final = (
    "the database cannot be reached or was lost: no answer for {role} from {where}; start PostgreSQL, or correct "
    "JOURNAL_DSN and the network"
)
# Of several servers, those that answer are standbys.
NO_PRIMARY: Final = (
    "{where} takes no writes: none of its servers is the primary; a failover is under way, or none can be (patronictl "
    "list)"
)
_CLASS_LENGTH: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a statement ran, for sentences: never a password."""

    host: str
    database: str
    role: str

    def __str__(self) -> str:
        """Return where that is."""
        return f"database {self.database} on {self.host}"


def read_place(dsn: str, role: str | None = None) -> Place:
    """Return the host, the database and the role (another, if given) of a PostgreSQL URI."""
    parts = urlsplit(dsn)
    asked = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    host = asked.get("host") or parts.netloc.rpartition("@")[2] or "this machine"
    user = asked.get("user") or unquote(parts.netloc.rpartition("@")[0].partition(":")[0])
    database = asked.get("dbname") or unquote(parts.path.lstrip("/")) or user
    return Place(host=unquote(host), database=database, role=role or user or "the owner")


def describe_refusal(state: str, place: Place) -> str | None:
    """Return the sentence for a SQLSTATE, None if it has none of its own."""
    sentence = SENTENCES.get(state) or SENTENCES.get(state[:_CLASS_LENGTH])
    return sentence.format(role=place.role, where=place) if sentence else None


def describe_no_primary(place: Place) -> str:
    """Return the sentence for servers that are all standbys."""
    return NO_PRIMARY.format(where=place)


def describe_silence(place: Place) -> str:
    """Return the sentence for a server that does not answer."""
    return UNREACHABLE.format(role=place.role, where=place)
