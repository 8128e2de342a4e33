"""What the parsers of all commands share: their class, their options in common, the types of arguments."""

from __future__ import annotations

import argparse
import importlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn

from journal.core.errors import MalformedError
from journal.core.times import parse_day

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from datetime import date

    from journal.settings import Settings

    Command = Callable[[Settings, argparse.Namespace], Coroutine[None, None, int]]
    Actions = argparse._SubParsersAction["Parser"]  # noqa: SLF001 - argparse gives it no public name

NOT_RUN = 2


class Later:
    """The command at `module.function` in `journal.cli`, loaded once it runs: one command needs no other's modules."""

    def __init__(self, place: str) -> None:
        """Load nothing yet."""
        self._module, _, self.__name__ = place.rpartition(".")

    def load(self) -> Command:
        """Return its function."""
        command: Command = getattr(importlib.import_module(f"journal.cli.{self._module}"), self.__name__)
        return command

    async def __call__(self, settings: Settings, arguments: argparse.Namespace) -> int:
        """Run it; return its exit code."""
        return await self.load()(settings, arguments)


class Parser(argparse.ArgumentParser):
    """A parser with one-line errors and without abbreviated options."""

    def __init__(self, **options: Any) -> None:
        """Make a parser; those of its commands are of this class too."""
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Print the error and where help is."""
        self.exit(NOT_RUN, f"openepm-journal: {message}; see {self.prog} --help\n")


def add_command(actions: Actions, name: str, run: str, text: str, example: str) -> argparse.ArgumentParser:
    """Add a command, described by `text`, and return its parser; `run` says which `module.function` runs it."""
    parser: Parser = actions.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"Example: openepm-journal {example}",
    )
    parser.set_defaults(run=Later(run))
    parser.add_argument("--operator", metavar="NAME", help="who acts, as entries name it (default: the system account)")
    return parser


def add_group(actions: Actions, name: str, text: str, example: str = "list") -> Actions:
    """Add a command that has commands of its own, and return what they are added to."""
    parser = actions.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"Example: openepm-journal {name} {example}",
    )
    group: Actions = parser.add_subparsers(metavar="ACTION", required=True)
    return group


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add --json."""
    parser.add_argument("--json", action="store_true", help="print one JSON document; README.md lists its members")


def add_clock(parser: argparse.ArgumentParser) -> None:
    """Add --clock-is-right."""
    parser.add_argument(
        "--clock-is-right",
        action="store_true",
        help="proceed although the last seal is more than 7 days old, or later than this machine's clock",
    )


def positive(text: str) -> int:
    """Read a whole number of 1 or more. Raises ValueError, ArgumentTypeError."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


def day(text: str) -> date:
    """Read a day, YYYY-MM-DD. Raises ArgumentTypeError."""
    try:
        return parse_day(text)
    except MalformedError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day: write YYYY-MM-DD") from error


def moment(text: str) -> datetime:
    """Read a time of RFC 3339, with a zone, as UTC. Raises ArgumentTypeError."""
    try:
        read = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time: write it like 2027-06-30T00:00:00Z") from error
    if read.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no time zone: append Z")
    return read.astimezone(UTC)
