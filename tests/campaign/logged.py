"""The service's log: nothing of it is printed; a kind may listen to what is logged on its behalf."""

from __future__ import annotations

import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, NoReturn

import structlog

if TYPE_CHECKING:
    from structlog.typing import EventDict

_HEARD: ContextVar[list[str] | None] = ContextVar("heard", default=None)


def _hear(_logger: object, _method: str, event: EventDict) -> NoReturn:
    """Keep the line for whoever listens in this context, and print nothing."""
    heard = _HEARD.get()
    if heard is not None:
        heard.append(str(event["event"]))
    raise structlog.DropEvent


def keep_quiet() -> None:
    """Print nothing of what is logged from here on."""
    structlog.configure(processors=[_hear], wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))


def listen() -> list[str]:
    """Return a list that grows by each warning or error logged in this context, and in tasks started from it."""
    heard: list[str] = []
    _HEARD.set(heard)
    return heard
