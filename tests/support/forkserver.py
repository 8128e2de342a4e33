"""Processes of the tests' own, forked from one that has loaded the whole product, whichever test is the first."""

from __future__ import annotations

import multiprocessing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext


def processes() -> ForkServerContext:
    """Return where to start them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support.settled"])
    return context
