"""The check of ended contracts: the destroyed tenants of the database against those of the key store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from journal.audit.findings import AGAIN

if TYPE_CHECKING:
    from collections.abc import Iterable

    from journal.audit.findings import Findings
    from journal.database.ingest import TenantRow
    from journal.keys.store import KeyStore


class EndedTenants:
    """Who was destroyed, as the database has it, and as the key store has it."""

    def __init__(self, tenants: Iterable[TenantRow], keystore: KeyStore) -> None:
        """Read both."""
        self._keystore = keystore
        self._known = {row.code for row in tenants}
        self._destroyed = {row.code for row in tenants if row.destroyed}
        self._without_key = set(keystore.ended_tenants())

    @property
    def excused(self) -> set[str]:
        """Those whose chains may begin at their end."""
        return self._destroyed & self._without_key

    @property
    def unreadable(self) -> set[str]:
        """Those whose entries nobody can open."""
        return self._destroyed | self._without_key

    def check(self, findings: Findings) -> None:
        """Report what only one of the two says, and keys that are there all the same."""
        for code in sorted(self._destroyed - self._without_key):
            reason = f"the database says that it was destroyed, and the key store does not: {AGAIN}"
            findings.report("over-retention", f"tenant {code}", reason)
        for code in sorted(self._without_key & self._known - self._destroyed):
            reason = (
                "its key is destroyed, and this database, an older copy, does not say so: close and destroy it again"
            )
            findings.report("over-retention", f"tenant {code}", reason)
        for code in sorted(self.unreadable & set(self._keystore.tenant_keys())):
            findings.report("over-retention", f"key of tenant {code}", f"it was destroyed, and is there: {AGAIN}")

    def report_rows(self, findings: Findings, where: str, rows: int) -> None:
        """Report the rows of one of them in a leaf."""
        findings.report("over-retention", where, f"{rows} entries of a destroyed tenant are there: {AGAIN}")
