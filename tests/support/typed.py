"""What a shell runs in the place of a program: it has the program forked with its own files, and ends as that one does.

`python -I -S typed.py SOCKET MODULE ARGUMENT…`; see `tests.support.forks`.
"""

from __future__ import annotations

import json
import os
import socket
import sys


def main(address: str, module: str, *arguments: str) -> int:
    """Return the program's status."""
    request = {
        "module": module,
        "arguments": arguments,
        "environment": dict(os.environ),
        "directory": os.getcwd(),  # noqa: PTH109 - pathlib takes longer to load than all the rest
        "is_bound": False,
        "space": "",
    }
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        socket.send_fds(connection, [json.dumps(request).encode()], [0, 1, 2])
        connection.shutdown(socket.SHUT_WR)
        return int(connection.recv(16))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
