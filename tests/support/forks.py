"""Operator's commands without the start of a Python each: processes forked from one that has imported them.

The command is a process of its own with its arguments, variables and files; only its interpreter is not begun anew,
which takes most of its time. `python -m tests.support.forks SOCKET` serves one test process, and ends with it.
"""

from __future__ import annotations

import atexit
import functools
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from journal.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def run(
    arguments: Sequence[str], environment: Mapping[str, str], here: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run openepm-journal to its end in a directory, by default ours, as `subprocess.run` would with captured text."""
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as connection:
        out, err = Path(directory) / "out", Path(directory) / "err"
        request = {"arguments": arguments, "environment": dict(environment), "directory": str(here or Path.cwd())}
        connection.connect(_server())
        connection.sendall(orjson.dumps(request | {"out": str(out), "err": str(err)}))
        connection.shutdown(socket.SHUT_WR)
        status = int(_read(connection))
        line = ["openepm-journal", *arguments]
        return subprocess.CompletedProcess(line, status, out.read_text("utf-8"), err.read_text("utf-8"))


@functools.cache
def _server() -> str:
    """Start the process from which commands are forked; return its address."""
    directory = tempfile.mkdtemp(prefix="oej-forks-")
    address = f"{directory}/socket"
    process = subprocess.Popen(
        [sys.executable, "-m", __name__, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.stdout.close()

    def end() -> None:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
        Path(address).unlink()
        Path(directory).rmdir()

    atexit.register(end)
    return address


def _read(connection: socket.socket) -> bytes:
    """Read to the end."""
    content = b""
    while piece := connection.recv(65536):
        content += piece
    return content


def _be(request: dict[str, Any]) -> int:
    """Be the command: take its variables, directory and files, and run it."""
    for number, path in enumerate([os.devnull, request["out"], request["err"]]):
        opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    os.chdir(request["directory"])
    return main(request["arguments"])


def _serve(address: str) -> int:
    """Fork for every request, until standard input ends; in a fork, return the command's status."""
    servers: list[int] = []
    with socket.socket(socket.AF_UNIX) as listening, selectors.DefaultSelector() as selector:
        listening.bind(address)
        listening.listen()
        print("ready", flush=True)  # noqa: T201 - the starter waits for it
        selector.register(listening, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        while True:
            if any(key.fileobj is sys.stdin for key, _ in selector.select()):
                return 0
            connection, _ = listening.accept()
            with connection:
                if server := os.fork():
                    servers.append(server)
                    servers[:] = [pid for pid in servers if os.waitpid(pid, os.WNOHANG) == (0, 0)]
                    continue
                request = orjson.loads(_read(connection))
                if command := os.fork():
                    _, status = os.waitpid(command, 0)
                    connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
                    os._exit(0)
            break
    return _be(request)


if __name__ == "__main__":
    sys.exit(_serve(sys.argv[1]))
