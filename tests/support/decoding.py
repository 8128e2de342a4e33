"""Events decoded, or refused with every fault, without a service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.events import read_batch, read_single

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from ingest.examination import Reading
    from journal.core.entry import Event


def decode_single(body: bytes, now: datetime, source_prefix: str) -> Event:
    """Decode one event, as `read_single` does. Raises MisshapenEventError, OversizeEventError or InvalidEventError."""
    return _accepted(read_single(body, now, source_prefix))[0]


def decode_batch(body: bytes, now: datetime, source_prefix: str) -> Sequence[Event]:
    """Decode a batch, as `read_batch` does. Raises MisshapenEventError, OversizeEventError or InvalidEventError."""
    return _accepted(read_batch(body, now, source_prefix))


def _accepted(reading: Reading) -> Sequence[Event]:
    if reading.faults.count:
        raise reading.faults.error()
    return reading.events
