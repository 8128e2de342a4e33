"""The bytes of a head that was read: what is taken for the same head again, and what is parsed."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from ingest.events import SINGLE_LIMIT_BYTES
from ingest.heads import Known

if TYPE_CHECKING:
    from ingest.heads import Head

HEAD = b"POST /v1 HTTP/1.1\r\nHost: a\r\nContent-Length: %b\r\nAccept: */*\r\n\r\n"
NAMED = cast("Head", object())


def head(size: object, form: bytes = HEAD) -> bytes:
    """Return a head that announces this length."""
    return form % str(size).encode()


def of(data: bytes, body: bytes) -> Known | None:
    """Return what is known of a request that was parsed to this body."""
    return Known.of(data, NAMED, body)


@pytest.fixture
def known() -> Known:
    """Return a head that is known."""
    found = of(head(2) + b"{}", b"{}")
    assert found is not None
    return found


@pytest.mark.parametrize("body", [b"{}", b"x", b"y" * 10, b"\r\n\r\n", b"z" * SINGLE_LIMIT_BYTES])
def test_the_same_head_with_a_body_of_any_length(known: Known, body: bytes) -> None:
    """Only the digits of the length may differ."""
    assert known.body(head(len(body)) + body) == body
    assert known.head is NAMED


@pytest.mark.parametrize(
    "data",
    [
        b"",
        head(2),
        head(2) + b"{",
        head(2) + b"{}P",
        head(2) + b"{}" + head(2) + b"{}",
        head(0),
        head("") + b"",
        head("+2") + b"{}",
        head(" 2") + b"{}",
        head("2 ") + b"{}",
        head("0x2") + b"{}",
        head("2, 2") + b"{}",
        head("0000002") + b"{}",
        head(SINGLE_LIMIT_BYTES + 1) + b"z" * (SINGLE_LIMIT_BYTES + 1),
        head(2).replace(b"Host: a", b"Host: b") + b"{}",
        head(2).replace(b"*/*", b"a/b") + b"{}",
        head(2).replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n") + b"{}",
        head(2)[:40],
        head(2).replace(b"\r\n", b"\n") + b"{}",
        b"\r\n" + head(2) + b"{}",
    ],
)
def test_what_else_comes_is_parsed(known: Known, data: bytes) -> None:
    """A piece, more than one request, another head, a length that is no plain number, or is of a large body."""
    assert known.body(data) is None


@pytest.mark.parametrize("name", [b"Content-Length", b"content-length"])
def test_the_length_stands_anywhere_in_the_head(name: bytes) -> None:
    """First or last, in either usual spelling; a value that looks like one is none."""
    for form in (b"POST / HTTP/1.1\r\n%b: %%b\r\nA: b\r\n\r\n", b"POST / HTTP/1.1\r\nA: %b: 7\r\n%b: %%b\r\n\r\n"):
        spelt = form % ((name,) * (form.count(b"%b: ")))
        found = of(head(2, spelt) + b"{}", b"{}")
        assert found is not None
        assert found.body(head(3, spelt) + b"{ }") == b"{ }"


@pytest.mark.parametrize(
    ("data", "body"),
    [
        (head(2)[7:] + b"{}", b"{}"),  # the end of a head whose beginning came before
        (head(2) + b"{}" + head(2)[:20], b"{}"),  # the beginning of another request
        (head(2) + b"{}", b"{"),
        (head(3) + b"{}", b"{}"),
        (head(2).replace(b"Content-Length: 2", b"A: b") + b"{}", b"{}"),
        (b"POST / HTTP/1.1\r\nA: b\r\n\r\n\r\nContent-Length: 2\r\n\r\n{}", b"{}"),
    ],
)
def test_what_is_not_known_from_its_first_byte_to_its_last(data: bytes, body: bytes) -> None:
    """Nothing is kept of bytes that are not one whole request."""
    assert of(data, body) is None
