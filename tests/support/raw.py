"""Requests byte by byte: what no HTTP client would send."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.support.edge import EVENTS

if TYPE_CHECKING:
    from tests.support.edge import RunningEdge


async def raw(edge: RunningEdge, data: bytes, *, ends: bool = False) -> tuple[int, dict[str, str], bytes]:
    """Send bytes and read one answer: status, headers, body; where it `ends`, see that the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(data)
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    if head.startswith("HTTP/1.1 100"):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    lines = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    body = await reader.readexactly(int(headers["content-length"]))
    if ends:
        assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    return int(lines[0].split()[1]), headers, body


def request_head(edge: RunningEdge, *headers: str, method: str = "POST", path: str = EVENTS) -> bytes:
    """Return the head of a request by the module."""
    lines = [f"{method} {path} HTTP/1.1", "Host: journal", f"Authorization: Bearer {edge.tokens['module']}", *headers]
    return "\r\n".join([*lines, "", ""]).encode()
