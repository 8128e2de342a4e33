"""Who runs a command: the person named by `--operator`, or the account that logged in to the machine."""

from __future__ import annotations

import os
import pwd
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from journal.admin.texts import check_text
from journal.core.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Mapping

LOGIN_UID = Path("/proc/self/loginuid")
# In that file: nobody has logged in, as in a service or a container.
NO_LOGIN = 2**32 - 1


def operator_name(given: str | None, environ: Mapping[str, str]) -> str:
    """Return who acts: the person given, else the account behind `sudo`, the login, or this process.

    Raises OperatorError for a blank name, or one that cannot be recorded.
    """
    if given is not None:
        if not given.strip():
            raise OperatorError("--operator: name the person who acts")
        check_text("--operator", given)
        return given
    if name := environ.get("SUDO_USER"):
        return f"compte {name}"
    identifier = os.getuid()
    with suppress(OSError, ValueError):
        login = int(LOGIN_UID.read_text(encoding="ascii"))
        identifier = identifier if login == NO_LOGIN else login
    try:
        return f"compte {pwd.getpwuid(identifier).pw_name}"
    except KeyError:
        return f"compte {identifier}"
