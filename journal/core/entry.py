"""Events, entries and the record: the exact bytes that are hashed, encrypted and stored.

An `Event` is what a module submits and has no index yet; an `Entry` is a recorded one. The record of an
entry is canonical JSON (FORMAT.md, "Record"), made here by splicing the event's own canonical bytes so that
they are never decoded and encoded again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple

from journal.core import canonical
from journal.core.errors import MalformedError
from journal.core.times import parse_time

if TYPE_CHECKING:
    from collections.abc import Iterable

SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,62}\Z")
RESERVED_TENANT = "_service"
JOURNAL_CATEGORY = "journal"
EVENT_LIMIT_BYTES = 16 * 1024
RECORD_LIMIT_BYTES = 20 * 1024
EVENT_KEY_BYTES = 16
# How far a module's clock may be from the service's.
SKEW = timedelta(minutes=5)

# An event's type is this prefix and its action. Every action and outcome there is, with its French word (FORMAT §11.5).
TYPE_PREFIX = "fr.openepm.journal."
SERVICE_PREFIX = "service."
MODULE_ACTIONS = {
    "access": "accès",
    "consultation": "consultation",
    "collection": "collecte",
    "modification": "modification",
    "disclosure": "communication",
    "combination": "interconnexion",
    "erasure": "effacement",
}
ACTIONS = {
    **MODULE_ACTIONS,
    "service.extract": "demande d'extrait",
    "service.purge": "purge",
    "service.credential": "jeton d'accès",
    "service.setting": "réglage",
    "service.tenant": "commune",
    "service.alarm": "alarme",
    "service.person": "personne",
}
OUTCOMES = {"success": "succès", "denied": "refusé", "failure": "échec"}
# What an agent did in the module, in its own words: optional beside the action, which the law names.
SESSION_OPERATIONS = {
    "login": "connexion",
    "logout": "déconnexion",
    "login-failed": "connexion refusée",
}
READING_OPERATIONS = {
    "search": "recherche",
    "list": "liste",
    "view": "affichage",
    "history": "historique",
    "attachment": "pièce jointe",
    "print": "impression",
    "export": "export",
    "statistics": "statistiques",
}
WRITING_OPERATIONS = {
    "create": "création",
    "import": "import",
    "copy": "copie",
    "update": "mise à jour",
    "attach": "ajout de pièce jointe",
    "link": "rattachement",
    "assign": "attribution",
    "validate": "validation",
    "reject": "renvoi",
    "sign": "signature",
    "close": "clôture",
    "reopen": "réouverture",
    "archive": "archivage",
    "restore": "restauration",
    "delete": "suppression",
    "rights": "droits",
    "password": "mot de passe",
    "lock": "verrouillage",
    "unlock": "déverrouillage",
    "transmit": "transmission",
}
OPERATIONS = {**SESSION_OPERATIONS, **READING_OPERATIONS, **WRITING_OPERATIONS}

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_SERVICE = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\Z")
_SERVICE_LIMIT = 253
_ORIGIN_PREFIX = "openepm-journal/v1/"
_SOURCE_LIMIT_BYTES = 2**16 - 1
_KEY_BYTES = 32
_BLOCK_BYTES = 64
_INNER_PAD = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD = bytes(byte ^ 0x5C for byte in range(256))
_TIME_MEMBER, _TIME_LENGTH = b'"time":"', len("2026-03-14T08:00:00.000001Z")
# What is left out of a time to keep its digits, two in a byte; of `submitted_by` the length precedes them.
_MARKS = b"-:.TZ"
KEPT_BYTES = 2 + 10
_AFTER = b',"recorded_at":"%b","submitted_by":"%b"%b'
_MEMBERS = {"category", "event", "index", "recorded_at", "submitted_by", "tenant", "v"}
_EVENT_TEXTS = ("source", "id", "type", "time")


def is_service(name: str) -> bool:
    """Tell whether a name is a lower-case DNS name (RFC 1123 section 2.1) of at most 253 characters."""
    return len(name) <= _SERVICE_LIMIT and _SERVICE.match(name) is not None


def is_tenant(code: str) -> bool:
    """Tell whether a code is a tenant code: a slug, or the reserved code for what concerns no tenant."""
    return code == RESERVED_TENANT or SLUG.match(code) is not None


class _Names(NamedTuple):
    service: str
    tenant: str
    category: str


# A tuple: it is looked up some twenty times for an event, and a dataclass is hashed and compared in Python.
class Compartment(_Names):
    """One (tenant, category) of a service: its own chain, its own keys. ValueError if a part is not a valid name."""

    def __new__(cls, service: str, tenant: str, category: str) -> Compartment:  # noqa: PYI034  (Self is of Python 3.11)
        """Refuse what would make two compartments share one origin."""
        if not (is_service(service) and is_tenant(tenant) and SLUG.match(category)):
            raise ValueError("a compartment needs a DNS name, a tenant code and a category code")
        return super().__new__(cls, service, tenant, category)

    @cached_property
    def origin(self) -> str:
        """The text identity of the compartment's chain."""
        return f"{_ORIGIN_PREFIX}{self.service}/{self.tenant}/{self.category}"


def parse_origin(text: str) -> Compartment:
    """Read an origin; MalformedError if it is not one."""
    parts = text[len(_ORIGIN_PREFIX) :].split("/")
    if not text.startswith(_ORIGIN_PREFIX) or len(parts) != 3:  # noqa: PLR2004  (service, tenant, category)
        raise MalformedError("not an origin of format v1")
    try:
        return Compartment(*parts)
    except ValueError as error:
        raise MalformedError("not an origin of format v1") from error


# A tuple: a frozen dataclass takes four times as long to make, and there is one for every event.
class Event(NamedTuple):
    """What a module submits, checked and normalised; `canonical` is its RFC 8785 spelling, `spelt` its time's there.

    Without `spelt`, it is looked for.
    """

    source: str
    id: str
    time: datetime
    action: str
    canonical: bytes
    sequence: int | None = None
    epoch: str = ""
    spelt: str = ""

    @property
    def time_text(self) -> str:
        """Its time as its canonical form spells it."""
        return self.spelt or time_text(self.canonical)


def time_text(event: bytes) -> str:
    """Return the time of an event as its canonical bytes spell it."""
    # No text holds these quotation marks: they are escaped there.
    start = event.rindex(_TIME_MEMBER) + len(_TIME_MEMBER)
    return event[start : start + _TIME_LENGTH].decode()


@dataclass(frozen=True)
class Entry:
    """A recorded event; `record` is the exact bytes it was read from; only they are evidence."""

    index: int
    recorded_at: datetime
    tenant: str
    category: str
    submitted_by: str
    event: dict[str, Any]
    record: bytes


class Frame(NamedTuple):
    """What stands around the events of records that differ only in event and index.

    A record is `before`, the canonical bytes of the event, `,"index":`, the index, `after`. Its remainder, which is
    what its place does not say of it, is `kept`, then the same bytes of the event.
    """

    before: bytes
    after: bytes
    kept: bytes


def record_frame(compartment: Compartment, recorded_at: str, submitted_by: str) -> Frame:
    """Return the frame of records.

    `recorded_at` is trusted to be canonical: `format_time` made it. ValueError if `submitted_by` cannot be encoded.
    """
    name, at = _spell(submitted_by)[1:-1], recorded_at.encode()
    before, end = place_parts(compartment.tenant, compartment.category)
    kept = b"%b%b%b" % (len(name).to_bytes(2, "big"), bytes.fromhex(at.translate(None, _MARKS).decode()), name)
    return Frame(before, _AFTER % (at, name, end), kept)


def place_parts(tenant: str, category: str) -> tuple[bytes, bytes]:
    """Return how every record of a compartment begins, up to its event, and how it ends, after `submitted_by`."""
    return b'{"category":"%b","event":' % category.encode(), b',"tenant":"%b","v":1}' % tenant.encode()


def kept_of(remainder: bytes) -> bytes:
    """Return what precedes the event in the remainder of a record."""
    return remainder[: KEPT_BYTES + int.from_bytes(remainder[:2], "big")]


def unfold(kept: bytes, end: bytes) -> bytes:
    """Return what stands after the index in a record: of `kept` as in its frame, and of how the record ends.

    Of bytes that no frame has, the result is no record.
    """
    at = kept[2:KEPT_BYTES].hex()
    day, clock = f"{at[:4]}-{at[4:6]}-{at[6:8]}", f"{at[8:10]}:{at[10:12]}:{at[12:14]}.{at[14:]}"
    return _AFTER % (f"{day}T{clock}Z".encode(), kept[KEPT_BYTES:], end)


def encode_record(*, compartment: Compartment, event: bytes, index: int, recorded_at: str, submitted_by: str) -> bytes:
    """Write the record of an entry around the canonical bytes of its event.

    `event` and `recorded_at` are trusted to be canonical: the edge and `format_time` made them.
    ValueError if the record is longer than RECORD_LIMIT_BYTES or `submitted_by` cannot be encoded.
    """
    before, after, _ = record_frame(compartment, recorded_at, submitted_by)
    record = b'%b%b,"index":%d%b' % (before, event, index, after)
    if len(record) > RECORD_LIMIT_BYTES:
        raise ValueError("the record is longer than the format allows")
    return record


# A credential submits many events: its name is encoded once.
@lru_cache(maxsize=512)
def _spell(submitted_by: str) -> bytes:
    return canonical.encode(submitted_by)


def _check_record(value: Any) -> None:
    if not isinstance(value, dict) or value.keys() != _MEMBERS:
        raise MalformedError("not a record: its members are not the seven of format v1")
    # True equals 1 in Python: the kind is compared, not only the value.
    if type(value["v"]) is not int or value["v"] != 1:
        raise MalformedError("not a record of format v1", part="/v")
    if type(value["index"]) is not int or value["index"] < 0:
        raise MalformedError("not an index", part="/index")
    for name in ("category", "recorded_at", "submitted_by", "tenant"):
        if not isinstance(value[name], str):
            raise MalformedError("not a string", part=f"/{name}")
    if not SLUG.match(value["category"]):
        raise MalformedError("not a category code", part="/category")
    if not is_tenant(value["tenant"]):
        raise MalformedError("not a tenant code", part="/tenant")
    if not value["submitted_by"]:
        raise MalformedError("empty", part="/submitted_by")


def _check_event(event: Any) -> None:
    if not isinstance(event, dict):
        raise MalformedError("not an object", part="/event")
    if event.get("specversion") != "1.0":
        raise MalformedError("not a CloudEvent of version 1.0", part="/event/specversion")
    for name in _EVENT_TEXTS:
        if not isinstance(event.get(name), str) or not event[name]:
            raise MalformedError("not a non-empty string", part=f"/event/{name}")


def _parse_time_at(pointer: str, text: str) -> datetime:
    try:
        return parse_time(text)
    except MalformedError as error:
        raise error.within(pointer) from error


def parse_record(record: bytes) -> Entry:
    """Read a record strictly; MalformedError names the member at fault.

    Checked: size, canonical spelling, exactly the seven members, their kinds, and of the event its
    CloudEvents attributes `specversion`, `source`, `id`, `type` and `time`. The rest of the
    event was checked when it was submitted and is evidence as it stands.
    """
    value = canonical.decode(record, limit_bytes=RECORD_LIMIT_BYTES)
    _check_record(value)
    _check_event(value["event"])
    _parse_time_at("/event/time", value["event"]["time"])
    return Entry(
        index=value["index"],
        recorded_at=_parse_time_at("/recorded_at", value["recorded_at"]),
        tenant=value["tenant"],
        category=value["category"],
        submitted_by=value["submitted_by"],
        event=value["event"],
        record=record,
    )


def identity_time(category: str, time: str) -> str:
    """Return what of an event's time, in the spelling of records, belongs to its identity: nothing in `journal`.

    The service repeats its own entries under one id, at another time, until it knows that they are written.
    """
    return "" if category == JOURNAL_CATEGORY else time


def event_key(key: bytes, source: str, id: str, time: str) -> bytes:  # noqa: A002  (CloudEvents' own word)
    """Return the 16 bytes that identify an event, revealing nothing without the key.

    HMAC-SHA-256 (RFC 2104) over uint16(length of source) ‖ source ‖ time ‖ id, cut to its first 16 bytes; `time` is
    what `identity_time` returns. ValueError unless the key is 32 bytes and the source at most 65,535.
    """
    return _keyed(key, source, time + id)


def event_keys(key: bytes, category: str, events: Iterable[Event]) -> list[bytes]:
    """Return the `event_key` of each event of a compartment of that category; what they share is hashed once.

    ValueError as `event_key`.
    """
    sources: dict[str, tuple[Any, Any]] = {}
    is_timed = category != JOURNAL_CATEGORY
    keys = []
    for source, name, _, _, canonical_form, _, _, spelt in events:
        started = sources.get(source)
        if started is None:
            started = sources[source] = _start(key, source)
        inner, outer = started[0].copy(), started[1].copy()
        inner.update(((spelt or time_text(canonical_form)) + name if is_timed else name).encode())
        outer.update(inner.digest())
        keys.append(outer.digest()[:EVENT_KEY_BYTES])
    return keys


def named_keys(key: bytes, named: Iterable[tuple[str, str]]) -> list[bytes]:
    """Return the `event_key` of each source with what follows it: time and id. ValueError as `event_key`."""
    sources: dict[str, tuple[Any, Any]] = {}
    keys = []
    for source, rest in named:
        started = sources.get(source)
        if started is None:
            started = sources[source] = _start(key, source)
        inner, outer = started[0].copy(), started[1].copy()
        inner.update(rest.encode())
        outer.update(inner.digest())
        keys.append(outer.digest()[:EVENT_KEY_BYTES])
    return keys


def source_key(key: bytes, source: str, epoch: str = "") -> bytes:
    """Return the 16 bytes that stand for a source in one epoch of its counter: HMAC-SHA-256 as for an event.

    Over uint16(length of source) ‖ source ‖ 0x00 ‖ epoch: neither a time nor an id begins so.
    """
    return _keyed(key, source, "\0" + epoch)


def _keyed(key: bytes, source: str, rest: str) -> bytes:
    inner, outer = _start(key, source)
    inner.update(rest.encode())
    outer.update(inner.digest())
    return bytes(outer.digest()[:EVENT_KEY_BYTES])


def _start(key: bytes, source: str) -> tuple[Any, Any]:
    """Return the inner hash of an HMAC, of what begins with the source, and the outer one."""
    raw = source.encode()
    if len(key) != _KEY_BYTES or len(raw) > _SOURCE_LIMIT_BYTES:
        raise ValueError("an event key needs a key of 32 bytes and a source of at most 65,535")
    # HMAC written out: hmac.digest looks up its algorithm in OpenSSL 3 at every call and takes twice as long.
    block = key.ljust(_BLOCK_BYTES, b"\0")
    inner = sha256(block.translate(_INNER_PAD) + len(raw).to_bytes(2, "big") + raw)
    return inner, sha256(block.translate(_OUTER_PAD))
