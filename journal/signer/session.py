"""A sealing session: one client's exclusive use of the memory, in which seals are compared, made and signed.

The signer makes the text of a seal itself: number, time, hashes of the seals before and a declared loss are its own to
say, the heads are those that its judge lets pass.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING

import structlog

from journal.clock import CLOCK_DEPARTURE_LIMIT, CLOCK_TOLERANCE, CLOSE_GRACE, MIDNIGHT_MARGIN
from journal.core.errors import OperatorError, SignerError, StoreError, VerificationError
from journal.core.seal import NOTHING_HASH, Seal, parse_seal
from journal.core.times import day_of, format_day, format_seconds, midnight
from journal.pki import cms
from journal.pki.certificates import pem_to_der
from journal.signer.evidence import HeldChain, close_digest
from journal.signer.judge import Judgement, Moment, states
from journal.signer.memory import LEARN, LEAVE
from journal.signer.protocol import HEADS_LIMIT, HEADS_LIMIT_BYTES, Made, Still

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    from journal.database.heads import HeadRow, SealHeadRow
    from journal.signer.evidence import Evidence, StoredSeals
    from journal.signer.signing import Signer

log = structlog.get_logger()

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class _Compared:
    """The last stored seals, found to be those that were signed."""

    stored: StoredSeals
    last: Seal | None
    close_day: date | None


class Session:
    """What one client does while it holds the memory."""

    def __init__(self, signer: Signer, evidence: Evidence) -> None:
        """Judge by this evidence."""
        self._signer = signer
        self._memory = signer.memory
        self._evidence = evidence
        self._compared: _Compared | None = None
        self._offered: list[HeadRow] = []
        self._offered_bytes = 0

    async def compare(self, stored: StoredSeals) -> None:
        """Compare the stored seals with what was signed. Raises OperatorError where they differ."""
        memory = self._memory
        self._compared = None
        if not memory.exists and stored.number == 0:
            memory.start(0, NOTHING_HASH, ())
        if memory.is_foreign:
            await self._adopt(stored)
        self._note_stored(stored)
        if problem := memory.difference(stored.number, stored.text):
            raise OperatorError(problem)
        last = parse_seal(stored.text) if stored.text is not None else None
        self._compared = _Compared(stored, last, _check_close(stored, last))

    def _note_stored(self, stored: StoredSeals) -> None:
        """Take note that a pending seal is stored: the client that had it made was ended before it could say so."""
        digest = sha256(stored.text).digest() if stored.text is not None else None
        for pending in self._memory.pending:
            if pending.digest == digest:
                self._memory.done(pending.number, pending.digest)
                return

    def offer(self, heads: Sequence[HeadRow], size: int) -> None:
        """Add heads, of so many bytes, to those that are proposed next. Raises SignerError if they are too many."""
        self._offered_bytes += size
        if len(self._offered) + len(heads) > HEADS_LIMIT or self._offered_bytes > HEADS_LIMIT_BYTES:
            raise SignerError(f"more than {HEADS_LIMIT} heads, or {HEADS_LIMIT_BYTES} bytes of them, are not sealed")
        self._offered += heads

    async def propose(self, day: date | None, *, even_if_still: bool) -> Made | Still:
        """Make, remember and sign the next seal over the offered heads: the close seal of `day`, or an open one.

        Raises OperatorError, StoreError if the heads cannot be sealed, SignerError without a `compare` before.
        """
        compared, self._compared = self._compared, None
        heads, self._offered, self._offered_bytes = self._offered, [], 0
        if compared is None:
            raise SignerError("heads are proposed after the stored seals were compared")
        places = {head[:2]: place for place, head in enumerate(heads)}
        if len(places) != len(heads):
            raise StoreError("the heads that are stored cannot be sealed (a chain has two heads): run verify-store")
        now = self._signer.guard.check()
        if day is not None:
            _check_day(compared.close_day, day, now)
        elif compared.close_day is not None and compared.close_day < day_of(now) - _DAY:
            return Still(again=True, told=[])  # midnight has passed since the client looked: yesterday comes first
        judgement = await self._examine(compared.last, day, heads, now)
        stored = self._memory.stored
        moved = [head for head in judgement.heads if stored.get(head[:2]) != head]
        if day is None and not even_if_still and not moved:
            return Still(again=False, told=self._tell())
        text, signature = await self._make(compared, day, judgement.heads, moved)
        made = Made(text=text, signature=signature, moved=[], instead=[], told=self._tell())
        for head in moved:
            place = places.get(head[:2])
            if place is not None and heads[place].sealed == head:
                made.moved.append(place)
            else:
                made.instead.append(head)
        return made

    async def done(self) -> None:
        """Remember that the database has the seal just made. Raises SignerError if none was made."""
        if not self._memory.pending:
            raise SignerError("no seal waits to be stored")
        pending = self._memory.pending[-1]
        await asyncio.to_thread(self._memory.done, pending.number, pending.digest)

    async def learn(self, stored: StoredSeals, *, declares_loss: bool) -> None:
        """Go on from the last stored seal, whose signature and heads are verified.

        An earlier seal than the last signed one only if everything after it is declared lost: the next seal says so.
        Raises OperatorError.
        """
        memory = self._memory
        heads = await self._verified_heads(stored)
        digest = sha256(stored.text).digest() if stored.text is not None else NOTHING_HASH
        self._note_stored(stored)
        is_sound = memory.exists and not memory.is_foreign
        if declares_loss or not is_sound or stored.number > memory.number:
            memory.start(stored.number, digest, heads)
        elif (stored.number, digest) != (memory.number, memory.digest):
            raise OperatorError(memory.difference(stored.number, stored.text) or "nothing is to be learned")
        if declares_loss:
            memory.recover(stored.number)

    async def leave(self) -> datetime | None:
        """Accept, for good, that the last seal is of a time that has not come; return that time, None if it is not."""
        compared = self._compared
        if compared is None:
            raise SignerError("the stored seals are compared first")
        if compared.last is None or compared.last.sealed_at <= self._signer.guard.check() + CLOCK_DEPARTURE_LIMIT:
            return None
        self._memory.leave(compared.last.sealed_at)
        return compared.last.sealed_at

    async def _adopt(self, stored: StoredSeals) -> None:
        """Take over the memory that was written under an earlier signing key.

        Raises OperatorError unless the stored seals, verified, say the same.
        """
        memory = self._memory
        number, digest, known = memory.number, memory.digest, memory.stored
        made = memory.pending
        heads = await self._verified_heads(stored)
        now = (stored.number, sha256(stored.text).digest() if stored.text is not None else NOTHING_HASH)
        for pending in made:
            if now == (pending.number, pending.digest):
                number, digest, known = pending.number, pending.digest, known | pending.heads
        if (number, digest) != now or known != {head.chain: head for head in heads}:
            raise OperatorError(
                f"the signer's memory {memory.path} was written under another signing key and does not agree with the "
                f"stored seals: put back the file that belongs to this key, or let the signer learn: {LEARN}"
            )
        memory.start(*now, heads)
        log.info("the signer's memory was taken over by a new signing key", number=stored.number)

    async def _verified_heads(self, stored: StoredSeals) -> list[SealHeadRow]:
        """Return the heads of the last stored seal. Raises OperatorError unless they and its signature verify."""
        if stored.text is None:
            return []
        signature = await self._evidence.last_signature()
        heads = await self._evidence.heads_of_seal(stored.number) or []
        service = self._signer.identity.service
        try:
            seal = parse_seal(stored.text)
            anchors = pem_to_der(self._signer.trust_path.read_bytes())
            cms.verify(signature, seal.digest, anchors=anchors, service=service)
            if seal.number != stored.number or not await asyncio.to_thread(states, service, seal, heads):
                raise VerificationError("the stored heads are not those that it seals")  # noqa: TRY301
        except (VerificationError, ValueError) as error:
            raise OperatorError(
                f"the signer cannot learn from seal {stored.number}: {error}. Restore a backup of the database, then "
                "run openepm-journal recover"
            ) from error
        return heads

    async def _examine(self, last: Seal | None, day: date | None, heads: Sequence[HeadRow], now: datetime) -> Judgement:
        """Compare the heads with what was signed, and remember which do not follow."""
        if last is None:
            since = None
        elif last.day is not None:
            since = last.day + _DAY
        else:
            since = day_of(last.sealed_at - MIDNIGHT_MARGIN)
        through = day or day_of(now + CLOCK_TOLERANCE)
        moment = Moment(close_digest=close_digest(last), since=since, through=through, now=now)
        judgement = await self._signer.judge.judge(heads, moment, self._evidence)
        held = {refusal.chain: str(refusal) for refusal in judgement.refusals}
        if held != self._memory.held_back:
            # Those of an attempt that failed are still to be told, once.
            known = self._memory.held_back.keys() | {(chain.tenant, chain.category) for chain in self._signer.untold}
            self._signer.untold += [
                HeldChain(tenant=refusal.chain[0], category=refusal.chain[1], reason=str(refusal))
                for refusal in judgement.refusals
                if refusal.chain not in known
            ]
            await asyncio.to_thread(self._memory.hold_back, held)
        return judgement

    def _tell(self) -> list[HeldChain]:
        told, self._signer.untold = self._signer.untold, []
        return told

    async def _make(
        self, compared: _Compared, day: date | None, heads: Sequence[SealHeadRow], moved: Sequence[SealHeadRow]
    ) -> tuple[bytes, bytes]:
        """Return the text and the signature of the next seal, once it is remembered."""
        identity, last = self._signer.identity, compared.last
        now = self._signer.guard.check()
        sealed_at = now.replace(microsecond=0)
        recovered_from = self._memory.recovered_from
        if last is not None:
            self._check_not_future(last, now)
            if recovered_from is None and last.day is None:
                # Repeated up to a close seal, which every extract of that day lists and which is never thinned.
                recovered_from = last.recovered_from
            # The clock may be slightly behind that of the last seal: times never decrease.
            sealed_at = max(sealed_at, last.sealed_at)
        try:
            tree = await asyncio.to_thread(self._signer.trees.grow, heads)
        except ValueError as error:
            raise StoreError(f"the heads that are stored cannot be sealed ({error}): run verify-store") from error
        seal = Seal(
            service=identity.service,
            number=compared.stored.number + 1,
            sealed_at=sealed_at,
            day=day,
            chains=tree.chains,
            root=tree.root,
            previous=last.digest if last is not None else NOTHING_HASH,
            previous_close=close_digest(last),
            recovered_from=recovered_from,
        )
        identity.check_valid(sealed_at)
        await asyncio.to_thread(self._memory.sign, seal.number, seal.digest, moved)
        return seal.text, identity.sign_seal(seal)

    def _check_not_future(self, last: Seal, now: datetime) -> None:
        """Raise OperatorError if the last seal is of a time that has not come, unless the operator accepts that."""
        left = self._memory.left_until
        if last.sealed_at <= now + CLOCK_DEPARTURE_LIMIT or (left is not None and last.sealed_at <= left):
            return
        raise OperatorError(
            f"the last seal, {last.number}, is of {format_seconds(last.sealed_at)}, and this machine's clock "
            f"says {format_seconds(now.replace(microsecond=0))}: nothing more is sealed. Correct the clock "
            f"(timedatectl), or, if it is right and was ahead when the seal was made: {LEAVE}"
        )


def _check_day(close_day: date | None, day: date, now: datetime) -> None:
    """Raise OperatorError unless a day is the next to be closed, and over."""
    if now < midnight(day + _DAY) + CLOSE_GRACE or day != (close_day or day - _DAY) + _DAY:
        raise OperatorError(
            f"no close seal of {format_day(day)} is made: the signer's clock says "
            f"{format_seconds(now.replace(microsecond=0))}, and the last day with one is "
            f"{format_day(close_day) if close_day is not None else 'none'}"
        )


def _check_close(stored: StoredSeals, last: Seal | None) -> date | None:
    """Return the last day with a close seal.

    Raises OperatorError if the last close seal, or the closed day, is not what the last seal says.
    """
    if last is None:
        return None
    found = sha256(stored.close_text).digest() if stored.close_text is not None else NOTHING_HASH
    if found != close_digest(last):
        raise OperatorError(
            "the last close seal in the database is not the one that was signed: nothing more is sealed. Run "
            "openepm-journal verify-store, keep a copy of this database as evidence, then restore the last backup"
        )
    day = parse_seal(stored.close_text).day if stored.close_text is not None else None
    if day is not None and stored.closed_day < day:
        raise OperatorError(
            f"the database says that days are closed up to {format_day(stored.closed_day)}, but "
            f"{format_day(day)} is sealed as closed: nothing more is sealed. Run openepm-journal "
            "verify-store, keep a copy of this database as evidence, then restore the last backup"
        )
    return day
