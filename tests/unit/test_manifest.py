"""The manifest of an extract and its filter: one spelling, valid once built."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from journal.core import canonical
from journal.core.chain import Head
from journal.core.entry import Compartment, encode_record, parse_record
from journal.core.errors import MalformedError
from journal.core.times import format_time
from journal.extract.grounds import Authorisation, Person, Rule, RuleChange
from journal.extract.manifest import (
    PURPOSES,
    Filter,
    Lateness,
    Manifest,
    Request,
    account_of,
    action_of,
    parse_manifest,
)
from journal.extract.numbering import SourceNumbers
from tests.support.extracts import COMPARTMENT, World, event, march, noon, sample

EXTRACT = sample()
CHANGE = RuleChange(noon(march(1)), 30, "AVENANT-2026-3")
CHANGED = CHANGE.as_json()
GRANTED = {"date": "2026-03-02", "issuer": "Parquet d'Albi", "reference": "12/2026"}
MANIFEST = EXTRACT.manifest


NUMBERS = {"declared": 0, "gaps": [[3, 4]], "last": 9, "missing": 4, "repeated": 0, "source": "/openepm"}


def test_the_numbers_of_sources_are_told() -> None:
    """What is missing, declared lost and repeated, in one sentence; few sources, and few of their gaps."""
    told = parse_manifest(changed(numbering=[NUMBERS])).numbering
    assert [one.as_json() for one in told] == [NUMBERS]
    assert told[0].describe() == ("The source /openepm gave numbers up to 9: 4 numbers are missing (3-4, and others).")
    full = SourceNumbers(9, 2, ((1, 1), (3, 3)), 1, 2, None, "b")
    assert full.describe() == (
        "A source in the epoch b of its counter gave numbers up to 9: 2 numbers are missing (1, 3), "
        "1 are declared lost, 2 events repeat a number."
    )
    none = SourceNumbers(9, 0, (), 1, 0, "/openepm", None)
    assert none.describe() == "The source /openepm gave numbers up to 9: 1 are declared lost."
    assert replace(none, declared=0).describe() == "The source /openepm gave numbers up to 9: none is missing."
    manifest = replace(MANIFEST, numbering=(full, none))
    assert parse_manifest(manifest.encode()) == manifest
    with pytest.raises(ValueError, match="30 sources"):
        replace(MANIFEST, numbering=(full,) * 31)


def record_of(event: Any, compartment: Compartment = COMPARTMENT) -> bytes:
    """Return a record around any event."""
    return encode_record(
        compartment=compartment,
        event=canonical.encode(event),
        index=7,
        recorded_at="2026-03-02T12:00:00.000000Z",
        submitted_by="module-1",
    )


def changed(**members: Any) -> bytes:
    """Return the manifest's bytes with other members; None leaves one out."""
    value = {**json.loads(MANIFEST.encode()), **members}
    return canonical.encode({name: member for name, member in value.items() if member is not None})


def test_a_manifest_comes_back_as_it_was() -> None:
    """Bytes and values are each other's inverse, with everything given and with the least."""
    full = replace(
        MANIFEST,
        authorisation=Authorisation("Parquet d'Albi", march(2), "12/2026"),
        person=Person("Jeanne Obé", "cheffe de service"),
        rule=Rule("contrat, art. 13.2", (CHANGE, replace(CHANGE, retention_days=60))),
        filter=Filter(account="a", subject="s", action="access"),
        disclosed=1,
        withheld=3,
    )
    least = replace(MANIFEST, request=Request(0, bytes(32)))
    days = Filter(occurred_from=march(1), occurred_to=march(2))
    none = replace(least, filter=Filter(withhold_all=True), disclosed=0, withheld=4, lateness=Lateness(60, 3))
    for manifest in (MANIFEST, full, least, none, replace(full, filter=days, lateness=Lateness(1, 0, 2))):
        assert parse_manifest(manifest.encode()) == manifest
    assert b'"authorisation"' not in MANIFEST.encode()
    assert b'"reference"' not in least.encode()
    assert json.loads(MANIFEST.encode())["filter"] == {}


@pytest.mark.parametrize(
    ("members", "part"),
    [
        ({"format": "openepm-journal/extract/v2"}, "/format"),
        ({"from": "2026-3-2"}, ""),
        ({"from": "2026-03-04"}, ""),
        ({"from": "1969-12-31"}, ""),
        ({"to": 20260303}, "/to"),
        ({"origin": "openepm-journal/v2/x/y/z"}, ""),
        ({"base": {"size": 2}}, "/base"),
        ({"base": {"size": 7, "chain_hash": "00" * 32}}, ""),
        ({"base": {"size": -1, "chain_hash": "00" * 32}}, ""),
        ({"base": {"size": True, "chain_hash": "00" * 32}}, "/base/size"),
        ({"base": {"size": 2, "chain_hash": "00" * 31}}, ""),
        ({"base": {"size": 2, "chain_hash": "AA" * 32}}, "/base/chain_hash"),
        ({"base": {"size": 2, "chain_hash": "zz" * 32}}, "/base/chain_hash"),
        ({"head": "no"}, "/head"),
        ({"head": {"size": 6}}, "/head"),
        ({"head": {"size": 6, "chain_hash": "zz" * 32}}, "/head/chain_hash"),
        ({"disclosed": 3}, ""),
        ({"disclosed": 5, "withheld": -1}, ""),
        ({"disclosed": "4"}, "/disclosed"),
        ({"disclosed": 3, "withheld": 1}, ""),
        ({"filter": {"withhold": "all"}}, ""),
        ({"filter": {"withhold": "some"}}, "/filter/withhold"),
        ({"filter": {"withhold": "all", "account": "x"}, "disclosed": 0, "withheld": 4}, ""),
        ({"filter": {"account": ""}}, ""),
        ({"filter": {"account": "x" * 1025}}, ""),
        ({"filter": {"day": "x"}}, "/filter"),
        ({"filter": []}, "/filter"),
        ({"filter": {"occurred_from": "2026-03-02", "occurred_to": "2026-03-01"}}, ""),
        ({"filter": {"occurred_from": "2026-3-2"}}, "/filter/occurred_from"),
        ({"filter": {"occurred_to": 20260302}}, "/filter/occurred_to"),
        ({"lateness": None}, ""),
        ({"lateness": {"days": 7, "elsewhere": 0}}, ""),
        ({"lateness": {"days": 0, "elsewhere": 0, "here": 0}}, ""),
        ({"lateness": {"days": 61, "elsewhere": 0, "here": 0}}, ""),
        ({"lateness": {"days": 7, "elsewhere": -1, "here": 0}}, ""),
        ({"lateness": {"days": 7, "elsewhere": 0, "here": -1}}, ""),
        ({"lateness": {"days": 7, "elsewhere": 0, "here": True}}, "/lateness/here"),
        ({"numbering": []}, "/numbering"),
        ({"numbering": [NUMBERS] * 31}, "/numbering"),
        ({"numbering": [{**NUMBERS, "last": -1}]}, ""),
        ({"numbering": [{**NUMBERS, "source": ""}]}, ""),
        ({"numbering": [{**NUMBERS, "gaps": [[1]]}]}, "/numbering/0/gaps"),
        ({"numbering": [{**NUMBERS, "gaps": [[1, True]]}]}, "/numbering/0/gaps"),
        ({"numbering": [{**NUMBERS, "gaps": [[-1, 1]]}]}, ""),
        ({"numbering": [{**NUMBERS, "gaps": [[2, 3], [1, 1]]}]}, ""),
        ({"numbering": [{**NUMBERS, "gaps": [[1, 5]]}]}, ""),
        ({"purpose": "curiosity"}, ""),
        ({"requester": ""}, ""),
        ({"requester": None}, ""),
        ({"authorisation": "rien du tout"}, "/authorisation"),
        ({"authorisation": GRANTED | {"issuer": ""}}, ""),
        ({"authorisation": GRANTED | {"date": "2.3.2026"}}, ""),
        ({"authorisation": {"issuer": "x", "reference": "y"}}, "/authorisation"),
        ({"person": {"name": "x"}}, "/person"),
        ({"person": {"function": "", "name": "x"}}, ""),
        ({"rule": None}, ""),
        ({"rule": {"basis": ""}}, ""),
        ({"rule": {"basis": "x", "changes": []}}, "/rule/changes"),
        ({"rule": {"basis": "x", "changes": [{}]}}, "/rule/changes/0"),
        ({"rule": {"basis": "x", "changes": [CHANGED | {"retention_days": 1}]}}, ""),
        ({"rule": {"basis": "x", "changes": [CHANGED, CHANGED | {"changed_at": "2026-02-28T00:00:00.000000Z"}]}}, ""),
        ({"rule": {"basis": "x", "changes": [CHANGED] * 33}}, ""),
        ({"software": "x" * 1025}, ""),
        ({"request": {"index": 1}}, "/request"),
        ({"request": {"index": -1, "leaf": "00" * 32}}, ""),
        ({"request": {"index": 1, "leaf": "00"}}, ""),
        ({"request": {"index": 1, "leaf": "zz" * 32}}, "/request/leaf"),
        ({"request": {"index": 1, "leaf": "AA" * 32}}, "/request/leaf"),
        ({"request": {"index": 1, "leaf": "00" * 32, "reference": ""}}, ""),
        ({"issued_at": "2026-03-05T12:00:00Z"}, ""),
        ({"extra": "x"}, ""),
    ],
    ids=str,
)
def test_a_manifest_that_is_not_one_is_refused(members: dict[str, Any], part: str) -> None:
    """Every member is there, of its kind, and in accord with the others; the one at fault is named."""
    with pytest.raises(MalformedError) as caught:
        parse_manifest(changed(**members))
    assert caught.value.part == part


@pytest.mark.parametrize("data", [b"", b"[]", b"null", MANIFEST.encode() + b"\n", b"{}", b"\xff"])
def test_other_bytes_than_a_manifest_are_refused(data: bytes) -> None:
    """One spelling, and only an object."""
    with pytest.raises(MalformedError):
        parse_manifest(data)


def test_the_purposes_are_those_of_the_law() -> None:
    """Directive (EU) 2016/680, article 25(2)."""
    assert PURPOSES == ("lawfulness", "self-monitoring", "integrity-security", "criminal-proceedings")


def test_a_filter_asks_for_what_equals_it_in_every_member() -> None:
    """Absent members ask nothing; an event that lacks what is asked does not match."""
    entry = parse_record(record_of(event(4)))
    assert account_of(entry) == "agent-1"
    assert action_of(entry) == "consultation"
    first = march(1)
    for selection in (
        Filter(),
        Filter(account="agent-1"),
        Filter(subject="main-courante/4", action="consultation"),
        Filter(occurred_from=first, occurred_to=first),
        Filter(occurred_to=march(2), account="agent-1"),
    ):
        assert selection.matches(entry)
    for selection in (
        Filter(account="agent-2"),
        Filter(occurred_from=march(2)),
        Filter(occurred_to=first - timedelta(days=1)),
        Filter(account="agent-1", subject="main-courante/5"),
        Filter(action="access"),
        Filter(withhold_all=True),
    ):
        assert not selection.matches(entry)
    for data in ({}, [], {"actor": "agent-1"}):
        bare = {name: member for name, member in event(4, data=data, type="other").items() if name != "subject"}
        entry = parse_record(record_of(bare))
        assert account_of(entry) is None
        assert action_of(entry) == "other"
        assert not Filter(account="agent-1").matches(entry)
        assert not Filter(subject="main-courante/4").matches(entry)


def test_an_index_and_a_size_may_be_as_large_as_the_format_allows() -> None:
    """2⁵³ − 1, and no larger; nothing is smaller than nothing."""
    last = canonical.INTEGER_LIMIT
    request = Request(last, bytes(32))
    at_the_end = replace(MANIFEST, base=Head(last - 4, bytes(32)), head=Head(last, bytes(32)), request=request)
    assert parse_manifest(at_the_end.encode()) == at_the_end
    for index in (-1, last + 1):
        with pytest.raises(ValueError, match="an index and a leaf hash"):
            Request(index, bytes(32))
    with pytest.raises(ValueError, match="from its base to its head"):
        replace(MANIFEST, base=Head(last - 3, bytes(32)), head=Head(last + 1, bytes(32)))


def test_the_values_say_what_they_need() -> None:
    """What cannot be written is refused when it is built."""
    with pytest.raises(ValueError, match="origin"):
        replace(MANIFEST, origin="x")
    with pytest.raises(ValueError, match="days in order"):
        replace(MANIFEST, first_day=date(1969, 12, 31))
    with pytest.raises(ValueError, match="from its base to its head"):
        replace(MANIFEST, base=Head(2**53, bytes(32)))
    with pytest.raises(ValueError, match="aware"):
        replace(MANIFEST, issued_at=MANIFEST.issued_at.replace(tzinfo=None)).encode()
    assert format_time(MANIFEST.issued_at) in MANIFEST.encode().decode()
    assert isinstance(MANIFEST, Manifest)
    assert World().extract(march(1), march(1), at=noon(march(1))).manifest.disclosed == 0
