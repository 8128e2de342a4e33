"""Log lines: those of one turn together, in their order, whoever writes them."""

from __future__ import annotations

import asyncio
import io

from journal.cli.logs import Lines


class Written(io.BytesIO):
    """A file that counts its writes."""

    writes = 0

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write."""
        self.writes += 1
        return super().write(data)


async def test_lines_of_one_turn_are_written_together() -> None:
    """The event loop waits for one write, however many requests were answered at once."""
    file = Written()
    lines = Lines(file)
    for number in range(10):
        lines.info(b"%d" % number)
    assert file.writes == 0
    await asyncio.sleep(0)
    assert (file.writes, file.getvalue()) == (1, b"0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n")


async def test_what_must_be_seen_is_written_at_once() -> None:
    """A warning, and a line of a thread, come after what waited before them; nothing is written twice."""
    file = Written()
    lines = Lines(file)
    lines.info(b"answered")
    lines.warning(b"careful")
    assert file.getvalue() == b"answered\ncareful\n"
    lines.info(b"again")
    await asyncio.to_thread(lines.info, b"beside")
    assert file.getvalue() == b"answered\ncareful\nagain\nbeside\n"
    await asyncio.sleep(0)
    assert file.writes == 2
