"""Extracts over HTTP: journaled first, streamed whole or visibly cut off, withheld from auditors."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import aiohttp
import asyncpg
import pytest
import pytest_asyncio
from msgspec import inspect
from structlog.testing import capture_logs

from ingest.access import Limits
from ingest.edge import EDGE
from ingest.extracts import ExtractBody, ExtractFilter
from journal.core.entry import ACTIONS
from journal.core.times import format_seconds
from journal.extract.manifest import PURPOSES
from journal.extract.verify import verify_extract
from journal.pki.certificates import pem_to_der
from journal.seals.dev_authority import make_development_authority
from tests.support.edge import CATEGORY, EXTRACTS, HEAD, SERVICE, TENANT, Answer, RunningEdge, running_edge
from tests.support.refused_events import valid_event

if TYPE_CHECKING:
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("no_documents")]


def today() -> str:
    """Return the UTC day."""
    return datetime.now(UTC).date().isoformat()


def wanted(**members: Any) -> dict[str, Any]:
    """Return a valid request for an extract of today."""
    return {"from": today(), "to": today(), "purpose": "lawfulness", "requester": "DPD d'Albi"} | members


NEEDED = "needs an authorisation: its issuer, date and reference"
GRANTED = {"date": "2026-01-02", "issuer": "Parquet d'Albi", "reference": "2026/7"}


async def extract(edge: RunningEdge, value: Any, token: str = "client", path: str = EXTRACTS) -> Answer:
    """Ask for an extract."""
    return await edge.post(value, token=token, path=path, media_type="application/json")


async def read(edge: RunningEdge, answer: Answer) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Verify a container as an auditor does; return its manifest and the disclosed records."""
    anchors = pem_to_der((await edge.ask("GET", "/v1/trust", token="auditor")).body)
    verify_extract(io.BytesIO(answer.body), anchors=anchors)
    with zipfile.ZipFile(io.BytesIO(answer.body)) as container:
        records = [json.loads(line) for line in container.read("entries.ndjson").splitlines()]
        return json.loads(container.read("manifest.json")), records


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def entries(edge: RunningEdge) -> None:
    """Record accesses by two agents."""
    moment = datetime.now(UTC).isoformat()
    events = [valid_event(id=f"{number}", time=moment, subject=f"MC-{number % 3}") for number in range(12)]
    for number, event in enumerate(events):
        event["data"]["actor"]["account"] = "mmartiné" if number % 4 == 0 else "jdupont"
    assert (await edge.post(events)).status == 201


class TestContents:
    """What each role gets."""

    async def test_a_client_gets_everything(self, edge: RunningEdge) -> None:
        """The container verifies, names its file by compartment and days, and withholds nothing."""
        answer = await extract(edge, wanted(request_reference="DPD-2026-14"))
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/vnd.etsi.asic-e+zip"
        manifest, records = await read(edge, answer)
        name = f"{TENANT}_{CATEGORY}_{today()}_{today()}_n{manifest['request']['index']}.asice"
        assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}"'
        assert (manifest["disclosed"], manifest["withheld"]) == (12, 0)
        assert [record["index"] for record in records] == list(range(12))
        assert manifest["request"]["reference"] == "DPD-2026-14"

    async def test_an_auditor_gets_the_proof_alone(self, edge: RunningEdge) -> None:
        """Every entry is withheld, and the extract still verifies."""
        manifest, records = await read(edge, await extract(edge, wanted(), token="auditor"))
        assert (manifest["disclosed"], manifest["withheld"], records) == (0, 12, [])

    @pytest.mark.parametrize(
        ("chosen", "count"),
        [
            ({"account": "mmartiné"}, 3),
            ({"account": "mmartine\u0301"}, 3),
            ({"action": "consultation"}, 12),
            ({"action": "erasure"}, 0),
            ({}, 12),
        ],
    )
    async def test_a_filter_withholds_the_rest(self, edge: RunningEdge, chosen: dict[str, str], count: int) -> None:
        """Only the entries asked for are disclosed; the others are counted."""
        request = wanted(filter=chosen, authorisation=GRANTED, even_if_empty=True)
        manifest, records = await read(edge, await extract(edge, request))
        assert (manifest["disclosed"], manifest["withheld"]) == (count, 12 - count)
        assert len(records) == count

    async def test_a_filter_that_matches_nothing(self, edge: RunningEdge) -> None:
        """It is said before a signed empty answer exists; the request is journaled, then that it was answered so."""
        before = await edge.size("journal")
        answer = await extract(edge, wanted(filter={"action": "erasure"}))
        assert (answer.status, answer.faults) == (422, [(0, "/filter")])
        assert answer.json["type"] == "urn:openepm-journal:problem:empty"
        assert await edge.size("journal") == before + 2
        manifest, _ = await read(edge, await extract(edge, wanted(filter={"action": "erasure"}, even_if_empty=True)))
        assert (manifest["disclosed"], manifest["withheld"]) == (0, 12)

    @pytest.mark.parametrize(
        "asked",
        [{"filter": {"subject": "MC-1"}}, {"filter": {"account": "jdupont"}}, {"purpose": "criminal-proceedings"}],
    )
    async def test_what_needs_an_authorisation(self, edge: RunningEdge, asked: dict[str, Any]) -> None:
        """One subject, one account, criminal proceedings, whoever asks: it is in the manifest, with who asked."""
        refused = await extract(edge, wanted(**asked))
        assert (refused.status, refused.faults) == (422, [(0, "/authorisation")])
        manifest, records = await read(edge, await extract(edge, wanted(**asked, authorisation=GRANTED)))
        assert manifest["authorisation"] == GRANTED
        assert manifest["person"] == {"function": "déléguée à la protection", "name": "Jeanne Obé"}
        assert records

    async def test_nobody_in_person_gets_the_proof_alone(self, edge: RunningEdge) -> None:
        """A credential that names no person discloses nothing, authorised or not; the proof it may have."""
        await edge.add_credential("nobody", role="client", person=None)
        for asked in ({}, {"filter": {"account": "jdupont"}, "authorisation": GRANTED}):
            refused = await extract(edge, wanted(**asked), token="nobody")
            assert (refused.status, refused.faults) == (422, [(0, "")])
            assert "names no person" in refused.json["detail"]
        for token in ("nobody", "client"):
            answer = await extract(edge, wanted(filter={"withhold": "all"}), token=token)
            manifest, records = await read(edge, answer)
            assert (manifest["withheld"], manifest["filter"], records) == (12, {"withhold": "all"}, [])
            assert ("person" in manifest) == (token == "client")

    async def test_a_refusal_is_an_entry(self, edge: RunningEdge) -> None:
        """Who asked, what, and why it was refused; of what is no request, where it is at fault."""
        await edge.add_credential("reader", role="client", categories=[CATEGORY, "journal"])
        await extract(edge, wanted(filter={"account": "jdupont"}, requester="Curieux"))
        await extract(edge, wanted(authorisation="rien du tout"))
        path = "/v1/categories/journal/extracts"
        _, records = await read(edge, await extract(edge, wanted(), token="reader", path=path))
        refused = [event["data"] for record in records if (event := record["event"])["data"].get("outcome") == "denied"]
        person = {"function": "déléguée à la protection", "name": "Jeanne Obé"}
        assert refused[-2] == {
            "category": CATEGORY, "credential": edge.ids["client"], "filter": {"account": "jdupont"}, "from": today(),
            "outcome": "denied", "person": person, "purpose": "lawfulness",
            "reason": f"/authorisation: an extract for one account {NEEDED}",
            "requester": "Curieux", "to": today(),
        }  # fmt: skip
        reason = refused[-1].pop("reason")
        assert refused[-1] == {
            "category": CATEGORY, "credential": edge.ids["client"], "outcome": "denied", "person": person,
        }  # fmt: skip
        assert reason.startswith("/authorisation: ")
        register = (await edge.ask("GET", "/v1/extracts", token="reader")).json["extracts"]
        assert [row["refused"][:15] for row in register if "refused" in row][-2:] == ["/authorisation:"] * 2

    async def test_the_request_is_journaled_first(self, edge: RunningEdge) -> None:
        """The entry about it is there before the first byte of the answer can be read."""
        before = await edge.size("journal")
        async with edge.session.post(
            EXTRACTS,
            json=wanted(requester="CNIL"),
            headers={"Authorization": f"Bearer {edge.tokens['auditor']}"},
        ) as answer:
            assert answer.status == 200
            assert await edge.size("journal") == before + 1
            await answer.read()

    async def test_the_journal_of_the_journal(self, edge: RunningEdge) -> None:
        """A client whose credential holds the reserved category can see who asked for what."""
        await edge.add_credential("journal", role="client", categories=["journal"])
        await extract(edge, wanted(requester="Procureur de la République"))
        path = "/v1/categories/journal/extracts"
        answer = await extract(edge, wanted(filter={"action": "service.extract"}), token="journal", path=path)
        _, records = await read(edge, answer)
        requesters = [record["event"]["data"].get("requester") for record in records]
        assert "Procureur de la République" in requesters

    async def test_the_head_is_what_the_latest_seal_states(self, edge: RunningEdge) -> None:
        """The answer names the chain, its size and its hash, with the signed seal."""
        await edge.service.sealer.seal_open(even_if_still=True)
        head = (await edge.ask("GET", HEAD, token="auditor")).json
        assert json.dumps(head).count('"size":') == 1
        seals = (await edge.ask("GET", "/v1/seals", token="auditor")).json["seals"]
        assert [seal["number"] for seal in seals] == list(range(1, len(seals) + 1))
        after = (await edge.ask("GET", "/v1/seals?after=1", token="client")).json["seals"]
        assert after == seals[1:]


class TestRefused:
    """What is no request, and what cannot be served."""

    @pytest.mark.parametrize(
        ("body", "status", "pointer"),
        [
            (b"", 400, ""),
            (b"[]", 400, ""),
            (b"{", 400, ""),
            (wanted(**{"from": "2026-02-30"}), 400, "/from"),
            (wanted(to="today"), 400, "/to"),
            (wanted(to=20261101), 400, "/to"),
            (wanted(purpose="curiosity"), 400, "/purpose"),
            (wanted(requester=""), 400, "/requester"),
            (wanted(requester="a\x00b"), 400, "/requester"),
            (wanted(requester=None), 400, "/requester"),
            (wanted(tenant="castres"), 400, "/tenant"),
            (wanted(filter={"name": "x"}), 400, "/filter/name"),
            (wanted(filter={"action": "deletion"}), 400, "/filter/action"),
            (wanted(filter=[]), 400, "/filter"),
            (json.dumps(wanted()).replace('{"', '{"to": "2026-01-01", "', 1).encode(), 400, "/to"),
            (b" " * 17_000, 413, ""),
            (wanted(**{"from": "2999-01-02", "to": "2999-01-03"}), 422, "/to"),
            (wanted(**{"from": "2026-01-02", "to": "2026-01-01"}), 422, "/to"),
            (wanted(requester=" "), 400, "/requester"),
            (wanted(request_reference="\u3000"), 400, "/request_reference"),
            (wanted(filter={"subject": "MC-1"}, authorisation=" "), 400, "/authorisation"),
            (wanted(authorisation=GRANTED | {"issuer": " "}), 400, "/authorisation/issuer"),
            (wanted(authorisation=GRANTED | {"date": "2026-02-30"}), 400, "/authorisation/date"),
            (wanted(authorisation=GRANTED | {"date": "2999-01-01"}), 422, "/authorisation/date"),
            (wanted(filter={"withhold": "some"}), 400, "/filter/withhold"),
            (wanted(filter={"withhold": "all", "account": "jdupont"}), 422, "/filter"),
            (wanted(filter={"account": " "}), 400, "/filter/account"),
        ],
    )
    async def test_every_fault_is_named(
        self, edge: RunningEdge, body: dict[str, Any] | bytes, status: int, pointer: str
    ) -> None:
        """A refusal points at the member; what was read of it is journaled."""
        before = await edge.size("journal")
        answer = await extract(edge, body)
        assert (answer.status, answer.faults) == (status, [(0, pointer)])
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert await edge.size("journal") == before + (status != 413)

    async def test_an_auditor_cannot_filter(self, edge: RunningEdge) -> None:
        """What is withheld would say who did what, entry by entry."""
        answer = await extract(edge, wanted(filter={"account": "jdupont"}), token="auditor")
        assert (answer.status, answer.faults) == (422, [(0, "/filter")])

    async def test_another_media_type(self, edge: RunningEdge) -> None:
        """A request is JSON."""
        answer = await edge.post(wanted(), token="client", path=EXTRACTS, media_type="text/plain")
        assert answer.status == 415

    async def test_days_may_be_long_gone(self, edge: RunningEdge) -> None:
        """A day before the chain began is refused in words, not served empty."""
        long_ago = (date.fromisoformat(today()) - timedelta(days=400)).isoformat()
        answer = await extract(edge, wanted(**{"from": long_ago, "to": long_ago}))
        assert (answer.status, answer.faults) == (422, [(0, "/to")])

    async def test_extracts_at_once_are_few(self, postgres: EmbeddedPostgres, tmp_path: Path) -> None:
        """Making extracts must not take the process away from those who submit: some wait, and are told so."""
        async with running_edge(postgres, tmp_path, limits=Limits(extract_patience_seconds=0.1)) as edge:
            await edge.post([valid_event(id="one", time=datetime.now(UTC).isoformat())])
            await edge.service.sealer.seal_open(even_if_still=True)
            hold = edge.app[EDGE].extracts.hold
            async with hold("another"), hold("another"), hold("a third"):
                assert (await extract(edge, wanted())).status == 200
                async with hold("a third"):
                    answer = await extract(edge, wanted())
            assert answer.status == 503
            assert 30 <= int(answer.headers["Retry-After"]) <= 60
            assert (await extract(edge, wanted())).status == 200


async def test_an_expired_certificate(postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """Before anything is journaled, in words that say since when; the log says why as well."""
    begin = datetime.now(UTC) - timedelta(days=800)
    make_development_authority(
        tmp_path / "identity", SERVICE, datetime.now(UTC), not_before=begin, trust_path=tmp_path / "trust.pem"
    )
    async with running_edge(postgres, tmp_path) as edge:
        before = await edge.size("journal")
        with capture_logs() as logs:
            answer = await extract(edge, wanted())
        assert (answer.status, answer.headers["Content-Type"]) == (503, "application/problem+json")
        assert int(answer.headers["Retry-After"]) >= 1
        expired = format_seconds(edge.service.identity.not_after)
        assert f"certificate expired on {expired}: no extract is made until" in answer.json["detail"]
        (refusal,) = [log for log in logs if log["event"] == "a request was not served"]
        assert refusal["kind"] == "ExpiredCertificateError"
        assert f"the certificate of {SERVICE} expired on {expired}: install a renewed one" in refusal["reason"]
        assert await edge.size("journal") == before
        assert (await edge.post(valid_event(id="after", time=datetime.now(UTC).isoformat()))).status == 201


class TestCutOff:
    """An answer that ends early."""

    async def test_rows_that_are_missing(self, own_edge: RunningEdge) -> None:
        """A container that cannot be finished is cut off: no reader can take it for whole."""
        moment = datetime.now(UTC).isoformat()
        await own_edge.post([valid_event(id=f"{number}", time=moment) for number in range(3)])
        # Sealed as it is: an open seal over what is missing would be refused before a byte is sent.
        assert (await extract(own_edge, wanted())).status == 200
        superuser = await asyncpg.connect(own_edge.superuser_dsn)
        await superuser.execute(
            "SET session_replication_role = replica; "
            "DELETE FROM journal.entry WHERE index = 1 AND category <> 'journal'"
        )
        await superuser.close()
        with pytest.raises(aiohttp.ClientError):
            await extract(own_edge, wanted())
        assert (await own_edge.post(valid_event(id="after", time=moment))).status == 201

    async def test_a_caller_that_hangs_up(self, edge: RunningEdge) -> None:
        """Its extract is closed at once, and its place is free for the next."""
        for _ in range(6):
            async with edge.session.post(
                EXTRACTS, json=wanted(), headers={"Authorization": f"Bearer {edge.tokens['client']}"}
            ) as answer:
                assert answer.status == 200
                answer.close()
        assert (await extract(edge, wanted())).status == 200


async def test_purposes_and_actions_are_the_cores() -> None:
    """The words the edge takes are those the manifest and the entries know."""
    body: Any = inspect.type_info(ExtractBody)
    selection: Any = inspect.type_info(ExtractFilter)
    (purpose,) = [field.type for field in body.fields if field.name == "purpose"]
    (action,) = [field.type for field in selection.fields if field.name == "action"]
    assert set(purpose.values) == set(PURPOSES)
    assert set(action.values) == set(ACTIONS)
