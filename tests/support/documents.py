"""The content of documents, for those who lay them out."""

from __future__ import annotations

import socket
from dataclasses import fields, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from journal.core.chain import Head
from journal.core.entry import Entry
from journal.document.content import Circumstances, Gathered, document_content
from journal.document.makers import Maker
from journal.extract.grounds import Rule
from journal.extract.manifest import Filter, Lateness, Manifest, Request
from journal.extract.purges import IN_TIME, PurgedDays
from journal.pki.trust import Anchor

if TYPE_CHECKING:
    from journal.document.makers import Origin

SERVICE = "journal.test"
ORIGIN = f"openepm-journal/v1/{SERVICE}/albi/main-courante"
AT = datetime(2026, 11, 23, 9, 41, 52, tzinfo=UTC)
FIRST = date(2026, 9, 25)
GONE = PurgedDays(FIRST, FIRST, 12, IN_TIME)


class _Nothing:
    """An origin of makers that have ended."""

    async def fork(self) -> Maker:
        ours, theirs = socket.socketpair()
        theirs.close()
        return await Maker.at(ours)

    async def close(self) -> None:
        pass


async def start_nothing() -> Origin:
    """Start, in the place of what makes documents, nothing: an extract goes without.

    No time for them would not do: the first extract starts a process, whose imports take half a second.
    """
    return _Nothing()


def make_entry(index: int, *, days: int = 0, account: str = "z.vidal", reason: str = "Relecture", **more: Any) -> Entry:
    """A recorded consultation."""
    event = {
        "data": {"actor": {"account": account}, "justification": reason, "outcome": "success", **more},
        "id": str(index),
        "source": "/openepm/albi/main-courante",
        "specversion": "1.0",
        "subject": "MC-2026-0001",
        "time": "2026-09-25T09:59:58.000000Z",
        "type": "fr.openepm.journal.consultation",
    }
    at = datetime(2026, 9, 25, 10, tzinfo=UTC) + timedelta(days=days, microseconds=index)
    return Entry(index, at, "albi", "main-courante", "c1", event, b"")


def make_content(
    entries: list[Entry], *, selection: Filter | None = None, withheld: int = 0, **changed: Any
) -> dict[str, Any]:
    """What the document of an extract of these entries says; `changed` are members of the manifest or circumstances."""
    gathered = Gathered()
    for entry in entries:
        gathered.add(entry)
    manifest = Manifest(
        origin=ORIGIN,
        first_day=FIRST,
        last_day=date(2026, 11, 23),
        base=Head(0, b"\1" * 32),
        head=Head(len(entries) + withheld, b"\2" * 32),
        disclosed=len(entries),
        withheld=withheld,
        filter=selection or Filter(),
        purpose="lawfulness",
        requester="Déléguée à la protection des données",
        lateness=Lateness(7, 0, None if selection is not None and selection.withhold_all else 0),
        request=Request(index=7, leaf=b"\3" * 32, reference="DPD-2026-14"),
        issued_at=AT,
        software="openepm-journal/0",
        rule=Rule("contrat, art. 13.2"),
    )
    stated = changed.keys() & {field.name for field in fields(Manifest)}
    manifest = replace(manifest, **{name: changed.pop(name) for name in stated})
    circumstances: dict[str, Any] = {
        "tenant_name": "Ville d'Albi",
        "category_label": "Main courante",
        "service": SERVICE,
        "signer": "CN=test",
        "anchor": Anchor("CN=Racine", b"\4" * 32, is_development=False),
        "manifest_sha256": "ab" * 32,
        "first_seal": 1,
        "last_seal": 2,
        "sealed_at": AT,
        "covered_at": None,
        "purged": (),
        "retention_days": 60,
    }
    return document_content(manifest, gathered, Circumstances(**circumstances | changed))
