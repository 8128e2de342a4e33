"""Who may do what: every call, every role, every state of a credential; what is forbidden looks absent."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from ingest.app import CALLS, Call
from journal.database.admin import NewCredential
from journal.snapshot import REFRESH_SECONDS
from tests.support.edge import CATEGORY, EVENTS, HEAD, OTHER_CATEGORY, OTHER_TENANT, TENANT, Answer, RunningEdge
from tests.support.refused_events import SOURCE_PREFIX, valid_event

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("no_documents")]

ROLES = ("module", "client", "auditor", "operator")
# Written apart from the table of calls: a call added there fails here until someone says who may make it.
ALLOWED = {
    ("POST", "/v1/categories/{category}/events"): {"module"},
    ("POST", "/v1/categories/{category}/extracts"): {"client", "auditor"},
    ("GET", "/v1/extracts"): {"client", "auditor"},
    ("GET", "/v1/categories/{category}/head"): {"client", "auditor"},
    ("GET", "/v1/seals"): {"client", "auditor"},
    ("GET", "/v1/trust"): {"client", "auditor"},
    ("GET", "/v1/status"): {"client", "operator"},
    ("GET", "/v1/me"): {"module", "client", "auditor", "operator"},
    ("GET", "/v1/openapi.json"): set(),
    ("GET", "/docs"): set(),
    ("GET", "/verifier"): set(),
    ("GET", "/journal-verify.pyz"): set(),
    ("GET", "/journal-verify.pyz.sha256"): set(),
    ("GET", "/healthz"): set(),
    ("HEAD", "/healthz"): set(),
    ("GET", "/recordz"): set(),
    ("HEAD", "/recordz"): set(),
    ("GET", "/readyz"): set(),
    ("HEAD", "/readyz"): set(),
    ("GET", "/metrics"): set(),
}
GUARDED = [call for call in CALLS if call.handler is not None]
CATEGORIES = {
    "own": CATEGORY,
    "not granted": OTHER_CATEGORY,
    "absent": "no-such",
    "no slug": "%2e%2E.",  # two dots alone would be resolved before they are sent
    "reserved": "journal",
}
WRONG = {
    "none": None,
    "empty": "",
    "malformed": "Bearer",
    "another scheme": "Basic b2VqOng=",
    "no prefix": "Bearer abc_def_ghi",
    "unknown": "Bearer oej_000000000000_" + "A" * 43,
    "not ASCII": "Bearer oej_é_x",
}


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def credentials(edge: RunningEdge) -> None:
    """Make a seal to read, and credentials that are no longer or not quite valid."""
    await edge.service.sealer.seal_open(even_if_still=True)
    for role in ROLES:
        await edge.add_credential(f"{role} revoked", role=role)
        await edge.installation.administration.credentials.revoke(edge.ids[f"{role} revoked"])
        identifier = edge.ids[role]
        edge.tokens[f"{role} wrong secret"] = f"oej_{identifier}_{'A' * 43}"
        edge.tokens[f"{role} cut secret"] = edge.tokens[role][:-1]
        edge.tokens[f"{role} longer"] = edge.tokens[role] + "A"
    await edge.service.snapshot.refresh()


def path_of(call: Call, category: str) -> str:
    """Fill the path in."""
    return call.path.replace("{category}", category)


async def knock(edge: RunningEdge, call: Call, category: str, **headers: str) -> Answer:
    """Make a call as far as its handler: a body of no media type reaches it, and gets no further."""
    body = b"x" if call.method == "POST" else None
    return await edge.ask(call.method, path_of(call, category), body=body, **headers)


def comparable(answer: Answer) -> tuple[int, bytes, dict[str, str]]:
    """Return all that a caller can compare, but for what differs between any two answers."""
    request_id = answer.headers["X-Request-Id"]
    headers = {name: value for name, value in answer.headers.items() if name.lower() not in {"date", "x-request-id"}}
    return answer.status, answer.body.replace(request_id.encode(), b""), headers


async def test_the_table_is_the_one_expected() -> None:
    """Every call is listed with the roles that may make it, and no other exists."""
    assert {(call.method, call.path): set(call.roles) for call in CALLS} == ALLOWED
    assert all((call.handler is None) == (not call.roles) for call in CALLS)


def cells() -> Iterator[tuple[Call, str, str]]:
    """Return every (call, role, kind of category)."""
    for call, role in itertools.product(GUARDED, ROLES):
        for kind in CATEGORIES if "{category}" in call.path else ["own"]:
            yield call, role, kind


@pytest.mark.parametrize(
    ("call", "role", "kind"), [pytest.param(*cell, id=f"{cell[1]} {cell[0].path} {cell[2]}") for cell in cells()]
)
async def test_a_valid_credential(edge: RunningEdge, call: Call, role: str, kind: str) -> None:
    """It reaches what its role, tenant and categories allow; all else answers like what does not exist."""
    answer = await knock(edge, call, CATEGORIES[kind], Authorization=f"Bearer {edge.tokens[role]}")
    if role in ALLOWED[call.method, call.path] and kind == "own":
        assert answer.status == (415 if call.method == "POST" else 200)
    else:
        nowhere = await edge.ask(call.method, "/v1/no-such-path")
        assert answer.status == 404
        assert comparable(answer) == comparable(nowhere)


@pytest.mark.parametrize("call", GUARDED, ids=lambda call: call.path)
async def test_no_valid_credential(edge: RunningEdge, call: Call) -> None:
    """Unknown, malformed, revoked, with a wrong secret: one answer, whatever is asked for."""
    states = ("revoked", "wrong secret", "cut secret", "longer")
    wrong = list(WRONG.values()) + [f"Bearer {edge.tokens[f'{role} {state}']}" for role in ROLES for state in states]
    answers = []
    for value in wrong:
        for category in (CATEGORY, "no-such"):
            headers = {} if value is None else {"Authorization": value}
            answers.append(await knock(edge, call, category, **headers))
    assert {answer.status for answer in answers} == {401}
    assert all(comparable(answer) == comparable(answers[0]) for answer in answers)
    assert answers[0].headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("call", [call for call in CALLS if call.handler is None], ids=lambda call: call.path)
async def test_what_is_public_asks_nobody(edge: RunningEdge, call: Call) -> None:
    """Probes and the description answer without a credential, and do not look at a wrong one."""
    for headers in ({}, {"Authorization": WRONG["unknown"]}):
        assert (await edge.ask(call.method, call.path, **headers)).status == 200


async def test_two_credentials_are_none(edge: RunningEdge) -> None:
    """Two credentials in one request are refused."""
    headers = [("Authorization", f"Bearer {edge.tokens['client']}")] * 2
    async with edge.session.get(HEAD, headers=headers) as answer:
        assert answer.status == 401


async def test_expiry(own_edge: RunningEdge) -> None:
    """A credential is refused from the moment it expires, in the words for one that never was."""
    await own_edge.add_credential("short", role="module", expires_at=datetime.now(UTC) + timedelta(minutes=1))
    assert (await own_edge.post(valid_event(), token="short")).status == 422
    own_edge.clock.offset += timedelta(minutes=1)
    await own_edge.service.snapshot.refresh()
    expired = await own_edge.post(valid_event(), token="short")
    assert expired.status == 401
    assert comparable(expired) == comparable(await own_edge.post(valid_event(), token="oej_000000000000_A"))


async def test_credentials_that_cannot_be_checked(own_edge: RunningEdge) -> None:
    """If the database has not confirmed the credentials for ten seconds, requests get 503, not 401."""
    await own_edge.service.store.close()
    own_edge.clock.offset += timedelta(seconds=11)
    answer = await own_edge.ask("GET", "/v1/trust", token="client")
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) >= 1


async def test_revocation_takes_less_than_a_second(own_edge: RunningEdge) -> None:
    """Without being told, the process refuses a revoked credential at its next look, which comes within a second."""
    assert REFRESH_SECONDS < 1
    assert (await own_edge.ask("GET", "/v1/trust", token="client")).status == 200
    assert await own_edge.service.store.revoke_credential(own_edge.ids["client"])
    async with asyncio.timeout(60):
        while (await own_edge.ask("GET", "/v1/trust", token="client")).status != 401:  # noqa: ASYNC110  (it tells nobody)
            await asyncio.sleep(0.05)


async def test_a_closed_tenant_is_nobody(own_edge: RunningEdge) -> None:
    """Once the contract has ended, its credentials are unknown, even those not revoked."""
    assert await own_edge.service.store.close_tenant(TENANT)
    await own_edge.service.snapshot.refresh()
    for role in ROLES:
        assert (await own_edge.ask("GET", "/v1/trust", token=role)).status == 401


async def test_the_tenant_is_the_credentials(edge: RunningEdge) -> None:
    """Another commune's module posts to the same path and reaches its own chain alone."""
    await edge.add_credential("castres", role="module", tenant=OTHER_TENANT)
    before = await edge.size()
    event = valid_event(id="castres", time=datetime.now(UTC).isoformat())
    (receipt,) = (await edge.post(event, token="castres")).json["receipts"]
    assert receipt["origin"].endswith(f"/{OTHER_TENANT}/{CATEGORY}")
    assert (await edge.size(), await edge.size(tenant=OTHER_TENANT)) == (before, 1)


@pytest.mark.parametrize(
    "member", ["tenant", "category", "index", "recorded_at", "submitted_by", "leaf_hash", "chain_hash", "v", "salt"]
)
async def test_nothing_of_the_record_can_be_sent(edge: RunningEdge, member: str) -> None:
    """What the service alone decides is refused in an event, not ignored."""
    event = valid_event(time=datetime.now(UTC).isoformat(), **{member: "1"})
    answer = await edge.post(event)
    assert (answer.status, answer.faults) == (400, [(0, f"/{member}")])


async def test_the_reserved_category_cannot_be_posted_to(edge: RunningEdge) -> None:
    """Not even with a credential that should never have been made."""
    secret = "A" * 43
    await edge.service.store.add_credential(
        NewCredential(
            id="0123456789ab",
            secret_hash=hashlib.sha256(secret.encode()).digest(),
            role="module",
            tenant=TENANT,
            categories=["journal"],
            source_prefix=SOURCE_PREFIX,
        )
    )
    await edge.service.snapshot.refresh()
    before = await edge.size("journal")
    event = valid_event(time=datetime.now(UTC).isoformat())
    answer = await edge.post(event, token=f"oej_0123456789ab_{secret}", path="/v1/categories/journal/events")
    assert (answer.status, await edge.size("journal")) == (404, before)


async def test_status_shows_only_granted_categories(edge: RunningEdge) -> None:
    """A client sees counters of its categories, by day and action, without names."""
    await edge.post(valid_event(id="counted", time=datetime.now(UTC).isoformat()))
    for role in ("client", "operator"):
        answer = await edge.ask("GET", "/v1/status", token=role)
        assert answer.json["tenant"] == TENANT
        assert [row["category"] for row in answer.json["categories"]] == [CATEGORY]
        assert answer.json["categories"][0]["days"][datetime.now(UTC).date().isoformat()]["consultation"] >= 1
        assert b"jdupont" not in answer.body


async def test_a_stranger_cannot_tell_a_path_from_a_call(edge: RunningEdge) -> None:
    """The method is the only thing refused before the credential: it is public knowledge anyway."""
    answer = await edge.ask("GET", EVENTS)
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
