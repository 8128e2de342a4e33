"""Events that must be refused: how each departs from a valid one, and where the fault is shown to be.

Used twice: on the decoder alone, and through HTTP on a running service.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

SOURCE_PREFIX = "urn:openepm:albi:"
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def valid_event(action: str = "consultation", **members: Any) -> dict[str, Any]:
    """Return a valid event of an action, with members of the event replaced."""
    event: dict[str, Any] = {
        "specversion": "1.0",
        "type": f"fr.openepm.journal.{action}",
        "source": f"{SOURCE_PREFIX}main-courante",
        "id": "01JQ3W-0001",
        "time": "2026-03-01T10:00:00.123456Z",
        "subject": "MC-2026-000123",
        "data": {
            "actor": {"account": "jdupont", "role": "agent"},
            "justification": "Vérification d'une intervention",
            "recipients": ["Parquet d'Albi"],
            "outcome": "success",
            "fields": ["titre", "lieu"],
        },
    }
    return event | members


def acting(action: str, operation: str, **members: Any) -> dict[str, Any]:
    """Return a valid event of an action, but for its operation and other members of its data."""
    event = valid_event(action)
    event["data"] |= {"operation": operation, **members}
    return event


def full_event() -> dict[str, Any]:
    """Return a valid event with every member there is."""
    event = valid_event("disclosure", datacontenttype="application/json", sequence="42", traceparent=TRACEPARENT)
    event["data"]["actor"] |= {"name": "Jean Dupont", "unit": "brigade 2"}
    event["data"]["client"] = {"address": "10.0.0.12", "workstation": "PM-07", "session": "a1"}
    event["data"] |= {"act": "liste-2026.03:01~7", "count": 12, "operation": "export"}
    return event


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """One way to be refused: the bytes, the status of the answer, the pointer of the fault."""

    name: str
    body: bytes = field(repr=False)
    status: int = 400
    pointer: str = ""

    def __str__(self) -> str:
        """Name the test case."""
        return self.name


def _dump(event: Any) -> bytes:
    return json.dumps(event).encode()


def _changed(name: str, change: Callable[[dict[str, Any]], object], pointer: str, **others: Any) -> Refused:
    event = full_event()
    change(event)
    return Refused(name=name, body=_dump(event), pointer=pointer, **others)


def _set(name: str, pointer: str, value: Any, **others: Any) -> Refused:
    """Replace what the pointer designates, and expect the fault there."""
    *path, last = pointer.strip("/").split("/")

    def change(event: dict[str, Any]) -> None:
        for step in path:
            event = event[step]
        event[last.replace("~1", "/")] = value

    return _changed(name, change, pointer, **others)


def _without(pointer: str, action: str) -> Refused:
    *path, last = pointer.strip("/").split("/")
    event = target = valid_event(action)
    for step in path:
        target = target[step]
    del target[last]
    return Refused(name=f"{action} without {pointer}", body=_dump(event), pointer=pointer)


def _raw(name: str, old: str, new: bytes, pointer: str) -> Refused:
    """Replace bytes of a valid body, to say what no JSON writer would."""
    body = _dump(full_event())
    assert body.count(old.encode()) == 1, old
    return Refused(name=name, body=body.replace(old.encode(), new), pointer=pointer)


REFUSED = [
    # CloudEvents' own attributes
    _set("specversion 0.3", "/specversion", "0.3"),
    _set("specversion a number", "/specversion", 1.0),
    _set("an action there is not", "/type", "fr.openepm.journal.deletion"),
    _set("a type of the service itself", "/type", "fr.openepm.journal.service.purge"),
    _set("type a list", "/type", ["fr.openepm.journal.access"]),
    _set("empty id", "/id", ""),
    _set("id too long", "/id", "i" * 129),
    _set("id a number", "/id", 7),
    _set("null id", "/id", None),
    _set("null data", "/data", None),
    _set("blank id", "/id", "\u00a0 "),
    _set("empty source", "/source", ""),
    _set("source too long", "/source", SOURCE_PREFIX + "s" * 256),
    _set("source not a URI reference", "/source", SOURCE_PREFIX + "a b"),
    _set("source with a broken escape", "/source", SOURCE_PREFIX + "%4"),
    _set("subject too long", "/subject", "s" * 257),
    _set("empty subject", "/subject", ""),
    _set("a content type that is not JSON", "/datacontenttype", "text/xml"),
    _set("a schema", "/dataschema", "https://example.fr/schema"),
    _set("binary data", "/data_base64", "AAAA"),
    _set("an unknown extension", "/comexampleextension1", "value"),
    _set("an extension named as no extension may be", "/a~1b", "value"),
    _set("sequence a number", "/sequence", 42),
    _set("sequence not decimal", "/sequence", "4x"),
    _set("sequence in other digits", "/sequence", "٤٢"),
    _set("sequence too long", "/sequence", "1" * 17),
    _set("traceparent of nought", "/traceparent", f"00-{'0' * 32}-b7ad6b7169203331-01"),
    _set("traceparent in capitals", "/traceparent", TRACEPARENT.upper()),
    _set("tracestate with a letter that is not ASCII", "/tracestate", "vendor=é"),
    _set("tracestate too long", "/tracestate", "v" * 513),
    # time
    _set("naive time", "/time", "2026-03-01T10:00:00"),
    _set("time a number", "/time", 1772359200),
    _set("a day alone", "/time", "2026-03-01"),
    _set("a day of no calendar", "/time", "2026-02-30T10:00:00Z"),
    _set("an hour of no clock", "/time", "2026-03-01T24:00:00Z"),
    _set("a leap second", "/time", "2026-03-01T23:59:60Z"),
    _set("finer than a microsecond", "/time", "2026-03-01T10:00:00.1234567Z"),
    _set("finer than a microsecond, after noughts", "/time", "2026-03-01T10:00:00.12345600001Z"),
    _set("a zone of no place", "/time", "2026-03-01T10:00:00+24:00"),
    _set("a zone of an hour and ninety minutes", "/time", "2026-03-01T10:00:00+01:90"),
    _set("before the calendar", "/time", "0001-01-01T00:00:00+01:00"),
    _set("time in other digits", "/time", "٢٠٢٦-03-01T10:00:00Z"),
    _set("future time", "/time", "2126-03-01T10:00:00Z", status=422),
    _set("source outside the prefix", "/source", "urn:openepm:castres:x", status=422),
    # data
    _set("data a text", "/data", "jdupont"),
    _changed("no account", lambda event: event["data"]["actor"].pop("account"), "/data/actor/account"),
    _set("empty account", "/data/actor/account", ""),
    _set("account too long", "/data/actor/account", "a" * 129),
    _set("blank account", "/data/actor/account", "  "),
    _set("account written from right to left", "/data/actor/account", "\u202etnopud"),
    _set("name with a zero-width character", "/data/actor/name", "Jean\u200bDupont"),
    _set("name that ends in a delete", "/data/actor/name", "Jean\x7f"),
    _set("blank subject", "/subject", " \u2003"),
    _set("subject with a mark of direction", "/subject", "MC-2026\u200f-1"),
    _set("blank session", "/data/client/session", " "),
    _changed("unseen recipient", lambda event: event["data"].update(recipients=["\ufeff"]), "/data/recipients/0"),
    _set("actor a text", "/data/actor", "jdupont"),
    _set("unknown member of the actor", "/data/actor/email", "j@example.fr"),
    _set("null name", "/data/actor/name", None),
    _set("an outcome there is not", "/data/outcome", "ok"),
    _changed("no outcome", lambda event: event["data"].pop("outcome"), "/data/outcome"),
    _set("outcome a boolean", "/data/outcome", True),
    _set("unknown member of data", "/data/comment", "x"),
    _set("an operation there is not", "/data/operation", "read"),
    _set("operation a list", "/data/operation", ["list"]),
    *(
        Refused(name=f"{operation} of {action}", body=_dump(acting(action, operation)), pointer="/data/operation")
        for operation, action in (
            ("login", "consultation"),
            ("logout", "erasure"),
            ("login-failed", "modification"),
            ("delete", "consultation"),
            ("update", "access"),
            ("print", "erasure"),
            ("list", "collection"),
            ("transmit", "consultation"),
            ("login-failed", "access"),
        )
    ),
    _set("count a text", "/data/count", "12"),
    _set("count a boolean", "/data/count", True),
    _set("count below zero", "/data/count", -1),
    _set("count beyond what JSON's readers agree on", "/data/count", 2**53),
    _set("count a fraction", "/data/count", 12.5),
    _set("count null", "/data/count", None),
    _raw("count of an integer as a fraction", '"count": 12', b'"count": 12.0', "/data/count"),
    _raw("count with an exponent", '"count": 12', b'"count": 12e1', "/data/count"),
    _raw("count minus zero", '"count": 12', b'"count":\n-0 ', "/data/count"),
    _raw("count of very many digits", '"count": 12', b'"count": ' + b"1" * 10_000, "/data/count"),
    _set("empty act", "/data/act", ""),
    _set("act too long", "/data/act", "a" * 65),
    _set("act a sentence", "/data/act", "nom=Dupont"),
    _set("act a number", "/data/act", 7),
    _set("the data themselves", "/data/before", {"titre": "x"}),
    _set("blank justification", "/data/justification", " \n\t "),
    _set("justification too long", "/data/justification", "j" * 2001),
    _set("control character in a justification", "/data/justification", "a\x1bb"),
    _set("control character in an account", "/data/actor/account", "a\tb"),
    _set("line break in a subject", "/subject", "a\nb"),
    _set("recipients a text", "/data/recipients", "Parquet"),
    _set("no recipient in the list", "/data/recipients", []),
    _set("too many recipients", "/data/recipients", ["r"] * 101),
    _changed("empty recipient", lambda event: event["data"].update(recipients=[""]), "/data/recipients/0"),
    _changed(
        "a value among fields",
        lambda event: event["data"].update(fields=["titre", {"lieu": "12 rue"}]),
        "/data/fields/1",
    ),
    _changed(
        "a value behind the name of a field",
        lambda event: event["data"].update(fields=["titre=Dupont"]),
        "/data/fields/0",
    ),
    _set("fields an object", "/data/fields", {"titre": "x"}),
    _set("too many fields", "/data/fields", ["titre"] * 101),
    _set("client a text", "/data/client", "10.0.0.12"),
    _set("address too long", "/data/client/address", "1" * 65),
    _without("/subject", "modification"),
    _without("/data/justification", "consultation"),
    _without("/data/justification", "disclosure"),
    _without("/data/justification", "combination"),
    _without("/data/recipients", "disclosure"),
    *(_without(f"/{name}", "access") for name in ("specversion", "type", "source", "id", "time", "data")),
    # bytes that JSON writers do not write
    _raw("NUL", '"jdupont"', rb'"j\u0000dupont"', "/data/actor/account"),
    _set("NUL in a justification", "/data/justification", "a\0b"),
    _raw("lone surrogate", '"jdupont"', rb'"\ud83d"', "/data/actor/account"),
    _raw("lone low surrogate", '"jdupont"', rb'"\ude00 "', "/data/actor/account"),
    _raw("duplicate member", '"role": "agent"', b'"role": "agent", "role": "chef"', "/data/actor/role"),
    _raw("same member twice", '"sequence": "42"', b'"sequence": "42" , "sequence" :"42"', "/sequence"),
    _raw("duplicate member, escaped", '"id": ', rb'"\u0069\u0064": "other", "id": ', "/id"),
    _raw("duplicate object", '"data": ', b'"data": {}, "data": ', "/data"),
    _raw("duplicate hidden by an escaped colon", '"id": "', rb'"id": "a", "id": "\u003a', "/id"),
    _raw("duplicate hidden by two escaped colons", '"id": "', rb'"id": "a:", "id": "\u003A\u003a', "/id"),
    _raw("integer beyond 64 bits", '"42"', b"123456789012345678901234567890", "/sequence"),
    _raw("integer of a million digits", '"42"', b"1" * 10_000, "/sequence"),
    _raw("float", '"42"', b"42.0", "/sequence"),
    _raw("exponent", '"42"', b"42e400", "/sequence"),
    _raw("NaN", '"42"', b"NaN", "/sequence"),
    _raw("raw control character", '"jdupont"', b'"j\x01"', ""),
    _raw("not UTF-8", '"jdupont"', b'"j\xff"', ""),
    _raw("a surrogate in UTF-8", '"jdupont"', b'"j\xed\xa0\x80"', ""),
    _raw("an escape there is not", '"jdupont"', rb'"\x41"', ""),
    _raw("deep nesting", '"jdupont"', b"[" * 5_000 + b"]" * 5_000, ""),
    _raw("nesting that can still be read", '"jdupont"', b"[" * 300 + b"]" * 300, "/data/actor/account"),
    Refused(name="BOM", body=b"\xef\xbb\xbf" + _dump(valid_event())),
    Refused(name="UTF-16", body=json.dumps(valid_event()).encode("utf-16")),
    Refused(name="not JSON", body=b"source=urn:openepm&id=1"),
    Refused(name="empty body", body=b""),
    Refused(name="cut short", body=_dump(valid_event())[:-1]),
    Refused(name="trailing bytes", body=_dump(valid_event()) + b"{}"),
    Refused(name="a list", body=_dump([valid_event()])),
    Refused(name="a text", body=b'"event"'),
    Refused(name="null", body=b"null"),
    Refused(name="event of 17 KiB", body=_dump(valid_event(data={"x": "j" * (17 * 1024)})), status=413),
]


def batch_of(case: Refused, others: int = 2) -> bytes:
    """Put the refused event after valid ones."""
    before = [_dump(valid_event(id=f"before-{number}")) for number in range(others)]
    return b"[" + b",".join([*before, case.body]) + b"]"
