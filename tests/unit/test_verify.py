"""The verifier on entries, proof, table and signature: each rule broken alone, in an extract the service signs.

The rules about seals are in test_statement and test_history, what an auditor kept in test_known.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import pytest

from journal.core import canonical
from journal.core.chain import Head
from journal.core.entry import JOURNAL_CATEGORY, Compartment
from journal.core.errors import (
    BadSignatureError,
    BrokenChainError,
    ForeignEntryError,
    GapError,
    MalformedError,
    MismatchedPartError,
    UntrustedError,
    VerificationError,
)
from journal.extract import layout, table
from journal.extract.grounds import Authorisation, Person
from journal.extract.layout import DIGESTS, DOCUMENT, ENTRIES, INSTRUCTIONS, MANIFEST, PROOF, SEALS, SIGNATURE, TABLE
from journal.extract.listing import disclosed_line, withheld_line
from journal.extract.manifest import Filter, Request
from journal.extract.texts import write_digests
from journal.extract.verify import verify_extract
from tests.support import authority
from tests.support.extracts import ANCHORS, COMPARTMENT, Extract, World, march, noon, opened, sample

if TYPE_CHECKING:
    from journal.extract.report import Report

ROOT = Path(__file__).parents[2]


def verify(extract: Extract, **kwargs: Any) -> Report:
    """Verify an extract that the service signs, whatever is in it."""
    return verify_extract(opened(extract.pack(**kwargs)), anchors=ANCHORS)


def failure(extract: Extract, **kwargs: Any) -> VerificationError:
    """Return the error an extract is refused with."""
    with pytest.raises(VerificationError) as caught:
        verify(extract, **kwargs)
    return caught.value


def check(extract: Extract, kind: type[VerificationError], part: str, **kwargs: Any) -> None:
    """Check with which class an extract is refused, and that the part at fault is named."""
    error = failure(extract, **kwargs)
    assert (type(error), error.part) == (kind, part), error


# --- what verifies


def test_a_complete_extract_says_so() -> None:
    """Nothing withheld, nothing missing; and what cannot be known is said."""
    report = verify(sample())
    assert report.verdict == "authentic and complete: all 4 entries of 2026-03-02 to 2026-03-03 (whole days, UTC)"
    assert [checked.seal.number for checked in report.seals] == [1, 2, 3, 5]
    assert (report.covered_until, report.purged, report.remarks, report.unanswered) == (None, None, (), ())
    assert report.signature.subject == "CN=Seals and extracts"
    assert report.signature.signing_time == noon(march(5)) + timedelta(seconds=2)
    assert "could have rewritten everything before it issued this extract on 2026-03-05" in report.not_checked[0]
    assert any("Mairie de Montreuil" in sentence for sentence in report.not_checked)


def test_a_filtered_extract_proves_the_number_withheld_and_no_more() -> None:
    """It says that the filter itself rests on the service's word."""
    report = verify(sample(selection=Filter(account="agent-1")))
    assert report.verdict.startswith("authentic: 1 entries of 2026-03-02 to 2026-03-03")
    assert "3 withheld, none missing" in report.verdict
    assert any("withheld" in sentence and "filter" in sentence for sentence in report.not_checked)


def test_an_extract_may_withhold_everything() -> None:
    """What an auditor gets: the proof of the chain without its content."""
    extract = sample(selection=Filter(withhold_all=True))
    assert extract.records == []
    assert "0 entries" in verify(extract).verdict


def test_an_empty_period_is_complete() -> None:
    """An empty period is checked too."""
    report = verify(World().live(1, 3, entries=0).extract(march(2), march(3), at=noon(march(4))))
    assert "all 0 entries" in report.verdict
    assert any("holds no entry" in sentence for sentence in report.checked)


def test_a_document_is_accepted_and_said_not_to_be_compared() -> None:
    """It is signed like the rest."""
    extract = sample()
    extract.parts[DOCUMENT] = b"%PDF-1.7"
    assert any(DOCUMENT in sentence for sentence in verify(extract).not_checked)
    assert not any(DOCUMENT in sentence for sentence in verify(sample()).not_checked)


def test_a_declared_loss_is_named() -> None:
    """A seal that declares a disaster is told as worth knowing."""
    world = World().live(1, 3)
    world.close(march(4), recovered_from=2)
    report = verify(world.extract(march(3), march(4), at=noon(march(5))))
    assert any("declares a disaster: what followed seal 2 is lost" in remark for remark in report.remarks)


def journal_world() -> World:
    """Return a chain of the category in which requests are recorded."""
    return World(compartment=Compartment(authority.SERVICE, "montreuil", JOURNAL_CATEGORY)).live(1, 2)


def test_the_request_is_checked_where_the_extract_holds_its_entry() -> None:
    """In the category of requests itself; elsewhere it is stated, and said so."""
    world = journal_world()
    request = Request(world.append(noon(march(3))), world.leaf(4))
    report = verify(world.extract(march(2), march(3), at=noon(march(3), hour=13), request=request))
    assert not any("stated by the service" in sentence for sentence in report.not_checked)
    elsewhere = world.extract(march(2), march(2), at=noon(march(3), hour=14), request=request)
    assert any("stated by the service" in sentence for sentence in verify(elsewhere).not_checked)
    wrong = world.extract(march(2), march(3), at=noon(march(3), hour=15), request=Request(4, bytes(32)))
    check(wrong, MismatchedPartError, MANIFEST)


@pytest.mark.parametrize("run", [map, None])
def test_progress_goes_to_the_end_and_never_back(run: Any) -> None:
    """Bytes done of bytes in all, whether entries are checked in slices or one by one."""
    calls: list[tuple[int, int]] = []
    verify_extract(opened(sample().pack()), anchors=ANCHORS, run=run, progress=lambda *call: calls.append(call))
    assert calls == sorted(calls)
    assert calls[-1][0] == calls[-1][1]
    assert {total for _, total in calls} == {calls[0][1]}


def test_a_report_is_json_whole() -> None:
    """Every kind of report can be printed for machines."""
    world = World(retention_days=3).live(1, 3)
    world.purge(march(1))
    world.live(4, 4)
    world.purge(march(2))
    report = verify(world.extract(march(1), march(5), at=noon(march(5))))
    value = json.loads(json.dumps(report.as_json()))
    assert value["covered_until"] == "2026-03-05T12:00:00Z"
    late = {"from": "2026-03-01", "to": "2026-03-02", "when": "late", "late_days": [0, 1]}
    assert value["purged"] == {"through": "2026-03-02", "before_index": 4, "days": [late]}
    granted = {"authorisation": Authorisation("Parquet", march(1), "12"), "person": Person("Jeanne", "DPD")}
    value = verify(sample(**granted)).as_json()
    assert value["authorisation"] == {"date": "2026-03-01", "issuer": "Parquet", "reference": "12"}
    assert (value["person"], value["rule"]) == ({"function": "DPD", "name": "Jeanne"}, {"basis": "contrat, art. 13.2"})
    value = json.loads(json.dumps(report.as_json()))
    assert value["seals"][0] == {"number": 1, "day": "2026-03-01", "sealed_at": "2026-03-02T00:00:05Z"}
    assert value["seals"][-1]["day"] == "open"
    assert (value["verdict"], value["sentence"]) == ("verified", report.verdict)
    assert "purged" not in verify(sample()).as_json()


# --- signature and digests


def test_the_signature_is_over_these_parts() -> None:
    """Another extract's signature, or bytes that are none, do not do."""
    extract = sample()
    other = authority.sign(write_digests({}), at=noon(march(6)))
    check(replace(extract, parts={SIGNATURE: other}), BadSignatureError, SIGNATURE)
    check(replace(extract, parts={SIGNATURE: b"0"}), MalformedError, SIGNATURE)


def test_the_signature_is_the_services() -> None:
    """Not that of another service of the same authority, nor of another authority, nor of a retired key."""
    other_service = authority.issue(
        "Other", authority.new_key(6), issuer=authority.ROOT, extensions=_signer_of("other.example.fr")
    )
    retired = authority.issue("Retired", authority.new_key(7), issuer=authority.ROOT, end=noon(march(4)))
    self_made = authority.issue("Seals and extracts", authority.new_key(3))
    for chain in ((other_service,), (retired,), (self_made,)):
        error = failure(sample(), chain=chain)
        assert isinstance(error, UntrustedError)
        assert error.part.startswith(SIGNATURE)


def _signer_of(service: str) -> tuple[bytes, ...]:
    return (*authority.SIGNER[:3], authority.alternative_names(authority.dns_name(service)))


def test_the_signature_is_not_older_than_the_extract() -> None:
    """To the second, in which signatures tell time."""
    extract = sample()
    issued_at = extract.manifest.issued_at.replace(microsecond=0)
    verify(extract, signed_at=issued_at)
    check(extract, MismatchedPartError, SIGNATURE, signed_at=issued_at - timedelta(seconds=1))


@pytest.mark.parametrize("name", [*layout.STREAMED, SEALS, MANIFEST, INSTRUCTIONS])
def test_a_part_that_is_not_the_one_signed_is_named(name: str) -> None:
    """Its digest differs: nothing of it is believed."""
    extract = sample()
    signed = write_digests({part: sha256(content).digest() for part, content in extract.contents().items()})
    extract.parts = {name: extract.contents()[name] + b" ", DIGESTS: signed}
    check(extract, MismatchedPartError, name)


def test_the_digests_are_from_the_template() -> None:
    """A signed text that only resembles it is refused: no XML parser can be misled."""
    extract = sample()
    signed = write_digests({part: sha256(content).digest() for part, content in extract.contents().items()})
    check(replace(extract, parts={DIGESTS: signed + b"<!-- -->"}), MalformedError, DIGESTS)
    check(replace(extract, parts={DIGESTS: signed.replace(b"#sha256", b"#sha512")}), MalformedError, DIGESTS)


def test_a_manifest_or_list_of_seals_that_is_none_is_named() -> None:
    """Signed or not."""
    check(replace(sample(), parts={MANIFEST: b"{}"}), MalformedError, MANIFEST)
    check(replace(sample(), parts={SEALS: b"{}"}), MalformedError, SEALS)


def test_the_instructions_are_those_of_this_extract() -> None:
    """An extract with other instructions is refused."""
    check(replace(sample(), parts={INSTRUCTIONS: b"Faites-nous confiance."}), MismatchedPartError, INSTRUCTIONS)


# --- entries and proof


def altered(change: Callable[[Extract], object]) -> Extract:
    """Return the sample with one change made to its parts before it is signed."""
    extract = sample()
    change(extract)
    return extract


def test_every_index_is_there_once() -> None:
    """A missing line is a gap, a repeated or swapped one is foreign, one too many belongs to nothing (T-02, T-03)."""
    for place in range(4):
        without = altered(lambda extract, place=place: extract.proof.pop(place))
        without.records.pop(place)
        check(without, GapError, PROOF)
    check(altered(lambda extract: extract.proof.insert(1, extract.proof[0])), ForeignEntryError, PROOF)
    longer = altered(lambda extract: extract.proof.append(disclosed_line(6, bytes(16))))
    check(longer, MismatchedPartError, PROOF)
    assert "after index 5" in failure(longer).reason
    for first in range(4):
        for second in range(first + 1, 4):
            swapped = sample()
            swapped.proof[first], swapped.proof[second] = swapped.proof[second], swapped.proof[first]
            check(swapped, GapError, PROOF)


def test_entries_and_proof_go_in_step() -> None:
    """One record per disclosed line, no more, no less."""
    check(altered(lambda extract: extract.records.pop()), MismatchedPartError, ENTRIES)
    extra = altered(lambda extract: extract.records.append(extract.records[-1]))
    extra.parts[TABLE] = sample().contents()[TABLE]
    check(extra, MismatchedPartError, ENTRIES)


def test_lines_are_read_strictly() -> None:
    """The index at fault is named; a part that is cut short is not whole."""
    check(altered(lambda extract: extract.proof.__setitem__(1, b"{}\n")), MalformedError, "proof.ndjson index 3")
    short = sample()
    short.parts = {PROOF: b"".join(short.proof)[:-1]}
    check(short, MalformedError, PROOF)
    typeset = sample()
    typeset.parts = {TABLE: typeset.contents()[TABLE]}
    typeset.records[1] += b" "
    check(typeset, MalformedError, "entries.ndjson index 3")
    long = sample()
    long.parts = {TABLE: long.contents()[TABLE]}
    long.records[1] = b"x" * 21_000
    check(long, MalformedError, ENTRIES)


def test_the_counts_are_those_of_the_lines() -> None:
    """The manifest cannot say that fewer were withheld."""
    extract = sample(selection=Filter(action="consultation"))
    extract.manifest = replace(extract.manifest, disclosed=3, withheld=1)
    check(extract, MismatchedPartError, MANIFEST)


def test_the_chain_reaches_the_heads_in_the_seals() -> None:
    """A changed record, salt or leaf hash breaks it at the next seal, and it is named."""
    world = World().live(1, 4)
    salted = world.extract(march(2), march(3), at=noon(march(5)))
    salted.proof[0] = disclosed_line(2, bytes(16))
    check(salted, BrokenChainError, PROOF)
    assert "seals.json seal 2" in failure(salted).reason
    withheld = sample(selection=Filter(withhold_all=True))
    withheld.proof[3] = withheld_line(5, bytes(32))
    check(withheld, BrokenChainError, PROOF)
    assert "seals.json seal 3" in failure(withheld).reason
    recorded = sample()
    value = json.loads(recorded.records[2])
    value["event"]["data"]["actor"]["account"] = "agent-9"
    recorded.records[2] = canonical.encode(value)
    check(recorded, BrokenChainError, PROOF)


def test_the_chain_begins_at_its_base() -> None:
    """A base with another hash, which the seal of the eve vouches for, does not carry the entries."""
    world = World()
    world.append(noon(march(1)))
    wrong = Head(1, bytes(32))
    world.close(march(1), chain_hash=wrong.chain_hash)
    world.live(2, 3)
    check(world.extract(march(2), march(3), at=noon(march(4)), base=wrong), BrokenChainError, PROOF)


def foreign(**changes: Any) -> Extract:
    """Return an extract whose chain itself holds a record that says something else of itself."""
    world = World().live(1, 1)
    at = changes.pop("at", noon(march(2)))
    index = changes.pop("index", world.size)
    compartment = changes.pop("compartment", COMPARTMENT)
    other = World(compartment=compartment)
    other.records = [b""] * index
    other.chain *= index + 1
    other.salts = [b""] * index
    other.append(at)
    world.append_record(other.records[-1])
    world.close(march(2))
    world.live(3, 3)
    return world.extract(march(2), march(3), at=noon(march(4)))


def test_an_entry_of_elsewhere_is_foreign() -> None:
    """Another tenant, category, index, day or order: chained and sealed by the service, yet refused (T-04)."""
    verify(foreign())
    part = "entries.ndjson index 2"
    for compartment in (
        Compartment(authority.SERVICE, "bagnolet", "main-courante"),
        Compartment(authority.SERVICE, "montreuil", "ecrits"),
    ):
        check(foreign(compartment=compartment), ForeignEntryError, part)
    check(foreign(index=3), ForeignEntryError, part)
    for at in (noon(march(1)), noon(march(3)), noon(march(2)) + timedelta(days=365)):
        check(foreign(at=at), ForeignEntryError, part)
    world = World().live(1, 1)
    world.append(noon(march(2), minutes=1))
    world.append(noon(march(2)))
    world.close(march(2))
    check(world.extract(march(2), march(2), at=noon(march(3))), ForeignEntryError, "entries.ndjson index 3")


def test_entries_recorded_in_one_microsecond_are_in_order() -> None:
    """They are right, and where something else is wrong, that is named and not their order."""
    world = World().live(1, 1)
    for _ in range(3):
        world.append(noon(march(2)))
    world.close(march(2))
    extract = world.extract(march(2), march(2), at=noon(march(3)))
    assert "all 3 entries" in verify(extract).verdict
    check(replace(extract, parts={TABLE: extract.contents()[TABLE] + b"x\r\n"}), MismatchedPartError, TABLE)


def test_an_entry_disclosed_is_one_the_filter_asks_for() -> None:
    """The service cannot disclose more than was asked and authorised."""
    extract = sample(selection=Filter(action="consultation"))
    extract.manifest = replace(extract.manifest, filter=Filter(action="erasure"))
    check(extract, MismatchedPartError, "entries.ndjson index 2")


# --- the table


def test_the_table_says_what_the_entries_say() -> None:
    """Its first line, each line, and their number."""
    rows = sample().contents()[TABLE].splitlines(keepends=True)
    changed = [
        rows[1:],
        rows[:-1],
        [*rows, rows[-1]],
        [rows[0], rows[2], rows[1], *rows[3:]],
        [*rows[:2], rows[2].replace(b"agent", b"Agent"), *rows[3:]],
        [],
    ]
    for lines in changed:
        check(replace(sample(), parts={TABLE: b"".join(lines)}), MismatchedPartError, TABLE)
    check(replace(sample(), parts={TABLE: b"".join(rows)[:-1]}), MalformedError, TABLE)
    assert rows[0] == table.HEADER


# --- what the verifier is made of


def test_the_verifier_needs_nothing_but_cryptography(tmp_path: Path) -> None:
    """An auditor installs one library; every other module is the standard library's or the project's core."""
    (tmp_path / "extract").write_bytes(sample().pack())
    (tmp_path / "anchor").write_bytes(ANCHORS[0])
    code = f"""
import sys
from pathlib import Path
before = set(sys.modules)
sys.path.insert(0, {str(ROOT)!r})
from journal.verifier import cli as verify_cli
from journal.extract.verify import verify_extract
with open("extract", "rb") as file:
    verify_extract(file, anchors=[Path("anchor").read_bytes()])
loaded = {{name: getattr(sys.modules[name], "__file__", None) or "" for name in set(sys.modules) - before}}
print(*sorted({{name.partition(".")[0] for name, file in loaded.items() if "site-packages" in file}}))
print(*sorted(name for name in loaded if name.startswith("journal.")))
"""
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    others, core = result.stdout.splitlines()
    # cffi and pycparser belong to cryptography.
    assert set(others.split()) <= {"cryptography", "_cffi_backend", "cffi", "pycparser"}
    assert not {"journal.database", "journal.clock", "journal.settings", "journal.seals"} & set(core.split())
