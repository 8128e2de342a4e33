"""`category`: add a category, change its retention or label, list categories."""

from __future__ import annotations

from typing import TYPE_CHECKING

from journal.admin.administration import NewCategory
from journal.choices import ANSWERS
from journal.cli.installation import opened
from journal.cli.listing import as_json, members_of, print_json
from journal.core.errors import OperatorError
from journal.core.times import format_day

if TYPE_CHECKING:
    import argparse

    from journal.cli.installation import Installation
    from journal.database.ingest import CategoryRow
    from journal.settings import Settings


async def category_add(settings: Settings, arguments: argparse.Namespace) -> int:
    """Add a category."""
    async with opened(settings) as installation:
        await installation.administration.add_category(
            NewCategory(
                code=arguments.code,
                label=arguments.label,
                regime=arguments.regime,
                retention_days=arguments.retention_days,
                needs_authorisation=arguments.needs_authorisation,
                basis=arguments.basis,
                legal_basis=arguments.legal_basis,
                required_days=arguments.required_days,
            )
        )
        await installation.maintenance.prepare()
    print(f"category {arguments.code} added, kept {arguments.retention_days} days")
    return 0


async def category_list(settings: Settings, arguments: argparse.Namespace) -> int:
    """List the categories."""
    async with opened(settings, writes=False) as installation:
        rows = installation.service.snapshot.categories()
        if as_json(arguments):
            members = (
                *("code", "label", "regime", "rule_days", "next_retention_days", "next_since", "next_from"),
                *("needs_authorisation", "basis", "legal_basis", "required_days", "created_at", "first_day", "fence"),
            )
            print_json([members_of(row, members) for row in rows])
            return 0
        for row in rows:
            authorisation = "\tneeds authorisation" if row.needs_authorisation else ""
            required = f"\t{row.required_days} days required" if row.required_days else ""
            legal = f"{row.legal_basis}{required}"
            print(f"{row.code}\t{row.label}\t{row.regime}\t{rule_text(row)}{authorisation}\t{row.basis}\t{legal}")
    return 0


def rule_text(row: CategoryRow) -> str:
    """Return the retention in force and the pending one."""
    days, since = row.next_retention_days, row.next_since
    if days is None or since is None:
        return f"{row.stated_days} days"
    if days < row.stated_days:
        start = f" and obeyed from {format_day(row.next_from)}" if row.next_from not in {None, since} else ""
        return f"{row.stated_days} days, {days} pending since {format_day(since)}{start}"
    return f"{row.stated_days} days, one more each day up to {days}"


async def category_set(settings: Settings, arguments: argparse.Namespace) -> int:
    """Change a category."""
    asked = ("retention_days", "needs_authorisation", "label", "basis", "legal_basis", "required_days")
    if all(getattr(arguments, name) is None for name in asked):
        raise OperatorError(
            "nothing to change: give --retention-days, --needs-authorisation, --label, --basis, --legal-basis or "
            "--required-days"
        )
    # After a restore, `recover` may require this very command, to set the retention again.
    async with opened(settings, recovers=arguments.retention_days is not None) as installation:
        if arguments.retention_days is not None:
            # A purge by a wrong clock cannot be undone.
            await installation.check_clock(confirmed=arguments.clock_is_right)
        row = await installation.administration.set_category(
            arguments.code,
            instruction=arguments.instruction,
            label=arguments.label,
            retention_days=arguments.retention_days,
            needs_authorisation=ANSWERS.get(arguments.needs_authorisation),
            basis=arguments.basis,
            legal_basis=arguments.legal_basis,
            required_days=arguments.required_days,
        )
        for line in await _describe(installation, row):
            print(line)
    return 0


async def _describe(installation: Installation, row: CategoryRow) -> list[str]:
    authorisation = "needs" if row.needs_authorisation else "does not need"
    days = row.next_retention_days
    lines = [f"category {row.code}\t{row.label}\t{authorisation} authorisation\t{rule_text(row)}"]
    if days is None or days >= row.stated_days:
        return lines
    if row.retention_days != days and row.next_from is not None:
        lines.append(
            f"the {days} days are announced in every journal, and obeyed from {format_day(row.next_from)} on: "
            "until then nothing is purged by them, and category set takes them back"
        )
        return lines
    due = [day for day in await installation.purger.due() if day.category == row.code]
    if not due:
        return lines  # a purge was faster
    first_last = sorted({format_day(day.day) for day in due})
    lines.append(
        f"{len(due)} days are due ({first_last[0]} to {first_last[-1]}): serve purges them within an hour, "
        "openepm-journal purge at once; seals then state the new retention, and older entries can no longer be read"
    )
    tenants = sorted({tenant for day in due for tenant in await installation.purger.waiting(day)})
    if tenants:
        lines.append(f"first they are handed over to {', '.join(tenants)}: openepm-journal handover does it at once")
    recipients = await installation.service.store.read_recipients()
    unsure = [row.tenant for row in recipients if row.confirmed_at is None and row.tenant in tenants]
    if unsure:
        lines.append(
            f"{', '.join(unsure)} must confirm that what is handed over can be opened, or the days stay to the limit "
            "of the rule in force: openepm-journal tenant handover COMMUNE --confirm CODE"
        )
    return lines
