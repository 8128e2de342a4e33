"""`breach`: the dossier of a suspected breach, for a commune: a signed document, and the same facts as JSON."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from journal.cli.commands import check_free
from journal.cli.installation import opened
from journal.core.errors import OperatorError
from journal.core.times import day_of, format_day
from journal.extract.manifest import FIRST_DAY
from journal.keys.files import appear_whole
from journal.papers.breach import Suspected, examine
from journal.papers.breach_paper import dossier
from journal.papers.making import Papers
from journal.papers.situation import gather

if TYPE_CHECKING:
    import argparse
    from datetime import datetime

    from journal.settings import Settings


async def breach(settings: Settings, arguments: argparse.Namespace) -> int:
    """Make the dossier; both files appear once they are complete."""
    output = Path(arguments.output or f"violation-{arguments.tenant}.pdf")
    check_free(output, "-o", "a dossier")
    facts_path = output.with_suffix(".json")
    if facts_path == output:
        raise OperatorError(f"{output} is the name of the facts beside the dossier: choose a name for a PDF with -o")
    check_free(facts_path, "-o", "the facts of a dossier")
    async with opened(settings) as installation:
        service = installation.service
        suspected = _suspected(arguments, service.clock.now().replace(microsecond=0))
        situation = await gather(service, arguments.tenant)
        found = await examine(situation, suspected)
        facts = orjson.dumps(found.as_json(situation), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n"
        paper = dossier(situation, found, sha256(facts).hexdigest())
        made = await Papers(service).sign(paper, arguments.tenant, situation.now)
        # Both are written before either appears.
        with appear_whole(facts_path.absolute()) as beside, appear_whole(output.absolute()) as file:
            beside.write(facts)
            file.write(made.document)
    readable = sum(one.total for one in found.readable)
    print(
        f"{output} and {facts_path}: {readable} entries could be read; entry {made.index} of the journal of "
        f"{made.journal} says that it was made; check its signature with: pdfsig {output}"
    )
    return 0


def _suspected(arguments: argparse.Namespace, now: datetime) -> Suspected:
    """Return what is suspected. Raises OperatorError where the options do not fit one another."""
    kind, first, last = arguments.suspicion, arguments.from_day, arguments.to_day or day_of(now)
    if first > last:
        raise OperatorError("--from is after --to")
    if last > day_of(now):
        raise OperatorError("--to has not begun: give days up to today (UTC)")
    if first < FIRST_DAY:
        raise OperatorError(f"--from is before {format_day(FIRST_DAY)}")
    if arguments.known_at is not None and not (day_of(arguments.known_at) >= FIRST_DAY and arguments.known_at <= now):
        raise OperatorError("--known-at is to come, or before any journal: give when it became known")
    if (kind == "credential") != (arguments.credential is not None):
        raise OperatorError(
            "--credential ID goes with the suspicion credential, which needs it: see openepm-journal credential list"
        )
    if arguments.with_keys and kind not in {"backup", "database"}:
        raise OperatorError("--with-keys is for a stolen backup or database: root has the keys, a credential does not")
    return Suspected(
        suspicion=kind,
        first=first,
        last=last,
        known_at=arguments.known_at or now,
        holder=arguments.credential,
        with_keys=arguments.with_keys,
    )
