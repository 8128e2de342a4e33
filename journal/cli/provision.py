"""`provision`: add communes, categories, credentials and hand-overs from a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from journal.admin.provisioning import Provisioning
from journal.admin.stated import read_stated
from journal.cli.installation import opened
from journal.cli.listing import print_json
from journal.core.errors import JournalError, OperatorError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from journal.admin.provisioning import Plan
    from journal.admin.stated import Fault
    from journal.cli.installation import Installation
    from journal.settings import Settings

NOT_RUN = 2


async def provision(settings: Settings, arguments: argparse.Namespace) -> int:
    """Add what a file states and the journal lacks; with --dry-run, say what that is. 2 if the file has faults."""
    path = Path(arguments.file).absolute()
    tokens = Path(arguments.tokens).absolute() if arguments.tokens is not None else None
    stated, faults = read_stated(path)
    if faults:
        return _tell_faults(arguments.file, faults)
    async with opened(settings, writes=not arguments.dry_run) as installation:
        provisioning = Provisioning(installation.service, installation.administration)
        plan, faults = await provisioning.plan(stated, base=path.parent, tokens=tokens)
        if faults:
            return _tell_faults(arguments.file, faults)
        if not arguments.dry_run:
            await _carry_out(installation, provisioning, plan)
    _tell(plan, is_done=not arguments.dry_run, as_json=arguments.json)
    return 0


async def _carry_out(installation: Installation, provisioning: Provisioning, plan: Plan) -> None:
    """Add what is planned. Raises OperatorError that says how much was, if not all."""
    total = sum(plan.counts.values())
    with tqdm(total=total, disable=None, desc="provision", unit=" items") as progress:
        added = 0

        def note(count: int) -> None:
            nonlocal added
            added += count
            progress.update(count)

        try:
            await provisioning.carry_out(plan, note)
            if plan.categories:
                await installation.maintenance.prepare()
        except (JournalError, OSError) as error:
            where = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else error
            raise OperatorError(
                f"{added} of {total} items are added, then: {where}; once that is put right, the same command adds the "
                "others"
            ) from error


def _tell_faults(file: str, faults: Sequence[Fault]) -> int:
    for fault in faults:
        print(f"openepm-journal: {file}: {fault}", file=sys.stderr)
    print(f"openepm-journal: {len(faults)} faults in {file}; nothing was changed", file=sys.stderr)
    return NOT_RUN


def _tell(plan: Plan, *, is_done: bool, as_json: bool) -> None:
    steps = [*plan.lines()]
    if as_json:
        print_json(
            {
                "added" if is_done else "to_add": plan.counts,
                "notes": plan.notes,
                "steps": steps,
                "unchanged": plan.unchanged,
            }
        )
        return
    if not is_done:
        for step in steps:
            print(step)
    for note in plan.notes:
        print(f"note: {note}")
    told = ", ".join(f"{count} {kind}" for kind, count in plan.counts.items() if count)
    if not told:
        print(f"no change: all {plan.unchanged} items are there")
    else:
        print(f"{'added' if is_done else 'to be added'}: {told}; unchanged: {plan.unchanged}")
    if is_done and plan.credentials:
        print(f"the tokens are in {plan.credentials[0].path.parent}: hand each over, then delete its file")
