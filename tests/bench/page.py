"""How fast the page verifies an extract in Chromium: `python -m tests.bench.page EXTRACT TRUST`.

Prints the seconds from the press of the button to the verdict, and those of processor that the browser had meanwhile.
"""

from __future__ import annotations

import os
import sys
import time

from tests.bench.processor import seconds_of
from tests.browser.chromium import browser, page_address

PATIENCE_MS = 600_000


def main() -> None:
    """Verify once as people do, files chosen and a button pressed."""
    extract, trust = sys.argv[1:]
    with browser() as context:
        page = context.new_page()
        page.goto(page_address())
        page.set_input_files("#extract", extract)
        page.set_input_files("#trust", trust)
        started, before = time.perf_counter(), seconds_of(os.getpid())
        page.get_by_role("button", name="Vérifier").click()
        verdict = page.locator(".verdict.verified, .verdict.incomplete, .verdict.refused, .verdict.unusable")
        text = verdict.inner_text(timeout=PATIENCE_MS)
        print(time.perf_counter() - started, seconds_of(os.getpid()) - before)
        assert "vérifié" in text.lower(), text


if __name__ == "__main__":
    main()
