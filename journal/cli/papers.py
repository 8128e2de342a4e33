"""`papers`: signed documents about the journal itself, in French, for a commune."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from journal.choices import PAPERS
from journal.cli.commands import check_free
from journal.cli.doctor import look
from journal.cli.installation import opened
from journal.core.errors import OperatorError
from journal.core.times import day_of, format_day
from journal.extract.manifest import FIRST_DAY
from journal.keys.files import appear_whole
from journal.papers.making import Papers

if TYPE_CHECKING:
    import argparse

    from journal.settings import Settings

COUNTS_DAYS = "coverage"


async def papers(settings: Settings, arguments: argparse.Namespace) -> int:
    """Make one paper; the file appears once it is complete."""
    kind, tenant = arguments.paper, arguments.tenant
    first, last = arguments.from_day, arguments.to_day
    if kind != COUNTS_DAYS and (first is not None or last is not None):
        raise OperatorError(f"--from and --to are for {COUNTS_DAYS}: the other papers are of the moment")
    if first is not None and last is not None and first > last:
        raise OperatorError("--from is after --to")
    if first is not None and first < FIRST_DAY:
        raise OperatorError(f"--from is before {format_day(FIRST_DAY)}")
    output = Path(arguments.output or f"{PAPERS[kind]}-{tenant}.pdf")
    check_free(output, "-o", "a paper")
    async with opened(settings) as installation:
        await installation.check_clock(confirmed=arguments.clock_is_right)
        if last is not None and last > day_of(installation.service.clock.now()):
            raise OperatorError("--to has not begun: give days up to today (UTC)")
        maker = Papers(installation.service, partial(look, installation))
        made = await maker.issue(kind, tenant, first=first, last=last)
        with appear_whole(output.absolute()) as file:
            file.write(made.document)
    print(
        f"{output}: entry {made.index} of the journal of {made.journal} says that it was made; check its signature "
        f"with: pdfsig {output}"
    )
    return 0
