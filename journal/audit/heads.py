"""The check of the head table, of fences and of keys against the seals and the retention rule."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from journal.audit.findings import AGAIN
from journal.audit.seals import check_kept_from
from journal.core.errors import StoreError, UnavailableError
from journal.core.times import day_of, format_day, overdue_through, purgeable_through

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import date, datetime

    from journal.audit.expected import ExpectedChains
    from journal.audit.findings import Findings
    from journal.database.heads import HeadRow, SealHeadRow
    from journal.database.ingest import CategoryRow
    from journal.service import Service

PAGE_HEADS = 1_000
CLOCK_TOLERANCE = timedelta(seconds=2)


class HeadAudit:
    """Checks every row of the head table."""

    def __init__(self, service: Service, expected: ExpectedChains, findings: Findings, *, now: datetime) -> None:
        """Compare the heads with the seals; `now` is the database's clock."""
        self._store = service.store
        self._keystore = service.keyring.keystore
        self._expected = expected
        self._findings = findings
        self._now = now
        self._today = day_of(now)

    async def run(self, names: Sequence[tuple[str, str]], sealed: Mapping[tuple[str, str], SealHeadRow]) -> None:
        """Check the heads of these (tenant, category); `sealed` are the heads in the last seal."""
        found: set[tuple[str, str]] = set()
        for start in range(0, len(names), PAGE_HEADS):
            heads = await self._read(names[start : start + PAGE_HEADS])
            # Read after the heads: the check of the seals may have taken minutes, and entries came meanwhile.
            self._now = await self._store.read_now()
            for head in heads:
                name = (head.tenant, head.category)
                found.add(name)
                self._check(head, sealed.get(name))
        for tenant, category in self._expected.chains.keys() - found:
            self._findings.report("fork", f"head of {tenant}/{category}", "it is missing, and seals cover it")

    async def _read(self, names: Sequence[tuple[str, str]]) -> list[HeadRow]:
        """Read the heads; if that fails, read each by itself and report those that cannot be read."""
        try:
            return await self._store.read_heads([name[0] for name in names], [name[1] for name in names])
        except UnavailableError:
            raise
        except StoreError as error:
            if len(names) == 1:
                self._findings.report("malformed", f"head of {names[0][0]}/{names[0][1]}", str(error))
                return []
        return [head for name in names for head in await self._read([name])]

    def _check(self, head: HeadRow, sealed: SealHeadRow | None) -> None:
        chain = self._expected.chain(head.tenant, head.category)
        chain.live = head
        where = f"head of {chain.name}"
        if not chain.note_hash(head.size, head.chain_hash):
            self._findings.report("fork", where, f"a seal states another chain hash at size {head.size}")
        if sealed is not None and (head.size < sealed.size or head.kept_from < sealed.kept_from):
            self._findings.report("fork", where, "it is behind the last seal")
        if head.recorded_at is not None and head.recorded_at > self._now + CLOCK_TOLERANCE:
            self._findings.report("mismatched part", where, "its time is ahead of the clock")
        if head.kept_from < head.size and head.tenant in self._expected.ended:
            self._findings.report("over-retention", where, f"its tenant was destroyed, but it does not say so: {AGAIN}")
        check_kept_from(
            self._expected,
            chain,
            head.kept_from,
            size=head.size,
            earlier=sealed.kept_from if sealed is not None else 0,
            through=purgeable_through(self._today, head.retention_days),
            findings=self._findings,
            where=where,
        )

    async def check_closed(self, closed_day: date, sealed_day: date | None) -> None:
        """Check that the last day closed when the check began has its close seal."""
        late = sealed_day is not None and sealed_day < closed_day
        if late and await self._store.close_seal(closed_day) is None:
            where = f"close seal of {format_day(closed_day)}"
            self._findings.report("not covered", where, "missing; if nobody is making it now: openepm-journal seal")

    def check_fences(self, categories: Iterable[CategoryRow], shortest_rules: Mapping[str, int]) -> None:
        """Report fences raised before their time, and keys that should be destroyed."""
        for row in categories:
            days = min(row.retention_days, shortest_rules.get(row.code, row.retention_days))
            through = purgeable_through(self._today, days)
            fence = max((day for day in (row.fence, self._keystore.fence(row.code)) if day is not None), default=None)
            if fence is not None and fence > through:
                reason = f"it is at {format_day(fence)}; days could be purged up to {format_day(through)}"
                self._findings.report("early deletion", f"fence of {row.code}", reason)
            if row.fence is not None and self._keystore.lags_behind(row.code, row.fence):
                reason = (
                    f"days are purged up to {format_day(row.fence)}, which the key store, or a replica, does not say: "
                    "their keys could come back; run the purge, which writes it"
                )
                self._findings.report("over-retention", f"fence of {row.code}", reason)
            gone = overdue_through(self._today, row.stated_days)
            for day in self._keystore.day_keys(row.code):
                if day <= max(gone, fence or gone):
                    where = f"key of {row.code} {format_day(day)}"
                    self._findings.report("over-retention", where, "its day is over: run the purge")
