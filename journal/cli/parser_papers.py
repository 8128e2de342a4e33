"""The commands of papers: documents about the journal itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from journal.choices import PAPERS, SUSPICIONS
from journal.cli.parsing import add_clock, add_command, day, moment

if TYPE_CHECKING:
    from journal.cli.parsing import Actions


def add_papers(actions: Actions) -> None:
    """Add papers."""
    parser = add_command(
        actions,
        "papers",
        "papers.papers",
        "make a signed document about the journal, in French: the extract of the processing register, the security "
        "measures in place, the coverage of art. 101, the notice for agents, the note on how long",
        "papers coverage --tenant albi",
    )
    parser.add_argument("paper", choices=PAPERS)
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
        "breach.breach",
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


def add_hold(actions: Actions) -> None:
    """Add hold."""
    parser = add_command(
        actions,
        "hold",
        "hold.hold",
        "an authority asks that entries be preserved: hand the days over at once, encrypted, with its reference; the "
        "rule of retention is not bent, and what the service keeps goes when it would have gone",
        "hold --tenant albi --category ecrits --from 2026-11-01 --to 2026-11-15 --reference 2026/4127 "
        '--issuer "Parquet d\'Albi" --date 2026-11-20',
    )
    parser.add_argument("--tenant", required=True, metavar="CODE")
    parser.add_argument("--category", action="append", required=True, metavar="CODE", help="may be repeated")
    parser.add_argument("--from", dest="from_day", required=True, type=day, metavar="DAY", help="first day, UTC")
    parser.add_argument("--to", dest="to_day", required=True, type=day, metavar="DAY", help="last day, UTC, included")
    parser.add_argument("--reference", required=True, metavar="REF", help="the authority's own; no personal name")
    parser.add_argument("--issuer", required=True, metavar="WHO", help="the authority")
    parser.add_argument("--date", required=True, type=day, metavar="DAY", help="of its request")
    parser.add_argument(
        "--certificate",
        metavar="PEM",
        help="the authority's certificate, where the commune is not to open the files (default: the commune's, "
        "registered for its hand-over)",
    )
    parser.add_argument(
        "--directory",
        metavar="DIR",
        help="an existing directory; the files go to DIR/CODE (default: the commune's hand-over, and none with "
        "--certificate)",
    )
    add_clock(parser)
