"""Processor time of whole families of processes: what an event costs, also on a machine that others use too."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

TICKS: Final = os.sysconf("SC_CLK_TCK")


def seconds_of(pid: int) -> float:
    """Return the processor time that a process and its descendants have had, threads included, in seconds."""
    ticks = 0
    family = [pid]
    while family:
        process = family.pop()
        with suppress(OSError):  # it has ended: its parent has its time
            fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            # utime, stime, and cutime, cstime of children that have ended.
            ticks += sum(map(int, fields[11:15]))
            family += map(int, Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii").split())
    return ticks / TICKS
