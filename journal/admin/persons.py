"""The persons who may sign in to the console: invited, accepted, revoked, each time with an entry.

An invitation is a secret of short life. Who accepts it chooses a password and proves a second factor (TOTP, RFC 6238);
both are kept encrypted, and no page or command tells them. Whoever invites, which the commune's journal says, learns
neither: the second factor is another each time that the page of an invitation is opened.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import hmac
import re
import secrets
from base64 import b32encode, b64encode
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pyotp
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from journal.admin.passwords import is_guessable
from journal.admin.texts import check_text
from journal.choices import INVITATION_HOURS, PERSON_ROLES
from journal.core.entry import RESERVED_TENANT
from journal.core.errors import KeyStoreError, OperatorError
from journal.core.times import format_time
from journal.database.persons import PersonRow
from journal.keys.persons import Identity, SignInKeys
from journal.writing.chronicle import SUBMITTED_BY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from journal.notices.kinds import Choice
    from journal.service import Service

PASSWORD_MIN_CHARACTERS = 12
PASSWORD_MAX_CHARACTERS = 256
ID_BYTES = 6
STEP_SECONDS = 30
TOTP_BYTES = 20
# A clock may be this many steps off (RFC 6238 section 5.2 recommends one).
STEPS_OFF = 1
# A hash takes 64 MiB (RFC 9106 section 4, second choice): not many at once.
HASHES_AT_ONCE = 2
# One address and nothing more to a mail header (RFC 5322 section 3.4.1), and no encoded word (RFC 2047).
LOGIN = re.compile(r"(?!.*=\?)[^\s@\"(),:;<>\[\\\]]{1,64}@[\w-]+(?:\.[\w-]+)*").fullmatch
_CODE = re.compile(r"[0-9]{6}").fullmatch


class RefusedError(Exception):
    """What was given does not sign in, or cannot be chosen: a code, and the person who would have signed in."""

    def __init__(self, reason: str, row: PersonRow | None = None) -> None:
        """Keep the reason."""
        super().__init__(reason)
        self.reason = reason
        self.row = row


class People:
    """The persons of one service."""

    def __init__(self, service: Service) -> None:
        """Work on this service; its writer must be running where something is changed."""
        self._service = service
        self._keys = SignInKeys(service.keyring.keystore)
        self._hasher = PasswordHasher()
        self._hashing = asyncio.Semaphore(HASHES_AT_ONCE)

    @functools.cached_property
    def _nobody(self) -> str:
        """What is compared with where there is no such person, so that the answer takes the same time.

        It is the hash of no known password, drawn rather than computed: the first answer takes no longer either.
        """
        made = self._hasher
        salt, digest = (
            b64encode(secrets.token_bytes(size)).decode().rstrip("=") for size in (made.salt_len, made.hash_len)
        )
        return f"$argon2id$v=19$m={made.memory_cost},t={made.time_cost},p={made.parallelism}${salt}${digest}"

    def identity(self, row: PersonRow) -> Identity:
        """Return who a person is. Raises KeyStoreError."""
        return self._keys.open(row.tenant, row.id, row.sealed)

    def mac(self, message: bytes) -> bytes:
        """Return the MAC of what a browser is given to keep."""
        return self._keys.mac(message)

    def login_key(self, login: str) -> bytes:
        """Return what a login is found by: the same for every spelling of it. Raises KeyStoreError."""
        return self._keys.login_key(login)

    def current(self, identifier: str) -> PersonRow | None:
        """Return a person who may be signed in now, or None."""
        row = self._service.snapshot.person(identifier)
        if row is None or row.revoked_at is not None or row.invitation_hash is not None:
            return None
        tenant = self._service.snapshot.tenant(row.tenant)
        return None if tenant is None or tenant.closed else row

    async def invite(
        self,
        *,
        tenant: str,
        role: str,
        categories: Sequence[str],
        identity: Identity,
        hours: int = INVITATION_HOURS,
        operator: str | None = None,
    ) -> tuple[PersonRow, str]:
        """Store a person and return (row, secret of the invitation); `operator` is the name of who invites.

        Raises OperatorError, StoreError.
        """
        self._check(tenant, role, categories, identity)
        identifier, secret = secrets.token_hex(ID_BYTES), secrets.token_urlsafe(32)
        row = PersonRow(
            id=identifier,
            tenant=tenant,
            role=role,
            categories=list(categories),
            login_key=self._keys.login_key(identity.login),
            sealed=self._keys.encrypt(tenant, identifier, identity),
            invitation_hash=_hash(secret),
            invited_until=self._service.clock.now() + timedelta(hours=hours),
        )
        if any(one.login_key == row.login_key and one.revoked_at is None for one in self._service.snapshot.persons()):
            raise OperatorError("somebody signs in with this login already: revoke that person first (person list)")
        told = {"categories": sorted(categories), "expires_at": row.invited_until, "operator": operator}
        await self._tell(row, "invited", **told)
        await self._service.store.add_person(row)
        await self._service.snapshot.refresh()
        return row, secret

    async def invite_again(
        self, identifier: str, *, hours: int = INVITATION_HOURS, operator: str | None = None
    ) -> tuple[PersonRow, str]:
        """Replace password and second factor, which were lost, by an invitation to choose new ones; see `invite`."""
        row = self._known(identifier)
        secret = secrets.token_urlsafe(32)
        until = self._service.clock.now() + timedelta(hours=hours)
        identity = replace(self.identity(row), password_hash="", totp_secret="")
        await self._tell(row, "invited", expires_at=until, operator=operator)
        sealed = self._keys.encrypt(row.tenant, row.id, identity)
        if not await self._service.store.set_person(
            row, sealed=sealed, invitation_hash=_hash(secret), invited_until=until
        ):
            raise OperatorError(f"person {identifier} was changed by somebody else meanwhile: look, then try again")
        await self._service.snapshot.refresh()
        return row, secret

    async def choose_mails(self, row: PersonRow, choice: Choice) -> PersonRow:
        """Keep what a person wants to be told by mail, with an entry; return the row as it is now.

        Raises RefusedError where the person was changed meanwhile, StoreError.
        """
        identity = replace(self.identity(row), mails=choice.text())
        data = {"detail": choice.told(), "person": identity.person.as_json(), "role": row.role}
        await self._service.chronicle.write("person", tenant=row.tenant, subject=row.id, data=data, submitted_by=row.id)
        sealed = self._keys.encrypt(row.tenant, row.id, identity)
        was_set = await self._service.store.set_person(row, sealed=sealed, invitation_hash=None, invited_until=None)
        await self._service.snapshot.refresh()
        if not was_set:
            raise RefusedError("over")
        return self._known(row.id)

    async def revoke(self, identifier: str, *, operator: str | None = None) -> PersonRow:
        """Revoke a person; every process refuses the person within a second. Raises OperatorError, StoreError."""
        row = self._service.snapshot.person(identifier)
        if row is None:
            raise OperatorError(f"there is no person {identifier}: see openepm-journal person list")
        await self._service.store.revoke_person(identifier)
        await self._service.snapshot.refresh()
        revoked = self._service.snapshot.person(identifier)
        if revoked is not None and revoked.revoked_at is not None:
            await self._service.chronicle.write_once(
                "person",
                tenant=row.tenant,
                subject=row.id,
                data={"change": "revoked", "operator": operator, "role": row.role},
                event_id=f"person-revoked-{row.id}",
                at=revoked.revoked_at,
            )
        return row

    def invited(self, identifier: str, secret: str) -> PersonRow | None:
        """Return the person whose invitation this is and still holds, or None."""
        row = self._service.snapshot.person(identifier)
        expected = row.invitation_hash if row is not None and row.invitation_hash is not None else bytes(32)
        is_right = hmac.compare_digest(_hash(secret), expected)
        if row is None or not is_right or row.revoked_at is not None or row.invited_until is None:
            return None
        tenant = self._service.snapshot.tenant(row.tenant)
        is_over = row.invited_until <= self._service.clock.now() or tenant is None or tenant.closed
        return None if is_over else row

    def proposed_secret(self, row: PersonRow, secret: str, opening: str) -> str:
        """Return the second factor that an invitation proposes (base32, 160 bits).

        `opening` is drawn each time that the page is opened: who opened it before, to pass it on, knows another one.
        """
        seed = self._keys.mac(f"totp\0{row.id}\0{secret}\0{opening}".encode())
        return b32encode(seed[:TOTP_BYTES]).decode()

    async def accept(
        self, row: PersonRow, secret: str, *, opening: str, password: str, repeated: str, code: str
    ) -> None:
        """Keep the password chosen and the second factor proved. Raises RefusedError, StoreError."""
        identity = self.identity(row)
        if password != repeated:
            raise RefusedError("passwords-differ")
        if not PASSWORD_MIN_CHARACTERS <= len(password) <= PASSWORD_MAX_CHARACTERS:
            raise RefusedError("password-length")
        tenant = self._service.snapshot.tenant(row.tenant)
        if is_guessable(password, (identity.login.partition("@")[0], identity.name, tenant.name if tenant else "")):
            raise RefusedError("password-guessable")
        totp_secret = self.proposed_secret(row, secret, opening)
        step = self._step(totp_secret, code)
        if step is None:
            raise RefusedError("code")
        kept = replace(identity, password_hash=await self._hash_password(password), totp_secret=totp_secret)
        sealed = self._keys.encrypt(row.tenant, row.id, kept)
        await self._service.snapshot.refresh()
        # While the form was filled in, somebody else may have accepted, or the invitation may have ended.
        if self.invited(row.id, secret) is None:
            raise RefusedError("over")
        if not await self._service.store.use_code(row.id, step):
            raise RefusedError("code")
        await self._tell(row, "invitation accepted")
        was_set = await self._service.store.set_person(row, sealed=sealed, invitation_hash=None, invited_until=None)
        await self._service.snapshot.refresh()
        if not was_set:
            raise RefusedError("over")

    async def sign_in(self, login: str, password: str, code: str) -> PersonRow:
        """Return who signs in; the entry of it is written. Raises RefusedError, always with the same reason.

        What is wrong, login, password or code, is not told, and takes the same time. Who gives all three is told where
        the contract has ended.
        """
        row = self._by_login(login)
        identity = self.identity(row) if row is not None else None
        expected = identity.password_hash if identity is not None else self._nobody
        is_password = await self._verify(expected, password[:PASSWORD_MAX_CHARACTERS])
        if row is None or identity is None or not is_password:
            raise RefusedError("sign-in", row)
        step = self._step(identity.totp_secret, code)
        if step is None or not await self._service.store.use_code(row.id, step):
            raise RefusedError("sign-in", row)
        if self.current(row.id) is None:
            raise RefusedError("contract-ended")
        await self._tell(row, "signed in")
        return row

    async def tell_refused(self, row: PersonRow) -> None:
        """Record that somebody was refused who gave a person's login. Raises what `Chronicle.write` does."""
        await self._tell(row, "sign-in refused")

    async def sign_out(self, row: PersonRow) -> None:
        """End every session of a person that began before now. Raises StoreError."""
        await self._service.store.sign_out(row.id, self._service.clock.now())

    def _by_login(self, login: str) -> PersonRow | None:
        key = self._keys.login_key(login)
        found = [one for one in self._service.snapshot.persons() if hmac.compare_digest(one.login_key, key)]
        # Of a commune that has left, it opens while the commune's key is there.
        kept = [row for row in found if row.revoked_at is None and row.invitation_hash is None and self._opens(row)]
        return next((row for row in kept if self.current(row.id) is not None), kept[0] if kept else None)

    def _opens(self, row: PersonRow) -> bool:
        if self.current(row.id) is not None:
            return True
        try:
            self.identity(row)
        except KeyStoreError:
            return False
        return True

    def _step(self, totp_secret: str, code: str) -> int | None:
        """Return the step of which this is the code, now or a moment ago; None if it is of none."""
        code = code.replace(" ", "")
        if not _CODE(code):
            return None
        totp = pyotp.TOTP(totp_secret)
        now = int(self._service.clock.now().timestamp()) // STEP_SECONDS
        steps = range(now - STEPS_OFF, now + STEPS_OFF + 1)
        return next((step for step in steps if hmac.compare_digest(totp.generate_otp(step), code)), None)

    async def _hash_password(self, password: str) -> str:
        async with self._hashing:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def _verify(self, expected: str, password: str) -> bool:
        async with self._hashing:
            try:
                return await asyncio.to_thread(self._hasher.verify, expected, password)
            except (VerificationError, InvalidHashError):
                return False

    def _known(self, identifier: str) -> PersonRow:
        row = self._service.snapshot.person(identifier)
        if row is None or row.revoked_at is not None:
            raise OperatorError(f"there is no person {identifier} who may sign in: see openepm-journal person list")
        return row

    def _check(self, tenant: str, role: str, categories: Sequence[str], identity: Identity) -> None:
        if role not in PERSON_ROLES:
            raise OperatorError(f"role {role!r}: choose one of {', '.join(PERSON_ROLES)}")
        row = self._service.snapshot.tenant(tenant)
        if row is None or row.closed:
            raise OperatorError(f"there is no tenant {tenant}: see openepm-journal tenant list")
        if (role == "operator") != (tenant == RESERVED_TENANT):
            raise OperatorError(
                "an operator is the host's and of no commune: leave --tenant out for one, and only then"
            )
        known = [category.code for category in self._service.snapshot.categories()]
        if unknown := [code for code in categories if code not in known]:
            raise OperatorError(f"there is no category {unknown[0]}: the categories are {', '.join(known)}")
        if not categories and role != "operator":
            raise OperatorError("a person of a commune needs at least one --category")
        for option, text in (("--name", identity.name), ("--function", identity.function)):
            if not text.strip():
                raise OperatorError(f"{option} is blank")
            check_text(option, text)
        if not LOGIN(identity.login):
            raise OperatorError("--login: give the person's mail address, which is what the person signs in with")
        check_text("--login", identity.login)

    async def _tell(self, row: PersonRow, change: str, **members: Any) -> None:
        """Write an entry about a person in the journal of the person's commune, or of the service."""
        identity = self.identity(row)
        data: dict[str, Any] = {"change": change, "person": identity.person.as_json(), "role": row.role}
        for name, value in members.items():
            data[name] = format_time(value) if name == "expires_at" else value
        submitted_by = SUBMITTED_BY if change == "invited" else row.id
        await self._service.chronicle.write(
            "person", tenant=row.tenant, subject=row.id, data=data, submitted_by=submitted_by
        )


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
