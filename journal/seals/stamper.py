"""The stamper: obtains time-stamps for close seals from an outside authority, in the background.

A failing, slow or wrong authority delays nothing else: the seals stay *not time-stamped yet*, and are tried again. Each
token is checked as an auditor would check it before it is stored, because a stored token cannot be replaced.
"""

from __future__ import annotations

import random
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

import structlog

from journal.core.errors import JournalError, NotStampedError, OperatorError, VerificationError
from journal.core.seal import parse_seal
from journal.core.times import format_day, format_seconds
from journal.pki import certificates, cms, timestamp
from journal.pki.timestamp_token import NONCE_BITS, build_query, parse_reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from datetime import date
    from pathlib import Path

    from journal.clock import Clock
    from journal.database.seal import SealRow
    from journal.database.store import Store
    from journal.seals.tsa_client import TsaClient as Client
    from journal.settings import Settings


log = structlog.get_logger()

INTERVAL_SECONDS = 60.0
RETRY_LIMIT_SECONDS = 600.0
FAILING_LIMIT = timedelta(days=1)
TIMEOUT_LIMIT_SECONDS = 300
# Stricter than a verifier (timestamp.CLOCK_TOLERANCE), so that a stored token always passes.
RECEIPT_TOLERANCE = timedelta(minutes=1)
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamped:
    """A close seal and its new time-stamp."""

    number: int
    timestamp: timestamp.Timestamp


class Stamper:
    """Obtains time-stamps for close seals, oldest first."""

    def __init__(
        self,
        *,
        store: Store,
        client: Client,
        tsa_anchors: Sequence[bytes],
        trust_path: Path,
        service_name: str,
        clock: Clock,
    ) -> None:
        """Use this authority, whose trust anchors are `tsa_anchors` (DER).

        `trust_path` holds the trust anchors for the seals themselves. Raises nothing.
        """
        self._store = store
        self._client = client
        self._tsa_anchors = tsa_anchors
        self._trust_path = trust_path
        self._service_name = service_name
        self._clock = clock
        self._told = ""
        # The days whose close seal had lost its time-stamp, as far as this process has seen.
        self.lost: list[date] = []

    @classmethod
    def configured(cls, settings: Settings, *, store: Store, service_name: str, clock: Clock) -> Self | None:
        """Return the stamper for the configured authority; None if there is none. Raises OperatorError."""
        if settings.tsa_url is None:
            return None
        try:
            address = urlsplit(settings.tsa_url)
            usable = address.scheme in ("http", "https") and bool(address.hostname) and address.port != 0
        except ValueError:
            usable = False
        if not usable:
            raise OperatorError("JOURNAL_TSA_URL: write it http://host/path, or https://…")
        if not 0 < settings.tsa_timeout_seconds <= TIMEOUT_LIMIT_SECONDS:
            raise OperatorError(f"JOURNAL_TSA_TIMEOUT_SECONDS: choose up to {TIMEOUT_LIMIT_SECONDS}")
        if settings.tsa_trust_path is None:
            raise OperatorError("JOURNAL_TSA_URL is set: JOURNAL_TSA_TRUST must name the authority's root (PEM)")
        from journal.seals.tsa_client import TsaClient  # noqa: PLC0415 - half of a command's start, for this alone

        return cls(
            store=store,
            client=TsaClient(settings.tsa_url, settings.tsa_timeout_seconds),
            tsa_anchors=_read_anchors(settings.tsa_trust_path),
            trust_path=settings.trust_path,
            service_name=service_name,
            clock=clock,
        )

    @property
    def authority(self) -> str:
        """Return the authority's host, and its port where the address has one."""
        return self._client.host

    async def waiting(self) -> list[SealRow]:
        """Return the close seals that wait for a time-stamp, oldest first.

        Seals whose certificate has expired are left out: a time-stamp of today would not help them.
        """
        rows = await self._store.unstamped_seals()
        anchors = _read_anchors(self._trust_path) if rows else []
        now = self._clock.now()
        return [row for row in rows if self._holds(row, anchors, now)]

    async def stamp_waiting(self) -> AsyncIterator[Stamped]:
        """Time-stamp every waiting seal and yield each; NotStampedError at the first failure."""
        for row in await self.waiting():
            await self._note_loss(row)
            try:
                stamped = await self._stamp(row)
            except NotStampedError:
                await self._store.note_stamping_failure()
                raise
            if stamped is not None:
                yield stamped

    async def _note_loss(self, row: SealRow) -> None:
        """Note that a seal waits although a later one is stamped: they are stamped in order, so it has lost its own."""
        if row.day is None or row.day in self.lost:
            return
        following = await self._store.close_seal(row.day + timedelta(days=1))
        if following is not None and following.timestamp is not None:
            log.error("a close seal has lost its time-stamp; another is obtained", day=format_day(row.day))
            self.lost.append(row.day)

    async def ask_time(self) -> datetime:
        """Return the time of the authority's clock, from a token made now.

        Raises NotStampedError if none can be obtained.
        """
        # A random digest: only the time matters, and the nonce ties the answer to this request.
        found, _ = await self._ask(secrets.token_bytes(32), made_at=_LONG_AGO)
        return found.stamped_at

    async def problem(self) -> str | None:
        """Return a problem if time-stamping has failed for more than a day while seals wait, else None."""
        since = await self._store.stamping_failed_since()
        limit = self._clock.now() - FAILING_LIMIT
        if since is None or since > limit:
            return None
        waiting = await self.waiting()
        if not waiting or waiting[0].day is None or waiting[0].sealed_at > limit:
            return None
        return (
            f"{len(waiting)} close seals wait for a time-stamp, the first of {format_day(waiting[0].day)}: the "
            f"authority has failed since {format_seconds(since.replace(microsecond=0))}"
        )

    async def run(self) -> None:
        """Time-stamp what waits every minute, for ever; after failures with growing pauses, up to ten minutes."""
        failures = 0
        while True:
            failures = 0 if await self._try() else failures + 1
            seconds = min(INTERVAL_SECONDS * 2 ** min(failures, 16), RETRY_LIMIT_SECONDS)
            # Jitter, so that many services do not retry one authority at the same moment.
            await self._clock.sleep(seconds * random.uniform(0.5, 1.0))  # noqa: S311  (no secret)

    async def _try(self) -> bool:
        """Time-stamp what waits; False if that failed, which is logged once per reason."""
        try:
            async for stamped in self.stamp_waiting():
                at = timestamp.time_text(stamped.timestamp.stamped_at)
                log.info("seal time-stamped", seal=stamped.number, at=at, authority=stamped.timestamp.authority)
        except (JournalError, OSError) as error:
            if str(error) != self._told:
                kind = type(error).__name__
                log.warning("not time-stamped yet", authority=self.authority, kind=kind, reason=str(error))
            self._told = str(error)
            return False
        self._told = ""
        return True

    async def _stamp(self, row: SealRow) -> Stamped | None:
        """Obtain, check and store the time-stamp of one seal; None if another process was faster."""
        seal = parse_seal(row.text)
        found, token = await self._ask(seal.digest, made_at=seal.sealed_at)
        now = self._clock.now()
        try:
            self._check_seal(row, _read_anchors(self._trust_path), found.stamped_at)
        except VerificationError as error:
            raise NotStampedError(f"what the authority answered is {error.verdict}: {error}") from error
        if found.stamped_at - now > RECEIPT_TOLERANCE:
            raise NotStampedError("the authority's clock is ahead of ours: one of the two is wrong")
        kept = await self._store.put_timestamp(row.number, found.stamped_at, token)
        return Stamped(number=row.number, timestamp=found) if kept else None

    async def _ask(self, digest: bytes, *, made_at: datetime) -> tuple[timestamp.Timestamp, bytes]:
        """Return a time-stamp of a digest, checked as an auditor would, and its token. Raises NotStampedError."""
        nonce = secrets.randbits(NONCE_BITS) or 1
        answer = await self._client.ask(build_query(digest, nonce))
        try:
            reply = parse_reply(answer)
            if reply.token is None:
                raise NotStampedError(f"the authority refused: {reply.refusal}")
            found = timestamp.verify(reply.token, digest, anchors=self._tsa_anchors, made_at=made_at, nonce=nonce)
        except VerificationError as error:
            raise NotStampedError(f"what the authority answered is {error.verdict}: {error}") from error
        return found, reply.token

    def _holds(self, row: SealRow, anchors: Sequence[bytes], at: datetime) -> bool:
        try:
            self._check_seal(row, anchors, at)
        except VerificationError:
            return False
        return True

    def _check_seal(self, row: SealRow, anchors: Sequence[bytes], at: datetime) -> None:
        """Check that the seal's own signature is valid at `at`, the time of its time-stamp."""
        digest = parse_seal(row.text).digest
        cms.verify(row.signature, digest, anchors=anchors, service=self._service_name, at=at)


def _read_anchors(path: Path) -> list[bytes]:
    try:
        anchors = certificates.pem_to_der(path.read_bytes())
        for anchor in anchors:
            certificates.parse(anchor)
    except OSError as error:
        raise OperatorError(f"{path} cannot be read: {error.strerror}") from error
    except VerificationError as error:
        raise OperatorError(f"{path}: {error}") from error
    return anchors
