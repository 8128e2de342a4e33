"""`openepm-journal`, the operator's command: settings, logs, exit codes."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

import uvloop
from msgspec.structs import replace

from journal.cli.logs import configure_logs
from journal.cli.operator import operator_name
from journal.cli.parser import make_parser
from journal.cli.parsing import NOT_RUN
from journal.core.errors import BusyError, JournalError
from journal.keys.files import describe
from journal.keys.protection import forget_variable, protect_memory
from journal.settings import DSN_VARIABLE, load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from journal.cli.parsing import Command


FAILED = 1
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return 0 if everything asked was done, 1 if something is wrong, 2 if it could not run."""
    arguments = make_parser().parse_args(argv)
    configure_logs(quiet=arguments.run.__name__ != "serve")
    try:
        protect_memory()
        settings = load_settings(os.environ)
        settings = replace(settings, operator=operator_name(arguments.operator or settings.operator, os.environ))
        forget_variable(DSN_VARIABLE)
        run: Command = arguments.run
        return uvloop.run(run(settings, arguments))
    except BusyError as error:
        print(f"openepm-journal: {error}; try again in {error.retry_after_seconds} s", file=sys.stderr)
        return FAILED
    except JournalError as error:
        print(f"openepm-journal: {error}", file=sys.stderr)
        return NOT_RUN
    except OSError as error:
        print(f"openepm-journal: {describe(error)}", file=sys.stderr)
        return NOT_RUN
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
