"""The receipt key: signs receipts in the service itself, under a delegation of the signer.

Key and delegation are one file, replaced as a whole: whatever process writes it, and wherever one is killed, what is
there is usable. Processes of one host share it. Several keys may be vouched for at a time, and a lost one is no loss:
every receipt bears the delegation of its key.

Trust sentence: whoever reads the file can forge receipts until its delegation ends, and so accuse the service of hiding
entries that never were; it can neither read, change nor hide an entry.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from journal.core import canonical
from journal.core.errors import JournalError, OperatorError, VerificationError
from journal.core.receipt import ReceiptKey, parse_receipt_key, signed_text
from journal.core.times import format_seconds
from journal.keys.files import read_file, replace_durably
from journal.pki import cms

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from journal.clock import Clock
    from journal.signer.client import SignerClient

log = structlog.get_logger()

OTHERS = 0o077
LOOK_SECONDS = 60.0
RETRY_SECONDS = 5.0  # while receipts are not signed
# A new key is asked for this long before the present one ends, so that receipts go on while the signer is down.
AHEAD = timedelta(days=15)
# A start waits no longer for its first key: a signer that hangs must not keep events waiting.
START_SECONDS = 5.0


class _File(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What the file holds: the private key (PKCS #8, DER), the delegation's text and its signature."""

    key: bytes
    text: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Vouched:
    """A receipt key with its delegation; `json` is the delegation as answers hold it."""

    key: ec.EllipticCurvePrivateKey
    delegation: ReceiptKey
    certificate: bytes
    json: bytes

    def is_due(self, now: datetime, certificate: bytes) -> bool:
        """Tell whether a new one is to be made: it ends soon, or the signer has another certificate."""
        return not self.delegation.valid_from <= now < self.delegation.valid_until - AHEAD or (
            self.certificate != certificate
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedRoot:
    """The signature of a receipt key over a root, when it was made, and the delegation of the key as JSON."""

    key: bytes
    signature: bytes
    signed_at: str


class ReceiptKeys:
    """The receipt key of this process: read from the file, and renewed there."""

    def __init__(self, path: Path, signer: SignerClient, clock: Clock) -> None:
        """Hold none yet; `prepare` reads or makes one."""
        self._path = path
        self._signer = signer
        self._clock = clock
        self._held: Vouched | None = None
        self._told = ""

    def sign(self, root: bytes) -> SignedRoot | None:
        """Sign the root of receipts; None if no key is vouched for now."""
        held, now = self._held, self._clock.now().replace(microsecond=0)
        if held is None or not held.delegation.valid_from <= now <= held.delegation.valid_until:
            return None
        signed_at = format_seconds(now)
        text = signed_text(held.delegation.service, signed_at, root)
        return SignedRoot(key=held.json, signature=held.key.sign(text, ec.ECDSA(hashes.SHA256())), signed_at=signed_at)

    def problem(self) -> str | None:
        """Return why receipts are not signed now, else None, also in a process that has looked for no key."""
        held, now = self._held, self._clock.now().replace(microsecond=0)
        if held is None:
            return f"receipts are not signed: {self._told}" if self._told else None
        if held.delegation.valid_from <= now <= held.delegation.valid_until:
            return None
        ended = f"{self._path} is valid until {format_seconds(held.delegation.valid_until)}"
        return f"receipts are not signed: {self._told or ended}"

    async def prepare(self) -> None:
        """Read the key, or make one if it is due, before the first receipt; without the signer, go on without."""
        try:
            async with asyncio.timeout(START_SECONDS):
                await self.look()
        except TimeoutError:
            self._tell("the signer has not answered")

    async def run(self) -> None:
        """Keep a key that is vouched for, for ever."""
        while True:
            await self._clock.sleep(LOOK_SECONDS if self.problem() is None else RETRY_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Take the key in the file, which another process may have renewed; renew it if it is due."""
        try:
            now, certificate = self._clock.now(), self._signer.identity.certificates[0]
            found = await asyncio.to_thread(load, self._path)
            if found is None or found.is_due(now, certificate):
                self._held = found or self._held
                found = await self._renew()
            self._held = found
            self._told = ""
        except (JournalError, OSError) as error:
            self._tell(str(error))

    async def _renew(self) -> Vouched:
        """Make a key, have the signer vouch for it, and keep both. Raises SignerError, OperatorError, OSError."""
        key = ec.generate_private_key(ec.SECP256R1())
        encoding, public = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        text, signature = await self._signer.vouch_for_key(key.public_key().public_bytes(encoding, public))
        private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        content = msgspec.json.encode(_File(key=private, text=text, signature=signature))
        made = _read(content)
        await asyncio.to_thread(replace_durably, self._path, content)
        log.info("a receipt key is vouched for", until=format_seconds(made.delegation.valid_until))
        return made

    def _tell(self, reason: str) -> None:
        if reason != self._told:
            log.warning("no new receipt key", reason=reason)
        self._told = reason


def load(path: Path) -> Vouched | None:
    """Return the key in the file; None if there is none, or what is there is none. Raises OperatorError, OSError."""
    try:
        if path.stat().st_mode & OTHERS:
            raise OperatorError(f"receipt key {path} is open to others on this machine: chmod 600 it")
        return _read(read_file(path))
    except FileNotFoundError:
        return None
    except (TypeError, ValueError, msgspec.MsgspecError, UnsupportedAlgorithm, VerificationError):
        return None  # another one is made


def _read(content: bytes) -> Vouched:
    """Return what the file holds. Raises what `load` takes for no key."""
    file = msgspec.json.decode(content, type=_File)
    key = serialization.load_der_private_key(file.key, password=None)
    delegation = parse_receipt_key(file.text)
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or public != delegation.key:
        raise ValueError("the delegation is of another key")
    members = {"signature": b64encode(file.signature).decode(), "text": file.text.decode()}
    return Vouched(
        key=key,
        delegation=delegation,
        certificate=cms.signer_of(file.signature),
        json=canonical.encode(members),
    )
