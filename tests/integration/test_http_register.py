"""The register of requests: who asked for which extract and why, told to those who may see the category."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
import pytest_asyncio

from journal.reading import register
from journal.reading.register import SCANNED_ENTRIES, Register
from tests.support.edge import CATEGORY, EXTRACTS, OTHER_CATEGORY, OTHER_TENANT, TENANT, RunningEdge
from tests.support.refused_events import valid_event
from tests.support.world import PERSON, START, new_world

if TYPE_CHECKING:
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("no_documents")]

REGISTER = "/v1/extracts"
GRANTED = {"date": "2026-01-02", "issuer": "Parquet d'Albi", "reference": "TJ Albi 2026/7"}


async def ask(edge: RunningEdge, token: str = "client", **members: Any) -> None:
    """Ask for an extract of today."""
    today = datetime.now(UTC).date().isoformat()
    wanted = {"from": today, "to": today, "purpose": "lawfulness", "requester": "DPD d'Albi"} | members
    category = wanted.pop("category", CATEGORY)
    path = EXTRACTS.replace(CATEGORY, category)
    assert (await edge.post(wanted, token=token, path=path, media_type="application/json")).status == 200


async def read(edge: RunningEdge, token: str = "client", query: str = "") -> dict[str, Any]:
    """Read a page of the register."""
    answer = await edge.ask("GET", REGISTER + query, token=token)
    assert answer.status == 200, answer.body
    return dict(answer.json)


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def requests(edge: RunningEdge) -> None:
    """Ask for extracts of both categories, and of another commune's."""
    await edge.add_credential("both", role="client", categories=[CATEGORY, OTHER_CATEGORY])
    await edge.add_credential("other", role="client", tenant=OTHER_TENANT)
    await edge.post(valid_event(id="1", time=datetime.now(UTC).isoformat()))
    await ask(edge, request_reference="DPD-2026-14")
    asked_for = {"purpose": "criminal-proceedings", "requester": "Procureur", "authorisation": GRANTED}
    await ask(edge, "both", category=OTHER_CATEGORY, **asked_for)
    asked = {"subject": "MC-1", "action": "consultation"}
    await ask(edge, filter=asked, authorisation=GRANTED, even_if_empty=True)
    await ask(edge, "auditor", purpose="self-monitoring", requester="CNIL")
    await ask(edge, "other", requester="DPD de Castres")


async def test_a_client_reads_the_requests_about_its_categories(edge: RunningEdge) -> None:
    """Each with who asked, through which credential, for what and why; in the order they were recorded."""
    page = await read(edge)
    assert (page["tenant"], "next_after" in page) == (TENANT, False)
    today = datetime.now(UTC).date().isoformat()
    first, filtered, auditors = page["extracts"]
    assert first == {
        "category": CATEGORY, "filter": {}, "filtered_by": [], "from": today, "index": first["index"],
        "person": {"function": PERSON.function, "name": PERSON.name},
        "purpose": "lawfulness", "recorded_at": first["recorded_at"], "reference": "DPD-2026-14",
        "requested_by": edge.ids["client"], "requester": "DPD d'Albi", "to": today, "withheld_all": False,
    }  # fmt: skip
    assert filtered["filter"] == {"action": "consultation", "subject": "MC-1"}
    assert (filtered["filtered_by"], filtered["authorisation"]) == (["action", "subject"], GRANTED)
    assert (auditors["requester"], auditors["withheld_all"], auditors["filter"]) == ("CNIL", True, {})
    assert auditors["requested_by"] == edge.ids["auditor"]
    assert first["index"] < filtered["index"] < auditors["index"]


async def test_the_index_is_the_one_that_extracts_name(edge: RunningEdge) -> None:
    """`request.index` of a manifest leads to its line here."""
    await ask(edge, requester="by index")
    (size,) = [row.size for row in await edge.service.store.read_heads([TENANT], ["journal"])]
    assert [row["index"] for row in (await read(edge))["extracts"] if row["requester"] == "by index"] == [size - 1]


async def test_an_auditor_is_not_told_what_was_looked_for(edge: RunningEdge) -> None:
    """Whose accesses or which file somebody asked about is content; that there was a filter is not."""
    page = await read(edge, "auditor")
    assert [row["filtered_by"] for row in page["extracts"]][:2] == [[], ["action", "subject"]]
    assert all("filter" not in row for row in page["extracts"])
    assert "MC-1" not in str(page)


async def test_what_a_credential_may_not_see_is_not_there(edge: RunningEdge) -> None:
    """Neither another category's requests nor another commune's: the page is as if they had never been made."""
    assert {row["category"] for row in (await read(edge))["extracts"]} == {CATEGORY}
    assert {row["category"] for row in (await read(edge, "both"))["extracts"]} == {CATEGORY, OTHER_CATEGORY}
    assert [row["requester"] for row in (await read(edge, "other"))["extracts"]] == ["DPD de Castres"]
    for token in ("module", "operator"):
        assert (await edge.ask("GET", REGISTER, token=token)).status == 404


async def test_pages_join(edge: RunningEdge) -> None:
    """Page by page, each request comes once, in the same order; the last page names no next one."""
    whole = (await read(edge, "both"))["extracts"]
    assert len(whole) >= 4
    for limit in (1, 2, 3):
        pages, query = [], f"?limit={limit}"
        while True:
            page = await read(edge, "both", query)
            assert len(page["extracts"]) <= limit
            pages += page["extracts"]
            if "next_after" not in page:
                break
            query = f"?limit={limit}&after={page['next_after']}"
        assert pages == whole
    assert (await read(edge, "both", "?after=999999999999999"))["extracts"] == []


@pytest.mark.parametrize(
    "query",
    ["after=-1", "after=x", "after=", "after=1&after=2", "limit=0", "limit=101", "limit=9999999999999999", "page=1"],
)
async def test_parameters_are_checked(edge: RunningEdge, query: str) -> None:
    """What is no index, no number of requests, or not taken here, is refused."""
    assert (await edge.ask("GET", f"{REGISTER}?{query}", token="client")).status == 400


@pytest.mark.parametrize("limit", [600, pytest.param(SCANNED_ENTRIES, marks=pytest.mark.campaign)])
async def test_a_page_reads_so_many_entries_and_no_more(
    own_edge: RunningEdge, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """Where requests are rare among other entries, a page ends early and says where to go on."""
    monkeypatch.setattr(register, "SCANNED_ENTRIES", limit)
    chronicle = own_edge.service.chronicle
    many = min(limit, 500)
    for _ in range(0, limit + many, many):
        await asyncio.gather(
            *(chronicle.write("purge", tenant=TENANT, subject=TENANT, data={"days": []}) for _ in range(many))
        )
    await ask(own_edge)
    first = await read(own_edge)
    assert first["extracts"] == []
    second = await read(own_edge, query=f"?after={first['next_after']}")
    assert ([row["requester"] for row in second["extracts"]], "next_after" in second) == (["DPD d'Albi"], False)


async def test_a_row_that_was_changed_is_not_served(own_edge: RunningEdge) -> None:
    """The register says nothing rather than something false."""
    await ask(own_edge)
    superuser = await asyncpg.connect(own_edge.superuser_dsn)
    await superuser.execute(
        "SET session_replication_role = replica; "
        "UPDATE journal.entry SET leaf_hash = decode(repeat('00', 32), 'hex') WHERE category = 'journal'"
    )
    await superuser.close()
    assert (await own_edge.ask("GET", REGISTER, token="client")).status == 503


async def test_requests_go_with_their_day(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """Past its limit a request is not told, purged or not; across days and a purge, the others are."""
    async with new_world(postgres, tmp_path, tenants=[TENANT]) as world:
        lines = Register(world.service.chronicle)
        await world.shorten_rules(5)

        async def requesters() -> list[str]:
            page = await lines.page(TENANT, [CATEGORY], after=-1, limit=100, values=True)
            assert page.next_after is None
            return [row["requester"] for row in page.extracts]

        for ahead in range(3):
            await world.travel(START + timedelta(days=ahead))
            await world.extract(world.today, world.today, requester=f"day {ahead}")
        assert await requesters() == ["day 0", "day 1", "day 2"]
        await world.travel(START + timedelta(days=5))
        assert await requesters() == ["day 1", "day 2"]
        await world.installation.purger.run()
        assert await requesters() == ["day 2"]
