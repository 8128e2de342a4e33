"""One browser for all tests of a module, and how many cases two verifiers are held against each other on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

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


@pytest.fixture
def page(chromium: BrowserContext) -> Iterator[Page]:
    """Open a fresh page; any console message is a failure."""
    opened = chromium.new_page()
    complaints: list[str] = []
    opened.on("console", lambda message: complaints.append(message.text))
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto(page_address())
    yield opened
    opened.close()
    assert complaints == []
