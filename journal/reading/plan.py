"""Makes an extract: record the request, seal, fix the range, then stream the bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

from journal.core import canonical, faults
from journal.core.errors import RequestError, StoreError
from journal.core.times import day_of, format_day
from journal.document.makers import Makers
from journal.extract.manifest import FIRST_DAY, PURPOSES, Filter, Request
from journal.reading.entitlement import check_entitled
from journal.reading.planner import Planner
from journal.reading.stream import ExtractStream

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date
    from pathlib import Path

    from journal.clock import Clock
    from journal.core.entry import Compartment
    from journal.core.errors import EmptyError
    from journal.core.receipt import Receipt
    from journal.database.seal import SealRow
    from journal.database.store import Store
    from journal.extract.grounds import Authorisation, Person
    from journal.keys.ring import Keyring
    from journal.reading.reader import Reader
    from journal.seals.sealer import Sealer
    from journal.signer.client import SignerClient
    from journal.snapshot import Snapshot
    from journal.writing.chronicle import Chronicle

TEXT_LIMIT_CHARACTERS = 256
REFUSED_MEMBER_LIMIT_BYTES = 2048
FILTERS = ("account", "action", "subject")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractRequest:
    """A request by a client or an auditor: whole UTC days, both included, and the purpose.

    Account and subject are put in the form that events are kept in (FORMAT.md, section 4), which a filter compares.
    """

    from_day: date
    to_day: date
    purpose: str
    requester: str
    account: str | None = None
    subject: str | None = None
    action: str | None = None
    occurred_from: date | None = None
    occurred_to: date | None = None
    request_reference: str | None = None
    authorisation: Authorisation | None = None
    person: Person | None = None
    withhold_all: bool = False
    even_if_empty: bool = False

    def __post_init__(self) -> None:
        """Put account and subject in Unicode's Normalization Form C."""
        for name in ("account", "subject"):
            if (text := getattr(self, name)) is not None:
                object.__setattr__(self, name, normalize("NFC", text))


class Extraction:
    """Makes extracts of one service."""

    def __init__(
        self,
        *,
        store: Store,
        keyring: Keyring,
        snapshot: Snapshot,
        chronicle: Chronicle,
        sealer: Sealer,
        reader: Reader,
        signer: SignerClient,
        clock: Clock,
        lateness_days: int,
        folder: Path,
    ) -> None:
        """Use the parts of the running service; `folder` is where extracts under way keep what they must."""
        self._store = store
        self._keyring = keyring
        self._snapshot = snapshot
        self._chronicle = chronicle
        self._sealer = sealer
        self._reader = reader
        self._signer = signer
        self._clock = clock
        self._makers = Makers()
        self._folder = folder
        self._planner = Planner(
            store=store,
            keyring=keyring,
            snapshot=snapshot,
            chronicle=chronicle,
            reader=reader,
            lateness_days=lateness_days,
        )

    async def open(
        self,
        compartment: Compartment,
        request: ExtractRequest,
        *,
        requested_by: str,
        disclose: bool,
        before_purge: bool = False,
    ) -> ExtractStream:
        """Record the request, then return the stream of the container, to be read to its end.

        `before_purge`, for the hand-over: include days whose purge only a pending shorter rule allows. Raises
        RequestError (the request is refused, and recorded as refused), OperatorError (nothing can be signed, and
        nothing is recorded), BusyError (a purge is under way). A StoreError while it streams means that the bytes must
        be discarded: a truncated container is never valid.
        """
        selection = await self.check(
            compartment, request, requested_by=requested_by, disclose=disclose, before_purge=before_purge
        )
        # Before the request is recorded: the register must not list extracts that could not be made.
        self._signer.identity.check_valid(self._clock.now())
        recorded = await self._record(compartment, request, selection, requested_by)
        manifest_request = Request(index=recorded.index, leaf=recorded.leaf_hash, reference=request.request_reference)
        seal = await self._sealer.seal_open(even_if_still=True)
        if seal is None:
            raise StoreError("no seal was made")
        return await self._stream(compartment, request, selection, manifest_request, seal, before_purge=before_purge)

    async def check(
        self,
        compartment: Compartment,
        request: ExtractRequest,
        *,
        requested_by: str,
        disclose: bool,
        before_purge: bool = False,
    ) -> Filter:
        """Return what the extract would disclose. Raises RequestError; a request that is refused is recorded."""
        await self._check_compartment(compartment)
        try:
            return await self._check(compartment, request, disclose=disclose, before_purge=before_purge)
        except RequestError as error:
            said = _said(compartment, request, requested_by)
            await self.record_refusal(compartment, requested_by, str(error), said)
            raise

    async def open_last(
        self, compartment: Compartment, request: ExtractRequest, *, announced: Request, seal: SealRow
    ) -> ExtractStream:
        """Fix what an extract of a closed tenant will hold: all entries of these days, as of `seal`.

        Nothing can be recorded for it any more: its request is the entry that announced the export.
        """
        return await self._stream(compartment, request, Filter(), announced, seal, before_purge=True)

    async def _stream(
        self,
        compartment: Compartment,
        request: ExtractRequest,
        selection: Filter,
        manifest_request: Request,
        seal: SealRow,
        *,
        before_purge: bool,
    ) -> ExtractStream:
        chain_seal = await self._reader.chain_seal(seal, compartment)
        if chain_seal is None:
            raise StoreError("the seal does not hold this compartment")
        return ExtractStream(
            plan=await self._planner.plan(compartment, request, chain_seal, before_purge=before_purge),
            selection=selection,
            purpose=request.purpose,
            requester=request.requester,
            authorisation=request.authorisation,
            person=request.person,
            even_if_empty=request.even_if_empty,
            request=manifest_request,
            reader=self._reader,
            keyring=self._keyring,
            signer=self._signer,
            clock=self._clock,
            makers=self._makers,
            folder=self._folder,
        )

    async def close(self) -> None:
        """End what waits for the next extract."""
        await self._makers.close()

    async def _check_compartment(self, compartment: Compartment) -> None:
        """Raise RequestError for a compartment that is not there, or that ended: nothing can be recorded of it."""
        tenant = self._snapshot.tenant(compartment.tenant)
        is_known = self._snapshot.category(compartment.category) is not None
        if not is_known or not await self._store.read_heads([compartment.tenant], [compartment.category]):
            raise RequestError("", faults.DAY, "this compartment does not exist")
        if tenant is not None and tenant.closed:
            raise RequestError("", faults.CONTRACT_ENDED, "the contract has ended: no request can be recorded any more")

    async def _check(
        self, compartment: Compartment, request: ExtractRequest, *, disclose: bool, before_purge: bool
    ) -> Filter:
        """Return what the extract discloses. Raises RequestError."""
        category = self._snapshot.category(compartment.category)
        assert category is not None  # _check_compartment has asked
        _check_days(request, day_of(self._clock.now()))
        _check_words(request)
        if disclose and not before_purge:
            check_entitled(request, needs_authorisation=category.needs_authorisation)
        try:
            selection = Filter(
                account=request.account,
                subject=request.subject,
                action=request.action,
                occurred_from=request.occurred_from,
                occurred_to=request.occurred_to,
            )
        except ValueError as error:
            raise RequestError("/filter", faults.FILTER, str(error)) from error
        if disclose:
            return selection
        if selection != Filter():
            raise RequestError("/filter", faults.FILTER, "an extract that withholds every entry has no other filter")
        return Filter(withhold_all=True)

    async def _record(
        self, compartment: Compartment, request: ExtractRequest, selection: Filter, requested_by: str
    ) -> Receipt:
        """Write the request in the tenant's `journal` category: nothing is sent before it is recorded."""
        data = _said(compartment, request, requested_by) | {"filter": selection.as_json()}
        # The extract names this entry by its index in the tenant's own journal.
        return await self._chronicle.write(
            "extract",
            tenant=compartment.tenant,
            subject=compartment.category,
            data=data,
            submitted_by=requested_by,
            own_only=True,
        )

    async def record_empty(
        self, compartment: Compartment, request: ExtractRequest, requested_by: str, index: int, error: EmptyError
    ) -> None:
        """Write that the request recorded as entry `index` was answered with no file. Raises as `record_refusal`."""
        said = _said(compartment, request, requested_by)
        await self.record_refusal(compartment, requested_by, f"{error} (request {index})", said)

    async def record_refusal(
        self, compartment: Compartment, requested_by: str, reason: str, said: Mapping[str, Any]
    ) -> None:
        """Write in the tenant's `journal` category that a request was refused. Raises what `Chronicle.write` does."""
        said = {name: value for name, value in said.items() if _is_recordable(value)}
        await self._chronicle.write(
            "extract",
            tenant=compartment.tenant,
            subject=compartment.category,
            data={**said, "category": compartment.category, "outcome": "denied", "reason": reason},
            submitted_by=requested_by,
            own_only=True,
        )


def _said(compartment: Compartment, request: ExtractRequest, requested_by: str) -> dict[str, Any]:
    """Return what an entry says of a request, members of the filter apart."""
    asked = {name: value for name in FILTERS if (value := getattr(request, name)) is not None}
    return {
        "authorisation": request.authorisation.as_json() if request.authorisation else None,
        "category": compartment.category,
        "credential": requested_by,
        "filter": asked,
        "from": format_day(request.from_day),
        "person": request.person.as_json() if request.person else None,
        "purpose": request.purpose,
        "reference": request.request_reference,
        "requester": request.requester,
        "to": format_day(request.to_day),
    }


def _is_recordable(value: Any) -> bool:
    """Tell whether a member of a refused request can stand in an entry: bounded texts that JSON can hold."""
    try:
        return value is not None and len(canonical.encode(value)) <= REFUSED_MEMBER_LIMIT_BYTES
    except ValueError:
        return False


def _check_days(request: ExtractRequest, today: date) -> None:
    """Raise RequestError where a day is none that can be asked for, or the authorisation is of one to come."""
    if request.from_day < FIRST_DAY:
        raise RequestError("/from", faults.DAY, f"it is before {format_day(FIRST_DAY)}")
    if request.from_day > request.to_day:
        raise RequestError("/to", faults.DAY, "the last day is before the first")
    if request.to_day > today:
        raise RequestError("/to", faults.DAY, "this day has not begun: ask for days up to today (UTC)")
    if request.authorisation is not None and request.authorisation.day > today:
        raise RequestError("/authorisation/date", faults.AUTHORISATION, "it is in the future")


def _check_words(request: ExtractRequest) -> None:
    """Raise RequestError where requester, purpose or authorisation is missing or malformed."""
    if request.purpose not in PURPOSES:
        raise RequestError(
            "/purpose", faults.UNKNOWN_VALUE, f"not one of the purposes that the law allows: {', '.join(PURPOSES)}"
        )
    texts = {f"/{name}": getattr(request, name) for name in ("requester", "request_reference")}
    texts |= {f"/filter/{name}": getattr(request, name) for name in FILTERS}
    if request.authorisation is not None:
        texts |= {f"/authorisation/{name}": getattr(request.authorisation, name) for name in ("issuer", "reference")}
    for pointer, text in texts.items():
        if text is None:
            continue
        if not text.strip() or len(text) > TEXT_LIMIT_CHARACTERS:
            raise RequestError(pointer, faults.BLANK, f"blank, or longer than {TEXT_LIMIT_CHARACTERS} characters")
        try:
            canonical.encode(text)
        except ValueError as error:
            raise RequestError(pointer, faults.CHARACTER, str(error)) from error
