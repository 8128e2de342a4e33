"""Logs: one JSON line per fact on standard error, a sentence and stable keys, nothing personal."""

from __future__ import annotations

import logging
import sys

import orjson
import structlog


def configure_logs(*, quiet: bool) -> None:
    """Send structured lines to standard error; where `quiet`, warnings and above only."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING if quiet else logging.INFO),
        logger_factory=structlog.BytesLoggerFactory(file=sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
