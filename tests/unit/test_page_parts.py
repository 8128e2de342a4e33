"""The page is its parts, each once, in one file that says itself what may run."""

from __future__ import annotations

import re
from pathlib import Path

from ingest.verifier_page import assemble

PARTS = Path(__file__).parents[2] / "ingest" / "pages" / "verifier"


def test_each_part_is_in_the_page_once() -> None:
    """None is forgotten, none is there twice, no name is left."""
    page = assemble().decode()
    assert page == assemble().decode()
    assert "{{ " not in page
    names = [path for path in PARTS.rglob("*.*") if path.name != "page.html"]
    assert len(names) > 20
    for path in names:
        pieces = [
            piece for piece in re.split(r"^\{\{ .*\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE) if piece
        ]
        assert pieces, path
        assert [page.count(piece) for piece in pieces] == [1] * len(pieces), path


def test_no_part_ends_a_script_or_calls_out() -> None:
    """A script's text never holds what would end it; the page names nothing of another place."""
    page = assemble().decode()
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == page.count("<script") == page.count("</script")
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", page)
    for script in scripts:
        assert "innerHTML" not in script
        assert "insertAdjacentHTML" not in script
        assert "document.write" not in script
