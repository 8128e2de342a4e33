"""The check of the seals: each by itself, all as one history, their heads against their roots and the rule.

The result goes into `ExpectedChains`, with which the entries are compared. A seal that fails is reported, and its
content is not used.
"""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

from journal.audit.pace import in_thread
from journal.core.errors import MismatchedPartError, StoreError, UnavailableError, VerificationError
from journal.core.seal import NOTHING_HASH, Seal, parse_seal
from journal.core.times import day_of, format_day, purgeable_through
from journal.database.heads import seal_tree
from journal.pki import cms, timestamp
from journal.pki.certificates import pem_to_der
from journal.pki.timestamp_token import read_info, read_token
from journal.seals.sealer import OPEN_SEALS_KEPT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from datetime import date, datetime

    from journal.audit.expected import ExpectedChain, ExpectedChains
    from journal.audit.findings import Findings
    from journal.database.heads import SealHeadRow
    from journal.database.seal import SealRow
    from journal.service import Service

PAGE_SEALS = 200
LAST_NUMBER = 2**63 - 1
_ONE_DAY = timedelta(days=1)


class SealAudit:
    """One pass over all seals, in the order of their numbers."""

    def __init__(
        self,
        service: Service,
        expected: ExpectedChains,
        findings: Findings,
        *,
        created_at: datetime,
        now: datetime,
        pace: Callable[[], Awaitable[None]],
    ) -> None:
        """Begin before the first seal of a service created at `created_at`; `now` is the database's clock.

        `pace` is awaited after every seal.
        """
        self._pace = pace
        self._store = service.store
        self._name = service.name
        self._anchors = pem_to_der(service.reader.trust())
        tsa_trust = service.settings.tsa_trust_path
        self._tsa_anchors = pem_to_der(tsa_trust.read_bytes()) if tsa_trust is not None else []
        self._expected = expected
        self._findings = findings
        # Only open seals older than this are thinned.
        self._thinned_before = now - OPEN_SEALS_KEPT
        self._horizon_number = 0
        self._number = 0
        self._sealed_at = created_at
        # The digests the next seal must name; None after a seal that could not be read.
        self._digest: bytes | None = NOTHING_HASH
        self._close_digest: bytes | None = NOTHING_HASH
        self._close_day: date | None = expected.first_day - _ONE_DAY
        # The heads in the last valid seal.
        self.heads: dict[tuple[str, str], SealHeadRow] = {}
        self._heads_number = 0
        # By category, the shortest retention in any seal, in days.
        self.shortest_rules: dict[str, int] = {}
        self.seals = 0
        # Whether a close seal before had a time-stamp, and those since that have none.
        self._is_stamping = False
        self._unstamped: list[str] = []

    @property
    def closed_day(self) -> date | None:
        """The last day that has a close seal."""
        return self._close_day

    async def run(self) -> None:
        """Check every seal."""
        if self._expected.horizon is not None:
            row = await self._store.close_seal(self._expected.horizon)
            self._horizon_number = row.number if row is not None else 0
        async for row in self._rows():
            await self._pace()
            self.seals += 1
            where = f"seal {row.number}"
            self._check_number(row, where)
            try:
                seal = self._read(row)
            except VerificationError as error:
                self._findings.report_error(error, where)
                self._digest = None
                if row.day is not None:
                    self._close_day, self._close_digest = row.day, None
                continue
            self._check_timestamp(row, seal, where)
            self._check_links(seal, where)
            await self._check_heads(seal, where)
        await self._check_orphans()

    async def _rows(self) -> AsyncIterator[SealRow]:
        """Yield every seal that can be read, reporting the others."""
        after, limit = 0, PAGE_SEALS
        while True:
            try:
                page = await self._store.read_seals(after, limit)
            except UnavailableError:
                raise
            except StoreError as error:
                if limit == 1:
                    self._findings.report("malformed", f"seal {after + 1}", f"or one above it: {error}")
                    after += 1
                limit = 1
                continue
            if not page:
                return
            for row in page:
                yield row
            after, limit = page[-1].number, PAGE_SEALS

    def _check_number(self, row: SealRow, where: str) -> None:
        """Compare the number with the one before: a gap is right where open seals are old enough to be thinned."""
        first, end = self._number + 1, row.number
        if first < end:
            if self._sealed_at >= self._thinned_before:
                missing = f"seal {first}" if end - first == 1 else f"seals {first} to {end - 1}"
                self._findings.report("gap", missing, "missing, and too young to be thinned")
            self._digest = None
        if row.sealed_at < self._sealed_at.replace(microsecond=0):
            self._findings.report("fork", where, "the time goes back")
        self._number, self._sealed_at = row.number, max(self._sealed_at, row.sealed_at)

    def _read(self, row: SealRow) -> Seal:
        seal = parse_seal(row.text)
        if (seal.service, seal.number, seal.day, seal.sealed_at) != (self._name, row.number, row.day, row.sealed_at):
            raise MismatchedPartError("its columns do not match its text")
        signature = cms.verify(row.signature, sha256(row.text).digest(), anchors=self._anchors, service=self._name)
        if signature.signing_time != seal.sealed_at:
            raise MismatchedPartError("its signing time is not the time in its text")
        return seal

    def _check_timestamp(self, row: SealRow, seal: Seal, where: str) -> None:
        """Check a seal's time-stamp as an auditor does; without its authority's certificate, only its imprint."""
        if row.timestamp is None:
            if row.day is not None and self._is_stamping:
                self._unstamped.append(where)
            return
        # They are stamped in order: what comes before a stamped one was stamped, or could not be for years.
        for missing in self._unstamped:
            self._findings.report("not covered", f"time-stamp of {missing}", "missing, and a later seal has one")
        self._unstamped.clear()
        self._is_stamping = True
        try:
            if self._tsa_anchors:
                timestamp.verify(row.timestamp, seal.digest, anchors=self._tsa_anchors, made_at=seal.sealed_at)
            elif read_info(read_token(row.timestamp).content).imprint != seal.digest:
                raise MismatchedPartError("it is for other content")
        except VerificationError as error:
            self._findings.report_error(error, f"time-stamp of {where}")

    def _check_links(self, seal: Seal, where: str) -> None:
        if self._digest is not None and seal.previous != self._digest:
            self._findings.report("fork", where, "it does not follow the seal before it")
        self._digest = seal.digest
        if seal.day is not None and self._close_day is not None and seal.day != self._close_day + _ONE_DAY:
            day = format_day(self._close_day + _ONE_DAY)
            self._findings.report("gap", f"close seal of {day}", f"missing: {where} is that of {format_day(seal.day)}")
        elif self._close_digest is not None and seal.previous_close != self._close_digest:
            self._findings.report("fork", where, "it does not follow the close seal before it")
        # One fault is one finding: the next seal is compared with what this one names.
        self._close_digest = seal.previous_close
        if seal.day is not None:
            self._close_day, self._close_digest = seal.day, seal.digest

    async def _check_heads(self, seal: Seal, where: str) -> None:
        """Compare the heads stored with a seal with its root, then with the heads before."""
        rows = await self._read_heads(seal, where)
        if rows is None:
            return
        current = {(row.tenant, row.category): row for row in rows}
        for name in self.heads.keys() - current.keys():
            self._findings.report("fork", f"{where} {name[0]}/{name[1]}", "the chain has vanished")
        moved = [row for name, row in current.items() if self.heads.get(name) != row]
        for row in moved:
            chain = self._expected.chain(row.tenant, row.category)
            if not chain.note_hash(row.size, row.chain_hash):
                reason = f"another chain hash is stated at size {row.size}"
                self._findings.report("fork", f"{where} {chain.name}", reason)
        if seal.day is not None:
            self._expected.note_close(seal.day, rows)
        # Last: the rule may need this day.
        for row in moved:
            self._check_moved(row, seal, where)
        self.heads, self._heads_number = current, seal.number

    async def _read_heads(self, seal: Seal, where: str) -> list[SealHeadRow] | None:
        try:
            rows = await self._store.read_seal_heads(seal.number)
            tree = await in_thread(seal_tree, self._name, rows)
        except UnavailableError:
            raise
        except (StoreError, ValueError) as error:
            if seal.number >= self._horizon_number:
                self._findings.report("mismatched part", where, f"its heads: {error}")
            return None
        if (tree.root, tree.chains) != (seal.root, seal.chains):
            self._findings.report("mismatched part", where, "the heads stored with it do not give its root")
            return None
        return rows

    def _check_moved(self, row: SealHeadRow, seal: Seal, where: str) -> None:
        chain = self._expected.chain(row.tenant, row.category)
        before = self.heads.get((row.tenant, row.category))
        days = self.shortest_rules.get(row.category, row.retention_days)
        self.shortest_rules[row.category] = min(days, row.retention_days)
        if before is not None and (row.size < before.size or row.kept_from < before.kept_from):
            self._findings.report("fork", f"{where} {chain.name}", "it is behind an earlier seal")
        check_kept_from(
            self._expected,
            chain,
            row.kept_from,
            size=row.size,
            earlier=before.kept_from if before is not None else 0,
            through=purgeable_through(day_of(seal.sealed_at), row.retention_days),
            findings=self._findings,
            where=f"{where} {chain.name}",
        )

    async def _check_orphans(self) -> None:
        """Report heads of seals that do not exist: before the first, or after the last (the next would use them)."""
        expected: list[tuple[int, dict[tuple[str, str], SealHeadRow]]] = []
        if self._expected.horizon is None:
            expected.append((0, {}))
        if self._heads_number == self._number:  # else the last seal is reported already, or there is none
            expected.append((LAST_NUMBER, self.heads))
        for number, heads in expected:
            rows = await self._store.read_seal_heads(number)
            latest = await self._store.latest_seal()
            if number == LAST_NUMBER and latest is not None and latest.number != self._number:
                continue  # sealed meanwhile: these heads are of seals that the next run checks
            for row in rows:
                if heads.get((row.tenant, row.category)) != row:
                    where = f"heads of {row.tenant}/{row.category}"
                    self._findings.report("mismatched part", where, "they belong to a seal that does not exist")


def check_kept_from(
    expected: ExpectedChains,
    chain: ExpectedChain,
    kept_from: int,
    *,
    size: int,
    earlier: int,
    through: date,
    findings: Findings,
    where: str,
) -> None:
    """Report a chain that begins later than the rule allows: `through` is the last day that could be purged.

    The first `earlier` entries were judged by the rule of their own time. The end of a contract deletes all entries.
    """
    if kept_from == size and chain.compartment.tenant in expected.ended:
        return
    allowed = expected.purgeable_size(chain, through)
    if allowed is not None and kept_from > max(allowed, earlier):
        reason = (
            f"it begins at index {kept_from}; at most {allowed} entries, up to {format_day(through)}, could be purged"
        )
        findings.report("early deletion", where, reason)
    elif not expected.is_close(chain, kept_from):
        findings.report("early deletion", where, f"it begins at index {kept_from}, in the middle of a day")
