"""The page of the API reference: everything is on it, and nothing of it comes from elsewhere."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser

from ingest.app import CALLS
from ingest.problems import KINDS
from ingest.reference import POLICY, page
from journal.core.faults import CODES
from tests.support.published import SCHEMAS

PAGE = page().decode()


class Elements(HTMLParser):
    """The elements of the page: names, what they refer to, what can be referred to; and whether they are closed."""

    def __init__(self) -> None:
        """Read the page."""
        super().__init__()
        self.names: set[str] = set()
        self.references: list[str] = []
        self.anchors: list[str] = []
        self.open: list[str] = []
        self.feed(PAGE)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one."""
        given = dict(attrs)
        assert not set(given) & {"src", "style", "onclick", "srcset", "data"}
        self.names.add(tag)
        self.references += [given["href"] or ""] if "href" in given else []
        self.anchors += [given["id"] or ""] if "id" in given else []
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close it."""
        assert self.open.pop() == tag


def test_everything_is_on_it() -> None:
    """Every call, problem, code and schema."""
    texts = (
        [call.path for call in CALLS] + [kind.type for kind in KINDS] + [code.name for code in CODES] + list(SCHEMAS)
    )
    assert [text for text in texts if f"{text}</code>" not in PAGE] == []


def test_nothing_comes_from_elsewhere() -> None:
    """No script, no image, no style sheet; links lead to the page itself and to the document it is made from."""
    found = Elements()
    assert found.open == []
    assert not found.names & {"script", "img", "link", "iframe", "form", "object", "embed"}
    assert {reference for reference in found.references if not reference.startswith("#")} == {"/v1/openapi.json"}
    assert {reference[1:] for reference in found.references if reference.startswith("#")} <= set(found.anchors)
    assert len(found.anchors) == len(set(found.anchors))


def test_the_policy_allows_the_one_style() -> None:
    """By its hash; all else is forbidden."""
    (style,) = re.findall("<style>(.*)</style>", PAGE, re.DOTALL)
    assert f"'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'" in POLICY
    assert POLICY.startswith("default-src 'none'; ")
    assert "url(" not in style
    assert "@import" not in style
