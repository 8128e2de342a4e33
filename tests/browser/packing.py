"""The same members in another compression, right or not."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

from journal.extract.layout import MIMETYPE, MIMETYPE_CONTENT, NAMES, STREAMED
from tests.browser.kinds import members

if TYPE_CHECKING:
    from random import Random

RIGHT = (None, "empty block", "flushed")
WRONG = ("cut", "more", "twice", "size", "CRC")


def repacked(random: Random, name: str) -> bytes:
    """Anyone: the same members, compressed at another level, in other blocks, cut or prolonged."""
    contents = {MIMETYPE: MIMETYPE_CONTENT, **members(name)}
    victim, fault = random.choice(STREAMED), random.choice((*RIGHT, *WRONG))
    level, strategy = random.randrange(10), random.randrange(5)
    whole, directory = b"", b""
    for member in [MIMETYPE, *(name for name in NAMES if name in contents)]:
        content, is_streamed = contents[member], member in STREAMED
        packed, size, crc = content, len(content), zlib.crc32(content)
        if is_streamed:
            packed = _deflate(content, level, strategy, flushes=fault == "flushed")
        if member == victim:
            packed, size, crc = _spoil(packed, size, crc, fault)
        local, descriptor, record = _headers(member, packed, size, crc, len(whole), is_streamed=is_streamed)
        whole += local + packed + descriptor
        directory += record
    count = len(contents)
    return whole + directory + struct.pack("<LHHHHLLH", 0x06054B50, 0, 0, count, count, len(directory), len(whole), 0)


def _deflate(content: bytes, level: int, strategy: int, *, flushes: bool) -> bytes:
    machine = zlib.compressobj(level, zlib.DEFLATED, -15, 9, strategy)
    packed = machine.compress(content)
    return packed + (machine.flush(zlib.Z_FULL_FLUSH) if flushes else b"") + machine.flush()


def _spoil(packed: bytes, size: int, crc: int, fault: str | None) -> tuple[bytes, int, int]:
    """Return the compressed content and the numbers announced, with one fault or another right spelling."""
    match fault:
        case "cut":
            packed = packed[:-1]
        case "more":
            packed += b"\0"
        case "twice":
            packed += packed
        case "size":
            size += 1
        case "CRC":
            crc ^= 1
        case "empty block":
            packed = b"\0\0\0\xff\xff" + packed
        case _:
            pass
    return packed, size, crc


def _headers(
    member: str, packed: bytes, size: int, crc: int, place: int, *, is_streamed: bool
) -> tuple[bytes, bytes, bytes]:
    """Return what stands before a member, after it, and in the directory."""
    name, mark = member.encode(), 8 if is_streamed else 0
    shape = struct.pack("<HHHH", mark, mark, 0, 0x21)
    sizes = struct.pack("<LLL", crc, len(packed), size)
    local = struct.pack("<LH", 0x04034B50, 20) + shape + (bytes(12) if is_streamed else sizes)
    local += struct.pack("<HH", len(name), 0) + name
    record = struct.pack("<LHH", 0x02014B50, 20, 20) + shape + sizes
    record += struct.pack("<HHHHHLL", len(name), 0, 0, 0, 0, 0, place) + name
    return local, struct.pack("<L", 0x08074B50) + sizes if is_streamed else b"", record
