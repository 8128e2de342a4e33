"""Coverage is noted where it tells something: not in tests marked `untraced`, which repeat what others cover."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Take coverage's tracer away for a marked test.

    The mark `no_cover` does not, in a process of xdist: there pytest-cov has begun twice, and pauses once.
    """
    noting = sys.gettrace()
    # Others who trace, as `make mutants` does, want to know of each test.
    is_coverage = item.config.pluginmanager.hasplugin("_cov")
    if noting is None or not is_coverage or item.get_closest_marker("untraced") is None:
        return (yield)
    sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(noting)
