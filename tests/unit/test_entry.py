"""A record is the exact bytes of an entry: one spelling, strict kinds, bounded size."""

from __future__ import annotations

import hmac
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from journal.core import canonical
from journal.core.entry import (
    RECORD_LIMIT_BYTES,
    RESERVED_TENANT,
    SLUG,
    Compartment,
    Entry,
    Event,
    encode_record,
    event_key,
    event_keys,
    identity_time,
    is_service,
    named_keys,
    parse_origin,
    parse_record,
    source_key,
)
from journal.core.errors import MalformedError
from journal.core.times import format_time, parse_time

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "v1" / "core.json").read_text())
CHAIN = VECTORS["chain"]
COMPARTMENT = Compartment("journal.example.fr", "ville-a", "main-courante")
KEY = bytes(range(32))
TIME = "2026-03-14T08:00:00.000000Z"

SLUGS = st.from_regex(SLUG, fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=50)
TIMES = st.datetimes(timezones=st.just(parse_time("2026-03-14T00:00:00.000000Z").tzinfo)).map(format_time)
EVENTS = st.fixed_dictionaries(
    {"source": TEXTS, "id": TEXTS, "type": TEXTS, "time": TIMES, "specversion": st.just("1.0")},
    optional={"subject": TEXTS, "data": st.dictionaries(SLUGS, st.booleans() | TEXTS, max_size=3)},
)


@pytest.mark.parametrize("vector", CHAIN["entries"], ids=lambda vector: str(vector["index"]))
def test_a_record_is_that_of_the_vector(vector: dict[str, Any]) -> None:
    """The record is spelt as the vector says, and reads back as the entry it came from."""
    record = encode_record(
        compartment=COMPARTMENT,
        event=vector["event"].encode(),
        index=vector["index"],
        recorded_at=vector["recorded_at"],
        submitted_by=vector["submitted_by"],
    )
    assert record.decode() == vector["record"]
    assert record.hex() == vector["record_hex"]
    assert parse_record(record) == Entry(
        index=vector["index"],
        recorded_at=parse_time(vector["recorded_at"]),
        tenant="ville-a",
        category="main-courante",
        submitted_by=vector["submitted_by"],
        event=json.loads(vector["event"]),
        record=record,
    )


@pytest.mark.parametrize("vector", CHAIN["entries"], ids=lambda vector: str(vector["index"]))
def test_an_event_key_is_that_of_the_vector(vector: dict[str, Any]) -> None:
    """The key of an event is the one an independent HMAC gives."""
    event = json.loads(vector["event"])
    key = event_key(bytes.fromhex(CHAIN["event_key_key"]), event["source"], event["id"], event["time"])
    assert key.hex() == vector["event_key"]


@pytest.mark.parametrize("vector", VECTORS["refused_records"], ids=lambda vector: str(vector["name"]))
def test_what_is_no_record_is_refused_by_name(vector: dict[str, str]) -> None:
    """One fault in a record is enough, and the member at fault is named."""
    with pytest.raises(MalformedError) as refusal:
        parse_record(vector["record"].encode())
    assert refusal.value.part == vector["part"]


@given(SLUGS | st.just(RESERVED_TENANT), SLUGS, EVENTS, st.integers(0, 2**53 - 1), TIMES, TEXTS)
def test_a_record_spliced_is_the_record_encoded(
    tenant: str, category: str, event: dict[str, Any], index: int, recorded_at: str, submitted_by: str
) -> None:
    """Splicing the event's bytes gives what encoding the whole would, and reads back."""
    record = encode_record(
        compartment=Compartment("s.fr", tenant, category),
        event=canonical.encode(event),
        index=index,
        recorded_at=recorded_at,
        submitted_by=submitted_by,
    )
    whole = {
        "category": category,
        "event": event,
        "index": index,
        "recorded_at": recorded_at,
        "submitted_by": submitted_by,
        "tenant": tenant,
        "v": 1,
    }
    assert record == canonical.encode(whole)
    entry = parse_record(record)
    assert (entry.event, entry.index, entry.record) == (event, index, record)
    assert (entry.tenant, entry.category, entry.submitted_by) == (tenant, category, submitted_by)
    assert format_time(entry.recorded_at) == recorded_at


def splice(event: bytes, submitted_by: str = "k") -> bytes:
    """Make a record of which only the event and its submitter matter."""
    return encode_record(
        compartment=COMPARTMENT,
        event=event,
        index=0,
        recorded_at="2026-03-14T08:00:00.000000Z",
        submitted_by=submitted_by,
    )


def test_a_record_has_a_limit() -> None:
    """A record of the limit is written; one byte more is not, and would not be read."""
    event = json.loads(CHAIN["entries"][0]["event"])
    event["data"] = ""
    event["data"] = "x" * (RECORD_LIMIT_BYTES - len(splice(canonical.encode(event))))
    longest = splice(canonical.encode(event))
    assert len(longest) == RECORD_LIMIT_BYTES == 20_480
    assert parse_record(longest).event == event
    with pytest.raises(ValueError, match="longer"):
        splice(canonical.encode({**event, "data": event["data"] + "x"}))
    with pytest.raises(MalformedError, match="longer"):
        parse_record(longest.replace(b'"xx', b'"xxx'))


@pytest.mark.parametrize("submitted_by", ["\0", "\ud800"])
def test_a_submitter_that_cannot_be_spelt_is_refused(submitted_by: str) -> None:
    """What could not be read back is not written."""
    with pytest.raises(ValueError, match=r"character|surrogate"):
        splice(b"{}", submitted_by)


@given(st.binary() | st.sampled_from(CHAIN["entries"]).map(lambda vector: vector["record"].encode()), st.data())
def test_any_bytes_are_a_record_or_refused(record: bytes, data: st.DataObject) -> None:
    """A record changed in one byte is another record or none; nothing else can happen."""
    changed = bytearray(record)
    if changed:
        changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        entry = parse_record(bytes(changed))
    except MalformedError:
        return
    assert entry.record == bytes(changed) != record


def test_json_that_is_no_object_is_no_record() -> None:
    """An array is canonical JSON, but no record."""
    with pytest.raises(MalformedError, match="not a record"):
        parse_record(b"[]")


@given(SLUGS | st.just(RESERVED_TENANT), SLUGS)
def test_an_origin_reads_back(tenant: str, category: str) -> None:
    """An origin names its compartment, and one alone."""
    compartment = Compartment("journal.example.fr", tenant, category)
    assert compartment.origin == f"openepm-journal/v1/journal.example.fr/{tenant}/{category}"
    assert parse_origin(compartment.origin) == compartment


@pytest.mark.parametrize(
    "text",
    [
        "",
        "openepm-journal/v1/",
        "openepm-journal/v1/s.fr/t",
        "openepm-journal/v1/s.fr/t/c/",
        "openepm-journal/v1/s.fr/t/c/d",
        "openepm-journal/v1/s.fr//c",
        "openepm-journal/v1/s.fr/t/",
        "openepm-journal/v1//t/c",
        "openepm-journal/v2/s.fr/t/c",
        "Openepm-journal/v1/s.fr/t/c",
        "openepm-journal/v1/S.fr/t/c",
        "openepm-journal/v1/s.fr/T/c",
        "openepm-journal/v1/s.fr/t/C",
        "openepm-journal/v1/s.fr/_other/c",
        "openepm-journal/v1/s.fr/t/_service",
        "openepm-journal/v1/s.fr/-t/c",
        "openepm-journal/v1/s.fr/t/c\n",
        "openepm-journal/v1/s.fr/t\n/c",
        "openepm-journal/v1/s.fr\n/t/c",
        " openepm-journal/v1/s.fr/t/c",
        "openepm-journal/v1/s.fr/t/" + "c" * 64,
        "openepm-journal/v1/s.fr/\ud800/c",
    ],
)
def test_what_is_no_origin_is_refused(text: str) -> None:
    """An origin has three parts, each in its alphabet, and nothing after."""
    with pytest.raises(MalformedError, match="origin"):
        parse_origin(text)


@given(st.text(st.characters()) | st.text(alphabet="ab-_/.\n").map("openepm-journal/v1/".__add__))
def test_any_text_is_an_origin_or_refused(text: str) -> None:
    """An origin accepted is exactly the origin of its compartment."""
    try:
        compartment = parse_origin(text)
    except MalformedError:
        return
    assert compartment.origin == text


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("journal.example.fr", True),
        ("localhost", True),
        ("a", True),
        ("1.2", True),
        ("a--b.c", True),
        ("a" * 63, True),
        (".".join(["a" * 63] * 3 + ["a" * 61]), True),
        (".".join(["a" * 63] * 3 + ["a" * 62]), False),
        ("a" * 64, False),
        ("", False),
        (".", False),
        ("a.", False),
        (".a", False),
        ("a..b", False),
        ("-a", False),
        ("a-", False),
        ("a-.b", False),
        ("A.fr", False),
        ("a_b", False),
        ("a/b", False),
        ("a b", False),
        ("a\n", False),
        ("é.fr", False),
    ],
)
def test_a_service_is_a_dns_name(name: str, good: bool) -> None:  # noqa: FBT001  (a case)
    """A service is named as a host is, in lower case."""
    assert is_service(name) is good


@pytest.mark.parametrize("parts", [("S.fr", "t", "c"), ("s.fr", "", "c"), ("s.fr", "t/u", "c"), ("s.fr", "t", "c\n")])
def test_a_compartment_is_valid_once_built(parts: tuple[str, str, str]) -> None:
    """No compartment exists whose origin would not name it."""
    with pytest.raises(ValueError, match="compartment"):
        Compartment(*parts)


@given(TEXTS, TEXTS, st.binary(min_size=32, max_size=32))
def test_an_event_key_is_hmac_sha_256(source: str, id_: str, key: bytes) -> None:
    """The two hashes spelt out are HMAC-SHA-256 of the standard library, cut to 16 bytes."""
    raw = source.encode()
    message = len(raw).to_bytes(2, "big") + raw + TIME.encode() + id_.encode()
    assert event_key(key, source, id_, TIME) == hmac.digest(key, message, "sha256")[:16]


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_two_events_never_share_a_key(source: str, id_: str, other_source: str, other_id: str) -> None:
    """Other source or other identifier, other key."""
    assume((source, id_) != (other_source, other_id))
    assert event_key(KEY, source, id_, TIME) != event_key(KEY, other_source, other_id, TIME)


@given(TEXTS)
def test_the_border_of_source_and_identifier_counts(text: str) -> None:
    """The same characters split elsewhere between source and identifier give another key."""
    keys = {event_key(KEY, text[:split], text[split:], TIME) for split in range(len(text) + 1)}
    assert len(keys) == len(text) + 1


def test_an_event_key_depends_on_its_key() -> None:
    """What one compartment knows an event by says nothing in another."""
    assert event_key(KEY, "s", "i", TIME) != event_key(bytes(32), "s", "i", TIME)


def test_an_event_key_depends_on_its_time() -> None:
    """The same source and id at another time are another event; in the service's own category they are one."""
    other = "2026-03-14T08:00:00.000001Z"
    assert event_key(KEY, "s", "i", TIME) != event_key(KEY, "s", "i", other)
    assert identity_time("main-courante", other) == other
    assert identity_time("journal", other) == identity_time("journal", TIME) == ""


@given(TEXTS)
def test_a_source_never_has_the_key_of_an_event(text: str) -> None:
    """What stands for a source is no event's key, whatever its id."""
    assert source_key(KEY, text) not in {event_key(KEY, text, "i", TIME), event_key(KEY, text, "i", "")}


@pytest.mark.parametrize(("key", "source"), [(KEY[:31], "s"), (KEY + b"\0", "s"), (KEY, "s" * 65536)])
def test_an_event_key_refuses_what_it_cannot_hold(key: bytes, source: str) -> None:
    """A key of another length, or a source whose length has no two bytes, is refused."""
    with pytest.raises(ValueError, match="event key"):
        event_key(key, source, "i", TIME)


def test_the_longest_source_has_a_key() -> None:
    """65,535 bytes of source are held."""
    assert len(event_key(KEY, "s" * 65535, "i", TIME)) == 16


def test_an_event_may_have_no_sequence() -> None:
    """Modules that number nothing are served too."""
    event = Event("s", "i", parse_time("2026-03-14T08:00:00.000000Z"), "access", b"{}")
    assert event.sequence is None


@pytest.mark.parametrize("spelt", [TIME, ""])
def test_an_event_says_its_time_as_its_bytes_spell_it(spelt: str) -> None:
    """Whoever made it may have told how."""
    event = Event("s", "i", parse_time(TIME), "access", canonical.encode({"time": TIME}), spelt=spelt)
    assert event.time_text == TIME


@given(events=st.lists(st.tuples(st.sampled_from(["a", "b", "é"]), st.text(min_size=1, max_size=5)), max_size=6))
def test_many_event_keys_are_those_of_each(events: list[tuple[str, str]]) -> None:
    """What they share is hashed once; in `journal`, an event is the same at another time."""
    spelling = canonical.encode({"time": TIME})
    made = [Event(source, name, datetime.now(UTC), "access", spelling) for source, name in events]
    for category, time in (("ecrits", TIME), ("journal", "")):
        found = [event_key(KEY, source, name, time) for source, name in events]
        assert event_keys(KEY, category, made) == found
        assert named_keys(KEY, [(source, time + name) for source, name in events]) == found
