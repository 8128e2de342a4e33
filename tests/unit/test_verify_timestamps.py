"""Extracts whose close seals bear time-stamps: what is checked, what it lets the verifier say, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from journal.core.errors import (
    BadSignatureError,
    MalformedError,
    MismatchedPartError,
    UntrustedError,
    VerificationError,
)
from journal.core.seal import parse_seal
from journal.extract.known import read_known
from journal.extract.listing import encode_head_answer, parse_head_answer
from journal.extract.verify import verify_extract
from journal.pki.certificates import der_to_pem
from journal.pki.timestamp import CLOCK_TOLERANCE
from journal.pki.timestamp_token import TIMESTAMP_LIMIT_BYTES
from journal.verifier.cli import main
from tests.support import authority, stamps
from tests.support.extracts import ANCHORS, Extract, World, march, noon, opened, sample

if TYPE_CHECKING:
    from pathlib import Path

    from journal.extract.listing import ListedSeal
    from journal.extract.report import Report

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)


def stamped(listed: ListedSeal, *, late: timedelta = 2 * SECOND, **changes: Any) -> ListedSeal:
    """Return the seal with a time-stamp made so long after it; `changes` replace members of its Stamp."""
    at = parse_seal(listed.text).sealed_at + late
    return replace(listed, timestamp=stamps.stamp(listed.text, at=at, **changes))


def stamp_closes(extract: Extract, **changes: Any) -> Extract:
    """Give every close seal of an extract its time-stamp."""
    *closes, last = extract.seals
    extract.seals = [*(stamped(listed, **changes) for listed in closes), last]
    return extract


def verify(extract: Extract, **changes: Any) -> Report:
    """Verify an extract with the certificates of both authorities."""
    arguments = {"anchors": ANCHORS, "tsa_anchors": stamps.ANCHORS, **changes}
    return verify_extract(opened(extract.pack()), **arguments)


def refuse(extract: Extract, kind: type[VerificationError], part: str, **changes: Any) -> str:
    """Assert the class of the failure and the part it names; return the reason."""
    with pytest.raises(VerificationError) as caught:
        verify(extract, **changes)
    assert (type(caught.value), caught.value.part) == (kind, part)
    return caught.value.reason


def test_the_verdict_says_since_when_nobody_could_rewrite() -> None:
    """The last seal that is attested covers all before it; the first and the last are told by name."""
    report = verify(stamp_closes(sample()))
    assert report.verdict.endswith(
        "; what seal 3 (close of 2026-03-03, 2026-03-04T00:00:05Z) covers could not be rewritten after "
        "2026-03-04T00:00:07Z (± 1 s)"
    )
    assert (
        "CN=Clock attests 3 of the seals by time-stamps, checked at their own times: seal 1 (close of 2026-03-01, "
        "2026-03-02T00:00:05Z) at 2026-03-02T00:00:07Z (± 1 s) to seal 3 (close of 2026-03-03, 2026-03-04T00:00:05Z) "
        "at 2026-03-04T00:00:07Z (± 1 s)."
    ) in report.checked
    assert report.not_checked[0] == (
        "Until 2026-03-04T00:00:07Z (± 1 s) the service could rewrite what seal 3 (close of 2026-03-03, "
        "2026-03-04T00:00:05Z) covers and no earlier time-stamp or known seal does; entries from index 6 on, until "
        "it issued this extract."
    )
    assert report.as_json()["seals"][0]["timestamp"] == {
        "stamped_at": "2026-03-02T00:00:07Z",
        "authority": "CN=Clock",
    }
    assert "timestamp" not in report.as_json()["seals"][-1]
    assert report.remarks == ()


def test_without_certificates_for_it_no_time_stamp_is_checked() -> None:
    """It is said that there are some; the verdict rests on none."""
    extract = sample()
    extract.seals[0] = replace(extract.seals[0], timestamp=b"anything")
    report = verify(extract, tsa_anchors=None)
    assert "1 seals bear a time-stamp that was not checked: no certificate for it was given." in report.not_checked
    assert "No outside witness" in report.not_checked[0]
    assert "rewritten" not in report.verdict


def test_seals_that_bear_none_are_told_where_others_do() -> None:
    """An authority that was down for a day leaves a hole that shows; two authorities are told apart."""
    extract = stamp_closes(sample())
    extract.seals[1] = replace(extract.seals[1], timestamp=None)
    other = authority.issue("Other clock", authority.new_key(45), issuer=stamps.ROOT, extensions=stamps.STAMPER)
    extract.seals[2] = stamped(
        replace(extract.seals[2], timestamp=None),
        chain=(other,),
        content=stamps.tst_info(parse_seal(extract.seals[2].text).digest, at=noon(march(5)), optional=()),
    )
    report = verify(extract)
    assert (
        "1 close seals bear no time-stamp, the latest being seal 2 (close of 2026-03-02, 2026-03-03T00:00:05Z)."
        in report.not_checked
    )
    assert [sentence.split(" attests ")[0] for sentence in report.checked if " attests " in sentence] == [
        "CN=Clock",
        "CN=Other clock",
    ]
    # Without an accuracy the time stands alone; as late as this it is worth a word.
    assert report.verdict.endswith("could not be rewritten after 2026-03-05T12:00:00Z")
    (late,) = report.remarks
    assert late.endswith("was not time-stamped before 2026-03-05T12:00:00Z: until then it could be rewritten.")


def test_a_certificate_named_by_sha1_is_told() -> None:
    """It is accepted, on top of the path, and said."""
    extract = sample()
    listed = extract.seals[0]
    content = stamps.tst_info(parse_seal(listed.text).digest, at=noon(march(2)))
    attributes = (
        stamps.content_type(),
        stamps.message_digest(content),
        stamps.signing_certificate(stamps.CLOCK.certificate),
    )
    extract.seals[0] = stamped(listed, content=content, attributes=tuple(sorted(attributes)))
    assert verify(extract).remarks[-1].startswith("Time-stamps name their certificate by SHA-1 alone")


def test_a_time_stamp_that_does_not_verify_names_its_seal() -> None:
    """Each class of failure, and the seal at fault."""
    part = "seals.json seal 2 time-stamp"
    extract = stamp_closes(sample())
    extract.seals[1] = replace(extract.seals[1], timestamp=extract.seals[0].timestamp)
    assert refuse(extract, MismatchedPartError, part) == "the time-stamp is of other content"
    extract.seals[1] = replace(extract.seals[1], timestamp=b"0")
    refuse(extract, MalformedError, part)
    extract.seals[1] = stamped(extract.seals[1], key=authority.new_key(9))
    refuse(extract, BadSignatureError, part)
    refuse(
        stamp_closes(sample()),
        UntrustedError,
        "seals.json seal 1 time-stamp CN=Authorities of time",
        tsa_anchors=ANCHORS,
    )


def test_a_time_stamp_older_than_its_seal_is_refused() -> None:
    """By more than two clocks may disagree."""
    assert verify(stamp_closes(sample(), late=-CLOCK_TOLERANCE)).verdict
    reason = refuse(
        stamp_closes(sample(), late=-CLOCK_TOLERANCE - SECOND), MismatchedPartError, "seals.json seal 1 time-stamp"
    )
    assert reason.endswith("is older than its content")


def test_a_time_stamp_later_than_its_extract_is_refused() -> None:
    """It was in the extract when that was issued."""
    extract = sample()
    issued_at = extract.manifest.issued_at
    for late, accepted in ((CLOCK_TOLERANCE, True), (CLOCK_TOLERANCE + SECOND, False)):
        at = issued_at + late
        listed = extract.seals[2]
        extract.seals[2] = replace(listed, timestamp=stamps.stamp(listed.text, at=at))
        if accepted:
            assert verify(extract).verdict
        else:
            reason = refuse(extract, MismatchedPartError, "seals.json seal 3 time-stamp")
            assert reason.endswith("which is later than the time it was seen")


def test_an_open_seal_bears_none() -> None:
    """Malformed, whether it would be checked or not."""
    extract = sample()
    extract.seals[-1] = stamped(extract.seals[-1])
    for anchors in (stamps.ANCHORS, None):
        assert (
            refuse(extract, MalformedError, "seals.json seal 5", tsa_anchors=anchors)
            == "an open seal bears a time-stamp"
        )


def test_the_signer_must_be_valid_when_the_seal_was_stamped() -> None:
    """A certificate that had expired by then attests nothing; one that expired since does."""
    signer = authority.issue(
        "Seals and extracts", authority.new_key(3), issuer=authority.INTERMEDIATE, end=noon(march(3), hour=1)
    )
    chain = (signer, authority.INTERMEDIATE)
    world = World()
    for day in (1, 2):
        world.append(noon(march(day)))
        world.close(march(day), chain=chain)
    extract = world.extract(march(2), march(2), at=noon(march(5)))
    assert verify(stamp_closes(extract)).verdict
    reason = refuse(stamp_closes(extract, late=DAY), UntrustedError, "seals.json seal 2 CN=Seals and extracts")
    assert reason.endswith("not at 2026-03-04T00:00:05Z")


def test_a_known_seal_keeps_its_time_stamp() -> None:
    """The answer of `GET …/head` carries it; it is checked like the others, and names the file."""
    world = World().live(1, 4)
    extract = world.extract(march(2), march(3), at=noon(march(5)))
    good = stamped(world.closes[march(2)])
    assert parse_head_answer(encode_head_answer(good)) == good
    report = verify(stamp_closes(extract), known=[read_known(opened(encode_head_answer(good)), "kept")])
    assert "kept seal 2 agrees" in " ".join(report.checked)
    bad = stamped(world.closes[march(2)], key=authority.new_key(9))
    known = [read_known(opened(encode_head_answer(bad)), "kept")]
    refuse(extract, BadSignatureError, "kept seal 2 time-stamp", known=known)
    assert verify(extract, known=known, tsa_anchors=None).verdict


@pytest.mark.parametrize("value", [None, 1, "AAA", "AAB=", "A" * 4 * (TIMESTAMP_LIMIT_BYTES // 3 + 1)])
def test_a_time_stamp_of_an_answer_is_base64(value: Any) -> None:
    """In its one spelling, and no longer than the limit."""
    answer = json.loads(encode_head_answer(World().close(march(1))))
    answer["seal"]["timestamp"] = value
    with pytest.raises(MalformedError):
        parse_head_answer(json.dumps(answer).encode())


def test_the_command_checks_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0 with what they prove, 1 with the seal at fault, 2 where there is none to check."""
    (tmp_path / "trust.pem").write_bytes(der_to_pem(ANCHORS))
    (tmp_path / "tsa.pem").write_bytes(der_to_pem(stamps.ANCHORS))
    (tmp_path / "stamped").write_bytes(stamp_closes(sample()).pack())
    (tmp_path / "forged").write_bytes(stamp_closes(sample(), key=authority.new_key(9)).pack())
    (tmp_path / "plain").write_bytes(sample().pack())

    def run(name: str, *arguments: str) -> tuple[int, str]:
        status = main([str(tmp_path / name), "--trust", str(tmp_path / "trust.pem"), *arguments])
        return status, capsys.readouterr().out

    tsa = ("--tsa-trust", str(tmp_path / "tsa.pem"))
    status, out = run("stamped", *tsa)
    assert status == 0
    assert "could not be rewritten after 2026-03-04T00:00:07Z" in out.splitlines()[0]
    status, out = run("stamped")
    assert status == 0
    assert "3 seals bear a time-stamp that was not checked: no certificate for it was given." in out
    status, out = run("forged", *tsa)
    assert status == 1
    assert out.startswith("NOT VERIFIED  bad signature: seals.json seal 1 time-stamp: ")
    status, out = run("plain", *tsa)
    assert status == 2
    assert "--tsa-trust: no time-stamp was found" in out
    status, out = run("stamped", "--tsa-trust", str(tmp_path / "trust.pem"))
    assert status == 1
    assert out.startswith("NOT VERIFIED  untrusted: seals.json seal 1 time-stamp CN=Authorities of time: ")
    status, out = run("stamped", "--json", *tsa)
    assert json.loads(out)["seals"][2]["timestamp"]["stamped_at"] == "2026-03-04T00:00:07Z"
