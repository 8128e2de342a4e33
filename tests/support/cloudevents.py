"""What the CloudEvents conformance suite exercises, grafted one feature at a time onto a valid event of ours.

The suite (github.com/cloudevents/conformance, commit 7a8ee0a: features/http-protocol-binding.feature, yaml/)
says what a receiver must understand. Where this journal is not stricter on purpose, it does; where it is, the
case says by which rule. Nothing of the suite's text is here, only which features it has.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.edge import SINGLE
from tests.support.refused_events import valid_event

EARTH = "\N{EARTH GLOBE AMERICAS}"


def graft(**members: Any) -> dict[str, Any]:
    """Return a valid event of a minute ago, in seconds as the suite writes its times, with members replaced."""
    moment = (datetime.now(UTC) - timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return valid_event(time=moment) | members


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One feature: how it is sent, and what becomes of it.

    `pointer` is where our stricter rule refuses it; None where it is accepted, or refused by its media type.
    """

    feature: str
    members: dict[str, Any] = field(default_factory=dict)
    without: str = ""
    media_type: str = SINGLE
    headers: dict[str, str] = field(default_factory=dict)
    status: int = 201
    pointer: str | None = None

    def __str__(self) -> str:
        """Name the test case."""
        return self.feature

    def event(self) -> dict[str, Any]:
        """Return the event to send."""
        event = graft(**self.members)
        event.pop(self.without, None)
        return event


def _data(**members: Any) -> dict[str, Any]:
    event = valid_event()
    return {"data": event["data"] | members}


def _refused(feature: str, pointer: str, **others: Any) -> Case:
    return Case(feature=feature, pointer=pointer, status=400, **others)


BINARY = {
    "ce_specversion": "1.0",
    "ce_type": "fr.openepm.journal.access",
    "ce_time": "2026-03-01T10:00:00Z",
    "ce_id": "1234-1234-1234",
    "ce_source": "/mycontext/subcontext",
}

CASES = [
    # features/http-protocol-binding.feature: structured content mode
    Case(feature="structured mode"),
    Case(feature="structured mode with a charset", media_type=f"{SINGLE}; charset=utf-8"),
    Case(feature="structured mode with a charset in capitals", media_type=f"{SINGLE.upper()}; charset=UTF-8"),
    Case(feature="an id of digits and hyphens", members={"id": "1234-1234-1234"}),
    Case(feature="a source that is a path", members={"source": "/mycontext/subcontext"}),
    Case(feature="a source that is a network path", members={"source": "//github.com/cloudevents/v1.yaml"}),
    Case(feature="a time in whole seconds, UTC"),
    Case(feature="datacontenttype application/json", members={"datacontenttype": "application/json"}),
    Case(feature="no datacontenttype", without="datacontenttype"),
    Case(feature="a user agent of its own", headers={"User_Agent": "foo"}),
    Case(feature="text beyond the basic plane", members=_data(justification=f"Hello, {EARTH}!")),
    # The same feature's binary content mode: one media type per event would hide its attributes in headers,
    # which proxies log.
    Case(feature="binary mode, JSON", media_type="application/json", headers=BINARY, status=415),
    Case(
        feature="binary mode, JSON with a charset",
        media_type="application/json; charset=utf-8",
        headers=BINARY,
        status=415,
    ),
    # yaml/v1.yaml and yaml/v1.0/v1_minimum.yaml, where this journal is stricter
    _refused("a type of another vocabulary", "/type", members={"type": "com.example.someevent"}),
    _refused("an extension with a text", "/comexampleextension1", members={"comexampleextension1": "value"}),
    _refused(
        "an extension with JSON in a text",
        "/comexampleextension2",
        members={"comexampleextension2": '{"othervalue": 5}'},
    ),
    _refused("data of another shape", "/data/world", members=_data(world="hello")),
    _refused("data a JSON text", "/data", members={"data": f"Hello, {EARTH}!"}),
    _refused("data a JSON list", "/data", members={"data": ["Hello", f"{EARTH}!"]}),
    _refused("data of plain text", "/datacontenttype", members={"datacontenttype": "text/plain; charset=us-ascii"}),
    _refused(
        "JSON data with a charset", "/datacontenttype", members={"datacontenttype": "application/json; charset=utf-8"}
    ),
    _refused("XML data", "/datacontenttype", members={"datacontenttype": "application/xml; charset=utf-8"}),
    _refused("no time", "/time", without="time"),
    _refused("no data", "/data", without="data"),
    # yaml/v03.yaml, yaml/v0.3/v03_minimum.yaml
    _refused("specversion 0.3", "/specversion", members={"specversion": "0.3"}),
    # Attributes every version requires
    *(_refused(f"no {name}", f"/{name}", without=name) for name in ("id", "source", "specversion", "type")),
]
