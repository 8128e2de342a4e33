"""One browser for all tests of a module, and how many cases two verifiers are held against each other on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import ConsoleMessage, Error

from tests.browser.chromium import TRUST, Verifier, browser, page_address

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import BrowserContext, Page


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run of these tests alone choose how many cases it makes."""
    parser.addoption("--cases", type=int, help="how many cases the two verifiers must agree on")


@pytest.fixture(scope="module")
def chromium() -> Iterator[BrowserContext]:
    """Run a browser, closed before the next module: its driver keeps an event loop of its own."""
    with browser() as context:
        yield context


@pytest.fixture(scope="module")
def verifier(chromium: BrowserContext) -> Iterator[Verifier]:
    """Open the page once, for tests that call its verifier and leave its form alone."""
    page = chromium.new_page()
    page.goto(page_address())
    yield Verifier(page)
    page.close()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return a folder that holds what an auditor trusts."""
    (tmp_path / "trust.pem").write_text(TRUST["anchors"])
    (tmp_path / "tsa.pem").write_text(TRUST["stampers"])
    return tmp_path


@pytest.fixture(scope="module")
def window(chromium: BrowserContext) -> Iterator[Page]:
    """Open a window: another for each test would be another process of the browser, most of what a test costs."""
    opened = chromium.new_page()
    yield opened
    opened.close()


@pytest.fixture
def page(window: Page) -> Iterator[Page]:
    """Open the page afresh, in the module's window; any console message is a failure."""
    complaints: list[str] = []

    def complain(of: ConsoleMessage | Error) -> None:
        complaints.append(of.text if isinstance(of, ConsoleMessage) else str(of))

    size = window.viewport_size
    window.on("console", complain)
    window.on("pageerror", complain)
    window.goto(page_address())
    yield window
    window.remove_listener("console", complain)
    window.remove_listener("pageerror", complain)
    assert size is not None
    window.set_viewport_size(size)
    window.emulate_media(color_scheme="null")
    assert complaints == []
