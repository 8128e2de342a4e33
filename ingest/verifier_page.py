"""The page that verifies in a browser: one file, made of the parts in `ingest/pages/verifier`.

`page.html` names the other parts, each on a line of its own as `{{ folder/name }}`, and a part may name others. The
page's own policy names to the browser, by its SHA-256, what may run and style: nothing else runs, and nothing leaves.
"""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

FIRST_PART = "page.html"
_PART = re.compile(r"^\{\{ ([a-z0-9./-]+) \}\}\n", re.MULTILINE)
_POLICY = "{{ policy }}"


def parts() -> Traversable:
    """Return the folder of the parts."""
    return resources.files("ingest").joinpath("pages", "verifier")


def assemble() -> bytes:
    """Return the page, in UTF-8; the same parts give the same bytes.

    Raises FileNotFoundError for a part that is named and not there.
    """
    page = _with_parts(FIRST_PART)
    return page.replace(_POLICY, _policy(page)).encode()


def _with_parts(name: str) -> str:
    text = parts().joinpath(name).read_text(encoding="utf-8")
    return _PART.sub(lambda named: _with_parts(named[1]), text)


def _policy(page: str) -> str:
    """Return the content security policy (CSP level 3), without which the page's own scripts would not run either."""
    scripts, styles = (
        " ".join(_source(text) for text in re.findall(f"<{tag}[^>]*>(.*?)</{tag}>", page, re.DOTALL))
        for tag in ("script", "style")
    )
    return (
        f"default-src 'none'; script-src {scripts}; worker-src blob:; connect-src 'none'; style-src {styles}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def _source(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
