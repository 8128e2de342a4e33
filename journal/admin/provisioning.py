"""Provisioning: what a file states is compared with what there is, and what is missing is added, in batches.

Nothing is taken away or altered but the certificate of a hand-over, so that a repeated run changes nothing. Each batch
is one transaction and one write to the ledger (`journal.database.change`), and its entries share an append. The order
within a batch makes a run repeatable after any interruption:

category, commune   keys, then rows, then entries: a repeat writes the entries that are missing
credential          the file of the token, then the entry, then the row: a repeat takes the token from its file
hand-over           the entry, then the row
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVar

from journal.admin.administration import Administration, NewCategory, NewTenant, describe
from journal.admin.credentials import PROVISIONED, Asked, Token, fingerprint, person_of
from journal.admin.longer import asks_for_longer, refuse_longer, refuse_module
from journal.admin.recipient import Recipient, read_recipient_pem
from journal.admin.stated import Fault, StatedCategory, StatedCredential, StatedHandover, StatedTenant
from journal.core.entry import RESERVED_TENANT, SLUG
from journal.core.errors import OperatorError
from journal.core.times import format_time
from journal.database.admin import adding_credential, setting_recipient
from journal.keys.files import create_all_durably, make_private_directory
from journal.writing.chronicle import Happening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from journal.admin.stated import Stated
    from journal.database.ingest import CredentialRow
    from journal.service import Service

# A batch holds back every other administrative change.
BATCH: Final = 200
AT_ONCE: Final = 4
TOKEN_SUFFIX: Final = ".token"  # noqa: S105 - of a file

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCredential:
    """A credential to add; its token is written to `path`, or was, by a run that was cut short."""

    asked: Asked
    token: Token
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class NewHandover:
    """A certificate to register; `event_id` is the same for every attempt."""

    tenant: str
    recipient: Recipient
    event_id: str


@dataclass(slots=True)
class Plan:
    """What is to be added, and how much of what is stated is there already."""

    categories: list[NewCategory] = field(default_factory=list)
    tenants: list[NewTenant] = field(default_factory=list)
    credentials: list[NewCredential] = field(default_factory=list)
    handovers: list[NewHandover] = field(default_factory=list)
    # Those that are there: their entries may be missing after an interruption.
    old_categories: list[NewCategory] = field(default_factory=list)
    old_tenants: list[NewTenant] = field(default_factory=list)
    unchanged: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """Return how many of each kind are to be added."""
        return {
            "categories": len(self.categories),
            "tenants": len(self.tenants),
            "credentials": len(self.credentials),
            "handovers": len(self.handovers),
        }

    def lines(self) -> Iterator[str]:
        """Yield a line for each step."""
        for category in self.categories:
            yield f"add category {category.code}, kept {category.retention_days} days"
        for tenant in self.tenants:
            yield f"add tenant {tenant.code}"
        for credential in self.credentials:
            asked = credential.asked
            what = f"{asked.tenant} {asked.label} ({asked.role}: {', '.join(asked.categories)})"
            yield f"add credential {what}; its token goes to {credential.path}"
        for handover in self.handovers:
            digest = handover.recipient.sha256.hex()
            yield f"register the hand-over certificate of {handover.tenant}, SHA-256 {digest}"


class Provisioning:
    """Plans and carries out provisionings of one service."""

    def __init__(self, service: Service, administration: Administration) -> None:
        """Work on this service; to carry a plan out, its writer must be running."""
        self._service = service
        self._administration = administration

    async def plan(self, stated: Sequence[Stated], *, base: Path, tokens: Path | None) -> tuple[Plan, list[Fault]]:
        """Compare what is stated with what there is; return what is to be done, and every fault.

        Certificates are seen from `base`; `tokens` is the directory for the files of new tokens. Raises StoreError.
        """
        planner = _Planner(self._service, base, tokens)
        await planner.read()
        for of_kind in (StatedTenant, StatedHandover, StatedCategory, StatedCredential):
            for item in stated:
                if isinstance(item.item, of_kind):
                    planner.take(item)
        return planner.plan, planner.faults

    async def carry_out(self, plan: Plan, done: Callable[[int], object]) -> None:
        """Add what the plan says; `done` is told how many items each batch has added.

        Safe to repeat, with a new plan, whatever interrupted it. The days of new categories are prepared afterwards, by
        whoever calls. Raises StoreError, KeyStoreError, OSError.
        """
        for category in plan.old_categories:
            await self._administration.enter_category(category)
        await self._administration.enter_tenants(tenant.code for tenant in plan.old_tenants)
        for tenants in _batches(plan.tenants):
            await self._administration.add_tenants(tenants)
            done(len(tenants))
        # Before what may ask for them.
        for handovers in _batches(plan.handovers):
            await self._register(handovers)
            done(len(handovers))
        for category in plan.categories:
            await self._administration.add_category(category)
            done(1)
        for credentials in _batches(plan.credentials):
            await self._add_credentials(credentials)
            done(len(credentials))

    async def _add_credentials(self, credentials: Sequence[NewCredential]) -> None:
        service = self._service
        make_private_directory(credentials[0].path.parent)
        # First: a credential whose token nobody has could not be used.
        contents = [(each.path, f"{each.token}\n".encode("ascii")) for each in credentials]
        # At once, because each waits for the disk.
        parts = [dict(contents[start::AT_ONCE]) for start in range(AT_ONCE)]
        await asyncio.gather(*(asyncio.to_thread(create_all_durably, part) for part in parts))
        now = service.clock.now()
        # Then the entries: no credential is valid without its entry.
        await service.chronicle.write_all(
            [
                Happening(
                    kind="credential",
                    tenant=each.asked.tenant,
                    subject=each.token.id,
                    data=each.asked.data(),
                    event_id=f"{PROVISIONED}{each.token.id}",
                    at=now,
                )
                for each in credentials
            ]
        )
        await service.store.change(
            [adding_credential(each.asked.stored(each.token, service.persons)) for each in credentials]
        )
        await service.snapshot.refresh()

    async def _register(self, handovers: Sequence[NewHandover]) -> None:
        service = self._service
        now = service.clock.now()
        await service.chronicle.write_all(
            [
                Happening(
                    kind="setting",
                    tenant=each.tenant,
                    subject="handover",
                    data=describe(each.recipient),
                    event_id=each.event_id,
                    at=now,
                )
                for each in handovers
            ]
        )
        await service.store.change(
            [setting_recipient(each.tenant, each.recipient.certificate.encoded) for each in handovers]
        )


def _batches(items: Sequence[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while batch := list(islice(rest, BATCH)):
        yield batch


class _Planner:
    """Takes the items: communes, hand-overs, categories, credentials."""

    def __init__(self, service: Service, base: Path, tokens: Path | None) -> None:
        self.plan = Plan()
        self.faults: list[Fault] = []
        self._service = service
        self._base = base
        self._tokens = tokens
        self._seen: dict[tuple[str, ...], str] = {}
        self._categories = {row.code: row for row in service.snapshot.categories()}
        self._tenants = {row.code: row for row in service.snapshot.tenants()}
        self._known = set(self._categories)
        self._open = {row.code for row in service.snapshot.tenants() if not row.closed} - {RESERVED_TENANT}
        self._credentials: dict[tuple[str, str], list[CredentialRow]] = {}
        self._ids: set[str] = set()
        self._recipients: Mapping[str, tuple[bytes, str]] = {}
        self._longer = {row.code for row in self._categories.values() if asks_for_longer(row)}

    async def read(self) -> None:
        """Read the credentials and certificates there are."""
        for row in await self._service.store.list_credentials():
            self._credentials.setdefault((row.tenant, row.label), []).append(row)
            self._ids.add(row.id)
        self._recipients = {
            row.tenant: (row.certificate, format_time(row.registered_at))
            for row in await self._service.store.list_recipients()
        }

    def take(self, stated: Stated) -> None:
        """Take an item into the plan, or note what is wrong with it."""
        item = stated.item
        try:
            if isinstance(item, StatedCategory):
                self._once(stated, "category", item.code)
                self._take_category(item)
            elif isinstance(item, StatedTenant):
                self._once(stated, "tenant", item.code)
                self._take_tenant(item)
            elif isinstance(item, StatedCredential):
                self._once(stated, "credential", item.tenant, item.label)
                self._take_credential(item)
            else:
                self._once(stated, "handover", item.tenant)
                self._take_handover(item)
        except OperatorError as error:
            self.faults.append(Fault(stated.place, str(error)))

    def _once(self, stated: Stated, *key: str) -> None:
        if (first := self._seen.setdefault(key, stated.place)) != stated.place:
            raise OperatorError(f"{' '.join(key)} is stated twice, first at {first}")

    def _take_category(self, item: StatedCategory) -> None:
        new = NewCategory(
            code=item.code,
            label=item.label,
            regime=item.regime,
            retention_days=item.retention_days,
            needs_authorisation=item.needs_authorisation,
            basis=item.basis,
            legal_basis=item.legal_basis,
            required_days=item.required_days,
        )
        new.check()
        row = self._categories.get(item.code)
        if row is None:
            refuse_longer(new.code, new.required_days, new.retention_days, self._open - self._handed_over())
            if new.required_days > new.retention_days:
                self._longer.add(item.code)
            self._known.add(item.code)
            self.plan.categories.append(new)
            return
        days = row.next_retention_days if row.next_retention_days is not None else row.rule_days
        compared = {
            "label": (row.label, new.label),
            "regime": (row.regime, new.regime),
            "retention_days": (days, new.retention_days),
            "needs_authorisation": (row.needs_authorisation, new.needs_authorisation),
            "basis": (row.basis, new.basis),
            "legal_basis": (row.legal_basis, new.named_basis),
            "required_days": (row.required_days, new.required_days),
        }
        if differing := [name for name, (old, wanted) in compared.items() if old != wanted]:
            raise OperatorError(
                f"category {item.code} is there with another {', another '.join(differing)}: a rule is changed on a "
                "written instruction, with openepm-journal category set"
            )
        self.plan.old_categories.append(new)
        self.plan.unchanged += 1

    def _take_tenant(self, item: StatedTenant) -> None:
        new = NewTenant(code=item.code, name=item.name)
        new.check()
        row = self._tenants.get(item.code)
        if row is None:
            self._open.add(item.code)
            self.plan.tenants.append(new)
            return
        if row.closed:
            raise OperatorError(f"the contract of tenant {item.code} has ended; codes are never reused")
        if row.name != item.name:
            raise OperatorError(f"tenant {item.code} is there under another name: correct the file")
        self.plan.old_tenants.append(new)
        self.plan.unchanged += 1

    def _take_credential(self, item: StatedCredential) -> None:
        if not SLUG.match(item.label):
            raise OperatorError(
                f"label {item.label!r}: it names the file of the token; use lower-case letters, digits and hyphens"
            )
        asked = Asked(
            role=item.role,
            tenant=item.tenant,
            categories=item.categories,
            source_prefix=item.source_prefix,
            certificate_sha256=fingerprint(self._file(item.certificate)) if item.certificate else None,
            person=person_of(item.person, item.function),
            label=item.label,
            expires_at=item.expires_at,
        )
        self._check_tenant(item.tenant)
        if rows := self._credentials.get((item.tenant, item.label)):
            self._compare(asked, rows)
            return
        row = self._tenants.get(item.tenant)  # none of one that the file adds
        asked.check(known=sorted(self._known), now=self._service.clock.now(), has_moved=row is not None and row.moved)
        if item.role == "module" and item.tenant not in self._handed_over():
            refuse_module(item.tenant, self._longer.intersection(item.categories))
        if self._tokens is None:
            raise OperatorError(
                f"credential {item.tenant} {item.label} is new: name the directory for its token with --tokens"
            )
        path = self._tokens / f"{item.tenant}.{item.label}{TOKEN_SUFFIX}"
        self.plan.credentials.append(NewCredential(asked=asked, token=self._token(path), path=path))

    def _compare(self, asked: Asked, rows: Sequence[CredentialRow]) -> None:
        """Refuse a credential that is there otherwise; one that was revoked is not made again."""
        what = f"credential {asked.tenant} {asked.label}"
        wanted = (asked.role, sorted(asked.categories), asked.source_prefix or None, asked.certificate_sha256)
        alike = [
            row
            for row in rows
            if (row.role, sorted(row.categories), row.source_prefix, row.certificate_sha256) == wanted
            and self._service.persons.open(row.tenant, row.id, row.person) == asked.person
        ]
        if not alike:
            raise OperatorError(
                f"{what} is there with another role, categories, source prefix, certificate or person: give another "
                "label"
            )
        if all(row.revoked_at is not None for row in alike):
            self.plan.notes.append(f"{what} was revoked and stays so: for a new one, give another label")
        self.plan.unchanged += 1

    def _token(self, path: Path) -> Token:
        """Return a new token, or the one that a run which was cut short has left in its file."""
        try:
            text = path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return Token.new()
        except (OSError, UnicodeDecodeError) as error:
            raise OperatorError(f"{path} cannot be read: {getattr(error, 'strerror', 'it is no text')}") from error
        token = Token.parse(text)
        if token is None or token.id in self._ids:
            raise OperatorError(f"{path} exists and is of another credential: name another directory with --tokens")
        return token

    def _take_handover(self, item: StatedHandover) -> None:
        self._check_tenant(item.tenant)
        pem = self._file(item.certificate)
        try:
            recipient = read_recipient_pem(pem)
        except OperatorError as error:
            raise OperatorError(f"{self._base / item.certificate}: {error}") from error
        certificate, since = self._recipients.get(item.tenant, (b"", ""))
        if certificate == recipient.certificate.encoded:
            self.plan.unchanged += 1
            return
        recipient.check_valid(self._service.clock.now())
        told = sha256(recipient.sha256 + sha256(certificate).digest() + since.encode("ascii")).hexdigest()
        self.plan.handovers.append(
            NewHandover(tenant=item.tenant, recipient=recipient, event_id=f"handover-{told[:32]}")
        )

    def _handed_over(self) -> set[str]:
        """Return the communes that have a hand-over, or are to get one."""
        return {*self._recipients, *(handover.tenant for handover in self.plan.handovers)}

    def _file(self, name: str) -> bytes:
        path = self._base / name
        try:
            return path.read_bytes()
        except OSError as error:
            raise OperatorError(f"{path} cannot be read: {error.strerror}") from error

    def _check_tenant(self, code: str) -> None:
        if code not in self._open:
            raise OperatorError(f"there is no tenant {code}, neither here nor in the journal")
