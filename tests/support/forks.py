"""Operator's commands, services, signers and makers of documents, without the start of a Python each: forked from one.

Each is a process of its own with its arguments, variables and files; only its interpreter is neither begun anew nor
taken apart, which take most of its time. What a forked process would start is forked too; `test_demo` starts all of
them as they are. `python -m tests.support.forks SOCKET` serves one test process, and ends with it.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import gc
import importlib
import os
import selectors
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

import orjson

from journal.document import makers
from journal.document.makers import Maker
from journal.signer import connect
from tests.support import bound, hosts, moved_clock
from tests.support.clusters import copy_clusters
from tests.support.hashing import hash_lightly
from tests.support.loaded import load_commands
from tests.support.memory import choose_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

COMMANDS, DOCUMENTS, SIGNERS = "journal.cli.main", "journal.document.worker", "journal.signer.__main__"
LINE_BYTES = 65536
STREAMS = 3
# What begins the request for a child; its descriptors come with it.
CHILD = b"\0"
FAILED = 1
# The process's own: a test may have put something else in the place of `sys.stderr`.
STANDARD_ERROR = 2
# How the product starts a signer, for a test that proves it.
START_SIGNER = connect._start

# The address of this process, if it is the one from which others are forked.
_served: list[str] = []


def run(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    here: Path | None = None,
    *,
    is_bound: bool = False,
    space: str = "",
    module: str = COMMANDS,
) -> subprocess.CompletedProcess[str]:
    """Run openepm-journal to its end in a directory, by default ours, as `subprocess.run` would with captured text.

    One that `is_bound` passes over no file's mode, as root's would. `space` is the network namespace that it is in.
    `module` is another program of a test's, whose `main` takes arguments too.
    """
    with (
        tempfile.TemporaryDirectory(dir=Path(_server()).parent) as directory,
        socket.socket(socket.AF_UNIX) as connection,
    ):
        out, err = Path(directory) / "out", Path(directory) / "err"
        request = _request(arguments, environment, is_bound=is_bound, space=space)
        request |= {"module": module, "directory": str(here or Path.cwd())}
        connection.connect(_server())
        connection.sendall(orjson.dumps(request | {"out": str(out), "err": str(err)}))
        connection.shutdown(socket.SHUT_WR)
        status = int(_read(connection))
        line = ["openepm-journal", *arguments]
        return subprocess.CompletedProcess(line, status, out.read_text("utf-8"), err.read_text("utf-8"))


def _request(arguments: Sequence[str], environment: Mapping[str, str], *, is_bound: bool, space: str) -> dict[str, Any]:
    how = {"is_bound": is_bound, "space": space}
    return {"module": COMMANDS, "arguments": arguments, "environment": dict(environment), **how}


def write_program(path: Path, module: str) -> None:
    """Write a program for a shell to find: a module's `main`, forked, with the shell's own files and variables."""
    client = [sys.executable, "-I", "-S", str(Path(__file__).with_name("typed.py")), _server(), module]
    path.write_text(f'#!/bin/sh\nexec {shlex.join(client)} "$@"\n', encoding="ascii")
    path.chmod(0o755)


class Child:
    """What a process of the product starts, forked: all that it uses of `asyncio.subprocess.Process`.

    It is killed when its starter ends.
    """

    def __init__(self, module: str, arguments: Sequence[str], descriptors: Sequence[int]) -> None:
        """Start it with these arguments; what it makes of the descriptors is in `_be_a_child`."""
        self.returncode: int | None = None
        self._control = socket.socket(socket.AF_UNIX)
        self._control.connect(_server())
        socket.send_fds(self._control, [CHILD + orjson.dumps([module, *arguments])], descriptors)
        self._control.setblocking(False)

    def kill(self) -> None:
        """Kill it, by the process that waits for its end."""
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)

    async def wait(self) -> int:
        """Wait for its end; return its status."""
        if self.returncode is None:
            self.returncode = int(await asyncio.get_running_loop().sock_recv(self._control, LINE_BYTES))
            self._control.close()
        return self.returncode


class DocumentMakers:
    """What makers of documents are forked from, in place of one that has loaded nothing else."""

    def __init__(self) -> None:
        """Fork none yet."""
        self._made: list[Child] = []

    @classmethod
    async def start(cls) -> Self:
        """Begin."""
        return cls()

    async def fork(self) -> Maker:
        """Fork one, with a socket as its standard input and output."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._made.append(Child(DOCUMENTS, [], [theirs.fileno()]))
        return await Maker.at(ours)

    async def close(self) -> None:
        """End all of them."""
        for child in self._made:
            child.kill()
            await child.wait()


async def start_signer(control: int, service: str, files: Sequence[Path]) -> Child:
    """Start a signer with one end of its control socket; it complains where we do."""
    return Child(SIGNERS, ["--service", service, *map(str, files)], [control, STANDARD_ERROR])


def fork_children(put: Callable[[object, str, object], None]) -> None:
    """Let this process fork what it would start, signers and makers of documents; `put` sets an attribute.

    It copies PostgreSQL's clusters, from where all that is forked keeps them, and hashes passwords for little.
    """
    hash_lightly(put)
    copy_clusters(put, lambda: Path(_server()).parent)
    put(makers, "start_origin", DocumentMakers.start)
    put(connect, "_start", start_signer)


class Program:
    """`openepm-journal serve`, forked, in a session of its own: what tests use of `subprocess.Popen`, with its log."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], *, is_bound: bool = False) -> None:
        """Start it with these arguments and variables."""
        self.returncode: int | None = None
        self._control, self.pid, log = _start(arguments, environment, is_bound=is_bound)
        self.stderr = os.fdopen(log, encoding="utf-8")

    def poll(self) -> int | None:
        """Return its status if it has ended."""
        with suppress(BlockingIOError):
            return self.wait(0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; return its status. Raises TimeoutError."""
        if self.returncode is None:
            self._control.settimeout(timeout)
            self.returncode = int(self._control.recv(LINE_BYTES))
            self._control.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)


class _Ending(asyncio.StreamReaderProtocol):
    """What reads a pipe, and lets it be closed at its end: uvloop asks."""

    def eof_received(self) -> bool:
        """Keep nothing open."""
        super().eof_received()
        return False


class Service:
    """The same, on the event loop: what tests use of `asyncio.subprocess.Process`, with its log."""

    def __init__(self, pid: int, control: socket.socket, stderr: asyncio.StreamReader) -> None:
        """Be the process with this number."""
        self.pid = pid
        self.stderr = stderr
        self.returncode: int | None = None
        self._control = control
        self._ended = asyncio.create_task(self._end())

    @classmethod
    async def start(
        cls, arguments: Sequence[str], environment: Mapping[str, str], *, module: str = COMMANDS, space: str = ""
    ) -> Self:
        """Start one with these arguments of openepm-journal and these variables, in a network namespace or in ours.

        `module` is another program of a test's, whose `main` takes arguments too.
        """
        control, pid, log = _start(arguments, environment, module=module, space=space)
        control.setblocking(False)
        stderr = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: _Ending(stderr), os.fdopen(log, "rb"))
        return cls(pid, control, stderr)

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to stop."""
        self.send_signal(signal.SIGTERM)

    async def wait(self) -> int:
        """Wait for its end; return its status."""
        return await asyncio.shield(self._ended)

    async def _end(self) -> int:
        self.returncode = int(await asyncio.get_running_loop().sock_recv(self._control, LINE_BYTES))
        self._control.close()
        return self.returncode


def _start(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    is_bound: bool = False,
    module: str = COMMANDS,
    space: str = "",
) -> tuple[socket.socket, int, int]:
    """Fork openepm-journal; return the socket that tells its end, its number, and the descriptor of its log."""
    control = socket.socket(socket.AF_UNIX)
    control.connect(_server())
    reading, writing = os.pipe()
    request = _request(arguments, environment, is_bound=is_bound, space=space)
    request |= {"module": module, "directory": str(Path.cwd())}
    socket.send_fds(control, [orjson.dumps(request)], [writing])
    os.close(writing)
    control.shutdown(socket.SHUT_WR)
    return control, int(control.recv(LINE_BYTES)), reading


@functools.cache
def _server() -> str:
    """Start the process from which commands are forked, unless it is this one; return its address."""
    if _served:
        return _served[0]
    # Clusters are kept in it, of 46 MB each: on a disk, writing one takes a second of processor.
    directory = tempfile.mkdtemp(prefix="oej-forks-", dir=choose_directory())
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
        shutil.rmtree(directory)

    atexit.register(end)
    return address


def _read(connection: socket.socket) -> bytes:
    """Read to the end."""
    content = b""
    while piece := connection.recv(LINE_BYTES):
        content += piece
    return content


def _be(request: dict[str, Any], descriptors: Sequence[int]) -> int:
    """Be the command: take its variables, directory and files, and run it."""
    if len(descriptors) < STREAMS:
        log = descriptors[0] if descriptors else os.open(request["err"], os.O_RDWR | os.O_CREAT, 0o600)
        out = os.open(request.get("out", os.devnull), os.O_RDWR | os.O_CREAT, 0o600)
        descriptors = [os.open(os.devnull, os.O_RDWR), out, log]
    for number, opened in enumerate(descriptors):
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    os.chdir(request["directory"])
    if request["space"]:
        hosts.enter(request["space"])
    if request["is_bound"]:
        bound.bind()
    moved_clock.take()
    status: int = importlib.import_module(request["module"]).main(request["arguments"])
    return status


def _be_a_child(module: str, arguments: Sequence[str], descriptors: Sequence[int]) -> int | None:
    """Be a maker of documents, whose standard input and output are a socket, or a signer: its control, and its log."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    streams = [*descriptors, *descriptors, nowhere] if module == DOCUMENTS else [nowhere, nowhere, descriptors[1]]
    for number, opened in enumerate(streams):
        os.dup2(opened, number)
    if module == SIGNERS:
        arguments = ["--control", str(os.dup(descriptors[0])), *arguments]
    for opened in {nowhere, *descriptors}:
        os.close(opened)
    sys.argv = [module, *arguments]
    status: int | None = importlib.import_module(module).main()
    return status


def _serve(address: str) -> int:
    """Fork for every request, until standard input ends; a fork does not return."""
    load_commands()
    importlib.import_module(SIGNERS)
    _served.append(address)
    fork_children(setattr)
    _settle()
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
                content, descriptors, _, _ = socket.recv_fds(connection, LINE_BYTES, STREAMS)
                is_child = content.startswith(CHILD)
                if is_child and DOCUMENTS.encode() in content and DOCUMENTS not in sys.modules:
                    importlib.import_module(DOCUMENTS)  # once, for all that are forked
                    _settle()
                if server := os.fork():
                    servers.append(server)
                    servers[:] = [pid for pid in servers if os.waitpid(pid, os.WNOHANG) == (0, 0)]
                    for descriptor in descriptors:
                        os.close(descriptor)
                    continue
                if process := os.fork():
                    _await(process, connection, descriptors, is_killed_once_left=is_child)
                listening.close()
                if not is_child:
                    content += _read(connection)
                if len(descriptors) == 1 and not is_child:
                    os.setsid()
                    connection.sendall(str(os.getpid()).encode())
            if is_child:
                module, *arguments = orjson.loads(content.removeprefix(CHILD))
                _end(functools.partial(_be_a_child, module, arguments, descriptors))
            _end(functools.partial(_be, orjson.loads(content), descriptors))


def _settle() -> None:
    """Keep what is loaded out of every later collection: a fork would copy each page of it."""
    gc.collect()
    gc.freeze()


def _end(program: Callable[[], int | None]) -> NoReturn:
    """Run a program and end as it would, but without taking the interpreter apart."""
    try:
        status = program() or 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else FAILED
    except BaseException:  # noqa: BLE001 - as an interpreter ends
        traceback.print_exc()
        status = FAILED
    threading._shutdown()  # type: ignore[attr-defined] # not in its types
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _await(process: int, connection: socket.socket, descriptors: Sequence[int], *, is_killed_once_left: bool) -> None:
    """Say how a process ended, and end; a child is killed once its starter has ended or says so."""
    for descriptor in descriptors:
        os.close(descriptor)
    if is_killed_once_left:
        threading.Thread(target=_kill_once_left, args=[connection, process], daemon=True).start()
    _, status = os.waitpid(process, 0)
    # Who started it may have ended before.
    with suppress(BrokenPipeError):
        connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def _kill_once_left(connection: socket.socket, process: int) -> None:
    connection.recv(1)
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(_serve(sys.argv[1]))
