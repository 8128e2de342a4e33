"""The commands of papers: documents about the journal itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from journal.cli import breach, papers
from journal.cli.parsing import add_clock, add_command, day, moment
from journal.papers.breach import SUSPICIONS
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


def add_breach(actions: Actions) -> None:
    """Add breach."""
    parser = add_command(
        actions,
        "breach",
        breach.breach,
        "make the dossier of a suspected breach: what a thief could read, what was replaced since, the texts for the "
        "CNIL and for the persons; a signed document, and its facts as JSON",
        "breach credential --credential 1f2e3d4c5b6a --tenant albi --from 2026-11-20",
    )
    parser.add_argument("suspicion", choices=SUSPICIONS, help="what is feared stolen, written or taken over")
    parser.add_argument("--tenant", required=True, metavar="CODE")
    parser.add_argument(
        "--from",
        dest="from_day",
        required=True,
        type=day,
        metavar="DAY",
        help="first day on which it may have been, UTC",
    )
    parser.add_argument("--to", dest="to_day", type=day, metavar="DAY", help="last day, included (today)")
    parser.add_argument("--credential", metavar="ID", help="the one that is stolen, or a person's")
    parser.add_argument("--with-keys", action="store_true", help="the key store and the master key are stolen as well")
    parser.add_argument(
        "--known-at", type=moment, metavar="TIME", help="when it became known, from which 72 hours count (now)"
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="default: violation-<tenant>.pdf, and .json beside it")
