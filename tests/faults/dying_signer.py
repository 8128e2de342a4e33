"""The signer that is killed at a step: `part.method before|after`, its first two arguments."""

from __future__ import annotations

import inspect
import os
import signal
import sys
from typing import Any

from journal.signer import __main__ as program
from journal.signer.identity import SigningIdentity
from journal.signer.memory import Memory
from journal.signer.session import Session

PARTS: dict[str, type] = {"session": Session, "memory": Memory, "identity": SigningIdentity}


def die(*_: Any, **__: Any) -> None:
    """End without a word."""
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    name, when = sys.argv.pop(1), sys.argv.pop(1)
    part, _, method = name.partition(".")
    real = getattr(PARTS[part], method)

    async def slowly(*arguments: Any, **named: Any) -> Any:
        """Do it, or die before, or after."""
        if when == "before":
            die()
        await real(*arguments, **named)
        die()

    def at_once(*arguments: Any, **named: Any) -> Any:
        """Do it, or die before, or after."""
        if when == "before":
            die()
        real(*arguments, **named)
        die()

    setattr(PARTS[part], method, slowly if inspect.iscoroutinefunction(real) else at_once)
    sys.exit(program.main())
