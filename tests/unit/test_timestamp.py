"""RFC 3161 time-stamps: every way a token can be wrong, with its verdict, and those of a real authority (T-14)."""

from __future__ import annotations

import base64
import json
import tempfile
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal.core.errors import (
    MalformedError,
    MismatchedPartError,
    UntrustedError,
    VerificationError,
)
from journal.core.times import parse_seconds
from journal.pki import der, timestamp
from journal.pki.certificates import der_to_pem
from journal.pki.timestamp_token import CERTIFICATES_LIMIT, build_query, parse_reply
from tests.support import authority, stamps, timestamp_cases
from tests.support.authority import AUTHORITY, NOW, Holder, issue, new_key
from tests.support.stamps import CLOCK, STAMPED_AT, Stamp, stamp, tst_info
from tests.support.timestamp_cases import ACCEPTED, DIGEST, MINUTE, NONCE, REFUSED, TEXT, attributed, by, saying
from tests.support.tsa import KEYS, Authority

if TYPE_CHECKING:
    from collections.abc import Iterator

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "v1" / "timestamp.json").read_text())


def verify(token: bytes, digest: bytes = DIGEST, **changes: Any) -> timestamp.Timestamp:
    """Verify a token over TEXT, made at NOW, against the tests' own root."""
    return timestamp.verify(token, digest, **{"anchors": stamps.ANCHORS, "made_at": NOW, **changes})


@pytest.mark.parametrize("token", ACCEPTED.values(), ids=list(ACCEPTED))
def test_what_an_authority_may_do_is_accepted(token: bytes) -> None:
    """Any order of certificates, certificates besides, every optional member, any time after the text."""
    assert verify(token).authority == "CN=Clock"


@pytest.mark.parametrize(("token", "kind", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_what_proves_nothing_is_refused(token: bytes, kind: type[VerificationError], reason: str) -> None:
    """Each with the one fault, its class and its sentence."""
    with pytest.raises(VerificationError) as caught:
        verify(token)
    assert type(caught.value) is kind
    assert str(caught.value).endswith(reason) or reason in str(caught.value)


def test_what_a_time_stamp_says() -> None:
    """Time to the fraction, accuracy, whose, which, and how its certificate is named."""
    at = NOW + timedelta(milliseconds=1250)
    token = Stamp(tst_info(DIGEST, at=at, optional=[stamps.accuracy(1, 500, 7)])).encode()
    assert verify(token) == timestamp.Timestamp(
        stamped_at=at,
        accuracy=timedelta(seconds=1, microseconds=500_007),
        authority="CN=Clock",
        serial=4711,
        by_sha1_alone=False,
    )
    named = attributed(
        timestamp_cases._CONTENT_TYPE, timestamp_cases._MESSAGE_DIGEST, stamps.signing_certificate(CLOCK.certificate)
    )
    assert verify(named).by_sha1_alone
    assert not verify(ACCEPTED["both ways to name a certificate"]).by_sha1_alone
    assert verify(ACCEPTED["nothing after the time"]).accuracy is None
    assert verify(ACCEPTED["an empty accuracy"]).accuracy == timedelta(0)
    assert timestamp.time_text(at) == "2026-03-14T12:00:01.25Z"
    assert timestamp.time_text(NOW) == "2026-03-14T12:00:00Z"


def test_the_nonce_is_the_one_that_was_sent() -> None:
    """Where it is known: an answer kept from an earlier request is refused, and so is one without."""
    answer = stamp(TEXT, nonce=NONCE)
    assert verify(answer, nonce=NONCE).stamped_at == STAMPED_AT
    assert verify(answer).stamped_at == STAMPED_AT
    for token, nonce in ((answer, NONCE + 1), (stamp(TEXT), NONCE)):
        with pytest.raises(MismatchedPartError, match="answers another request"):
            verify(token, nonce=nonce)


def test_a_time_that_was_still_to_come_is_refused() -> None:
    """Where something says that the token was there already, give or take five minutes."""
    late = saying(at=NOW + 10 * MINUTE)
    assert verify(late, seen_at=NOW + 5 * MINUTE).stamped_at == NOW + 10 * MINUTE
    with pytest.raises(MismatchedPartError, match="of 2026-03-14T12:10:00Z, which is later than the time it was seen"):
        verify(late, seen_at=NOW + 5 * MINUTE - timedelta(microseconds=1))


def test_the_ends_of_the_calendar_are_no_special_case() -> None:
    """No sum of times overflows."""
    first, last = datetime.min.replace(tzinfo=timezone.utc), datetime.max.replace(tzinfo=timezone.utc)
    assert verify(stamp(TEXT), made_at=first, seen_at=last).stamped_at == STAMPED_AT
    for changes in ({"made_at": last}, {"seen_at": first}):
        with pytest.raises(MismatchedPartError):
            verify(stamp(TEXT), **changes)


def test_a_trusted_certificate_that_is_none_is_named() -> None:
    """What the auditor brought is at fault, not the token."""
    with pytest.raises(MalformedError, match=r"^trusted certificate: "):
        verify(stamp(TEXT), anchors=[b"0"])
    with pytest.raises(UntrustedError):
        verify(stamp(TEXT), anchors=[])
    assert verify(stamp(TEXT), anchors=[authority.ROOT.certificate, *stamps.ANCHORS]).authority == "CN=Clock"


def test_a_maze_of_certificates_ends() -> None:
    """As many as are taken, each issued under the name of others: every path is tried, none leads anywhere."""
    maze = [
        issue(
            authority.name("Authorities of time" if number % 2 else "A"),
            new_key(60 + number),
            issuer=Holder(b"", new_key(59), authority.name("A" if number % 2 else "B")),
            extensions=AUTHORITY,
            serial=number + 1,
        ).certificate
        for number in range(CERTIFICATES_LIMIT - 1)
    ]
    with pytest.raises(UntrustedError):
        verify(by((CLOCK,), extra=tuple(maze)))


def read_vector(vector: dict[str, Any]) -> timestamp.Timestamp:
    """Verify a vector's token, with what it says of itself or what all of them share."""
    trusted, made_at = (vector.get(name, VECTORS[name]) for name in ("trusted", "made_at"))
    return timestamp.verify(
        base64.b64decode(vector["token"]),
        sha256(VECTORS["text"].encode()).digest(),
        anchors=[base64.b64decode(trusted)],
        made_at=parse_seconds(made_at),
    )


@pytest.mark.parametrize("vector", VECTORS["accepted"] + VECTORS["real"], ids=lambda vector: vector["name"])
def test_vectors_are_accepted(vector: dict[str, Any]) -> None:
    """And what is found in them is what stands there."""
    found = read_vector(vector)
    assert timestamp.time_text(found.stamped_at) == vector["stamped_at"]
    assert (found.authority, found.serial, found.by_sha1_alone) == (
        vector["authority"],
        vector["serial"],
        vector["by_sha1_alone"],
    )
    microseconds = vector.get("accuracy_microseconds")
    assert found.accuracy == (None if microseconds is None else timedelta(microseconds=microseconds))


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda vector: vector["name"])
def test_vectors_are_refused(vector: dict[str, Any]) -> None:
    """Each in its class."""
    with pytest.raises(VerificationError) as caught:
        read_vector(vector)
    assert caught.value.verdict == vector["class"]


@pytest.fixture(scope="module", params=KEYS)
def real(request: pytest.FixtureRequest) -> Iterator[Authority]:
    """Run an authority by openssl, with each kind of key."""
    with tempfile.TemporaryDirectory() as directory:
        yield Authority(Path(directory), request.param)


def asked(real: Authority, query: bytes | None = None, **options: str) -> bytes:
    """Return the token that a real authority gives."""
    token = parse_reply(real.reply(query or build_query(DIGEST, NONCE), **options)).token
    assert token is not None
    return token


@pytest.mark.needs("openssl")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"signer_digest": "sha512"},
        {"signer_digest": "sha384", "ordering": "yes", "tsa_name": "yes", "clock_precision_digits": "6"},
        {"accuracy": "secs:0,millisecs:500,microsecs:100", "ess_cert_id_chain": "yes"},
        {"ess_cert_id_alg": "sha1", "ess_cert_id_chain": "yes"},
        {"ess_cert_id_alg": "sha512"},
    ],
)
def test_a_real_authority_is_understood(real: Authority, options: dict[str, str]) -> None:
    """Whatever openssl can be told to write; at the present time, which is the only one it has."""
    started = datetime.now(timezone.utc) - timedelta(seconds=1)
    found = verify(asked(real, **options), anchors=real.anchors, made_at=started, nonce=NONCE)
    assert started <= found.stamped_at <= datetime.now(timezone.utc)
    assert found.authority == "CN=Time stamper"
    assert found.by_sha1_alone == (options.get("ess_cert_id_alg") == "sha1")


@pytest.mark.needs("openssl")
def test_a_real_token_proves_one_thing_to_those_who_trust_its_root(real: Authority) -> None:
    """Not another text, nor another nonce, nor an earlier or later time, nor under another root."""
    token, now = asked(real), datetime.now(timezone.utc)
    cases: list[tuple[dict[str, Any], type[VerificationError]]] = [
        ({"digest": sha256(b"other").digest()}, MismatchedPartError),
        ({"nonce": NONCE - 1}, MismatchedPartError),
        ({"made_at": now + 6 * MINUTE}, MismatchedPartError),
        ({"seen_at": now - 6 * MINUTE}, MismatchedPartError),
        ({"anchors": stamps.ANCHORS}, UntrustedError),
    ]
    for changes, kind in cases:
        with pytest.raises(kind):
            verify(token, **{"anchors": real.anchors, "made_at": now, **changes})


@pytest.mark.needs("openssl")
def test_a_real_token_without_its_certificates_is_refused(real: Authority) -> None:
    """Queries ask for them; without them a token cannot be checked later."""
    without = build_query(DIGEST, NONCE)[:-3]
    query = bytes([without[0], without[1] - 3]) + without[2:]
    with pytest.raises(MalformedError):
        verify(asked(real, query), anchors=real.anchors)


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("name", ["sha1", "md5", "sha512"])
def test_a_real_token_over_another_hash_is_refused(real: Authority, tmp_path: Path, name: str) -> None:
    """Weak or strong: the imprint is by SHA-256."""
    (tmp_path / "text").write_bytes(TEXT)
    query = real.openssl("ts", "-query", "-cert", f"-{name}", "-data", str(tmp_path / "text"))
    with pytest.raises(MalformedError, match="the imprint of a time-stamp is not by SHA-256"):
        verify(asked(real, query), anchors=real.anchors)


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.campaign)])
def test_no_byte_of_a_real_token_can_be_changed(real: Authority, step: int) -> None:
    """Nor can any prefix of it pass. An RSA signature alone has two names, which mean the same."""
    token, now = asked(real), datetime.now(timezone.utc)
    good = verify(token, anchors=real.anchors, made_at=now)
    accepted = []
    for place in range(0, len(token), step):
        for mask in (0x01, 0x0A, 0x80):
            changed = token[:place] + bytes([token[place] ^ mask]) + token[place + 1 :]
            try:
                found = verify(changed, anchors=real.anchors, made_at=now)
            except VerificationError:
                continue
            assert found == good
            accepted.append(changed)
        with pytest.raises(MalformedError):
            verify(token[:place], anchors=real.anchors, made_at=now)
    names = [der.object_identifier(f"1.2.840.113549.1.1.{arc}") for arc in (1, 11)]
    assert all(changed.replace(names[1], names[0]) == token.replace(names[1], names[0]) for changed in accepted)


@pytest.mark.campaign
@pytest.mark.needs("openssl")
def test_no_byte_of_a_real_token_can_be_changed_to_any_other(real: Authority) -> None:
    """All 255 other values of each byte."""
    token, now = asked(real), datetime.now(timezone.utc)
    good = verify(token, anchors=real.anchors, made_at=now)
    for place in range(len(token)):
        for value in set(range(256)) - {token[place]}:
            try:
                found = verify(token[:place] + bytes([value]) + token[place + 1 :], anchors=real.anchors, made_at=now)
            except VerificationError:
                continue
            assert found == good


@given(place=st.integers(min_value=0), junk=st.binary(max_size=40), cut=st.integers(0, 40))
def test_no_bytes_whatever_raise_anything_else(place: int, junk: bytes, cut: int) -> None:
    """Bytes replaced, put in, taken out, or nothing but junk."""
    token = ACCEPTED["every optional member"]
    start = place % len(token)
    for changed in (token[:start] + junk + token[start + cut :], junk):
        with suppress(VerificationError):
            verify(changed)


@pytest.mark.needs("openssl")
def test_openssl_accepts_these_tokens_too(tmp_path: Path) -> None:
    """The builder of these tests speaks the language of others."""
    (tmp_path / "text").write_bytes(TEXT)
    (tmp_path / "trust.pem").write_bytes(der_to_pem(stamps.ANCHORS))
    tsa = Authority(tmp_path)
    for name in ("the usual", "RSA", "two intermediates", "the certificate with its issuer"):
        (tmp_path / "token").write_bytes(ACCEPTED[name])
        printed = tsa.openssl(
            *("ts", "-verify", "-token_in", "-in", "token", "-data", "text", "-CAfile", "trust.pem"),
            *("-attime", str(int(NOW.timestamp()))),
        )
        assert printed == b"Verification: OK\n"
