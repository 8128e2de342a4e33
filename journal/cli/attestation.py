"""`attestation`: the signed attestation that a commune's entries of a day were destroyed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from journal.cli.commands import opened
from journal.cli.outputs import check_free
from journal.core.times import format_day
from journal.keys.files import appear_whole
from retention.attestation import Attestations

if TYPE_CHECKING:
    import argparse
    from datetime import date

    from journal.cli.installation import Installation
    from journal.settings import Settings


async def attestation(settings: Settings, arguments: argparse.Namespace) -> int:
    """Make the attestation; the file appears only once it is whole."""
    output = Path(arguments.output) if arguments.output is not None else None
    if output is not None:
        check_free(output, "-o", "an attestation")
    async with opened(settings, writes=False) as installation:
        await installation.check_clock(confirmed=arguments.clock_is_right)
        print(await write_attestation(installation, arguments.tenant, arguments.day, output))
    return 0


async def write_attestation(installation: Installation, tenant: str, day: date, output: Path | None) -> str:
    """Write the attestation, to `attestation-<tenant>-<day>.pdf` here unless told where; return what to say of it."""
    attestations = Attestations(installation.service)
    attested = await attestations.gather(tenant, day)
    if output is None:
        output = Path(f"attestation-{tenant}-{format_day(day)}.pdf")
        check_free(output, "-o", "an attestation")
    document = await attestations.make(attested)
    with appear_whole(output.absolute()) as file:
        file.write(document)
    destroyed = attested.of_state("destroyed")
    count = sum(facts.count for facts in destroyed)
    said = f"{count} {'entry' if count == 1 else 'entries'} destroyed of {', '.join(facts.code for facts in destroyed)}"
    if untold := attested.of_state("untold"):
        said += f"; no number any more for {', '.join(facts.code for facts in untold)}"
    if kept := attested.of_state("kept"):
        said += f"; not attested, for still kept: {', '.join(facts.code for facts in kept)}"
    return f"{output}: {said}; check its signature with: pdfsig {output}"
