"""A real php-fpm, and requests to it as a web server makes them (FastCGI 1.0)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import struct
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.needs import versioned

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BEGIN, END, PARAMETERS, STDIN, STDOUT, STDERR = 1, 3, 4, 5, 6, 7
RESPONDER = 1
START_LIMIT_SECONDS = 60

CONFIGURATION = """
[global]
error_log = {home}/fpm.log
daemonize = no
[www]
listen = {home}/fpm.socket
pm = static
pm.max_children = {children}
catch_workers_output = yes
php_admin_value[error_log] = {home}/php.log
php_admin_value[session.save_path] = {home}
"""


@dataclass(frozen=True, slots=True)
class Fpm:
    """A running php-fpm."""

    process: asyncio.subprocess.Process
    home: Path

    def workers(self) -> list[int]:
        """Return its children, which answer requests."""
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii")
        return [int(child) for child in found.split()]

    async def ask(self, script: Path, query: str = "", *, cookie: str = "") -> bytes:
        """Ask for a script; return its answer, headers and body. Raises ConnectionError if PHP died meanwhile."""
        parameters = {
            "REQUEST_METHOD": "GET",
            "SCRIPT_FILENAME": str(script),
            "SCRIPT_NAME": f"/{script.name}",
            "QUERY_STRING": query,
            "REMOTE_ADDR": "192.0.2.7",
            "SERVER_PROTOCOL": "HTTP/1.1",
            **({"HTTP_COOKIE": cookie} if cookie else {}),
        }
        reader, writer = await asyncio.open_unix_connection(str(self.home / "fpm.socket"))
        try:
            pairs = b"".join(_pair(name.encode(), value.encode()) for name, value in parameters.items())
            writer.write(_record(BEGIN, struct.pack(">HB5x", RESPONDER, 0)))
            writer.write(_record(PARAMETERS, pairs) + _record(PARAMETERS, b"") + _record(STDIN, b""))
            return await _answer(reader)
        finally:
            writer.close()


@asynccontextmanager
async def running_fpm(home: Path, *, children: int = 4) -> AsyncIterator[Fpm]:
    """Run php-fpm in a directory."""
    configuration = _configure(home, children)
    command = [_program(), "--nodaemonize", "--fpm-config", str(configuration)]
    if os.geteuid() == 0:
        command.append("--allow-to-run-as-root")
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(START_LIMIT_SECONDS):
            while not _listens(home / "fpm.socket"):  # noqa: ASYNC110  (a socket tells nobody that it listens)
                await asyncio.sleep(0.02)
        yield Fpm(process, home)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def _program() -> str:
    return shutil.which("php-fpm") or str(versioned("php-fpm"))


def _configure(home: Path, children: int) -> Path:
    home.mkdir(exist_ok=True)
    (home / "fpm.conf").write_text(CONFIGURATION.format(home=home, children=children), encoding="utf-8")
    return home / "fpm.conf"


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
        probe.connect(str(path))
        return True
    return False


def _pair(name: bytes, value: bytes) -> bytes:
    lengths = (
        bytes([len(text)]) if len(text) < 128 else struct.pack(">I", len(text) | 1 << 31) for text in (name, value)
    )
    return b"".join(lengths) + name + value


def _record(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBHHBx", 1, kind, 1, len(content), 0) + content


async def _answer(reader: asyncio.StreamReader) -> bytes:
    said = b""
    while True:
        try:
            _, kind, _, length, padding, _ = struct.unpack(">BBHHBB", await reader.readexactly(8))
            content = await reader.readexactly(length + padding)
        except asyncio.IncompleteReadError as error:
            raise ConnectionError("PHP ended before its answer") from error
        if kind == STDOUT:
            said += content[:length]
        elif kind == END:
            return said
