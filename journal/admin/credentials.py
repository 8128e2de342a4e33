"""The credentials that the service accepts: added and revoked, each time with an entry of the `journal` category."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from journal.admin.longer import asks_for_longer, communes_without_handover, refuse_module
from journal.admin.texts import check_text
from journal.choices import CREDENTIAL_ROLES
from journal.core.entry import JOURNAL_CATEGORY
from journal.core.errors import OperatorError, VerificationError
from journal.core.times import day_of, format_time
from journal.database.admin import NewCredential, adding_credential, limiting_credential
from journal.extract.grounds import Person
from journal.pki.certificates import pem_to_der
from journal.signer.identity import to_second
from journal.writing.chronicle import Happening

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from journal.keys.persons import Persons
    from journal.service import Service

SECRET_BYTES = 32
ID_BYTES = 6
# How far back credentials are looked for that were announced and not made, and how long making one may take.
LOOKED_BACK = timedelta(days=1)
UNDER_WAY = timedelta(minutes=1)
# How the events of a provisioning's additions are named, the same at every attempt.
PROVISIONED = "credential-added-"
_TOKEN: Final = re.compile(rf"oej_([0-9a-f]{{{2 * ID_BYTES}}})_([A-Za-z0-9_-]{{20,}})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A credential as it is asked for; `source_prefix` is for modules.

    With a client certificate, the token passes only on connections that proved they hold its key (mutual TLS at a
    trusted proxy). Its authority does not matter: it is recognised by its SHA-256 (as in RFC 8705 section 3).
    """

    role: str
    tenant: str
    categories: Sequence[str]
    source_prefix: str = ""
    certificate_sha256: bytes | None = None
    person: Person | None = None
    label: str = ""
    expires_at: datetime | None = None

    def check(self, *, known: Sequence[str], now: datetime, has_moved: bool) -> None:
        """Raise OperatorError unless it makes sense; `known` are the categories there are, or will be.

        `has_moved` says that the commune's modules record at another service.
        """
        if has_moved and self.role == "module":
            raise OperatorError(f"{self.tenant} has moved: its modules record at the service it went to")
        if self.role not in CREDENTIAL_ROLES:
            raise OperatorError(f"role {self.role!r}: choose {_enumerate(CREDENTIAL_ROLES)}")
        if not self.categories:
            raise OperatorError("a credential needs at least one --category")
        if unknown := [code for code in self.categories if code not in known]:
            raise OperatorError(f"there is no category {unknown[0]}: the categories are {_enumerate(known)}")
        if self.role == "module" and JOURNAL_CATEGORY in self.categories:
            raise OperatorError("the journal category cannot be posted to: no module needs it")
        if self.role == "module" and not self.source_prefix:
            raise OperatorError("a module needs --source-prefix: what its events' source begins with")
        if self.expires_at is not None and self.expires_at <= now:
            raise OperatorError("--expires-at is in the past")
        check_text("--label", self.label)
        check_text("--source-prefix", self.source_prefix)
        if self.person is not None:
            if self.role != "client":
                raise OperatorError("--person is for a client: what the others may do depends on nobody's name")
            check_text("--person", self.person.name)
            check_text("--function", self.person.function)

    def data(self) -> dict[str, Any]:
        """Return what the entry of its addition says."""
        return {
            "categories": sorted(self.categories),
            "certificate_sha256": self.certificate_sha256.hex() if self.certificate_sha256 else None,
            "change": "added",
            "expires_at": format_time(self.expires_at) if self.expires_at is not None else None,
            "person": self.person.as_json() if self.person is not None else None,
            "role": self.role,
        }

    def stored(self, token: Token, persons: Persons) -> NewCredential:
        """Return what the database keeps of it: only a hash of the secret."""
        return NewCredential(
            id=token.id,
            secret_hash=hashlib.sha256(token.secret.encode()).digest(),
            role=self.role,
            tenant=self.tenant,
            categories=list(self.categories),
            source_prefix=self.source_prefix or None,
            certificate_sha256=self.certificate_sha256,
            person=persons.encrypt(self.tenant, token.id, self.person),
            label=self.label,
            expires_at=self.expires_at,
        )


@dataclass(frozen=True, slots=True)
class Token:
    """What its holder sends: the credential's id and its secret."""

    id: str
    secret: str = field(repr=False)

    def __str__(self) -> str:
        """Return it as it is sent."""
        return f"oej_{self.id}_{self.secret}"

    @classmethod
    def new(cls) -> Token:
        """Make one at random."""
        return cls(secrets.token_hex(ID_BYTES), secrets.token_urlsafe(SECRET_BYTES))

    @classmethod
    def parse(cls, text: str) -> Token | None:
        """Read one; None if it is none."""
        match = _TOKEN.fullmatch(text)
        return cls(match[1], match[2]) if match is not None else None


class Credentials:
    """Adds and revokes credentials of one service."""

    def __init__(self, service: Service) -> None:
        """Work on this service; its writer must be running."""
        self._service = service

    async def add(
        self,
        *,
        role: str,
        tenant: str,
        categories: Sequence[str],
        source_prefix: str = "",
        certificate_pem: bytes | None = None,
        person: Person | None = None,
        label: str = "",
        expires_at: datetime | None = None,
    ) -> tuple[str, str]:
        """Add a credential and return (its id, the token). Only a hash of the secret is kept. Raises OperatorError."""
        asked = Asked(
            role=role,
            tenant=tenant,
            categories=categories,
            source_prefix=source_prefix,
            certificate_sha256=fingerprint(certificate_pem) if certificate_pem else None,
            person=person,
            label=label,
            expires_at=expires_at,
        )
        self._check(asked)
        await self._check_longer(asked)
        token = Token.new()
        await self._tell_unmade(tenant)
        # Recorded first: no credential is valid without its entry.
        await self._service.chronicle.write("credential", tenant=tenant, subject=token.id, data=asked.data())
        await self._service.store.add_credential(asked.stored(token, self._service.persons))
        await self._service.snapshot.refresh()
        return token.id, str(token)

    async def _tell_unmade(self, tenant: str) -> None:
        """Record of each credential that an entry announced, and whose process was killed then, that it was not made.

        Entries of the last minute are left alone: another process may be about to make theirs. So are those of a
        provisioning: a repeat of it makes the credential.
        """
        service = self._service
        now = service.clock.now()
        announced: dict[str, datetime] = {}
        async for entry in service.chronicle.entries(tenant, "credential", since=day_of(now - LOOKED_BACK)):
            subject, change = entry.event["subject"], entry.event["data"].get("change")
            if change != "added":
                announced.pop(subject, None)
            elif entry.recorded_at < now - UNDER_WAY and not entry.event["id"].startswith(PROVISIONED):
                announced[subject] = entry.recorded_at
        for identifier, at in announced.items():
            is_made = service.keyring.keystore.ledger.knows("credential", identifier)
            if not is_made and not await service.store.read_credentials(identifier):
                await service.chronicle.write_once(
                    "credential",
                    tenant=tenant,
                    subject=identifier,
                    data={"change": "not added"},
                    event_id=f"not-added-{identifier}",
                    at=at,
                )

    async def revoke(self, identifier: str) -> None:
        """Revoke a credential; every process refuses it within a second. Raises OperatorError.

        Repeated, it writes an entry that could not be written the first time.
        """
        await self._service.store.revoke_credential(identifier)
        rows = {row.id: row for row in await self._service.store.list_credentials()}
        row = rows.get(identifier)
        if row is None or row.revoked_at is None:
            raise OperatorError(f"there is no credential {identifier}: see openepm-journal credential list")
        await self._service.chronicle.write_once(
            "credential",
            tenant=row.tenant,
            subject=identifier,
            data={"change": "revoked", "role": row.role},
            # The same event on every attempt: it is recorded once.
            event_id=f"revoked-{identifier}",
            at=row.revoked_at,
        )

    async def rotate(
        self,
        identifier: str,
        *,
        overlap: timedelta,
        expires_at: datetime | None = None,
        keep: Callable[[Token], None] = lambda _: None,
    ) -> tuple[str, str, datetime]:
        """Make a credential like this one, which stays valid for the overlap; return (new id, token, when it ends).

        Both in one change: neither without the other. `keep` is given the token first. Repeated after an interruption,
        it makes another, and the old one ends no later than before. Raises OperatorError.
        """
        rows = {row.id: row for row in await self._service.store.list_credentials()}
        row, now = rows.get(identifier), self._service.clock.now()
        if row is None or row.revoked_at is not None or (row.expires_at is not None and row.expires_at <= now):
            raise OperatorError(f"there is no valid credential {identifier}: see openepm-journal credential list")
        asked = Asked(
            role=row.role,
            tenant=row.tenant,
            categories=row.categories,
            source_prefix=row.source_prefix or "",
            certificate_sha256=row.certificate_sha256,
            person=self._service.persons.open(row.tenant, row.id, row.person),
            label=row.label,
            expires_at=expires_at,
        )
        self._check(asked)
        token, ends = Token.new(), to_second(now + overlap)
        if row.expires_at is not None:
            ends = min(ends, row.expires_at)
        keep(token)
        told = {"change": "rotated", "expires_at": format_time(ends), "role": row.role, "successor": token.id}
        happened = {identifier: told, token.id: asked.data()}
        await self._service.chronicle.write_all(
            [
                Happening(
                    kind="credential",
                    tenant=row.tenant,
                    subject=subject,
                    data=data,
                    event_id=f"rotation-{subject}-{token.id}",
                    at=now,
                )
                for subject, data in happened.items()
            ]
        )
        await self._service.store.change(
            [limiting_credential(row, ends), adding_credential(asked.stored(token, self._service.persons))]
        )
        await self._service.snapshot.refresh()
        return token.id, str(token), ends

    def _check(self, asked: Asked) -> None:
        row = self._service.snapshot.tenant(asked.tenant)
        if row is None or row.closed:
            raise OperatorError(f"there is no tenant {asked.tenant}: see openepm-journal tenant list")
        known = [category.code for category in self._service.snapshot.categories()]
        asked.check(known=known, now=self._service.clock.now(), has_moved=row.moved)

    async def _check_longer(self, asked: Asked) -> None:
        """Refuse a module for what must be handed over, where nothing is."""
        rows = [self._service.snapshot.category(code) for code in asked.categories]
        longer = [row.code for row in rows if row is not None and asks_for_longer(row)]
        if asked.role == "module" and longer and asked.tenant in await communes_without_handover(self._service):
            refuse_module(asked.tenant, longer)


def person_of(name: str | None, function: str | None) -> Person | None:
    """Return the person of a credential; None where neither is given. Raises OperatorError for half of one."""
    if name is None and function is None:
        return None
    if not name or not name.strip() or not function or not function.strip():
        raise OperatorError("a person has a name and a function: --person NAME --function FUNCTION")
    return Person(name, function)


def fingerprint(pem: bytes) -> bytes:
    """Return the SHA-256 of the one certificate in a PEM file. Raises OperatorError."""
    if b"PRIVATE KEY" in pem:
        raise OperatorError("this file holds a private key: it stays with the caller; give the certificate only")
    try:
        found = pem_to_der(pem)
    except VerificationError as error:
        raise OperatorError(f"the client certificate cannot be read ({error}): give one certificate in PEM") from error
    if len(found) != 1:
        raise OperatorError(f"the file has {len(found)} certificates: give the caller's own alone, in PEM")
    return hashlib.sha256(found[0]).digest()


def _enumerate(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else "".join(words)
