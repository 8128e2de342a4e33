"""Strings that no other file holds, put wherever a person may be named, and looked for in raw bytes."""

from __future__ import annotations

import secrets
import string
from typing import TYPE_CHECKING, Any

from tests.support.rig import event_body

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime


PREFIX_LENGTH = 6
MARKER_LENGTH = 30


class Markers:
    """High-entropy strings that begin alike: one look finds any of them, also a piece cut short by compression."""

    def __init__(self) -> None:
        """Draw the beginning, which no other file of this machine holds."""
        self.prefix = "".join(secrets.choice(string.ascii_letters) for _ in range(PREFIX_LENGTH))
        self.count = 0

    def draw(self) -> str:
        """Return a marker never drawn before."""
        self.count += 1
        return self.prefix + secrets.token_hex((MARKER_LENGTH - PREFIX_LENGTH) // 2)

    def find(self, content: bytes) -> set[bytes]:
        """Return every piece of the content that begins like a marker, in clear or in hexadecimal."""
        plain = self.prefix.encode()
        found = {bytes(piece) for piece in _pieces(content, plain, MARKER_LENGTH)}
        return found | {
            bytes.fromhex(piece.decode()) for piece in _pieces(content, plain.hex().encode(), 2 * MARKER_LENGTH)
        }


def _pieces(content: bytes, beginning: bytes, length: int) -> Iterator[bytes]:
    place = content.find(beginning)
    while place >= 0:
        yield content[place : place + length]
        place = content.find(beginning, place + 1)


def marked_event(markers: Markers, now: datetime) -> dict[str, Any]:
    """Return an event with a marker wherever a module may write something of a person."""
    data = {
        "actor": {"account": markers.draw(), "name": markers.draw(), "role": markers.draw(), "unit": markers.draw()},
        "justification": f"Suite de {markers.draw()}",
        "recipients": [markers.draw()],
        "outcome": "success",
        "client": {"address": "10.0.0.12", "workstation": markers.draw(), "session": markers.draw()},
    }
    return event_body(markers.draw(), now, subject=markers.draw(), source=f"urn:openepm:{markers.draw()}", data=data)
