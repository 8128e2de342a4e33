"""Which request for an extract is refused, with the member at fault, and who must bring an authorisation."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest

from journal.core import faults
from journal.core.entry import Compartment
from journal.core.errors import RequestError
from journal.extract.grounds import Authorisation, Person
from journal.reading import plan
from journal.reading.entitlement import check_entitled

if TYPE_CHECKING:
    from collections.abc import Callable

TODAY = date(2026, 5, 20)
DAY = timedelta(days=1)
PERSON = Person("Claude Martin", "DPO")
AUTHORISATION = Authorisation("parquet d'Albi", TODAY, "2026/118")


def _request(**members: object) -> plan.ExtractRequest:
    given = {"from_day": TODAY, "to_day": TODAY, "purpose": "lawfulness", "requester": "DPO", "person": PERSON}
    return plan.ExtractRequest(**{**given, **members})


def _refused(check: Callable[..., None], *arguments: object, **named: object) -> tuple[str, object]:
    with pytest.raises(RequestError) as caught:
        check(*arguments, **named)
    return caught.value.pointer, caught.value.code


@pytest.mark.parametrize("first", [date(1970, 1, 1), TODAY - DAY, TODAY])
def test_days_up_to_today_may_be_asked_for(first: date) -> None:
    """From the first day of the format on, today included, authorised today or before."""
    plan._check_days(_request(from_day=first), TODAY)
    plan._check_days(_request(from_day=first, authorisation=AUTHORISATION), TODAY)
    plan._check_words(_request(from_day=first, authorisation=AUTHORISATION))


@pytest.mark.parametrize(
    ("members", "pointer", "code"),
    [
        ({"from_day": date(1969, 12, 31)}, "/from", faults.DAY),
        ({"from_day": TODAY, "to_day": TODAY - DAY}, "/to", faults.DAY),
        ({"to_day": TODAY + DAY}, "/to", faults.DAY),
        (
            {"authorisation": Authorisation("parquet d'Albi", TODAY + DAY, "2026/118")},
            "/authorisation/date",
            faults.AUTHORISATION,
        ),
    ],
)
def test_a_day_that_cannot_be_asked_for_is_named(members: dict[str, object], pointer: str, code: object) -> None:
    """The member at fault and the code of the fault."""
    assert _refused(plan._check_days, _request(**members), TODAY) == (pointer, code)


@pytest.mark.parametrize("text", ["", "   ", "x" * 257])
@pytest.mark.parametrize(
    ("member", "pointer"),
    [
        ("requester", "/requester"),
        ("request_reference", "/request_reference"),
        ("account", "/filter/account"),
        ("action", "/filter/action"),
        ("subject", "/filter/subject"),
    ],
)
def test_a_text_is_neither_blank_nor_longer_than_256(member: str, pointer: str, text: str) -> None:
    """Each text of the request, to the character."""
    assert _refused(plan._check_words, _request(**{member: text})) == (pointer, faults.BLANK)
    plan._check_words(_request(**{member: "x" * 256}))


@pytest.mark.parametrize("member", ["issuer", "reference"])
def test_the_words_of_an_authorisation_are_checked_too(member: str) -> None:
    """Its issuer and its reference, each by its pointer."""
    for text, code in ((" ", faults.BLANK), ("x" * 257, faults.BLANK), ("\ud800", faults.CHARACTER)):
        given = {"issuer": "parquet d'Albi", "day": TODAY, "reference": "2026/118", member: text}
        refused = _refused(plan._check_words, _request(authorisation=Authorisation(**given)))
        assert refused == (f"/authorisation/{member}", code)


def test_a_purpose_that_no_law_allows_is_refused() -> None:
    """Also where everything else is right."""
    assert _refused(plan._check_words, _request(purpose="curiosity")) == ("/purpose", faults.UNKNOWN_VALUE)


def test_account_and_subject_are_put_in_the_form_of_events() -> None:
    """Unicode's Normalization Form C, as a filter compares; other texts stay as they were."""
    request = _request(account="Rene\u0301", subject="e\u0301", action="e\u0301", requester="e\u0301")
    assert (request.account, request.subject) == ("René", "é")
    assert (request.action, request.requester) == ("e\u0301", "e\u0301")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, False),
        ("", True),
        ("\ud800", False),
        (1.5, False),
        ("x" * 2046, True),
        ("x" * 2047, False),
        ({"account": "x" * 2100}, False),
    ],
)
def test_a_refused_request_leaves_only_what_an_entry_can_hold(value: object, expected: object) -> None:
    """At most 2,048 bytes of JSON a member."""
    assert plan._is_recordable(value) is expected


def test_what_an_entry_says_of_a_request() -> None:
    """Every member, under its name in the format."""
    request = _request(
        from_day=TODAY - DAY,
        account="42",
        action="READ",
        authorisation=AUTHORISATION,
        request_reference="R-7",
        occurred_from=TODAY,
    )
    said = plan._said(Compartment("journal.test", "albi", "main-courante"), request, "k7")
    assert said == {
        "authorisation": {"date": "2026-05-20", "issuer": "parquet d'Albi", "reference": "2026/118"},
        "category": "main-courante",
        "credential": "k7",
        "filter": {"account": "42", "action": "READ"},
        "from": "2026-05-19",
        "person": {"function": "DPO", "name": "Claude Martin"},
        "purpose": "lawfulness",
        "reference": "R-7",
        "requester": "DPO",
        "to": "2026-05-20",
    }
    bare = plan._said(Compartment("journal.test", "albi", "main-courante"), _request(person=None), "k7")
    assert (bare["authorisation"], bare["person"], bare["filter"]) == (None, None, {})


NEEDING = [{"account": "42"}, {"subject": "dossier 7"}, {"purpose": "criminal-proceedings"}]


@pytest.mark.parametrize("needs", [False, True])
@pytest.mark.parametrize("members", [{}, *NEEDING])
def test_who_names_nobody_gets_nothing(members: dict[str, object], needs: object) -> None:
    """Not even with an authorisation."""
    for authorisation in (None, AUTHORISATION):
        request = _request(person=None, authorisation=authorisation, **members)
        assert _refused(check_entitled, request, needs_authorisation=needs) == ("", faults.NO_PERSON)


@pytest.mark.parametrize("members", NEEDING)
def test_an_authorisation_is_needed(members: dict[str, object]) -> None:
    """For one account, for one subject, for criminal proceedings; with one, the request passes."""
    for needs in (False, True):
        refused = _refused(check_entitled, _request(**members), needs_authorisation=needs)
        assert refused == ("/authorisation", faults.AUTHORISATION)
        check_entitled(_request(authorisation=AUTHORISATION, **members), needs_authorisation=needs)


def test_a_category_may_need_an_authorisation_for_everything() -> None:
    """And where it needs none, a named person's request suffices."""
    assert _refused(check_entitled, _request(), needs_authorisation=True) == ("/authorisation", faults.AUTHORISATION)
    check_entitled(_request(), needs_authorisation=False)
    check_entitled(_request(action="READ"), needs_authorisation=False)
    check_entitled(_request(authorisation=AUTHORISATION), needs_authorisation=True)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"account": "42", "subject": "dossier 7"}, "an extract for one account needs"),
        ({"subject": "dossier 7"}, "an extract for one subject needs"),
        ({"purpose": "criminal-proceedings"}, "an extract for the purpose criminal-proceedings needs"),
    ],
)
def test_the_refusal_says_what_needs_it(members: dict[str, object], words: str) -> None:
    """What makes the authorisation necessary is named first."""
    with pytest.raises(RequestError, match=words):
        check_entitled(_request(**members), needs_authorisation=False)
    with pytest.raises(RequestError, match="an extract of this category needs"):
        check_entitled(_request(), needs_authorisation=True)
