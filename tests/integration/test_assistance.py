"""The vendor's support: its accesses are recorded with the client's authorisation of the case, or not at all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.edge import running_edge
from tests.support.refused_events import valid_event

if TYPE_CHECKING:
    from pathlib import Path

    from journal.database.embedded import EmbeddedPostgres

PATH = "/v1/categories/assistance/events"
GIVEN = {"date": "2026-01-02", "issuer": "Mairie d'Albi", "reference": "AS-12"}


def access(**data: Any) -> dict[str, Any]:
    """Return an access by the support; None leaves a member out."""
    event = valid_event(id=f"{len(data)}{sorted(data)}", time=datetime.now(UTC).isoformat(), subject="AS-12")
    event["type"] = "fr.openepm.journal.access"
    subject = data.pop("subject", "AS-12")
    event["data"] = {
        "actor": {"account": "support"}, "authorisation": GIVEN, "justification": "Ticket 12", "outcome": "success",
    } | data  # fmt: skip
    event["data"] = {name: value for name, value in event["data"].items() if value is not None}
    event["subject"] = subject
    return {name: value for name, value in event.items() if value is not None}


@pytest.mark.parametrize("as_batch", [False, True])
async def test_an_access_needs_its_case(postgres: EmbeddedPostgres, tmp_path: Path, *, as_batch: bool) -> None:
    """Authorisation, motive and subject: each that is missing is named, and nothing is recorded."""
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    async with running_edge(postgres, tmp_path) as edge:
        await edge.add_credential("support", role="module", categories=["assistance"])

        async def post(event: dict[str, Any]) -> Any:
            return await edge.post([event] if as_batch else event, token="support", path=PATH)

        for missing, status, pointer in (
            ({"authorisation": None}, 422, "/data/authorisation"),
            ({"justification": None}, 422, "/data/justification"),
            ({"subject": None}, 422, "/subject"),
            ({"authorisation": GIVEN | {"date": tomorrow}}, 422, "/data/authorisation/date"),
            ({"authorisation": "rien du tout"}, 400, "/data/authorisation"),
            ({"authorisation": {"issuer": "x", "reference": "y"}}, 400, "/data/authorisation/date"),
            ({"authorisation": GIVEN | {"issuer": "\u200b"}}, 400, "/data/authorisation/issuer"),
        ):
            answer = await post(access(**missing))
            assert (answer.status, answer.faults) == (status, [(0, pointer)]), missing
        assert await edge.size("assistance") == 0
        assert (await post(access())).status == 201
        # Elsewhere an authorisation may be said, and need not.
        other = access(authorisation=None) | {"id": "elsewhere"}
        assert (await edge.post(other)).status == 201
