"""The check of ended contracts: the destroyed tenants of the database against those of the key store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from journal.audit.findings import AGAIN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from journal.audit.expected import ExpectedChains
    from journal.audit.findings import Findings
    from journal.database.ingest import TenantRow
    from journal.database.store import Store
    from journal.keys.store import KeyStore


class EndedTenants:
    """The destroyed tenants, by the database and by the key store."""

    def __init__(self, tenants: Iterable[TenantRow], keystore: KeyStore) -> None:
        """Read the key store's."""
        self._keystore = keystore
        self._known = {row.code for row in tenants}
        self._destroyed = {row.code for row in tenants if row.destroyed}
        self._without_key = set(keystore.ended_tenants())

    @property
    def excused(self) -> set[str]:
        """The tenants whose chains may be purged as a whole."""
        return self._destroyed & self._without_key

    @property
    def unreadable(self) -> set[str]:
        """The tenants whose entries cannot be opened."""
        return self._destroyed | self._without_key

    def check(self, findings: Findings) -> None:
        """Report tenants that only one of the two says are destroyed, and keys that still exist."""
        for code in sorted(self._destroyed - self._without_key):
            reason = f"the database says that it was destroyed, the key store does not: {AGAIN}"
            findings.report("over-retention", f"tenant {code}", reason)
        for code in sorted(self._without_key & self._known - self._destroyed):
            reason = (
                "its key is destroyed, but this database, an older copy, does not say so: close and destroy it again"
            )
            findings.report("over-retention", f"tenant {code}", reason)
        for code in sorted(self.unreadable & set(self._keystore.tenant_keys())):
            findings.report("over-retention", f"key of tenant {code}", f"it was destroyed, but the key exists: {AGAIN}")

    async def check_chains(self, store: Store, expected: ExpectedChains, findings: Findings) -> None:
        """Report what is kept of destroyed chains and differs from their heads, which stay. Raises StoreError."""
        for code in sorted(self._destroyed):
            for row in await store.read_ended_chains(code):
                chain = expected.chain(code, row.category)
                if chain.live is not None and (chain.live.size, chain.live.chain_hash) != (row.size, row.chain_hash):
                    findings.report("mismatched part", f"ended chain {chain.name}", "it is not what its head says")

    def report_rows(self, findings: Findings, where: str, rows: int) -> None:
        """Report the rows of a destroyed tenant in a leaf."""
        findings.report("over-retention", where, f"{rows} entries of a destroyed tenant exist: {AGAIN}")
