"""Containers assembled member by member, for those that the writer would not make."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Callable

from journal.extract.layout import STREAMED, Member, write_directory

if TYPE_CHECKING:
    from collections.abc import Mapping

    # What is packed, the plain size, the CRC.
    Packed = tuple[bytes, int, int]


def deflated(content: bytes) -> bytes:
    """Return a raw deflate stream."""
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(content) + deflater.flush()


def assembled(members: Mapping[str, bytes], change: Callable[[str, bytes], Packed | None] = lambda *_: None) -> bytes:
    """Return a container of these members, in their order, in which `change` replaces the numbers of some."""
    whole, made = b"", []
    for name, content in members.items():
        packed = deflated(content) if name in STREAMED else content
        data, plain_bytes, crc = change(name, content) or (packed, len(content), zlib.crc32(content))
        member = Member(name, len(whole), crc, len(data), plain_bytes)
        made.append(member)
        whole += member.local_header + data + member.descriptor
    return whole + write_directory(made)


def over(data: bytes, place: int, value: bytes) -> bytes:
    """Return `data` with `value` over what stood at `place`."""
    return data[:place] + value + data[place + len(value) :]
