"""The lists an extract carries for its proof, and the answer of `GET …/head`."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from journal.core import canonical
from journal.core.errors import MalformedError
from journal.extract.listing import (
    LISTED_SEAL_LIMIT_BYTES,
    disclosed_line,
    disclosed_lines,
    encode_head_answer,
    encode_seals,
    parse_head_answer,
    parse_proof_line,
    parse_seals,
    withheld_line,
)
from journal.pki.timestamp_token import TIMESTAMP_LIMIT_BYTES
from tests.support.extracts import sample

EXTRACT = sample()
MANIFEST = EXTRACT.manifest


def test_seals_come_back_as_they_were() -> None:
    """One, several, with and without a time-stamp."""
    stamped = replace(EXTRACT.seals[1], timestamp=b"token")
    for seals in (EXTRACT.seals[:1], EXTRACT.seals, [EXTRACT.seals[0], stamped]):
        assert list(parse_seals(encode_seals(seals), MANIFEST.origin)) == seals
    whole = json.loads(encode_seals([stamped]))
    assert whole["seals"][0].keys() == {"head", "path", "signature", "text", "timestamp"}
    assert "timestamp" not in json.loads(encode_seals(EXTRACT.seals[:1]))["seals"][0]


def test_a_text_cannot_pretend_to_be_a_boundary() -> None:
    """The boundary between two seals holds a quotation mark, which inside a text is escaped."""
    trap = replace(EXTRACT.seals[0], text=b'},{"head":')
    assert list(parse_seals(encode_seals([trap, trap]), MANIFEST.origin)) == [trap, trap]


def seal_with(**members: Any) -> bytes:
    """Return seals.json of two seals, the second with other members; None leaves one out."""
    seals = json.loads(encode_seals(EXTRACT.seals[:2]))["seals"]
    seals[1] = {name: value for name, value in {**seals[1], **members}.items() if value is not None}
    return canonical.encode({"seals": seals})


@pytest.mark.parametrize(
    ("members", "part"),
    [
        ({"text": 1}, "/text"),
        ({"text": "é"}, "/text"),
        ({"text": None}, ""),
        ({"more": 1}, ""),
        ({"signature": "*"}, "/signature"),
        ({"signature": 1}, "/signature"),
        ({"signature": "é"}, "/signature"),
        ({"signature": "AB=="}, "/signature"),
        ({"signature": "AAAA" * 11000}, "/signature"),
        ({"timestamp": "A"}, "/timestamp"),
        ({"timestamp": "AAAA" * (TIMESTAMP_LIMIT_BYTES // 3 + 1)}, "/timestamp"),
        ({"path": 1}, "/path"),
        ({"path": ["00"]}, "/path"),
        ({"path": ["zz" * 32]}, "/path"),
        ({"path": ["AA" * 32]}, "/path"),
        ({"path": [7]}, "/path"),
        ({"path": {"00" * 32: 1}}, "/path"),
        ({"head": {}}, "/head"),
        ({"head": {"size": "1", "chain_hash": "00" * 32, "kept_from": 0, "retention_days": 60}}, "/head/size"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_seal_that_is_not_one_is_refused_by_its_place(members: dict[str, Any], part: str) -> None:
    """The seal and the member at fault are named by a JSON Pointer."""
    with pytest.raises(MalformedError) as caught:
        list(parse_seals(seal_with(**members), MANIFEST.origin))
    assert caught.value.part == f"/seals/1{part}"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b'{"seals":[}',
        b'{"seals":[]}\n',
        b'{"seals": []}',
        b'{"seals":[1]}',
        b'{"seals":[,]}',
        b'{"seals":[[]]}',
        encode_seals(EXTRACT.seals)[:-2] + b",]}",
        encode_seals(EXTRACT.seals).replace(b"},{", b"}, {"),
        b'{"seals":[' + b'"' * (LISTED_SEAL_LIMIT_BYTES + 1) + b"]}",
    ],
    ids=lambda value: value[:30].decode(),
)
def test_other_bytes_than_a_list_of_seals_are_refused(data: bytes) -> None:
    """One spelling of the list around them too."""
    with pytest.raises(MalformedError):
        list(parse_seals(data, MANIFEST.origin))


def test_a_list_without_a_seal_is_named() -> None:
    """No extract is without one; the fault is the list's, not a seal's."""
    with pytest.raises(MalformedError) as caught:
        list(parse_seals(b'{"seals":[]}', MANIFEST.origin))
    assert caught.value.part == "/seals"


def test_a_head_answer_comes_back_in_any_spelling() -> None:
    """What an auditor keeps may have been indented or ended by a line feed."""
    answer = encode_head_answer(EXTRACT.seals[-1])
    for data in (answer, answer + b"\n", json.dumps(json.loads(answer), indent=2).encode()):
        assert parse_head_answer(data) == EXTRACT.seals[-1]


@pytest.mark.parametrize(
    ("members", "part"),
    [
        ({"more": 1}, ""),
        ({"path": None}, ""),
        ({"origin": 1}, "/origin"),
        ({"origin": "x"}, "/head"),
        ({"seal": []}, "/seal"),
        ({"seal": {"text": "x"}}, "/seal"),
        ({"seal": {"text": "é", "signature": ""}}, "/seal/text"),
        ({"seal": {"text": "x", "signature": "*"}}, "/seal/signature"),
        ({"path": "00"}, "/path"),
    ],
    ids=str,
)
def test_another_answer_is_refused(members: dict[str, Any], part: str) -> None:
    """The member at fault is named."""
    value = {**json.loads(encode_head_answer(EXTRACT.seals[-1])), **members}
    data = json.dumps({name: member for name, member in value.items() if member is not None}).encode()
    with pytest.raises(MalformedError) as caught:
        parse_head_answer(data)
    assert caught.value.part == part


@pytest.mark.parametrize("data", [b"", b"[]", b"7", b"\xff\xfe", b"{" * 100_000])
def test_other_bytes_than_an_answer_are_refused(data: bytes) -> None:
    """Whatever file is given."""
    with pytest.raises(MalformedError):
        parse_head_answer(data)


def test_proof_lines_come_back_as_they_were() -> None:
    """A salt for a disclosed entry, a leaf hash for a withheld one."""
    assert parse_proof_line(disclosed_line(0, b"s" * 16)[:-1]) == (0, True, b"s" * 16)
    assert parse_proof_line(withheld_line(12, b"l" * 32)[:-1]) == (12, False, b"l" * 32)
    assert disclosed_line(3, bytes(16)) == canonical.encode({"index": 3, "salt": "00" * 16}) + b"\n"
    assert withheld_line(3, bytes(32)) == canonical.encode({"index": 3, "leaf": "00" * 32}) + b"\n"


def test_lines_written_together_are_those_written_apart() -> None:
    """The service writes those of many entries at once."""
    indexes, salts = range(7, 10), [bytes([number]) * 16 for number in range(3)]
    lines = [disclosed_line(index, salt) for index, salt in zip(indexes, salts, strict=True)]
    assert disclosed_lines(indexes, salts) == b"".join(lines)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        disclosed_line(1, bytes(16)),
        b" " + disclosed_line(1, bytes(16))[:-1],
        b'{"index":01,"salt":"%b"}' % (b"0" * 32),
        b'{"index":-1,"salt":"%b"}' % (b"0" * 32),
        b'{"index":1,"salt":"%b"}' % (b"0" * 64),
        b'{"index":1,"leaf":"%b"}' % (b"0" * 32),
        b'{"index":1,"leaf":"%b"}' % (b"A" * 64),
        b'{"index":1,"leaf":"%b","salt":"%b"}' % (b"0" * 64, b"0" * 32),
        b'{"index":"1","leaf":"%b"}' % (b"0" * 64),
        '{"index":١,"leaf":"%s"}'.encode() % (b"0" * 64),
    ],
)
def test_other_lines_are_refused(line: bytes) -> None:
    """One spelling of each line."""
    with pytest.raises(MalformedError):
        parse_proof_line(line)
