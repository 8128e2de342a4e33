"""Administrative facts: rows that command, obeyed only if the ledger vouches for them as the latest of their kind.

A fact is a row of `service`, `tenant`, `category`, `credential`, `person`, `recipient` or `ending`; its digest covers
every column that commands. Rows that are altered, forged or replayed, and vouched facts without a row, are suspended:
not obeyed, and named by `problems`. A process that has read the vouched row before goes on with that one.

Trust sentence: the database is a store here, never an authority. Whoever writes any row of it, or replays an older one,
without the key store, can at most have a fact suspended.
"""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

from journal.core.chain import genesis
from journal.core.entry import Compartment
from journal.core.errors import StoreError
from journal.core.times import day_of, format_day, purgeable_through

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager

Key = tuple[str, str]
Row = "Mapping[str, Any]"

ABSENT: Final = "-"
SERVICE_NAME: Final = "service"
CONFIRM: Final = (
    "if a backup was restored, openepm-journal recover --confirm-facts lists and confirms it; if not, somebody changed "
    "the database by hand: find out who, and undo it"
)
# The columns of each kind that its digest covers, and the one that names the fact.
COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "service": ("name", "created_at", "first_day"),
    "tenant": ("code", "name", "created_at", "moved_at", "closed_at", "destroyed_at"),
    "category": (
        *("code", "id", "label", "regime", "rule_days", "needs_authorisation", "created_at", "first_day", "basis"),
        *("legal_basis", "required_days", "next_retention_days", "next_since", "next_from"),
    ),
    "credential": (
        *("id", "secret_hash", "role", "tenant", "categories", "source_prefix", "certificate_sha256", "person"),
        *("label", "created_at", "expires_at", "revoked_at"),
    ),
    "person": (
        *("id", "tenant", "role", "categories", "login_key", "sealed", "invitation_hash", "invited_until"),
        *("created_at", "revoked_at"),
    ),
    "recipient": ("tenant", "registered_at", "confirmed_at", "certificate"),
    "ending": (
        *("tenant", "certificate", "request_index", "request_leaf", "exported_at", "export_sha256", "waived_at"),
        *("seal_before", "seal_before_sha256", "seal_after", "seal_after_sha256", "finished_at"),
    ),
}
NAMED_BY: Final = {
    "tenant": "code",
    "category": "code",
    "credential": "id",
    "person": "id",
    "recipient": "tenant",
    "ending": "tenant",
}
# The ledger's word for a schema that a version of this software has made; it is no row.
CATALOG: Final = "catalog"
NAME_DIGITS: Final = 16
# Two clocks may differ by this much at midnight.
CLOCK_TOLERANCE: Final = timedelta(minutes=5)


class Ledger(Protocol):
    """What vouches for facts; see `journal.keys.ledger`."""

    def refresh(self) -> int:
        """Read what was appended; return the number of lines."""
        ...

    def digest(self, content: bytes) -> str:
        """Return the digest of a content."""
        ...

    def accepts(self, kind: str, name: str, digest: str, since: int) -> bool:
        """Tell whether a version was the latest at some moment after line `since`."""
        ...

    def names(self, kind: str) -> list[str]:
        """Return the facts of a kind that exist."""
        ...

    def knows(self, kind: str, name: str) -> bool:
        """Tell whether a fact exists."""
        ...

    def pending(self) -> dict[Key, str]:
        """Return the digests that are set and not settled."""
        ...

    def changed_since(self, line: int) -> set[Key]:
        """Return the facts that later lines are about."""
        ...

    def problems(self) -> list[str]:
        """Return a sentence for each damaged copy."""
        ...

    def repair(self) -> None:
        """Bring every copy up to date."""
        ...

    def writing(self) -> AbstractContextManager[None]:
        """Hold every copy for appending."""
        ...

    def set(self, changes: Mapping[Key, str]) -> None:
        """Name the next version of each fact."""
        ...

    def settle(self, keys: Iterable[Key], *, is_done: bool) -> None:
        """Say what became of the pending versions."""
        ...


class SuspendedError(StoreError):
    """A row of the database is not the one that the key store vouches for: nothing is done by it."""


def content(kind: str, row: Mapping[str, Any], columns: Sequence[str] = ()) -> bytes:
    """Return the bytes that a digest covers: a fact's kind and columns, or the `columns` given."""
    values = {column: row[column] for column in columns or COLUMNS[kind]}
    return json.dumps([kind, values], default=_text, sort_keys=True, separators=(",", ":")).encode("ascii")


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    raise TypeError(type(value).__name__)


class Facts:
    """Judges rows by the ledger; keeps the vouched ones, and what is wrong with the others."""

    def __init__(self, ledger: Ledger, *, fence: Callable[[str], date | None], now: Callable[[], datetime]) -> None:
        """Judge by this ledger; `fence` gives the key store's fence of a category, `now` the service's clock."""
        self.ledger = ledger
        self._fence = fence
        self._now = now
        self._kept: dict[Key, tuple[str, Mapping[str, Any]]] = {}
        self._problems: dict[Key, str] = {}
        # Tenants that the database says are destroyed, without being vouched for: their keys are not used either.
        self.said_destroyed: set[str] = set()

    def mark(self) -> int:
        """Return where the ledger stands; to be asked before rows are read, and given to `judge`."""
        return self.ledger.refresh()

    def digest(self, kind: str, row: Mapping[str, Any] | None) -> str:
        """Return the digest of a row; ABSENT for None."""
        return ABSENT if row is None else self.ledger.digest(content(kind, row))

    def accepts(self, kind: str, name: str, row: Mapping[str, Any] | None, since: int) -> bool:
        """Tell whether the ledger vouches for a row, or for there being none."""
        return self.ledger.accepts(kind, name, self.digest(kind, row), since)

    def judge(
        self, kind: str, rows: Iterable[Mapping[str, Any]], since: int, name: str | None = None
    ) -> list[Mapping[str, Any]]:
        """Return the vouched rows among those read: all of a kind, or those named `name`.

        What is altered or missing is replaced by the vouched row that was read before, if there was one, and noted.
        """
        self.ledger.refresh()
        found: dict[str, Mapping[str, Any]] = {}
        refused: set[str] = set()
        for row in rows:
            named = row[NAMED_BY[kind]] if kind in NAMED_BY else SERVICE_NAME
            if self._vouches(kind, named, row, since):
                found[named] = row
            else:
                refused.add(named)
                if kind == "tenant" and row["destroyed_at"] is not None and (kind, named) not in self._kept:
                    self.said_destroyed.add(named)
        expected = {*self.ledger.names(kind), *refused} if name is None else {name}
        problems: dict[Key, str] = {}
        for named in expected - found.keys():
            is_absent = self.ledger.accepts(kind, named, ABSENT, since)
            if named in refused or not is_absent:
                problems[kind, named] = self._describe(kind, named, is_forged=is_absent, is_there=named in refused)
            if (kept := self._kept.get((kind, named))) is not None and self.ledger.accepts(kind, named, kept[0], since):
                found[named] = kept[1]
            else:
                self._kept.pop((kind, named), None)
        for key in [key for key in self._problems if key[0] == kind and name in {None, key[1]}]:
            del self._problems[key]
        self._problems |= problems
        return [found[named] for named in found] if not problems else [found[named] for named in sorted(found)]

    def _vouches(self, kind: str, name: str, row: Mapping[str, Any], since: int) -> bool:
        kept = self._kept.get((kind, name))
        digest = kept[0] if kept is not None and kept[1] == row else self.digest(kind, row)
        if not self.ledger.accepts(kind, name, digest, since) and not self._is_wiped(kind, row):
            return False
        self._kept[kind, name] = (digest, row)
        return True

    def _is_wiped(self, kind: str, row: Mapping[str, Any]) -> bool:
        """Tell whether a row is what the destruction of its tenant leaves: an id, refused for ever."""
        emptied = {"credential": ("secret_hash", bytes(32)), "person": ("sealed", b"")}
        if kind not in emptied or row["revoked_at"] is None or row["categories"]:
            return False
        column, empty = emptied[kind]
        if row[column] != empty:
            return False
        tenant = self._kept.get(("tenant", row["tenant"]))
        return tenant is not None and tenant[1]["destroyed_at"] is not None

    @staticmethod
    def _describe(kind: str, name: str, *, is_forged: bool, is_there: bool) -> str:
        what = "service" if kind == "service" else f"{kind} {name}"
        if not is_there:
            return f"{what}: the database has lost its row, which the key store vouches for: {CONFIRM}"
        if is_forged and kind == "service":
            return (
                "the key store does not vouch for the service's own row: mount the key store of this journal, set "
                "JOURNAL_KEYSTORE and JOURNAL_MASTER_KEY_FILE, or, if it is lost, bring it back from its copy with "
                f"openepm-journal keys restore; {CONFIRM}"
            )
        if is_forged:
            return f"{what}: a row in the database that the key store does not vouch for; it is not obeyed: {CONFIRM}"
        return f"{what}: its row in the database is not the one the key store vouches for; it is not obeyed: {CONFIRM}"

    def fence(self, category: str, noted: date | None, retention_days: int) -> date | None:
        """Return the fence to obey: the database's, unless it is past what is due and past the key store's.

        The purge raises the database's fence first: for a moment it alone has it, of a day that is due.
        """
        key = ("fence", category)
        self._problems.pop(key, None)
        if noted is None or noted <= purgeable_through(day_of(self._now() + CLOCK_TOLERANCE), retention_days):
            return noted
        known = self._fence(category)
        if known is not None and noted <= known:
            return noted
        self._problems[key] = (
            f"category {category}: its fence in the database is {format_day(noted)}, past the last day that is due and "
            f"past the key store's; it is not obeyed, but the database refuses entries up to it: {CONFIRM}"
        )
        return known

    def begins(self, tenant: str, category: str, chain_hash: bytes) -> bool:
        """Tell whether this is the chain hash that the chain begins with (FORMAT.md, "Chain"); note it if not."""
        service = self._kept.get(("service", SERVICE_NAME))
        key = ("chain", f"{tenant}/{category}")
        self._problems.pop(key, None)
        if (
            service is None
            or genesis(Compartment(service[1]["name"], tenant, category).origin).chain_hash == chain_hash
        ):
            return True
        self._problems[key] = (
            f"chain {tenant}/{category}: the empty chain in the database does not begin where every verifier has it "
            f"begin; nothing is recorded in it: {CONFIRM}"
        )
        return False

    def vouch_catalog(self, expected: str) -> None:
        """Have the ledger vouch for the catalog of this version, beside those of others. Raises KeyStoreError, OSError.

        A process of an earlier version that still runs then knows it for one that an upgrade has made.
        """
        digest = self.ledger.digest(expected.encode())
        key = (CATALOG, digest[:NAME_DIGITS])
        self.ledger.refresh()
        if self.ledger.knows(*key):
            return
        with self.ledger.writing():
            self.ledger.set({key: digest})
            self.ledger.settle([key], is_done=True)

    def knows_catalog(self, found: str) -> bool:
        """Tell whether the ledger vouches for a catalog as that of some version."""
        self.ledger.refresh()
        return self.ledger.knows(CATALOG, self.ledger.digest(found.encode())[:NAME_DIGITS])

    def today(self) -> date:
        """Return the day of the service's clock."""
        return day_of(self._now())

    def problems(self) -> list[str]:
        """Return a sentence for each fact that is suspended, and for each copy of the ledger that is damaged."""
        return [*self.ledger.problems(), *(self._problems[key] for key in sorted(self._problems))]

    def suspended(self, kind: str) -> list[Key]:
        """Return the facts of a kind that are suspended, as far as was read."""
        return sorted(key for key in self._problems if key[0] == kind)

    def problem(self, kind: str, name: str) -> str | None:
        """Return why a fact is suspended, as far as was read; None if it is not."""
        return self._problems.get((kind, name))
