"""The audit that runs inside the service: what `verify-store` finds, found by itself.

One process of the service does it. The catalog and the keys of kept days are compared every minute. Closed days are
checked again, entry by entry: yesterday first, then those that were checked longest ago, at a bounded share of one
processor.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING

import structlog

from journal.admin.rules import RuleChanges
from journal.audit.findings import Finding, Findings
from journal.audit.pace import Pace
from journal.audit.run import Audit
from journal.clock import SimulatedClock
from journal.core.entry import RESERVED_TENANT
from journal.core.errors import EndedTenantError, FencedDayError, JournalError, KeyStoreError, OperatorError
from journal.core.times import day_of, format_day
from journal.database.catalog import find_catalog_faults, load_expected
from journal.status.alarms import Alarm
from journal.status.restored import refuse_restored
from journal.status.rounds import Rounds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from journal.service import Service

log = structlog.get_logger()

LOOK_SECONDS = 60.0
# Seals and heads are read anew after so many seconds of checking: entries that came since are compared with them.
PREPARED_SECONDS = 600.0
PAGE_ROWS = 200
FAILED_PAUSE_SECONDS = 60.0

Leaf = tuple[str, date]


class Watch:
    """Compares for ever, and tells readiness, the log and the journal what it finds."""

    def __init__(self, service: Service) -> None:
        """Check nothing yet."""
        self._service = service
        self._store = service.store
        self._expected = load_expected()
        self._rounds = Rounds(service.settings.audit_path)
        self._found: dict[Leaf | None, list[Finding]] = {}

    async def run(self) -> None:
        """Look every minute, and go on with the entries in between."""
        entries = asyncio.create_task(self._check_entries())
        try:
            while True:
                await self.look()
                await asyncio.sleep(LOOK_SECONDS)
                if entries.done():
                    entries.result()
        finally:
            entries.cancel()
            with suppress(asyncio.CancelledError):
                await entries

    async def look(self) -> None:
        """Compare the catalog and the keys once."""
        try:
            # What is found twice is no change that was under way.
            faults = await check_catalog(self._service, self._expected)
            faults = faults and await check_catalog(self._service, self._expected)
            keys = await check_keys(self._service)
            keys = keys and await check_keys(self._service)
        except (JournalError, OSError) as error:
            log.warning("the audit could not look", reason=str(error))
            return
        self._tell("catalog", faults)
        self._tell("keys", keys)
        self._service.instruments.audited_at.set(self._service.clock.now().timestamp())

    async def pass_once(self) -> None:
        """Check closed days, as many as fit between two readings of the seals and heads."""
        pace = Pace(self._service.settings.audit_share)
        await pace.run(self._pass(pace))

    async def _pass(self, pace: Pace) -> None:
        loop = asyncio.get_running_loop()
        audit, found = await self._prepare(pace)
        self._found[None] = await self._confirm(None, found, partial(self._look_again, None, pace))
        self._tell_entries()
        rules = await check_rules(self._service)
        self._tell("rules", rules and await check_rules(self._service))
        until = loop.time() + PREPARED_SECONDS
        for leaf in self._order(audit.closed_leaves()):
            found = [*await audit.check_leaf(*leaf)]
            found = await self._confirm(leaf, found, partial(self._look_again, leaf, pace))
            self._found[leaf] = found
            await self._rounds.note(leaf, self._service.clock.now(), is_sound=not found)
            self._tell_entries()
            if loop.time() > until:
                break

    async def _confirm(
        self, leaf: Leaf | None, found: list[Finding], look_again: Callable[[], Awaitable[list[Finding]]]
    ) -> list[Finding]:
        """Return what a second look finds; while something is being destroyed, what was known before.

        What began meanwhile, a purge or the end of a contract, is known to the second look.
        """
        keystore = self._service.keyring.keystore
        if not found or await asyncio.to_thread(keystore.is_destroying):
            return self._found.get(leaf, []) if found else []
        again = await look_again()
        return self._found.get(leaf, []) if await asyncio.to_thread(keystore.is_destroying) else again

    async def _look_again(self, leaf: Leaf | None, pace: Pace) -> list[Finding]:
        audit, found = await self._prepare(pace)
        if leaf is None:
            return found
        return [*await audit.check_leaf(*leaf)] if leaf in audit.closed_leaves() else []

    async def _prepare(self, pace: Pace) -> tuple[Audit, list[Finding]]:
        audit = Audit(self._service, page_rows=PAGE_ROWS, pace=pace)
        await audit.prepare()
        found = [*await audit.check_absent()]
        await pace()
        return audit, found

    async def _check_entries(self) -> None:
        while True:
            try:
                await self.pass_once()
            except (JournalError, OSError) as error:
                log.warning("the audit could not check entries", reason=str(error))
                await asyncio.sleep(FAILED_PAUSE_SECONDS)
            await asyncio.sleep(1)

    def _order(self, leaves: list[Leaf]) -> list[Leaf]:
        """Return the days to be checked: yesterday first, then those never checked, then the longest ago."""
        for leaf in self._found.keys() - {None, *leaves}:
            del self._found[leaf]  # purged
        self._rounds.forget(set(leaves))
        checked = self._rounds.checked
        yesterday = day_of(self._service.clock.now()) - timedelta(days=1)
        random.shuffle(leaves)  # after a restart, not the same ones first
        fresh = [leaf for leaf in leaves if leaf[1] == yesterday and leaf not in checked]
        others = sorted(
            (leaf for leaf in leaves if leaf not in fresh), key=lambda leaf: checked.get(leaf, float("-inf"))
        )
        return fresh + others

    def _tell_entries(self) -> None:
        self._tell("entries", [finding for findings in self._found.values() for finding in findings])

    def _tell(self, what: str, findings: Iterable[Finding]) -> None:
        self._service.alarms.tell(
            what,
            [
                Alarm(what=f"audit: {what}", tenant=RESERVED_TENANT, subject=found.where, reason=str(found))
                for found in findings
            ],
        )


async def check_catalog(service: Service, expected: dict[str, dict[str, str]] | None = None) -> list[Finding]:
    """Return what of the database's catalog is not as this version makes it. Raises StoreError."""
    facts = service.store.facts
    known = facts.knows_catalog if facts is not None else lambda _: False
    async with service.store.connect_anew("owner") as connection:
        faults = await find_catalog_faults(connection, load_expected() if expected is None else expected, known)
    if isinstance(service.clock, SimulatedClock):
        faults = [fault for fault in faults if "simulated_clock" not in fault and fault not in _SIMULATED]
    found = Findings()
    for fault in faults:
        subject, _, reason = fault.rpartition(": ")
        found.report("altered catalog", subject, reason)
    return found


# `sql/simulated_clock.sql` replaces this one; what it adds has its name in it.
_SIMULATED = {"function journal.now(): body differs", "function journal.now(): comment differs"}


async def check_restored(service: Service) -> list[Finding]:
    """Return that the database is older than its key store, for which `serve` refuses to start."""
    found = Findings()
    try:
        await refuse_restored(service.store, service.keyring.keystore)
    except OperatorError as error:
        found.report("restored", "database", str(error))
    return found


async def check_rules(service: Service) -> list[Finding]:
    """Return the changes of a rule that no entry announces. Raises StoreError."""
    found = Findings()
    for code in await RuleChanges(service).unrecorded():
        reason = "a change of its rule is pending that no entry announces: set the rule again, with the instruction"
        found.report("not covered", f"category {code}", reason)
    return found


async def check_facts(service: Service) -> list[Finding]:
    """Return the administrative rows that are not those the key store vouches for. Raises StoreError."""
    await service.snapshot.refresh(whole=True)
    found = Findings()
    for problem in service.snapshot.problems():
        where, _, reason = problem.partition(": ")
        found.report("mismatched part", where, reason)
    return found


async def check_keys(service: Service) -> list[Finding]:
    """Return the kept days that hold entries and whose key is missing, in whichever copy. Raises StoreError."""
    leaves = [(row.category, row.day) for row in await service.store.partitions()]
    found = Findings()
    for (category, day), reason in (await asyncio.to_thread(_find_missing_keys, service, leaves)).items():
        # A day on which the service did not run has a partition, and never had a key.
        if (await service.store.day_figures(category, day)).count:
            found.report("missing key", f"{category} {format_day(day)}", reason)
    return found


def _find_missing_keys(service: Service, leaves: list[Leaf]) -> dict[Leaf, str]:
    keystore, missing = service.keyring.keystore, {}
    today = day_of(service.clock.now())
    for category, day in leaves:
        if day > today:
            continue  # readiness looks at the days ahead
        try:
            keystore.confirm_day_key(category, day)
        except (FencedDayError, EndedTenantError):
            continue
        except KeyStoreError as error:
            fence = keystore.fence(category)
            if fence is None or day > fence:
                missing[category, day] = str(error)
    return missing
