"""Write test vectors of time-stamps (tests/vectors/v1/timestamp.json) on standard output.

They were made once and are never edited: keys and signatures are drawn anew, so another run makes other bytes, as
good. Run from the project's root: `python -m tests.vectors.make_timestamp`; it needs openssl.
"""

from __future__ import annotations

import base64
import json
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from journal.core.times import format_seconds
from journal.pki import timestamp
from journal.pki.timestamp_token import build_query, parse_reply
from tests.support import stamps
from tests.support.authority import NOW
from tests.support.timestamp_cases import ACCEPTED, DIGEST, NONCE, REFUSED, TEXT
from tests.support.tsa import KEYS, Authority

TOO_LONG_TO_KEEP_BYTES = 16 * 1024


def text(data: bytes) -> str:
    """Return bytes as JSON carries them."""
    return base64.b64encode(data).decode()


def found(token: bytes, anchors: list[bytes], made_at: datetime) -> dict[str, Any]:
    """Return what a verifier finds in a good token."""
    stamp = timestamp.verify(token, DIGEST, anchors=anchors, made_at=made_at)
    result: dict[str, Any] = {
        "stamped_at": timestamp.time_text(stamp.stamped_at),
        "authority": stamp.authority,
        "serial": stamp.serial,
        "by_sha1_alone": stamp.by_sha1_alone,
    }
    if stamp.accuracy is not None:
        result["accuracy_microseconds"] = stamp.accuracy // timedelta(microseconds=1)
    return result


def accepted() -> list[dict[str, Any]]:
    """Return good tokens over the text."""
    return [
        {"name": name, "token": text(token), **found(token, stamps.ANCHORS, NOW)} for name, token in ACCEPTED.items()
    ]


def refused() -> list[dict[str, Any]]:
    """Return tokens refused for one fault each, with the class of the failure."""
    return [
        {"name": name, "class": kind.verdict, "token": text(token)}
        for name, (token, kind, _) in REFUSED.items()
        if len(token) < TOO_LONG_TO_KEEP_BYTES
    ]


def real() -> list[dict[str, Any]]:
    """Return tokens that OpenSSL made, each with its own root and a time before it."""
    return [_ask(key, binding) for key in KEYS for binding in ("sha256", "sha1")]


def _ask(key: str, binding: str) -> dict[str, Any]:
    made_at = datetime.now(UTC).replace(microsecond=0)
    with tempfile.TemporaryDirectory() as directory:
        authority = Authority(Path(directory), key)
        anchors = authority.anchors
        options = {"ess_cert_id_alg": binding, "ess_cert_id_chain": "yes", "tsa_name": "yes"}
        token = parse_reply(authority.reply(build_query(DIGEST, NONCE), **options)).token
    assert token is not None
    return {
        "name": f"OpenSSL 3.0, {key}, certificate named by {binding}",
        "token": text(token),
        "trusted": text(anchors[0]),
        "made_at": format_seconds(made_at),
        **found(token, anchors, made_at),
    }


if __name__ == "__main__":
    vectors = {
        "text": TEXT.decode(),
        "made_at": format_seconds(NOW),
        "trusted": text(stamps.ROOT.certificate),
        "accepted": accepted(),
        "refused": refused(),
        "real": real(),
    }
    print(json.dumps(vectors, indent=1))  # noqa: T201 - its result
