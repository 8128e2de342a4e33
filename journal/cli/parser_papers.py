"""The commands of papers: documents about the journal itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from journal.cli import papers
from journal.cli.parsing import add_clock, add_command, day
from journal.papers.making import FRENCH

if TYPE_CHECKING:
    from journal.cli.parsing import Actions


def add_papers(actions: Actions) -> None:
    """Add papers."""
    parser = add_command(
        actions,
        "papers",
        papers.papers,
        "make a signed document about the journal, in French: the extract of the processing register, the security "
        "measures in place, the coverage of art. 101, the notice for agents, the note on how long",
        "papers coverage --tenant albi",
    )
    parser.add_argument("paper", choices=FRENCH)
    parser.add_argument("--tenant", required=True, metavar="CODE")
    parser.add_argument(
        "--from", dest="from_day", type=day, metavar="DAY", help="of coverage: first day of recording, UTC (30 days)"
    )
    parser.add_argument("--to", dest="to_day", type=day, metavar="DAY", help="of coverage: last day, included (today)")
    parser.add_argument("-o", "--output", metavar="FILE", help="default: a French name, here")
    add_clock(parser)
