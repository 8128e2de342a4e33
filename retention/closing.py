"""The end of a contract, first step: everything kept of a commune is exported, and nothing more is accepted for it.

In this order, each step safe to repeat: check that the export directory can be written → revoke credentials → announce
the export in the commune's last entry → close, so that the export holds everything → export → note it in the database.
The second step is `retention.destruction`.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING

from journal.admin.recipient import read_recipient, read_recipient_pem
from journal.core.errors import BusyError, OperatorError
from retention.export import FILE_LIMIT_BYTES, Export, Exported
from retention.outbox import HeldError, Outbox

if TYPE_CHECKING:
    from pathlib import Path

    from journal.admin.administration import Administration
    from journal.admin.recipient import Recipient
    from journal.database.ending import Ending
    from journal.database.ingest import TenantRow
    from journal.service import Service

RETRY_SECONDS = 30
PROBE = "probe"


class Closing:
    """Closes contracts; the same command, repeated, finishes a run that was cut short."""

    def __init__(
        self, service: Service, administration: Administration, *, file_limit_bytes: int = FILE_LIMIT_BYTES
    ) -> None:
        """Close communes of this service."""
        self._service = service
        self._store = service.store
        self._administration = administration
        self._file_limit_bytes = file_limit_bytes

    async def close(self, code: str, root: Path, pem: bytes | None = None) -> Exported:
        """Close a commune and export it below `root`, to its certificate (PEM), or to the one it has registered.

        Nothing is changed unless files can be written there. Raises OperatorError, BusyError.
        """
        await self._service.snapshot.refresh()
        tenant = self._administration.find_tenant(code)
        ending = await self._store.read_ending(code)
        self._check_exportable(tenant, ending)
        # First: once closed, it could be neither sealed nor exported until the certificate is renewed.
        self._service.identity.check_valid(self._service.clock.now())
        recipient = await self._recipient(code, ending, pem)
        try:
            outbox = await asyncio.to_thread(_hold, root, code)
        except HeldError as error:
            raise BusyError(
                f"another export of {code} is being made there", retry_after_seconds=RETRY_SECONDS
            ) from error
        except OSError as error:
            raise _refused(error, root, "nothing was changed") from error
        with closing(outbox):
            await self._administration.close_tenant(code, recipient)
            try:
                return await self._export(outbox, code, recipient)
            except OSError as error:
                raise _refused(error, root, f"{code} is closed and not exported: repeat the command") from error

    async def close_without_export(self, code: str) -> None:
        """Close a commune without an export, or cancel the one that was announced. Raises OperatorError."""
        await self._service.snapshot.refresh()
        ending = await self._store.read_ending(code)
        if ending is not None and ending.exported_at is not None:
            raise OperatorError(f"{code} was exported on {ending.exported_at:%Y-%m-%d}: nothing was changed")
        await self._administration.close_tenant(code)
        ending = await self._store.read_ending(code)
        if ending is None or ending.waived_at is None:
            # Recorded first, as every change.
            data = {"change": "export waived"}
            await self._service.chronicle.write("tenant", tenant=code, subject=code, data=data)
            await self._store.waive_export(code)

    def _check_exportable(self, tenant: TenantRow, ending: Ending | None) -> None:
        code = tenant.code
        if tenant.destroyed or code in self._service.keyring.keystore.ended_tenants():
            raise OperatorError(f"the key of {code} is destroyed: its entries can be neither read nor exported")
        if tenant.closed and (ending is None or ending.announcement is None):
            raise OperatorError(f"{code} was closed without an export: no request can be recorded for it any more")

    async def _recipient(self, code: str, ending: Ending | None, pem: bytes | None) -> Recipient:
        if pem is not None:
            recipient = read_recipient_pem(pem)
        elif ending is not None and ending.certificate is not None:
            recipient = read_recipient(ending.certificate)
        else:
            registered = {row.tenant: row.certificate for row in await self._store.list_recipients()}
            if code not in registered:
                raise OperatorError(
                    f"{code} has registered no certificate: ask it for one (--certificate PEM), "
                    "or use --without-export if it wants no export"
                )
            recipient = read_recipient(registered[code])
        recipient.check_valid(self._service.clock.now())
        return recipient

    async def _export(self, outbox: Outbox, code: str, recipient: Recipient) -> Exported:
        ending = await self._store.read_ending(code)
        assert ending is not None  # it is closed
        export = Export(
            self._service,
            outbox=outbox,
            ending=ending,
            recipient=recipient,
            file_limit_bytes=self._file_limit_bytes,
        )
        if (exported := await export.find()) is not None:
            return exported
        # Recorded before a byte is written, as for every extract.
        data = {"change": "export begun", "recipient": recipient.sha256.hex()}
        await self._service.chronicle.write("tenant", tenant=code, subject=code, data=data)
        exported = await export.make()
        data = {"change": "exported", "inventory": exported.sha256.hex()}
        await self._service.chronicle.write("tenant", tenant=code, subject=code, data=data)
        await self._store.note_export(code, exported.sha256)
        return exported


def _hold(root: Path, code: str) -> Outbox:
    """Lock the export's own directory, and check that it can be written."""
    # The dot keeps it apart from the directories of hand-overs: no tenant code has one.
    outbox = Outbox.hold(root, f"{code}.export")
    try:
        outbox.create(PROBE).abandon()
    except BaseException:
        outbox.close()
        raise
    return outbox


def _refused(error: OSError, root: Path, state: str) -> OperatorError:
    where, what = error.filename or root, error.strerror or type(error).__name__
    return OperatorError(f"{where}: {what}: --export-to names a directory where files can be written; {state}")
