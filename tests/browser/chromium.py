"""The page of the verifier in a real headless Chromium, driven through playwright."""

from __future__ import annotations

import atexit
import base64
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect, sync_playwright

from ingest.downloads import PAGE_NAME
from ingest.verifier_page import assemble
from journal.pki.certificates import der_to_pem
from tests.support import stamps
from tests.support.extracts import ANCHORS
from tests.support.memory import choose_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from playwright.sync_api import BrowserContext, Page

    from tests.browser.cases import Case

VECTORS = Path(__file__).parents[1] / "vectors" / "v1" / "extracts"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# How long a machine that has much else to do may take to show what a test awaits.
PATIENCE_MS = 120_000
# As root there is no sandbox; the rest keeps the browser from looking for Google's hosts at its start.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

# Verify many extracts in one call, entry by entry and by slices, which must end alike: what JavaScript throws besides a
# refusal comes back as an error.
BATCH = """async ({ items, anchors, stampers }) => {
  const outcomeOf = (failure, said) => failure instanceof Verifier.Refusal
    ? [failure.verdict, failure.part, failure.reason, said] : ['error', '', String(failure.stack ?? failure), said];
  const verdictsOf = (judged) => judged.map(({ verdict }) => verdict);
  const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const trusted = Verifier.readAnchors(anchors), trustedForTime = Verifier.readAnchors(stampers);
  const outcomes = [];
  for (const { extract, known, receipts, isStamped } of items) {
    let said = [];
    try {
      const files = known.map(([name, text]) => ({ name, source: Verifier.bytesSource(bytes(text)) }));
      const answers = receipts.map(([name, text]) => ({ name, source: Verifier.bytesSource(bytes(text)) }));
      const trust = { anchors: trusted, stampers: isStamped ? trustedForTime : null };
      const kept = await Verifier.readAllReceipts(answers, trusted);
      said = verdictsOf(kept.judged);
      if (extract === null) {
        said.push(...verdictsOf(await Verifier.judgeBySeals(kept.receipts, files, trust)));
        outcomes.push(['verified', '', '', said]);
        continue;
      }
      const ways = [];
      for (const helpers of [[], [async (part) => Verifier.checkSlice(part)]]) {
        try {
          const source = Verifier.bytesSource(bytes(extract));
          const result = await Verifier.verify(source, trust, files, () => {}, kept.receipts, helpers);
          const told = Verifier.tell(result);
          ways.push([told.outcome, '', '', [...said, ...verdictsOf(result.judged)], told.purged]);
        } catch (failure) { ways.push(outcomeOf(failure, said)); }
      }
      const alike = JSON.stringify(ways[0]) === JSON.stringify(ways[1]);
      outcomes.push(alike ? ways[0] : ['error', '', `two ways: ${JSON.stringify(ways)}`, said]);
    } catch (failure) { outcomes.push(outcomeOf(failure, said)); }
  }
  return outcomes;
}"""


# What the auditor of most tests trusts, in PEM.
TRUST = {"anchors": der_to_pem(ANCHORS).decode(), "stampers": der_to_pem(stamps.ANCHORS).decode()}


@dataclass(frozen=True)
class Outcome:
    """`verified`, `incomplete` (something asked could not be compared), or the class of the refusal.

    `receipts` are the classes of receipts, those of files that are not authentic first.
    `purged` is what is said of purged days, as FORMAT.md, section 12.5 spells it.
    """

    verdict: str
    part: str
    reason: str
    receipts: tuple[str, ...] = ()
    purged: list[dict[str, Any]] = field(default_factory=list)


@cache
def page_address() -> str:
    """Return the address of the page, as it is released, in a file that goes with this process."""
    directory = Path(tempfile.mkdtemp(dir=choose_directory()))
    atexit.register(shutil.rmtree, directory)
    path = directory / PAGE_NAME
    path.write_bytes(assemble())
    return path.as_uri()


@contextmanager
def browser() -> Iterator[BrowserContext]:
    """Run a browser of its own, which forgets everything afterwards."""
    if CHROMIUM is None:
        pytest.fail("these tests need Chromium: apt-get install chromium")
    with tempfile.TemporaryDirectory(dir=choose_directory()) as profile, sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=CHROMIUM, headless=True, args=list(FLAGS), locale="fr-FR", timezone_id="UTC"
        )
        context.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        yield context
        context.close()


def choose(page: Page, files: Path, extract: bytes, **others: str) -> None:
    """Choose files as with the pickers: the extract, the certificate, and `others` by the form's own names."""
    (files / "extrait.asice").write_bytes(extract)
    page.set_input_files("#extract", files / "extrait.asice")
    for kind, names in {"trust": "trust.pem", **others}.items():
        page.set_input_files(f"#{kind}", [files / name for name in names.split()])


def verdict(page: Page) -> str:
    """Start, and return the verdict's text."""
    page.get_by_role("button", name="Vérifier").click()
    return page.locator(".verdict").inner_text()


class Verifier:
    """The page's own verifier, called with bytes: many extracts a call."""

    def __init__(self, page: Page) -> None:
        """Take a page that shows the verifier."""
        self.page = page

    def verify(self, cases: Sequence[Case], *, anchors: str, stampers: str) -> list[Outcome]:
        """Return what the page says of each; `anchors` and `stampers` are PEM, for signatures and for time-stamps."""
        items: list[dict[str, Any]] = [
            {
                "extract": None if case.extract is None else base64.b64encode(case.extract).decode(),
                "known": [(name, base64.b64encode(data).decode()) for name, data in case.known],
                "receipts": [(name, base64.b64encode(data).decode()) for name, data in case.receipts],
                "isStamped": case.is_stamped,
            }
            for case in cases
        ]
        arguments = {"items": items, "anchors": anchors, "stampers": stampers}
        found = self.page.evaluate(BATCH, arguments)
        return [
            Outcome(verdict, part, reason, tuple(receipts), *purged)
            for verdict, part, reason, receipts, *purged in found
        ]
