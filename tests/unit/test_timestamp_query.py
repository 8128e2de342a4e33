"""What is asked of a time-stamping authority, and what of its answers is understood."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal.core.errors import MalformedError, VerificationError
from journal.pki import der, timestamp
from journal.pki.timestamp_token import REPLY_LIMIT_BYTES, Reply, build_query, parse_reply
from tests.support import stamps
from tests.support.authority import NOW
from tests.support.tsa import Authority

if TYPE_CHECKING:
    from pathlib import Path

TEXT = b"openepm-journal/seal/v1\n"
DIGEST = sha256(TEXT).digest()
TOKEN = stamps.stamp(TEXT, nonce=7)


def reply(status: int, *details: bytes, token: bytes = b"") -> bytes:
    """Return a TimeStampResp."""
    return der.sequence(der.sequence(der.integer(status), *details), token)


@pytest.mark.needs("openssl")
def test_a_query_is_what_openssl_reads() -> None:
    """SHA-256, the nonce, the certificates wanted, and nothing else."""
    printed = subprocess.run(
        ["openssl", "ts", "-query", "-in", "/dev/stdin", "-text"],
        input=build_query(DIGEST, 0x1234),
        capture_output=True,
        check=True,
    ).stdout.decode()
    lines = [line.strip() for line in printed.splitlines()]
    for line in ("Version: 1", "Hash Algorithm: sha256", "Policy OID: unspecified", "Nonce: 0x1234"):
        assert line in lines
    assert "Certificate required: yes" in lines


@pytest.mark.parametrize(("digest", "nonce"), [(DIGEST[1:], 1), (DIGEST, 0), (DIGEST, 1 << 64), (DIGEST, -1)])
def test_a_query_needs_a_digest_and_a_nonce(digest: bytes, nonce: int) -> None:
    """Both are the caller's to get right."""
    with pytest.raises(ValueError, match="a SHA-256 and a nonce of 64 bits"):
        build_query(digest, nonce)


@pytest.mark.parametrize("status", [0, 1])
def test_a_granted_token_is_handed_on(status: int) -> None:
    """Also where the authority changed something: the token says what it says, and is verified."""
    found = parse_reply(reply(status, der.sequence(der.encode(der.UTF8_STRING, b"with changes")), token=TOKEN))
    assert found == Reply(TOKEN, "")
    assert timestamp.verify(found.token or b"", DIGEST, anchors=stamps.ANCHORS, made_at=NOW, nonce=7).serial == 4711


@pytest.mark.parametrize(
    ("status", "details", "refusal"),
    [
        (2, [], "rejection"),
        (2, [der.encode(der.BIT_STRING, b"\x07\x80")], "rejection (algorithm not accepted)"),
        (
            2,
            [der.sequence(der.encode(der.UTF8_STRING, b"\x1b[2J")), der.encode(der.BIT_STRING, b"\x06\x20\x00\x40")],
            "rejection (bad request, additional information not available)",
        ),
        (3, [der.encode(der.BIT_STRING, b"\x06\x00\x00\x00\x40")], "waiting (system failure)"),
        (5, [der.encode(der.BIT_STRING, b"\x00")], "revocation notification"),
        (6, [], "status 6"),
        (-1, [], "status -1"),
    ],
)
def test_a_refusal_is_told_by_its_name(status: int, details: list[bytes], refusal: str) -> None:
    """Never in the authority's own words."""
    assert parse_reply(reply(status, *details)) == Reply(None, refusal)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>",
        der.sequence(),
        der.sequence(der.sequence()),
        der.sequence(der.octet_string(b""), TOKEN),
        der.sequence(der.sequence(der.TRUE)),
        reply(0),
        reply(1),
        reply(2, token=TOKEN),
        reply(0, token=TOKEN + TOKEN),
        reply(0, token=der.octet_string(b"token")),
        reply(0, token=TOKEN) + b"\x00",
        reply(0, der.octet_string(bytes(REPLY_LIMIT_BYTES)), token=TOKEN),
        TOKEN,
    ],
)
def test_what_is_no_answer_is_malformed(answer: bytes) -> None:
    """Neither granted without a token, nor refused with one, nor anything else."""
    with pytest.raises(MalformedError):
        parse_reply(answer)


@given(st.binary(max_size=60), st.integers(0, 200))
def test_no_bytes_whatever_raise_anything_else(junk: bytes, start: int) -> None:
    """Junk alone, or put into a good answer."""
    good = reply(2, der.encode(der.BIT_STRING, b"\x07\x80"), token=b"")
    for answer in (junk, good[:start] + junk + good[start + len(junk) :]):
        with suppress(VerificationError):
            parse_reply(answer)


@pytest.mark.needs("openssl")
def test_a_real_refusal_is_understood(tmp_path: Path) -> None:
    """An authority that does not take SHA-256 says so."""
    answer = Authority(tmp_path).reply(build_query(DIGEST, 1), digests="sha512")
    assert parse_reply(answer) == Reply(None, "rejection (algorithm not accepted)")
