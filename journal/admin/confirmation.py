"""The confirmation of a hand-over: a commune shows that it can open what is encrypted to its certificate.

The code is the beginning of the SHA-256 of the extract inside a file: whoever has not opened that file cannot give it,
and no other extract of the same days has it. The database holds a MAC of it, under a key of the key store. Until then
the purge keeps each day to its limit, as if it had not been handed over; a new certificate begins anew.
"""

from __future__ import annotations

import re
from hmac import compare_digest
from typing import TYPE_CHECKING, Any

from journal.admin.recipient import read_recipient
from journal.core.errors import OperatorError
from journal.core.times import format_day
from journal.writing.chronicle import SUBMITTED_BY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from journal.database.handover import HandoverFile
    from journal.service import Service

CODE_DIGITS = 16
SHA256_DIGITS = 64
_CODE = re.compile(rf"[0-9a-f]{{{CODE_DIGITS}}}(?:[0-9a-f]{{{SHA256_DIGITS - CODE_DIGITS}}})?").fullmatch


class WrongCodeError(OperatorError):
    """No hand-over to the commune's present certificate has this confirmation code."""


def confirmation_code(extract_sha256: bytes) -> str:
    """Return the confirmation code of a file by the SHA-256 of the extract inside (FORMAT.md, section 13)."""
    return extract_sha256.hex()[:CODE_DIGITS]


def read_code(text: str) -> str:
    """Return the code in what somebody typed: with blanks, hyphens and capitals, or the whole SHA-256.

    Raises WrongCodeError.
    """
    match = _CODE("".join(text.split()).replace("-", "").lower())
    if match is None:
        raise WrongCodeError(
            f"a confirmation code has {CODE_DIGITS} hexadecimal digits, the first of the SHA-256 of an opened extract: "
            "nothing was changed"
        )
    return match[0][:CODE_DIGITS]


async def confirm_handover(
    service: Service,
    tenant: str,
    text: str,
    *,
    person: Mapping[str, Any] | None = None,
    submitted_by: str = SUBMITTED_BY,
) -> HandoverFile:
    """Note, and record, that a commune opened a file handed over to its present certificate; return which.

    `person` is who says so, `submitted_by` the account. Repeated, it is confirmed still. Raises WrongCodeError,
    OperatorError (there is no hand-over), StoreError.
    """
    code = read_code(text)
    recipients = {row.tenant: row for row in await service.store.read_recipients()}
    if (row := recipients.get(tenant)) is None:
        raise OperatorError(f"{tenant} has registered no certificate: nothing is handed over to it")
    recipient = read_recipient(row.certificate)
    expected = service.store.code_mac(tenant, code)
    files = [
        file
        for file in await service.store.placed_handovers(tenant)
        if file.recipient_sha256 == recipient.sha256 and compare_digest(file.code_mac, expected)
    ]
    if not files:
        raise WrongCodeError(
            f"no file handed over to {tenant} for its present certificate has this confirmation code: nothing was "
            "changed; it is shown by verifier.html once a file is opened, or by sha256sum of the opened extract"
        )
    (file, *_) = files
    if row.confirmed_at is None:
        data = {
            "category": file.category,
            "change": "hand-over confirmed",
            "from": format_day(file.first_day),
            "person": person,
            "sha256": recipient.sha256.hex(),
            "to": format_day(file.last_day),
        }
        await service.chronicle.write(
            "setting", tenant=tenant, subject="handover", data=data, submitted_by=submitted_by
        )
        await service.store.confirm_recipient(tenant, row.certificate)
    return file
