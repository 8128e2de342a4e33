"""Changes of administrative facts, in two phases: neither lost nor half done, whatever is killed when.

In one transaction, under a lock that all processes share: changes that were cut short are settled, the rows to be
changed are read and must be vouched for, the functions are called, the rows are read back and must be what was asked
for; then the digest of each is set in every copy of the ledger, durably; then the transaction commits; then the ledger
says `done`. Changes made together are all made or none: they share the transaction and the write to the ledger.

Killed before the commit, the row is the old one; after it, the new one: whoever changes something next looks at the row
and settles it. Until then both versions are accepted.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sql
from journal.core.errors import StoreError
from journal.database.facts import COLUMNS, CONFIRM, NAMED_BY, SERVICE_NAME, Facts, SuspendedError
from journal.database.pools import Pools, Role, make_durable, readable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import asyncpg

    from journal.database.facts import Key

    Row = Mapping[str, Any]
    Rows = dict[Key, Row | None]
    Check = Callable[[Row | None, Row], bool]


# Above this many, reading all facts of a kind costs less.
READ_ONE_BY_ONE = 50


@dataclass(frozen=True, slots=True)
class SuspendedFact:
    """A row that is not vouched for (None: it is missing), its digest, and whether the ledger knows the fact."""

    row: Row | None
    digest: str
    is_known: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One call of a function that changes the facts of `expected`.

    `statement` is its name in the file of the role, `arguments` its arguments. `expected` gives the columns that a
    changed row must have afterwards, None for no row; other columns must be as before, except those `free`, which the
    database chooses; `check` is given the row before and after.
    """

    statement: str
    arguments: tuple[Any, ...]
    expected: Mapping[Key, Mapping[str, Any] | None]
    free: frozenset[str] = frozenset()
    check: Check | None = None


class ChangeStatements(Pools):
    """Changes of facts; with no ledger to keep, plain statements."""

    async def _change(
        self,
        role: Role,
        name: str,
        *arguments: Any,
        expected: Mapping[Key, Mapping[str, Any] | None],
        free: frozenset[str] = frozenset(),
        check: Check | None = None,
    ) -> Any:
        """Run a named statement that changes facts (see `Change`); return its value. Raises what `_change_all` does."""
        change = Change(statement=name, arguments=arguments, expected=expected, free=free, check=check)
        return (await self._change_all(role, [change]))[0]

    async def _change_all(self, role: Role, asked: Sequence[Change]) -> list[Any]:
        """Make changes of different facts, all or none, and return the value of each statement.

        The transaction holds every other change back: a few hundred changes at most.

        Raises SuspendedError if a row is not vouched for, before or after; KeyStoreError if a copy of the ledger cannot
        be written; UnavailableError if it is not known whether the changes were committed.
        """
        if self.facts is None:
            return [await self._fetch_value(role, change.statement, *change.arguments) for change in asked]
        facts = self.facts
        wanted = {key: change for change in asked for key in change.expected}
        statements = sql.load("facts")
        async with self.borrow(role) as connection:
            await connection.execute(statements["begin"])
            was_set: list[Key] = []
            try:
                await connection.execute(statements["lock"])
                with await asyncio.to_thread(_hold, facts):
                    await self._settle_earlier(facts, role, connection)
                    before = await _read(connection, wanted)
                    _check_before(facts, before)
                    with readable():
                        values = [
                            await connection.fetchval(sql.load(role)[change.statement], *change.arguments)
                            for change in asked
                        ]
                    after = await _read(connection, wanted)
                    changes = {
                        key: digest
                        for key, row in after.items()
                        if (digest := facts.digest(key[0], row)) != facts.digest(key[0], before[key])
                    }
                    for key in changes:
                        _check_after(key, before[key], after[key], wanted[key])
                    was_set = list(changes)
                    try:
                        await asyncio.to_thread(facts.ledger.set, changes)
                    except BaseException:
                        await self._give_up(facts, connection, was_set)
                        raise
                    await self._commit(connection)
                    await asyncio.to_thread(facts.ledger.settle, changes, is_done=True)
            except BaseException:
                # Before the commit was sent nothing is changed; after it, what became of it shows in the row.
                if not was_set and not connection.is_closed():
                    with suppress(Exception):
                        await connection.execute(statements["rollback"])
                raise
            return values

    async def settle_facts(self) -> None:
        """Settle changes that were cut short, and bring every copy up to date; a start does so.

        Raises StoreError, KeyStoreError, OSError.
        """
        if self.facts is None:
            return
        await asyncio.to_thread(self.facts.ledger.repair)
        if not self.facts.ledger.pending():
            return
        statements = sql.load("facts")
        async with self.borrow("admin") as connection:
            await connection.execute(statements["begin"])
            await connection.execute(statements["lock"])
            with await asyncio.to_thread(_hold, self.facts):
                await self._settle_earlier(self.facts, "admin", connection)
            await connection.execute(statements["rollback"])

    async def suspended_facts(self) -> dict[Key, SuspendedFact]:
        """Return every fact that is suspended now, of all kinds, with its row."""
        facts = self.facts
        assert facts is not None  # a command's store has a key store
        found: dict[Key, SuspendedFact] = {}
        for kind in COLUMNS:
            since = facts.mark()
            async with self.borrow("admin") as connection:
                with readable():
                    rows = await connection.fetch(sql.load("facts")[kind], None)
            facts.judge(kind, rows, since)
            by_name = {row[NAMED_BY[kind]] if kind in NAMED_BY else SERVICE_NAME: row for row in rows}
            for key in facts.suspended(kind):
                row = by_name.get(key[1])
                found[key] = SuspendedFact(row, facts.digest(kind, row), facts.ledger.knows(*key))
        return found

    async def confirm_facts(self, keys: Mapping[Key, str]) -> None:
        """Vouch for rows as they are, for each fact whose row still has the digest given (ABSENT: no row)."""
        facts = self.facts
        assert facts is not None
        statements = sql.load("facts")
        async with self.borrow("admin") as connection:
            await connection.execute(statements["begin"])
            await connection.execute(statements["lock"])
            with await asyncio.to_thread(_hold, facts):
                await self._settle_earlier(facts, "admin", connection)
                rows = await _read(connection, keys)
                for key, row in rows.items():
                    if facts.digest(key[0], row) != keys[key]:
                        raise SuspendedError(f"{' '.join(key)} has changed since it was listed: list the facts again")
                await asyncio.to_thread(facts.ledger.set, dict(keys))
                await asyncio.to_thread(facts.ledger.settle, keys, is_done=True)
            await connection.execute(statements["rollback"])

    async def _settle_earlier(self, facts: Facts, role: Role, connection: asyncpg.Connection) -> None:
        """Say of each change that was cut short what became of it; one whose row is neither stays pending."""
        pending = facts.ledger.pending()
        # What is no row, a catalog, was settled or is vouched for again.
        others = [key for key in pending if key[0] not in COLUMNS]
        await asyncio.to_thread(facts.ledger.settle, others, is_done=True)
        pending = {key: digest for key, digest in pending.items() if key[0] in COLUMNS}
        if not pending:
            return
        # After a crash a commit is seen that the standby may not have, and a failover would take back. Nobody changes
        # the rows meanwhile, and a failover would end the connection that holds the lock.
        async with self.borrow("seal") as flushing:
            await make_durable(flushing, "seal", must_replicate=self.must_replicate)
        if role == "admin":
            rows = await _read(connection, pending)
        else:
            async with self.borrow("admin") as other:
                rows = await _read(other, pending)
        done = [key for key, row in rows.items() if facts.digest(key[0], row) == pending[key]]
        await asyncio.to_thread(facts.ledger.settle, done, is_done=True)
        undone = [key for key in rows if key not in done and facts.accepts(*key, rows[key], facts.mark())]
        await asyncio.to_thread(facts.ledger.settle, undone, is_done=False)

    @staticmethod
    async def _commit(connection: asyncpg.Connection) -> None:
        # PostgreSQL answers COMMIT on a failed transaction with the tag ROLLBACK and no error.
        if (tag := await connection.execute(sql.load("facts")["commit"])) != "COMMIT":
            raise StoreError(f"the change was not committed: {tag}")

    @staticmethod
    async def _give_up(facts: Facts, connection: asyncpg.Connection, keys: list[Key]) -> None:
        """Undo what was set for a transaction that is not committed."""
        with suppress(Exception):
            await connection.execute(sql.load("facts")["rollback"])
        with suppress(Exception):
            await asyncio.to_thread(facts.ledger.settle, keys, is_done=False)


def _hold(facts: Facts) -> Any:
    """Enter the ledger for writing, in a thread: its locks and files may make it wait."""
    held = facts.ledger.writing()
    held.__enter__()  # left by the caller, in the event loop's thread
    return _Held(held)


class _Held:
    """A context that was entered already."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, *error: object) -> None:
        """Leave the context."""
        self._context.__exit__(*error)


async def _read(connection: asyncpg.Connection, keys: Mapping[Key, Any]) -> Rows:
    statements = sql.load("facts")
    rows: Rows = {}
    counts = Counter(kind for kind, _ in keys)
    for kind, count in counts.items():
        names = [name for of_kind, name in keys if of_kind == kind]
        with readable():
            if count > READ_ONE_BY_ONE:
                found = await connection.fetch(statements[kind], None)
            else:
                found = [row for name in names for row in await connection.fetch(statements[kind], name)]
        by_name = {row[NAMED_BY[kind]] if kind in NAMED_BY else SERVICE_NAME: row for row in found}
        rows |= {(kind, name): by_name.get(name) for name in names}
    return rows


def _check_before(facts: Facts, rows: Rows) -> None:
    since = facts.mark()
    for (kind, name), row in rows.items():
        if not facts.accepts(kind, name, row, since):
            raise SuspendedError(
                f"nothing was changed: the row of {kind} {name} in the database is not the one for which the key store "
                f"vouches: {CONFIRM}"
            )


def _check_after(key: Key, before: Row | None, after: Row | None, wanted: Change) -> None:
    """Refuse a row that is not what was asked for: a trigger, or a replaced function, has changed it."""
    kind, name = key
    expected = wanted.expected[key]
    wrong = (after is None) != (expected is None)
    if after is not None and expected is not None:
        for column in COLUMNS[kind]:
            if column in wanted.free and column not in expected:
                continue
            wrong = wrong or after[column] != expected.get(column, before[column] if before is not None else None)
        wrong = wrong or (wanted.check is not None and not wanted.check(before, after))
    if wrong:
        raise SuspendedError(
            f"nothing was changed: the database made another row of {kind} {name} than was asked for; a trigger or a "
            "function of its schema was replaced: compare it with openepm-journal verify-store"
        )
