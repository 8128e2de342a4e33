"""What extracts disclose, and what the service wrote of its own doings."""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING, Any

from journal.core.entry import JOURNAL_CATEGORY, Compartment
from journal.extract import layout
from journal.extract.container import Container
from tests.support.world import DAY, FIRST, SERVICE, TENANT, World

if TYPE_CHECKING:
    from datetime import date

SERVICE_PREFIX = "fr.openepm.journal.service."
HOUR = re.compile(r"\d+\sh\s\d\d\smin\s\d\d\ss(?!\s\((?:UTC|temps universel|heure de Paris)\))")


def without_zone(content: Any) -> list[str]:
    """Return the texts of a document's content with an hour of which neither they nor their heading say the time."""
    match content:
        case {"title": str() as title} if "temps universel" in title:
            return []
        case {"columns": columns, "rows": rows}:
            cells = [cell for row in rows for name, cell in zip(columns, row, strict=True) if "(UTC)" not in name]
            return [text for cell in cells for text in without_zone(cell)]
        case dict():
            return [text for value in content.values() for text in without_zone(value)]
        case list():
            return [text for value in content for text in without_zone(value)]
        case str():
            return [content] if HOUR.search(content) else []
    return []


def members(extract: bytes) -> list[dict[str, Any]]:
    """Return the records that an extract discloses."""
    lines = Container(io.BytesIO(extract)).lines(layout.ENTRIES, limit_bytes=100_000)
    return [json.loads(line) for line in lines]


def events_of(extract: bytes) -> list[dict[str, Any]]:
    """Return the events that an extract discloses."""
    return [record["event"] for record in members(extract)]


async def entries(world: World, kind: str, tenant: str = TENANT) -> list[dict[str, Any]]:
    """Return the data of the `journal` entries of a kind, read back through an extract."""
    extract = await world.extract(max(FIRST, world.today - 59 * DAY), world.today, tenant=tenant, category="journal")
    report = world.verify(extract)
    assert report.manifest.withheld == 0
    return [event["data"] for event in events_of(extract) if event["type"] == SERVICE_PREFIX + kind]


async def stored_entries(
    world: World, tenant: str = TENANT, *, since: date | None = None
) -> list[tuple[str, str, dict[str, Any]]]:
    """Return kind, subject and data of every entry in a tenant's journal of the journal, opened from the store."""
    compartment = Compartment(SERVICE, tenant, JOURNAL_CATEGORY)
    found = []
    for leaf in await world.service.store.partitions():
        if leaf.category != JOURNAL_CATEGORY or (since is not None and leaf.day < since):
            continue
        for row in await world.service.store.read_entries(tenant, JOURNAL_CATEGORY, leaf.day, 0, 1000):
            box = world.service.keyring.box(compartment, leaf.day)
            _, record = box.open(row.index, row.ciphertext, row.leaf_hash)
            event = json.loads(record)["event"]
            found.append((event["type"].removeprefix(SERVICE_PREFIX), event["subject"], event["data"]))
    return found


async def told(world: World, tenant: str = TENANT) -> list[tuple[str, str, dict[str, Any]]]:
    """Return kind, subject and data of every entry of today in a tenant's journal of the journal."""
    return await stored_entries(world, tenant, since=world.today)


async def purge_entries(world: World, tenant: str = TENANT) -> list[dict[str, Any]]:
    """Return the data of every purge entry that is still kept in a tenant's journal of the journal."""
    return [data for kind, _, data in await stored_entries(world, tenant) if kind == "purge"]
