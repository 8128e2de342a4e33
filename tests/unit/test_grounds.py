"""What an extract rests on is read from its manifest with the member at fault named, and its limits are exact."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from journal.core.errors import MalformedError
from journal.extract import grounds

CHANGE = {"changed_at": "2026-03-14T08:00:00.000000Z", "instruction": "lettre 7", "retention_days": 30}
BEGINS = datetime(2026, 3, 14, 8, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("read", "value", "part"),
    [
        (grounds.parse_person, [], "/person"),
        (grounds.parse_person, {"name": "n"}, "/person"),
        (grounds.parse_person, {"function": "f", "name": "n", "more": ""}, "/person"),
        (grounds.parse_person, {"function": "f", "name": 1}, "/person/name"),
        (grounds.parse_authorisation, None, "/authorisation"),
        (grounds.parse_authorisation, {"date": 1, "issuer": "i", "reference": "r"}, "/authorisation/date"),
        (grounds.parse_rule, "", "/rule"),
        (grounds.parse_rule, {"basis": "b", "changes": []}, "/rule/changes"),
        (grounds.parse_rule, {"basis": "b", "changes": {}}, "/rule/changes"),
        (grounds.parse_rule, {"basis": "b", "changes": [CHANGE, 7]}, "/rule/changes/1"),
        (
            grounds.parse_rule,
            {"basis": "b", "changes": [{**CHANGE, "retention_days": True}]},
            "/rule/changes/0/retention_days",
        ),
    ],
)
def test_the_member_at_fault_is_named(read: Any, value: Any, part: str) -> None:
    """By its JSON Pointer in the manifest."""
    with pytest.raises(MalformedError) as caught:
        read(value)
    assert caught.value.part == part


def test_a_member_is_its_own_root_by_default() -> None:
    """`take` without a pointer names the members of what it is given."""
    with pytest.raises(MalformedError) as caught:
        grounds.take({"a": 1}, {"a": str}, {})
    assert caught.value.part == "/a"


@pytest.mark.parametrize("days", [2, 60])
def test_the_limits_of_a_rule(days: int) -> None:
    """Two to sixty days, 32 changes in their order, texts of 1 to 1,024 characters."""
    change = grounds.RuleChange(BEGINS, days, "x" * 1024)
    later = grounds.RuleChange(BEGINS + timedelta(days=1), days, "x")
    assert grounds.Rule("b", (change,) * 32).as_json()["changes"] == [change.as_json()] * 32
    for wrong in ((change,) * 33, (later, change)):
        with pytest.raises(ValueError, match="order"):
            grounds.Rule("b", wrong)
    for text in ("", "x" * 1025):
        with pytest.raises(ValueError, match=r"rule\.changes\.instruction is 1 to 1024"):
            grounds.RuleChange(BEGINS, days, text)
    for wrong_days in (1, 61):
        with pytest.raises(ValueError, match="2 to 60"):
            grounds.RuleChange(BEGINS, wrong_days, "x")


@pytest.mark.parametrize("text", ["", "x" * 1025])
def test_a_person_and_an_authorisation_have_their_texts(text: str) -> None:
    """Each of them: 1 to 1,024 characters, and the name of the one at fault."""
    day = BEGINS.date()
    for build, name in (
        (lambda: grounds.Person(text, "f"), r"person\.name"),
        (lambda: grounds.Person("n", text), r"person\.function"),
        (lambda: grounds.Authorisation(text, day, "r"), r"authorisation\.issuer"),
        (lambda: grounds.Authorisation("i", day, text), r"authorisation\.reference"),
        (lambda: grounds.Rule(text), r"rule\.basis"),
    ):
        with pytest.raises(ValueError, match=f"^{name} is 1 to 1024 characters"):
            build()
