"""The first page: what of each category is recorded, kept and purged, and whether anything is wrong."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ingest.console.handovers import is_unconfirmed
from ingest.console.telling import TITLES
from journal.core.entry import ACTIONS, JOURNAL_CATEGORY, RESERVED_TENANT
from journal.core.times import day_of, format_day, midnight, parse_day
from journal.papers.signing import anchor

if TYPE_CHECKING:
    from datetime import date

    from aiohttp import web

    from ingest.console.pages import Visit
    from ingest.console.purges import Purge
    from journal.status.figures import CategoryStatus

SHOWN_DAYS = 14


async def get_overview(seen: Visit, _: dict[str, str]) -> web.StreamResponse:
    """Show the state of the commune's categories; to an operator of the host, that of the service."""
    service = seen.console.edge.service
    answers, status = await seen.console.edge.readiness.ask()
    # It is a second old at most; where it could not be read, asking anew raises why.
    status = status or await service.status()
    kept = {category.category: category for category in status.categories}
    wrong = [alarm.reason for alarm in service.alarms.findings if alarm.tenant in {seen.row.tenant, RESERVED_TENANT}]
    values: dict[str, Any] = {
        "is_late": False,
        "is_ready": not any(answers.values()),
        # What `doctor` and the paper on measures call a clock that is wrong.
        "is_trial": await service.store.clock_is_simulated(),
        "is_whole": not wrong and service.alarms.problem() is None and not service.snapshot.problems(),
        "sealed_at": status.row.sealed_at,
        "stamped": status.is_stamping,
        "today": day_of(service.clock.now()),
        "waiting_stamps": status.unstamped_seals,
    }
    if seen.row.role == "operator":
        return seen.page("hebergeur.html", categories=status.categories, **values)
    rows = await service.reader.status(seen.row.tenant)
    silent = [one for one in service.sources.silent if one.tenant == seen.row.tenant]
    size = sum(row["size"] for row in rows if row["category"] == JOURNAL_CATEGORY)
    purges = await seen.console.purges.of(seen.row.tenant, size)
    categories = [
        _category(
            row,
            kept.get(row["category"]),
            values["today"],
            purges.get(row["category"], []),
            [one for one in silent if one.category == row["category"]],
        )
        for row in rows
        if row["category"] in seen.row.categories or row["category"] == JOURNAL_CATEGORY
    ]
    values["is_late"] = any(one["late"] for one in categories)
    tenant = service.snapshot.tenant(seen.row.tenant)
    values["moved_at"] = tenant.moved_at if tenant is not None else None
    return seen.page("vue.html", categories=categories, is_unconfirmed=await is_unconfirmed(seen), **values)


async def get_help(seen: Visit, _: dict[str, str]) -> web.StreamResponse:
    """Show the help: what to ask, how to keep the file, what each verdict means, whom to call."""
    service = seen.console.edge.service
    return seen.page(
        "aide.html",
        anchor=anchor(service),
        labels={row.code: row.label for row in service.snapshot.categories()},
    )


def _category(
    row: dict[str, Any], kept: CategoryStatus | None, today: date, purges: list[Purge], silent: list[Any]
) -> dict[str, Any]:
    days = [today - timedelta(days=back) for back in range(SHOWN_DAYS - 1, -1, -1)]
    totals = {day: sum(row["days"].get(format_day(day), {}).values()) for day in days}
    highest = max(totals.values(), default=0)
    purged_day = parse_day(row["last_purged_day"]) if row["last_purged_day"] else None
    held = sorted(day for text in row["days"] if (day := parse_day(text)) and (purged_day is None or day > purged_day))
    is_holding = bool(kept and held and row["size"] > row["base"])
    actions: dict[str, int] = {}
    for day in days:
        for action, count in row["days"].get(format_day(day), {}).items():
            word = TITLES.get(f"service.{action}", ACTIONS.get(action, action))
            actions[word] = actions.get(word, 0) + count
    return {
        "actions": sorted(actions.items(), key=lambda item: -item[1]),
        # Heights in tenths of the highest: a class each, since the policy allows no style in a page.
        "bars": [(day, count, -(-10 * count // highest) if highest else 0) for day, count in totals.items()],
        "highest": highest,
        "is_own": row["category"] == JOURNAL_CATEGORY,
        "kept": row["size"] - row["base"],
        "label": row["label"],
        "missing": row["missing"],
        # Of the commune's own entries: the service counts the days of all communes, with entries or not.
        "late": [purge for purge in purges if purge.late],
        "next_limit": midnight(held[0]) + kept.retention if kept and is_holding else None,
        "oldest_day": held[0] if is_holding else None,
        "purge": purges[-1] if purges else None,
        "purged_day": purged_day,
        "retention_days": row["retention_days"],
        "silent": [(one.source, one.since) for one in silent],
        "size": row["size"],
        "sources": [source for source in row["sources"] if source.get("missing") or source.get("declared")],
        "total": sum(totals.values()),
    }
