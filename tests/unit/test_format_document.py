"""FORMAT.md itself: its examples are real, its tables are the code's, its references lead somewhere."""

from __future__ import annotations

import json
import re
from functools import cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from journal.core import canonical
from journal.core.chain import extend, genesis, leaf_hash
from journal.core.entry import (
    ACTIONS,
    EVENT_LIMIT_BYTES,
    MODULE_ACTIONS,
    OPERATIONS,
    OUTCOMES,
    RECORD_LIMIT_BYTES,
    TYPE_PREFIX,
    parse_record,
)
from journal.core.receipt import Receipt, receipt_leaf, receipts_root, root_from_receipts
from journal.core.seal import SealedHead, parse_head, parse_seal
from journal.core.times import format_time
from journal.core.tree import root_from_path
from journal.extract import table
from journal.extract.container import Container
from journal.extract.layout import ENTRIES, MANIFEST, PROOF, SEALS, TABLE
from journal.extract.listed_seal import check_seal
from journal.extract.listing import ListedSeal, encode_seals, parse_proof_line, parse_seals
from journal.extract.manifest import Manifest, parse_manifest
from journal.extract.words import ALARMS, CHANGES, MEMBERS, PURPOSES, ROLES
from journal.pki.certificates import pem_to_der

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests" / "vectors" / "v1"
FORMAT = (ROOT / "FORMAT.md").read_text(encoding="utf-8")
HEADINGS = dict(re.findall(r"^##+ ([0-9.]+?)\.? (.+)$", FORMAT, re.MULTILINE))

CORE = "core.json"
FILTERED, JOURNAL = "extracts/filtered-by-account.asice", "extracts/journal-with-its-request.asice"

# "Example: `file`, `place` …", then the fence.
_EXAMPLE = re.compile(r"^Example: (.+)\n\n```\n((?:.*\n)+?)```$", re.MULTILINE)
# What else writes "section": a standard, named just before.
_OF_A_STANDARD = re.compile(r"(?:RFC|FIPS|X\.|EN) ?[0-9-]+(?: [0-9-]+)*,? (?:sections?|§) ?[0-9.]+")


@cache
def chain() -> dict[str, Any]:
    """Return the chain of core.json."""
    found: dict[str, Any] = json.loads((VECTORS / CORE).read_text())["chain"]
    return found


@cache
def members(extract: str) -> dict[str, bytes]:
    """Return the members of an extract, by name."""
    container = Container(BytesIO((VECTORS / extract).read_bytes()))
    return {name: b"".join(container.stream(name)) for name in container.names}


def manifest(extract: str) -> Manifest:
    """Read an extract's manifest."""
    return parse_manifest(members(extract)[MANIFEST])


def listed_seal() -> ListedSeal:
    """Read the second seal that an extract lists."""
    return list(parse_seals(members(JOURNAL)[SEALS], manifest(JOURNAL).origin))[1]


def lines(**values: str | bytes) -> str:
    """Write names and values as the examples do."""
    width = max(map(len, values))
    return "".join(f"{name:{width}} = {v if isinstance(v, str) else v.hex()}\n" for name, v in values.items())


def record() -> str:
    """A record decodes, and says what the vector says."""
    vector = chain()["entries"][1]
    entry = parse_record(bytes.fromhex(vector["record_hex"]))
    assert (entry.index, entry.submitted_by) == (1, vector["submitted_by"])
    return entry.record.decode() + "\n"


def leaves() -> list[bytes]:
    """Compute the leaf hashes of core.json, and hold each against it."""
    found = [
        leaf_hash(bytes.fromhex(vector["salt"]), bytes.fromhex(vector["record_hex"])) for vector in chain()["entries"]
    ]
    assert [leaf.hex() for leaf in found] == [vector["leaf_hash"] for vector in chain()["entries"]]
    return found


def leaf() -> str:
    """A leaf hash follows from salt and record."""
    return lines(salt_1=chain()["entries"][1]["salt"], leaf_1=leaves()[1])


def links() -> dict[str, bytes]:
    """Compute the chain hashes of the first two entries, and hold each against the vector."""
    first, second, *_ = leaves()
    beginning = genesis(chain()["origin"]).chain_hash
    one = extend(beginning, first)
    two = extend(one, second)
    assert beginning.hex() == chain()["genesis"]
    assert [one.hex(), two.hex()] == [vector["chain_hash"] for vector in chain()["entries"][:2]]
    return {"C_0": beginning, "leaf_0": first, "C_1": one, "leaf_1": second, "C_2": two}


def link() -> str:
    """A chain hash follows from the one before and a leaf hash."""
    return lines(**links())


def receipt() -> str:
    """A receipt names its event, its entry and the chain hash after it."""
    found = links()
    entry = parse_record(bytes.fromhex(chain()["entries"][1]["record_hex"]))
    text = Receipt(
        source=entry.event["source"],
        id=entry.event["id"],
        time=entry.event["time"],
        origin=chain()["origin"],
        index=1,
        recorded_at=format_time(entry.recorded_at),
        leaf_hash=found["leaf_1"],
        chain_hash=found["C_2"],
    ).text
    assert text == canonical.encode(json.loads(text))
    assert text.decode() == receipts()["receipts"][1]["text"]
    return text.decode() + "\n"


def receipts() -> dict[str, Any]:
    """Return the receipts of core.json."""
    found: dict[str, Any] = json.loads((VECTORS / CORE).read_text())["receipts"]
    return found


def receipt_tree() -> str:
    """The leaves of a submission, and its path, lead to the root."""
    _, second, third = (receipt_leaf(found["text"].encode()) for found in receipts()["receipts"])
    (sibling,) = map(bytes.fromhex, receipts()["paths"][1])
    root = root_from_receipts([second, third], [sibling])
    node = receipts_root([second, third])
    assert root.hex() == receipts()["root"]
    return lines(leaf_1=second, leaf_2=third, node=node, **{"path[0]": sibling}, root=root)


def seal_text() -> str:
    """A seal's text is read, and written again byte for byte."""
    return parse_seal(listed_seal().text).text.decode()


def head_text() -> str:
    """A head's text is that of the head as JSON."""
    head = parse_head(manifest(JOURNAL).origin, listed_seal().head.as_json())
    return head.text.decode()


def root() -> str:
    """A head and its path lead to the root that the seal states."""
    listed = listed_seal()
    key = sha256(listed.head.origin.encode()).digest()
    found = root_from_path(listed.head, listed.path)
    assert found == parse_seal(listed.text).root
    (sibling,) = listed.path
    return lines(key=key, leaf=listed.head.leaf, **{"path[0]": sibling}, root=found)


def proof() -> str:
    """Every line of a proof is read, and the chain it leads along ends in the manifest's head."""
    parts = members(FILTERED)
    records = iter(parts[ENTRIES].splitlines())
    about = manifest(FILTERED)
    chain_hash = about.base.chain_hash
    for line in parts[PROOF].splitlines():
        _, disclosed, value = parse_proof_line(line)
        chain_hash = extend(chain_hash, leaf_hash(value, next(records)) if disclosed else value)
    assert chain_hash == about.head.chain_hash
    return parts[PROOF].decode()


def listed() -> str:
    """A listed seal verifies by itself, under the vectors' trust anchor."""
    anchors = pem_to_der((VECTORS / "extracts" / "trust.pem").read_bytes())
    found = listed_seal()
    checked = check_seal(found, anchors=anchors, part=SEALS, known=False)
    assert isinstance(checked.head, SealedHead)
    text = encode_seals([found]).decode()
    return text.removeprefix('{"seals":[').removesuffix("]}") + "\n"


def manifest_json() -> str:
    """A manifest is read, and written again byte for byte."""
    written = manifest(FILTERED).encode()
    assert written == members(FILTERED)[MANIFEST]
    return written.decode() + "\n"


def table_row() -> str:
    """A line of the table is made from its entry, and stands in the extract."""
    entry = parse_record(members(JOURNAL)[ENTRIES].splitlines()[-1])
    row = table.row(entry)
    assert members(JOURNAL)[TABLE].endswith(b"\n" + row)
    return row.decode().replace("\r\n", "\n")


EXAMPLES: dict[str, Callable[[], str]] = {
    f"`{CORE}`, `/chain/entries/1/record`": record,
    f"`{CORE}`, `/chain/entries/1`: the leaf hash of the record above": leaf,
    f"`{CORE}`, `/chain`: the genesis and the first two links": link,
    f"`{CORE}`, `/receipts/receipts/1/text`: the receipt of the same entry": receipt,
    f"`{CORE}`, `/receipts`: from the receipt above, the second of two submissions, up to the root": receipt_tree,
    f"`{JOURNAL}`, `seals.json`, `/seals/1/text`": seal_text,
    f"`{JOURNAL}`, `seals.json`, `/seals/1/head`: its head text": head_text,
    f"`{JOURNAL}`, `seals.json`, `/seals/1`: from the head above to the root in the seal": root,
    f"`{FILTERED}`, `proof.ndjson`: entry 4 is disclosed, three are withheld": proof,
    f"`{JOURNAL}`, `seals.json`, `/seals/1`: the seal of section 8, as it is listed": listed,
    f"`{FILTERED}`, `manifest.json`": manifest_json,
    f"`{JOURNAL}`, `extrait.csv`: the line of entry 4": table_row,
}


def test_every_example_is_known_here() -> None:
    """Every example of FORMAT.md is checked by a test of this module."""
    assert [name for name, _ in _EXAMPLE.findall(FORMAT)] == list(EXAMPLES)
    assert FORMAT.count("\nExample") == len(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_real(name: str) -> None:
    """It is what the vector named beside it holds or what follows from it, to the character."""
    assert dict(_EXAMPLE.findall(FORMAT))[name] == EXAMPLES[name]()


def test_the_limits_are_those_of_the_code() -> None:
    """Of events and records, which no other test reads there."""
    assert f"| event, in canonical JSON | {EVENT_LIMIT_BYTES // 1024} KiB |" in FORMAT
    assert f"| record | {RECORD_LIMIT_BYTES // 1024} KiB ({RECORD_LIMIT_BYTES:,} bytes) |" in FORMAT


def words_of(section: str, heading: str) -> list[dict[str, str]]:
    """Return the codes and words of the table under a heading: one mapping for each pair of columns."""
    rows = section[section.index(f"| {heading} |") :].split("\n\n", maxsplit=1)[0].splitlines()[2:]
    cells = [[cell.strip(" `") for cell in row[1:-1].split("|")] for row in rows]
    return [{row[place]: row[place + 1] for row in cells if row[place]} for place in range(0, len(cells[0]), 2)]


def test_the_words_of_the_table_are_those_of_the_code() -> None:
    """Codes and members, each in its table, in their order."""
    section = FORMAT[FORMAT.index("### 11.5") : FORMAT.index("### 11.6")]
    service = {action: word for action, word in ACTIONS.items() if action not in MODULE_ACTIONS}
    assert words_of(section, "`action` of a module") == [MODULE_ACTIONS, service, OUTCOMES]
    for heading, words in (("`operation`", OPERATIONS), ("`purpose`", PURPOSES), ("member", MEMBERS)):
        found = [pair for part in words_of(section, heading) for pair in part.items()]
        assert found == list(words.items())
    assert words_of(section, "code of `change`") == [CHANGES, ALARMS]
    assert words_of(section, "code of `role`") == [ROLES]
    assert f"`{TYPE_PREFIX}`" in section


def test_the_columns_and_the_words_of_dates_are_those_of_the_code() -> None:
    """What a second program needs to write the same table."""
    section = FORMAT[FORMAT.index("### 11.5") : FORMAT.index("### 11.6")]
    columns = section[section.index("| column |") :].split("\n\n", maxsplit=1)[0].splitlines()[2:]
    assert [row.split("|")[1].strip() for row in columns] == list(table.COLUMNS)
    listed = section[section.index("The words of dates are\n") :].split("\n", maxsplit=1)[1].split(".", maxsplit=1)[0]
    assert listed.replace("\n", " ").split(", ") == list(dict.fromkeys(table.DATE_WORDS))


def _texts() -> Iterator[tuple[str, str]]:
    """Yield every text of the project that may refer to the format."""
    folders = ("journal", "ingest", "retention", "sql", "deploy", "tests")
    paths = [*ROOT.glob("*.md"), *(path for folder in folders for path in (ROOT / folder).rglob("*"))]
    for path in paths:
        if path.suffix in {".md", ".py", ".sql", ".html", ".js", ".typ"}:
            yield path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")


def test_every_reference_to_the_format_leads_to_a_heading() -> None:
    """By number or by title: in the document itself, in the page written from it, in code, SQL and prose."""
    wrong: list[str] = []
    found = 0
    for name, text in _texts():
        numbers = re.findall(r"FORMAT(?:\.md)?,? (?:§ ?|sections? )([0-9.]*[0-9])", text)
        if name == "FORMAT.md" or name.startswith("ingest/pages/verifier/"):
            own = _OF_A_STANDARD.sub("", text)
            numbers += re.findall(r"(?:§|\bsections? )([0-9]+(?:\.[0-9]+)*)", own)
        titles = re.findall(r"FORMAT\.md, \"([^\"]+)\"", text)
        wrong += [f"{name}: {number}" for number in numbers if number not in HEADINGS]
        wrong += [f"{name}: {title}" for title in titles if title not in HEADINGS.values()]
        found += len(numbers) + len(titles)
    assert wrong == []
    assert found > 50  # a pattern that finds nothing proves nothing


def test_the_table_of_contents_is_that_of_the_headings() -> None:
    """In their order, each leading to its heading."""
    contents = re.findall(r"^([0-9]+)\. \[(.+)\]\(#(.+)\)$", FORMAT, re.MULTILINE)
    headings = [(number, title) for number, title in HEADINGS.items() if "." not in number]
    assert [(number, title) for number, title, _ in contents] == headings
    assert all(link == f"{number}-{title.lower().replace(' ', '-')}" for number, title, link in contents)
