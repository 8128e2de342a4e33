"""`GET /v1/me`: what a credential is and may do, so that nobody has to guess why something is absent."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import orjson
from aiohttp import web

from ingest.events import SINGLE_LIMIT_BYTES
from ingest.examination import BATCH_LIMIT_EVENTS
from journal import __version__
from journal.core.entry import EVENT_LIMIT_BYTES, JOURNAL_CATEGORY
from journal.core.times import format_time
from journal.writing.rules import oldest_kept

if TYPE_CHECKING:
    from datetime import datetime

    from ingest.edge import Edge
    from journal.database.ingest import CategoryRow, CredentialRow

API_VERSION = "1"
BATCH_LIMIT_BYTES = 16 * 1024 * 1024


async def get_me(_: web.Request, edge: Edge, caller: CredentialRow) -> web.StreamResponse:
    """Answer the credential's role, tenant, categories and limits, and the service's clock and versions."""
    snapshot, now = edge.service.snapshot, edge.service.clock.now()
    tenant = snapshot.tenant(caller.tenant)
    categories = [row for code in sorted(caller.categories) if (row := snapshot.category(code)) is not None]
    settings = edge.service.settings
    body = {
        "credential": caller.id,
        "role": caller.role,
        "tenant": {"code": caller.tenant, "name": tenant.name if tenant else ""},
        "categories": [_category(row, caller, now, settings.lateness_days) for row in categories],
        "source_prefix": caller.source_prefix,
        "expires_at": format_time(caller.expires_at) if caller.expires_at else None,
        "limits": {
            "event_bytes": EVENT_LIMIT_BYTES,
            "body_bytes": SINGLE_LIMIT_BYTES,
            "batch_events": min(BATCH_LIMIT_EVENTS, settings.queue_events),
            "batch_bytes": min(BATCH_LIMIT_BYTES, settings.queue_bytes),
        },
        "now": format_time(now),
        "versions": {"api": API_VERSION, "service": __version__},
    }
    return web.Response(body=orjson.dumps(body), content_type="application/json")


def _category(row: CategoryRow, caller: CredentialRow, now: datetime, lateness_days: int) -> dict[str, Any]:
    """Return a category, its rule, and whether this credential posts events to it."""
    return {
        "code": row.code,
        "label": row.label,
        "regime": row.regime,
        "basis": row.basis,
        "retention_days": row.retention_days,
        "lateness_days": lateness_days,
        # Of an event that is not recorded yet, the one of the two limits that comes first.
        "oldest_time": format_time(max(oldest_kept(now, row), now - timedelta(days=lateness_days))),
        "accepts_events": caller.role == "module" and row.code != JOURNAL_CATEGORY,
        "needs_authorisation": row.needs_authorisation,
    }
