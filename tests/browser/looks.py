"""How a page looks to everybody: nothing that axe finds, nothing beside the screen; at two widths, in two themes.

`some` has each width and each theme; `every` has each width in each theme, for `make campaign`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe

if TYPE_CHECKING:
    from playwright.sync_api import Page

SOME = ((360, "dark"), (1440, "light"))
EVERY = (*SOME, (360, "light"), (1440, "dark"))
some_or_every = pytest.mark.parametrize(
    "looks", [pytest.param(SOME, id="some"), pytest.param(EVERY, id="every", marks=pytest.mark.campaign)]
)


def faults(page: Page) -> list[str]:
    """Return what axe finds, in words."""
    # Loaded once a page: it is slow until the browser has compiled it.
    if not page.evaluate("'axe' in window"):
        page.evaluate(Axe().axe_script)
    found = page.evaluate("axe.run({resultTypes: ['violations']}).then(results => results.violations)")
    return [f"{one['id']}: {json.dumps([node['html'] for node in one['nodes']])[:300]}" for one in found]


def check(page: Page, looks: Any, name: str) -> None:
    """Check what a page shows now, in each of these looks; `name` tells where that is."""
    for width, theme in looks:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=theme)
        assert faults(page) == [], (name, width, theme)
        too_wide = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        assert not too_wide, (name, width)
