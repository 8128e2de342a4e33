"""The page on the vectors of FORMAT.md, and its table beside the service's."""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from journal.core import canonical
from journal.core.entry import ACTIONS, OPERATIONS, OUTCOMES, TYPE_PREFIX, encode_record, parse_record
from journal.extract import table
from journal.extract.known import read_known
from journal.extract.verify import verify_extract
from journal.extract.words import CHANGES, CODES, PURPOSES, ROLES
from journal.extract.words import MEMBERS as MEMBERS_WITH_WORDS
from journal.pki.certificates import der_to_pem, pem_to_der
from journal.verifier import french
from tests.browser.cases import Case
from tests.browser.chromium import TRUST
from tests.support.extracts import COMPARTMENT, event

if TYPE_CHECKING:
    from tests.browser.chromium import Verifier

VECTORS = Path(__file__).parents[1] / "vectors" / "v1"


def test_extract_vectors(verifier: Verifier) -> None:
    """The class of every vector, the part it names, and whether something asked for stayed without an answer."""
    folder = VECTORS / "extracts"
    wrong = []
    for vector in json.loads((folder / "index.json").read_text())["cases"]:
        known = tuple((kept["name"], (folder / kept["file"]).read_bytes()) for kept in vector["known"])
        receipts = tuple((kept["name"], (folder / kept["file"]).read_bytes()) for kept in vector.get("receipts", ()))
        stampers = vector.get("tsa_trust")
        extract = (folder / vector["file"]).read_bytes() if "file" in vector else None
        subject = Case(vector["name"], extract, known, receipts, is_stamped=stampers is not None)
        trust = {"anchors": (folder / vector["trust"]).read_text(), "stampers": TRUST["stampers"]}
        if stampers is not None:
            trust["stampers"] = (folder / stampers).read_text()
        (found,) = verifier.verify([subject], **trust)
        expected = vector["class"]
        if expected == "verified" and vector["facts"].get("unanswered"):
            expected = "incomplete"
        said = tuple(verdict for kept in vector.get("receipts", ()) for verdict in kept["verdicts"])
        purged = vector.get("facts", {}).get("purged_days", [])
        told = (found.verdict, found.receipts, found.purged)
        if told != (expected, said, purged) or vector.get("part", "") not in found.part:
            wrong.append(f"{vector['name']}: {vector['about']} {found}")
    assert wrong == []


TOLD = """async ({ extract, anchors, known }) => {
  const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const files = known.map(([name, text]) => ({ name, source: Verifier.bytesSource(bytes(text)) }));
  const trust = { anchors: Verifier.readAnchors(anchors), stampers: null };
  const result = await Verifier.verify(Verifier.bytesSource(bytes(extract)), trust, files);
  const { sentence, warnings, scope, facts } = Verifier.tell(result);
  return { sentence, warnings, scope, facts };
}"""


def told(verifier: Verifier, vector: dict[str, Any]) -> dict[str, Any]:
    """Return what the page says of a vector, without certificates for time-stamps."""
    folder = VECTORS / "extracts"

    def encoded(name: str) -> str:
        return base64.b64encode((folder / name).read_bytes()).decode()

    known = [(kept["name"], encoded(kept["file"])) for kept in vector["known"]]
    anchors = (folder / vector["trust"]).read_text()
    found: dict[str, Any] = verifier.page.evaluate(
        TOLD, {"extract": encoded(vector["file"]), "anchors": anchors, "known": known}
    )
    return found


def test_the_verdict_is_that_of_the_command_in_french(verifier: Verifier) -> None:
    """Word for word, of every vector that verifies."""
    folder = VECTORS / "extracts"
    different = []
    for vector in json.loads((folder / "index.json").read_text())["cases"]:
        if vector["class"] != "verified" or "file" not in vector:
            continue
        known = [read_known(BytesIO((folder / kept["file"]).read_bytes()), kept["name"]) for kept in vector["known"]]
        anchors = pem_to_der((folder / vector["trust"]).read_bytes())
        report = verify_extract(BytesIO((folder / vector["file"]).read_bytes()), anchors=anchors, known=known)
        mine, page = french.verdict(report), told(verifier, vector)["sentence"]
        if mine != page:
            different.append(f"{vector['name']}: {mine} / {page}")
    assert different == []


def test_what_stands_before_all_else(verifier: Verifier) -> None:
    """A development authority, what a filter left out and who allowed it, and the fingerprint to compare."""
    index = json.loads((VECTORS / "extracts" / "index.json").read_text())["cases"]
    vectors = {vector["name"]: vector for vector in index}
    development, filtered = (told(verifier, vectors[name]) for name in ("development-authority", "filtered-by-account"))
    assert development["warnings"][0].startswith("POUR ESSAIS SEULEMENT")
    assert filtered["warnings"] == []
    assert [term for term, _ in filtered["scope"]] == ["Filtre", "Autorisation"]
    anchor = pem_to_der((VECTORS / "extracts" / "trust.pem").read_bytes())[0]
    assert sha256(anchor).hexdigest() in dict(filtered["facts"])["Certificat de confiance"].replace(" ", "")


CORE = """(vectors) => {
  const { decode, parse, spell, readRecord, readSeal, rootOf, toHex, fromHex } = Verifier.internals;
  const bytes = new TextEncoder();
  const attempt = (step) => {
    try { return step(); } catch (failure) { return failure.verdict ?? String(failure.stack); }
  };
  const { accepted, respelt, refused } = vectors.canonical;
  const heads = vectors.heads.map((head) => ({
    size: head.size, chainHash: fromHex(head.chain_hash), keptFrom: head.kept_from, retentionDays: head.retention_days,
  }));
  return {
    accepted: accepted.map(({ hex }) => attempt(() => spell(decode(fromHex(hex), '')))),
    decoded: [...respelt, ...refused].map(({ hex }) => attempt(() => spell(decode(fromHex(hex), '')))),
    parsed: respelt.map(({ hex }) => attempt(() => spell(parse(fromHex(hex), '')))),
    refused: refused.map(({ hex }) => attempt(() => spell(parse(fromHex(hex), '')))),
    records: vectors.refused_records.map(({ record }) => attempt(() => readRecord(bytes.encode(record), ''))),
    seals: vectors.seals.map(({ text }) => attempt(() => toHex(readSeal(text, '').digest))),
    refusedSeals: vectors.refused_seals.map(({ text }) => attempt(() => readSeal(text, ''))),
    roots: vectors.trees.map(({ paths }) => paths.map((path, place) =>
      toHex(rootOf(vectors.heads[place].origin, heads[place], path.map(fromHex))))),
  };
}"""


def test_core_vectors(verifier: Verifier) -> None:
    """Canonical JSON, records, seals and trees."""
    vectors = json.loads((VECTORS / "core.json").read_text())
    found = verifier.page.evaluate(CORE, vectors)
    assert found["accepted"] == [bytes.fromhex(vector["hex"]).decode() for vector in vectors["canonical"]["accepted"]]
    assert found["parsed"] == [vector["canonical"] for vector in vectors["canonical"]["respelt"]]
    for name in ("decoded", "refused", "records", "refusedSeals"):
        assert set(found[name]) == {"malformed"}, name
    assert found["seals"] == [vector["digest"] for vector in vectors["seals"]]
    assert [set(roots) for roots in found["roots"]] == [
        {tree["root"]} if tree["paths"] else set() for tree in vectors["trees"]
    ]


SIGNED = """async ({ vectors, anchors }) => {
  const { verifySignature, verifyTimestamp, fromHex, sha256 } = Verifier.internals;
  const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const found = [];
  for (const vector of vectors) {
    const trusted = Verifier.readAnchors(vector.anchors);
    try {
      if (vector.token !== undefined) {
        const digest = sha256(new TextEncoder().encode(vector.text));
        const stamp = await verifyTimestamp(bytes(vector.token), digest, trusted, vector.made_at, null, '');
        found.push([stamp.at, stamp.authority, stamp.isBySha1Alone, stamp.accuracy]);
      } else {
        const digest = fromHex(vector.sha256);
        const { services, time, subject, issuer } = await verifySignature(bytes(vector.signature), digest, trusted, '');
        found.push(services.length === 1 && services[0] === vector.service ? [time, subject, issuer] : ['untrusted']);
      }
    } catch (failure) { found.push([failure.verdict ?? String(failure.stack)]); }
  }
  return found;
}"""


def _pem(der: str) -> str:
    return der_to_pem([base64.b64decode(der)]).decode()


def test_signature_vectors(verifier: Verifier) -> None:
    """The class of every signature refused; time and names of those accepted."""
    file = json.loads((VECTORS / "signature.json").read_text())
    shared = {"anchors": _pem(file["trusted"]), "sha256": file["sha256"], "service": file["service"]}
    vectors = [{**shared, **vector} for vector in (*file["accepted"], *file["refused"])]
    found = verifier.page.evaluate(SIGNED, {"vectors": vectors})
    assert found == [
        [vector["class"]] if "class" in vector else [vector["signing_time"], vector["subject"], vector["issuer"]]
        for vector in vectors
    ]


def test_timestamp_vectors(verifier: Verifier) -> None:
    """The class of every token refused; time, authority and accuracy of those accepted, real ones among them."""
    file = json.loads((VECTORS / "timestamp.json").read_text())
    shared = {"text": file["text"], "made_at": file["made_at"], "trusted": file["trusted"]}
    vectors = [{**shared, **vector} for vector in (*file["accepted"], *file["refused"], *file["real"])]
    for vector in vectors:
        vector["anchors"] = _pem(vector["trusted"])
    expected = [
        [vector["class"]]
        if "class" in vector
        else [
            vector["stamped_at"].replace("Z", ".000000Z"),
            vector["authority"],
            vector["by_sha1_alone"],
            vector.get("accuracy_microseconds"),
        ]
        for vector in vectors
    ]
    assert verifier.page.evaluate(SIGNED, {"vectors": vectors}) == expected


# --- the table

ROWS = """(records) => records.map((record) =>
  Verifier.internals.writeRow(Verifier.internals.readRecord(new TextEncoder().encode(record), '')))"""
CHARACTERS = (
    " \t\r\n\"',;|=+-@ab9\x1fé\x85\xa0\xad\u034f\u1160\u180b\u2009\u200b\u2028\u202e\u2212\u3000"
    "\ufe62\ufeff\uff1d\uff20👮\U000e0041"
)
# What spreadsheets read as a number, a date, a truth value or an error, and what only begins so.
VALUES = (
    "0012",
    "1E5",
    ",5",
    "(12)",
    "€ 12",
    "12 %",
    "#N/A",
    "Vrai",
    " FALSE ",
    "mars 2026",
    "Lun. déc-1",
    "mar mar mar 1",
)
VALUES += ("martin2", "MC-2026-1", "vraie", "mai-n/5", "１", "'a", "AOÛT 3", "AOÛT", "ſept 1", "févR.1")
NAMES = (
    "account",
    "name",
    "role",
    "unit",
    "address",
    "session",
    "from",
    "to",
    "x",
    "__proto__",
    "constructor",
    "10",
    "9",
    "=1",
    '"',
)
MEMBERS = ("actor", "client", "justification", "recipients", "outcome", "fields", "y", "__proto__", "toString")
MEMBERS += ("operation", "count", "purpose", "reason", "requester", "change", "filter", "days", "act", "role")
CODED = (*OUTCOMES, *OPERATIONS, *PURPOSES, *CHANGES, *ROLES, "access")
TIMES = ("0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z", "2026-03-29T00:59:59.999999Z")
TIMES += ("2026-03-29T01:00:00.000000Z", "2026-10-25T00:59:59.000000Z", "2026-10-25T01:00:00.000000Z")
TIMES += ("2026-10-25T02:00:00.000000Z", "0096-02-29T12:00:00.000000Z", "2026-12-31T23:30:00.000000Z")


def _text(random: Random) -> str:
    if random.random() < 0.2:
        return random.choice(VALUES)
    return "".join(random.choice(CHARACTERS) for _ in range(random.choice((0, 1, 3, 8))))


def _value(random: Random, depth: int = 0) -> Any:
    match random.randrange(8 if depth < 3 else 5):
        case 0:
            return random.choice((0, -1, 12, 10**11, 2**53 - 1, True, False))
        case 1:
            return random.choice(CODED)
        case 5:
            return [_value(random, depth + 1) for _ in range(random.randrange(3))]
        case 6 | 7:
            return {name: _value(random, depth + 1) for name in random.sample(NAMES, random.randrange(4))}
        case _:
            return _text(random)


def test_they_write_the_same_table(verifier: Verifier) -> None:
    """For any event: hostile texts, members of any type in any place, names that mean something to JavaScript."""
    random = Random(7)
    records = []
    for number in range(2000):
        data = {name: _value(random) for name in random.sample(MEMBERS, random.randrange(5))}
        more = {
            name: _value(random) for name in random.sample(("sequence", "traceparent", "z", "10"), random.randrange(3))
        }
        kind = random.choice((*(TYPE_PREFIX + action for action in (*ACTIONS, "")), "x"))
        made = event(number, data=random.choice((data, data, data, _value(random))), subject=_value(random), type=kind)
        made["time"] = random.choice(TIMES)
        records.append(
            encode_record(
                compartment=COMPARTMENT,
                event=canonical.encode({**made, **more}),
                index=number,
                recorded_at="2026-03-02T12:00:00.000000Z",
                submitted_by=_text(random) or "module-1",
            )
        )
    rows = verifier.page.evaluate(ROWS, [record.decode() for record in records])
    for record, row in zip(records, rows, strict=True):
        assert row == table.row(parse_record(record)).decode()


def test_they_have_the_same_words(verifier: Verifier) -> None:
    """Of every code and every member, in the same order, and the same columns."""
    data: list[dict[str, Any]] = [{name: name for name in reversed(MEMBERS_WITH_WORDS)}]
    data += [{name: code} for name, words in CODES.items() for code in words]
    data += [{"operation": code} for code in OPERATIONS]
    types = [TYPE_PREFIX + action for action in ACTIONS]
    events = [event(1, data=each) for each in data] + [event(1, type=kind) for kind in types]
    records = [
        encode_record(
            compartment=COMPARTMENT,
            event=canonical.encode(made),
            index=0,
            recorded_at="2026-03-02T12:00:00.000000Z",
            submitted_by="module-1",
        )
        for made in events
    ]
    rows = verifier.page.evaluate(ROWS, [record.decode() for record in records])
    assert rows == [table.row(parse_record(record)).decode() for record in records]
