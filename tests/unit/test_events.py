"""Events from bytes: what is accepted, in which bytes it is kept, and how every fault is named."""

from __future__ import annotations

import json
import re
import unicodedata
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.examination import BATCH_LIMIT_EVENTS, FAULTS_LIMIT
from ingest.shapes import FITTING, fault_of_name
from ingest.spellings import PLAIN
from journal.core import canonical
from journal.core.entry import EVENT_LIMIT_BYTES, MODULE_ACTIONS, OPERATIONS
from journal.core.errors import InvalidEventError, MalformedError, MisshapenEventError, OversizeEventError
from journal.core.times import normalise_time, parse_time
from journal.extract.table import UNSEEN
from tests.support.decoding import decode_batch, decode_single
from tests.support.refused_events import (
    REFUSED,
    SOURCE_PREFIX,
    TRACEPARENT,
    Refused,
    acting,
    batch_of,
    full_event,
    valid_event,
)

if TYPE_CHECKING:
    from journal.core.entry import Event

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
STATUS = {MisshapenEventError: 400, OversizeEventError: 413, InvalidEventError: 422}


def single(event: Any) -> Any:
    """Decode one event given as a value."""
    return decode_single(json.dumps(event).encode(), NOW, SOURCE_PREFIX)


def refusal(body: bytes, *, batch: bool = False) -> InvalidEventError:
    """Return the error a body meets."""
    with pytest.raises(InvalidEventError) as caught:
        (decode_batch if batch else decode_single)(body, NOW, SOURCE_PREFIX)
    return caught.value


def told(error: InvalidEventError) -> list[tuple[int, str, str]]:
    """Return where each fault is, and its reason."""
    return [(fault.position, fault.pointer, fault.reason) for fault in error.faults]


def decoded_or_refused(body: bytes) -> Event | InvalidEventError:
    """Return what a body is read as, or the error it meets."""
    try:
        return decode_single(body, NOW, SOURCE_PREFIX)
    except InvalidEventError as error:
        return error


def reference(value: dict[str, Any]) -> bytes:
    """Return the canonical bytes an accepted event must have."""
    return canonical.encode(value | {"time": normalise_time(value["time"])})


class TestAccepted:
    """What a module may send."""

    @pytest.mark.parametrize("action", MODULE_ACTIONS)
    def test_every_action_is_accepted(self, action: str) -> None:
        """Each of the seven actions is a type of its own, and the entry is counted under it."""
        assert single(valid_event(action)).action == action

    def test_the_full_event_keeps_everything(self) -> None:
        """Source, id, time, action and sequence are read; every member is in the canonical bytes."""
        event = single(full_event())
        assert (event.source, event.id) == ("urn:openepm:albi:main-courante", "01JQ3W-0001")
        assert event.time == datetime(2026, 3, 1, 10, 0, 0, 123456, tzinfo=UTC)
        assert (event.action, event.sequence) == ("disclosure", 42)
        assert event.canonical == canonical.encode(full_event())

    def test_what_is_optional_may_be_left_out(self) -> None:
        """An access needs an actor and an outcome, no subject and no justification."""
        event = valid_event("access", data={"actor": {"account": "a"}, "outcome": "denied"})
        del event["subject"]
        assert single(event).sequence is None

    @pytest.mark.parametrize("action", ["consultation", "disclosure", "combination"])
    @pytest.mark.parametrize("outcome", ["denied", "failure"])
    def test_what_was_refused_or_failed_needs_no_justification(self, action: str, outcome: str) -> None:
        """It showed nothing to anybody."""
        event = valid_event(action)
        del event["data"]["justification"]
        event["data"]["outcome"] = outcome
        assert single(event).canonical == reference(event)

    @pytest.mark.parametrize(("action", "operation"), [(a, o) for a, fit in FITTING.items() for o in sorted(fit)])
    def test_an_operation_may_be_any_that_fits_the_action(self, action: str, operation: str) -> None:
        """Those of the table, and each operation there is fits something."""
        outcome = "denied" if operation == "login-failed" else "success"
        event = acting(action, operation, outcome=outcome)
        assert single(event).canonical == reference(event)
        assert frozenset().union(*FITTING.values()) == set(OPERATIONS)
        assert set(FITTING) == set(MODULE_ACTIONS)

    def test_an_act_of_several_subjects_is_an_event_for_each(self) -> None:
        """A list of fifty hits: one batch, one act, fifty references, each its own entry."""
        hits = [valid_event(id=f"l/{number}", subject=f"MC-{number}") for number in range(50)]
        for hit in hits:
            hit["data"] |= {"act": "l", "count": 50, "operation": "list"}
        events = decode_batch(json.dumps(hits).encode(), NOW, SOURCE_PREFIX)
        assert [event.canonical for event in events] == [reference(hit) for hit in hits]

    @pytest.mark.parametrize("text", ["PM-07", ": -0", 'a":-0,"b', "\\", '\\"-0'])
    def test_a_count_of_nought_is_not_taken_for_minus_nought(self, text: str) -> None:
        """Whatever texts stand beside it."""
        event = acting("consultation", "search", count=0, justification=f"x{text}")
        assert single(event).canonical == reference(event)

    @pytest.mark.parametrize(
        ("given_time", "kept"),
        [
            ("2026-03-01T10:00:00Z", "2026-03-01T10:00:00.000000Z"),
            ("2026-03-01T10:00:00.5Z", "2026-03-01T10:00:00.500000Z"),
            ("2026-03-01T00:30:00.123456+01:00", "2026-02-28T23:30:00.123456Z"),
            ("2026-03-01T04:30:00-05:30", "2026-03-01T10:00:00.000000Z"),
            ("2026-03-01t10:00:00z", "2026-03-01T10:00:00.000000Z"),
            ("2026-03-01T10:00:00-00:00", "2026-03-01T10:00:00.000000Z"),
            ("2026-03-01T10:00:00.123456000Z", "2026-03-01T10:00:00.123456Z"),
            ("2026-03-01T11:00:00.000000000+01:00", "2026-03-01T10:00:00.000000Z"),
            ("2026-03-01T12:05:00Z", "2026-03-01T12:05:00.000000Z"),
        ],
    )
    def test_a_time_is_normalised(self, given_time: str, kept: str) -> None:
        """Any zone is accepted, up to five minutes ahead; what is kept is UTC with microseconds."""
        event = single(valid_event(time=given_time))
        assert json.loads(event.canonical)["time"] == kept
        assert event.time == parse_time(kept)

    def test_lines_and_tabs_are_text_in_a_justification(self) -> None:
        """A justification may be typed on several lines; quotes, backslashes and colons are plain text."""
        event = valid_event()
        event["data"]["justification"] = 'motif :\t"vérifié"\r\n\\ suite \\n\\u0000 : fin'
        assert single(event).canonical == reference(event)

    def test_a_colon_spelt_as_an_escape_is_a_colon(self) -> None:
        """Escapes that no writer needs are legal JSON, and hide nothing."""
        body = json.dumps(valid_event()).replace("urn:openepm", r"urn\u003aopenepm").encode()
        assert decode_single(body, NOW, SOURCE_PREFIX).canonical == canonical.encode(valid_event())

    def test_white_space_and_escapes_weigh_nothing(self) -> None:
        """An event is weighed alike alone and in a batch: in canonical form."""
        event = valid_event("disclosure")
        event["data"]["recipients"] = ["é" * 250] * 25
        body = json.dumps(event, indent=9).encode()
        assert len(body) > 2 * EVENT_LIMIT_BYTES
        assert decode_single(body, NOW, SOURCE_PREFIX) == decode_batch(b"[%s]" % body, NOW, SOURCE_PREFIX)[0]

    def test_a_single_may_weigh_16_kib_and_no_more(self) -> None:
        """The limit is on the canonical bytes, where a short time grows longer, and inclusive."""
        event = valid_event("disclosure", time="2026-03-01T10:00:00Z")
        event["data"]["recipients"] = ["é" * 250] * 30
        event["data"]["justification"] += "j" * (EVENT_LIMIT_BYTES - len(reference(event)))
        body = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
        assert len(body.encode()) < EVENT_LIMIT_BYTES
        assert len(decode_single(body.encode(), NOW, SOURCE_PREFIX).canonical) == EVENT_LIMIT_BYTES
        longer = body.replace("jj", "jjj", 1).encode()
        assert len(longer) < EVENT_LIMIT_BYTES
        assert told(refusal(longer)) == [(0, "", "is larger than 16 KiB")]

    def test_the_trace_is_kept(self) -> None:
        """A W3C trace context links an entry to the request that made it."""
        state = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
        kept = json.loads(single(valid_event(traceparent=TRACEPARENT, tracestate=state)).canonical)
        assert (kept["traceparent"], kept["tracestate"]) == (TRACEPARENT, state)

    @pytest.mark.parametrize("name", ["subject", "datacontenttype", "sequence", "traceparent", "dataschema", "other"])
    def test_a_null_attribute_is_an_absent_one(self, name: str) -> None:
        """Some writers spell what they do not have; within `data`, null is no value."""
        event = valid_event("access")
        body = json.dumps(event | {name: None}).encode()
        event.pop(name, None)
        assert decode_single(body, NOW, SOURCE_PREFIX).canonical == canonical.encode(event)
        assert decode_batch(b"[%s]" % body, NOW, SOURCE_PREFIX)[0].canonical == canonical.encode(event)

    def test_texts_are_kept_in_one_form(self) -> None:
        """What Unicode calls equivalent is one text: a repeated event is repeated, however its accents are spelt."""
        event = full_event()
        event["data"]["actor"]["account"] = "hélène"
        event["data"]["fields"] = ["prénom", "Œuvre"]
        spelt = json.dumps(event, ensure_ascii=False)
        apart = normalize("NFD", spelt)
        assert apart != spelt
        assert decode_single(apart.encode(), NOW, SOURCE_PREFIX) == single(event)
        assert decode_single(json.dumps(json.loads(apart)).encode(), NOW, SOURCE_PREFIX) == single(event)
        assert single(event).canonical == canonical.encode(event)

    def test_a_justification_may_hold_what_is_not_seen(self) -> None:
        """It is prose; whoever shows it makes it visible."""
        event = valid_event()
        event["data"]["justification"] = '" \u200f" \u00a0'
        assert single(event).canonical == reference(event)


class TestRefused:
    """Every way to be refused, alone and in a batch."""

    def test_no_two_cases_are_the_same(self) -> None:
        """Each way to be refused is another way."""
        assert len({case.body for case in REFUSED}) == len({case.name for case in REFUSED}) == len(REFUSED)

    @pytest.mark.parametrize("case", REFUSED, ids=str)
    def test_alone(self, case: Refused) -> None:
        """The kind of error gives the status; a fault points at the member."""
        error = refusal(case.body)
        assert STATUS[type(error)] == case.status
        assert (0, case.pointer) in [(fault.position, fault.pointer) for fault in error.faults]
        assert "cannot be read as an event" not in str(error)

    @pytest.mark.parametrize("case", [case for case in REFUSED if case.pointer], ids=str)
    def test_in_a_batch(self, case: Refused) -> None:
        """The one refused event is named by its position, and none of its neighbours is."""
        error = refusal(batch_of(case), batch=True)
        assert STATUS[type(error)] == case.status
        assert {fault.position for fault in error.faults} == {2}
        assert case.pointer in [fault.pointer for fault in error.faults]

    def test_every_fault_is_named_at_once(self) -> None:
        """A module's author corrects everything after one answer."""
        event = full_event()
        event |= {"id": "", "time": "2026-03-01T10:00:00", "extra": "x"}
        event["data"]["actor"]["account"] = "a\0"
        del event["data"]["recipients"]
        error = refusal(json.dumps(event).encode())
        assert sorted(told(error)) == [
            (0, "/data/actor/account", "holds the character U+0000"),
            (0, "/data/recipients", "is required for disclosure"),
            (0, "/extra", "is not a known member"),
            (0, "/id", "is empty"),
            (0, "/time", "cannot be recorded: the time has no zone"),
        ]

    def test_faults_of_every_event_of_a_batch(self) -> None:
        """Faults of both kinds are listed by position; the shape decides the kind of error."""
        events = [valid_event(id=str(number)) for number in range(5)]
        events[1]["time"] = "2126-01-01T00:00:00Z"
        events[3]["data"]["justification"] = " "
        error = refusal(json.dumps(events).encode(), batch=True)
        assert isinstance(error, MisshapenEventError)
        assert [(fault.position, fault.pointer) for fault in error.faults] == [
            (1, "/time"),
            (3, "/data/justification"),
        ]

    def test_more_than_five_minutes_ahead(self) -> None:
        """A clock may be a little wrong; an event of the future is refused."""
        late = (NOW + timedelta(minutes=5, microseconds=1)).isoformat()
        error = refusal(json.dumps(valid_event(time=late)).encode())
        assert told(error) == [(0, "/time", "is more than 5 minutes ahead of the service's clock")]
        assert type(error) is InvalidEventError

    def test_a_refused_value_is_not_repeated(self) -> None:
        """Reasons name rules, not what was sent: an answer may be logged by who receives it."""
        event = valid_event()
        event["data"]["fields"] = ["nom: Dupont"]
        assert "Dupont" not in str(refusal(json.dumps(event).encode()).faults)


class TestBatch:
    """Limits and shape of a batch."""

    def test_in_order(self) -> None:
        """Events come out in the order they were sent, each with its own bytes."""
        events = [valid_event(id=f"e{number}", sequence=str(number)) for number in range(50)]
        decoded = decode_batch(json.dumps(events).encode(), NOW, SOURCE_PREFIX)
        assert [event.canonical for event in decoded] == [canonical.encode(event) for event in events]

    @pytest.mark.parametrize("member", ["role", "name"])
    @pytest.mark.parametrize("text", [" ", "\u2003", "\u200b", "a\u0007"])
    def test_one_among_many_is_refused(self, member: str, text: str) -> None:
        """What all the others are hides nothing: a name that is blank, or holds what is not seen."""
        events = [valid_event(id=f"e{number}") for number in range(5)]
        events[3]["data"]["actor"][member] = text
        error = refusal(json.dumps(events).encode(), batch=True)
        assert [(fault.position, fault.pointer) for fault in error.faults] == [(3, f"/data/actor/{member}")]

    def test_an_empty_batch_is_a_batch(self) -> None:
        """There is nothing in it to refuse."""
        assert decode_batch(b" [ ] ", NOW, SOURCE_PREFIX) == []

    def test_the_same_event_twice_is_no_fault(self) -> None:
        """A sender that repeats itself within a batch gets the same receipt twice."""
        body = json.dumps([valid_event(), valid_event()]).encode()
        first, second = decode_batch(body, NOW, SOURCE_PREFIX)
        assert first == second

    @pytest.mark.parametrize(
        ("body", "code", "reason"),
        [
            (b"{}", "wrong-type", "must be a list: send one event as application/cloudevents+json"),
            (
                json.dumps(valid_event()).encode(),
                "wrong-type",
                "must be a list: send one event as application/cloudevents+json",
            ),
            (b'"event"', "wrong-type", "must be a list"),
            (b"", "not-json", "the body is empty"),
            (b" ", "not-json", "the body is not JSON at character 1"),
            (b"[" * 5_000, "not-json", "the body is nested too deeply"),
            (b"[" + b"0," * 1_000_000 + b"0]", "body-too-large", "the body holds more than 1,000,000 values"),
        ],
    )
    def test_not_a_batch(self, body: bytes, code: str, reason: str) -> None:
        """What is no list of events is refused in words, at no event in particular."""
        error = refusal(body, batch=True)
        assert isinstance(error, OversizeEventError if code == "body-too-large" else MisshapenEventError)
        assert told(error) == [(0, "", reason)]
        assert error.faults[0].code.name == code

    def test_a_batch_sent_as_one_event(self) -> None:
        """A list sent as one event is refused with how to send a list."""
        error = refusal(json.dumps([valid_event()]).encode())
        assert isinstance(error, MisshapenEventError)
        assert told(error) == [(0, "", "must be one event: send a list as application/cloudevents-batch+json")]

    def test_what_is_no_event_is_named_by_position(self) -> None:
        """A batch of anything but objects is refused item by item."""
        error = refusal(b'[1, null, "a", [], true]', batch=True)
        assert [fault.position for fault in error.faults] == [0, 1, 2, 3, 4]

    def test_depth_is_never_an_accident(self) -> None:
        """Unknown content is refused at any depth of nesting, also near Python's recursion limit."""
        template = json.dumps(valid_event(extra="@")).encode()
        for depth in range(1, 1_100):
            body = b"[" + template.replace(b'"@"', b"[" * depth + b"]" * depth) + b"]"
            assert told(refusal(body, batch=True)) in (
                [(0, "/extra", "is not a known member")],
                [(0, "", "the body is nested too deeply")],
            )

    def test_faults_without_end_are_cut(self) -> None:
        """However much is wrong, the list of faults is bounded: the first are in it, the others are counted."""
        event = b'{"' + b'":1,"'.join(f"m{number}".encode() for number in range(1_000)) + b'":1}'
        error = refusal(b"[" + b",".join([event] * 100) + b"]", batch=True)
        # Each has 1,000 unknown members, lacks six, and is no event.
        assert (len(error.faults), error.more) == (FAULTS_LIMIT, 100 * 1_006 - FAULTS_LIMIT)
        assert {fault.position for fault in error.faults} == {0}

    def test_at_most_10_000_events(self) -> None:
        """The limit is inclusive; one more is named by the position of the first event too many."""
        one = json.dumps(valid_event()).encode()
        body = b"[" + b",".join([one] * BATCH_LIMIT_EVENTS) + b"]"
        assert len(decode_batch(body, NOW, SOURCE_PREFIX)) == BATCH_LIMIT_EVENTS
        error = refusal(body[:-1] + b"," + one + b"]", batch=True)
        assert isinstance(error, OversizeEventError)
        assert error.faults[0][0] == BATCH_LIMIT_EVENTS

    def test_an_event_of_a_batch_is_weighed_in_canonical_form(self) -> None:
        """Indentation and escapes of a batch are free; the event itself has 16 KiB, inclusive."""
        event = valid_event("disclosure", time="2026-03-01T11:00:00+01:00")
        event["data"]["recipients"] = ["é" * 250] * 30
        event["data"]["justification"] += "j" * (EVENT_LIMIT_BYTES - len(reference(event)))
        assert len(reference(event)) == EVENT_LIMIT_BYTES
        body = json.dumps([valid_event(id="x"), event], indent=8).encode()
        assert len(decode_batch(body, NOW, SOURCE_PREFIX)) == 2
        event["subject"] += "s"
        error = refusal(json.dumps([valid_event(id="x"), event]).encode(), batch=True)
        assert isinstance(error, OversizeEventError)
        assert told(error) == [(1, "", "is larger than 16 KiB")]


TEXT = (
    st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1, max_size=40)
    .map(lambda text: normalize("NFC", text))
    .filter(lambda text: not fault_of_name(text))
)
ACTORS = st.fixed_dictionaries({"account": TEXT}, optional={"name": TEXT, "role": TEXT, "unit": TEXT})
TIMES = st.builds(
    lambda moment, zone: moment.strftime("%Y-%m-%dT%H:%M:%S") + zone,
    st.datetimes(datetime(1971, 1, 1), datetime(2026, 2, 28)),  # noqa: DTZ001  (the zone is drawn apart)
    st.sampled_from(["Z", ".1Z", ".123456Z", "+00:00", ".5+02:00", "-11:30", ".000001+14:00", "z"]),
)
EVENTS = st.builds(
    lambda event, action, data, actor: (
        event | {"type": f"fr.openepm.journal.{action}", "data": data | {"actor": actor}}
    ),
    st.fixed_dictionaries(
        {
            "specversion": st.just("1.0"),
            "source": st.sampled_from([SOURCE_PREFIX + "a", SOURCE_PREFIX + "b?c=%20#d"]),
            "id": TEXT,
            "time": TIMES,
            "subject": TEXT,
        },
        optional={
            "datacontenttype": st.just("application/json"),
            "sequence": st.from_regex(r"[0-9]{1,16}", fullmatch=True),
            "traceparent": st.just(TRACEPARENT),
        },
    ),
    st.sampled_from(list(MODULE_ACTIONS)),
    st.fixed_dictionaries(
        {
            "outcome": st.sampled_from(["success", "denied", "failure"]),
            "justification": st.builds(lambda text: f"x{text}", TEXT | st.sampled_from(['"\n:"', "\\\t", "\r"])),
            "recipients": st.lists(TEXT, min_size=1, max_size=3),
        },
        optional={
            "fields": st.lists(st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,20}", fullmatch=True), max_size=3),
            "client": st.fixed_dictionaries({}, optional={"address": TEXT, "session": TEXT}),
            "count": st.integers(0, 2**53 - 1),
            "act": st.from_regex(r"[A-Za-z0-9._:~-]{1,64}", fullmatch=True),
        },
    ),
    ACTORS,
)


@st.composite
def spellings(draw: st.DrawFn, value: Any) -> str:
    """Spell a value in one of the many ways JSON allows: order, white space, escapes."""
    space = st.sampled_from(["", "", "", " ", "\n\t", "\r\n  "])
    if isinstance(value, str):
        escaped = draw(st.sets(st.sampled_from(sorted(set(value)) or [" "]), max_size=3))
        units = {
            mark: "".join(f"\\u{unit:04x}" for unit in memoryview(mark.encode("utf-16-le")).cast("H"))
            for mark in escaped
        }
        return '"' + "".join(units.get(mark) or json.dumps(mark, ensure_ascii=False)[1:-1] for mark in value) + '"'
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        parts = [draw(spellings(item)) for item in value]
        return "[" + draw(space) + f"{draw(space)},{draw(space)}".join(parts) + draw(space) + "]"
    names = draw(st.permutations(sorted(value)))
    members = [draw(spellings(name)) + draw(space) + ":" + draw(space) + draw(spellings(value[name])) for name in names]
    return "{" + draw(space) + f"{draw(space)},{draw(space)}".join(members) + draw(space) + "}"


@pytest.mark.untraced
@given(st.data(), EVENTS)
def test_any_spelling_is_kept_in_the_canonical_one(data: st.DataObject, event: dict[str, Any]) -> None:
    """Whatever the order, white space and escapes, the bytes kept are those of RFC 8785."""
    body = data.draw(spellings(event)).encode()
    decoded = decode_single(body, NOW, SOURCE_PREFIX)
    assert decoded.canonical == reference(event)
    assert canonical.decode(decoded.canonical, limit_bytes=EVENT_LIMIT_BYTES) == json.loads(decoded.canonical)
    time = json.loads(decoded.canonical)["time"]
    assert (decoded.time, decoded.time_text) == (parse_time(time), time)


@pytest.mark.untraced
@given(st.lists(EVENTS, min_size=2, max_size=4))
def test_a_batch_holds_what_its_events_are_alone(events: list[dict[str, Any]]) -> None:
    """What is asked of all of them at once is answered for each."""
    decoded = decode_batch(json.dumps(events).encode(), NOW, SOURCE_PREFIX)
    assert decoded == [single(event) for event in events]


@pytest.mark.untraced
@given(st.data(), EVENTS)
def test_a_member_given_twice_is_never_accepted(data: st.DataObject, event: dict[str, Any]) -> None:
    """Wherever it is repeated, however it is spelt, with the same value or another."""
    path = data.draw(st.sampled_from([(), ("data",), ("data", "actor")]))
    target = event
    for step in path:
        target = target[step]
    name = data.draw(st.sampled_from(sorted(target)))
    extra = data.draw(spellings(name)) + data.draw(st.sampled_from([":", " :", "\t\n: "]))
    extra += data.draw(spellings(data.draw(st.sampled_from([target[name], "", ":", '":', {}, []]))))
    mark = '{"@": ""}'
    target["@"] = {"@": ""}
    body = json.dumps(event, ensure_ascii=False)
    body = body.replace(f'"@": {mark}', extra)
    error = refusal(body.encode())
    pointer = "".join(f"/{step}" for step in (*path, name))
    assert (0, pointer, "is given twice") in told(error)


@pytest.mark.untraced
@given(st.data(), EVENTS)
def test_no_bytes_are_accepted_that_strict_json_refuses(data: st.DataObject, event: dict[str, Any]) -> None:
    """A body damaged anywhere is refused by name, or is another valid event kept as such."""
    body = bytearray(json.dumps(event, ensure_ascii=data.draw(st.booleans())).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        piece = data.draw(
            st.binary(max_size=3)
            | st.sampled_from([b'"', b"\\", b":", b",", b"{", b"}", b"[", b"null", b"0", b"\\u0000", b"\\ud800"])
        )
        body[at : at + data.draw(st.integers(0, 3))] = piece
    outcome = decoded_or_refused(bytes(body))
    if isinstance(outcome, InvalidEventError):
        assert "cannot be read as an event" not in str(outcome)
    else:
        value = canonical.parse(bytes(body), limit_bytes=EVENT_LIMIT_BYTES)
        assert outcome.canonical == reference(value)


@given(
    st.text(max_size=40)
    | st.from_regex(
        r"[0-9]{4}-[0-1][0-9]-[0-3][0-9][Tt ][0-9]{2}:[0-6][0-9]:[0-9]{2}(\.[0-9]{0,7})?([Zz]|[+-][0-2][0-9]:[0-9]{2})?"
    )
)
def test_times_are_read_as_the_core_reads_them(text: str) -> None:
    """The edge's quick reading of a time and the core's careful one never differ."""
    body = json.dumps(valid_event(time=text)).encode()
    far = datetime(9999, 12, 31, 23, 50, tzinfo=UTC)
    try:
        expected = normalise_time(text)
    except MalformedError:
        with pytest.raises(MisshapenEventError):
            decode_single(body, far, SOURCE_PREFIX)
    else:
        if parse_time(expected) <= far:
            assert json.loads(decode_single(body, far, SOURCE_PREFIX).canonical)["time"] == expected


def test_letters_that_need_no_look() -> None:
    """None of the plain letters is blank, unseen, or composes with another; others are looked at."""
    plain = [letter for letter in map(chr, range(0x20, 0x300)) if not letter.encode().translate(None, PLAIN)]
    assert plain == [*map(chr, range(0x20, 0x7F)), *map(chr, range(0xC0, 0x280))]
    assert not any(re.search(f"[{UNSEEN}]", letter) or (letter.isspace() and letter != " ") for letter in plain)
    text = "".join(plain)
    assert unicodedata.is_normalized("NFC", text + text[::-1])
    assert not any(map(unicodedata.combining, plain))
