"""Slices of extracts for tests: right ones of many shapes, what they are by the strict path, and changes to them."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from journal.core import canonical
from journal.core.chain import leaf_hash
from journal.core.entry import RECORD_LIMIT_BYTES, encode_record, parse_record
from journal.core.errors import VerificationError
from journal.core.times import format_time
from journal.extract import table
from journal.extract.listing import PROOF_LINE_LIMIT_BYTES, disclosed_line, parse_proof_line, withheld_line
from journal.extract.manifest import Filter, action_of
from journal.extract.shape import Kind
from journal.extract.slices import Checked, Slice
from journal.extract.walk import TABLE_LINE_LIMIT_BYTES
from tests.support.extracts import COMPARTMENT, event

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

DAY = "2026-03-02"
TEXTS = (
    *(
        "agent-1",
        "Noé Ünal",
        "",
        "PM 93",
        "C\u0153ur de ville",
        "l\u2019affaire",
        "a \u2212 b",
        "-1",
        "=1+1",
        "1er",
        "vrai",
    ),
    *(
        "mars 2026",
        'dit "non"',
        "a\\b",
        "une\nligne",
        "\ttab",
        "\x01",
        "\x7f",
        "\x85",
        "\u202e",
        "\U0001f600",
        "a;-b",
        "%s",
    ),
    *("a, b", "\ue0000\ue000", "'", "#", "x" * 300, "/", "\ufeff", "\u2028", "\uffff", "12345678901234567890"),
)
CODES = {
    "type": ("consultation", "access", "modification", "service.purge", "other"),
    "outcome": ("success", "denied", "failure", "unknown"),
    "operation": ("view", "print", "other", "login-failed"),
}
COUNTS = (0, 1, 50, 10**11 - 1, 10**11, 2**53 - 1, -1, True, "3")


def usual_event(random: Random, number: int) -> dict[str, Any]:
    """Return an event as modules submit it, with members there or not."""
    made = event(number, type="fr.openepm.journal." + random.choice(CODES["type"][:3]))
    data = made["data"]
    data["justification"] = "Relecture avant transmission"
    for name in ("fields", "client", "outcome"):
        if random.random() < 0.3:
            del data[name]
    if random.random() < 0.3:
        data["operation"] = random.choice(CODES["operation"][:2])
    if random.random() < 0.3:
        data["count"] = random.randrange(100)
    if number % 3 == 0:
        data["act"] = f"a-{number}"
    if random.random() < 0.3:
        made["sequence"] = str(number)
    if random.random() < 0.3:
        del made["subject"]
    return made


def odd_event(random: Random, number: int) -> dict[str, Any]:
    """Return an event with values that the table, the spelling or the format treat in another way."""
    made = usual_event(random, number)
    data: Any = made["data"]
    for _ in range(random.randrange(1, 4)):
        places: list[tuple[Any, Any]] = [(made, "subject"), (made, "sequence"), (made, "traceparent"), (made, "action")]
        places += [(data["actor"], name) for name in ("account", "name", "role", "unit", "other")]
        places += [
            (data, name) for name in ("justification", "fields", "recipients", "extra", "reason", "act", "change")
        ]
        if "client" in data:
            places += [(data["client"], name) for name in ("address", "session", "workstation")]
        target, name = random.choice(places)
        text = random.choice(TEXTS)
        target[name] = random.choice((text, text, text, [text, "b"], [], [1], 7, -3, True, {"a": text}, {}))
    if random.random() < 0.2:
        data["count"] = random.choice(COUNTS)
    if random.random() < 0.2:
        name = random.choice(("outcome", "operation"))
        data[name] = random.choice((*CODES[name], 1, ["view"]))
    if random.random() < 0.1:
        made["data"] = random.choice(("text", [], {}, {"actor": "x"}, {"client": []}))
    if random.random() < 0.1:
        del made["data"]
    return made


def record_of(made: dict[str, Any], index: int, second: int = 0) -> bytes:
    """Return the record of an event, recorded in that second of the day."""
    return encode_record(
        compartment=COMPARTMENT,
        event=canonical.encode(made),
        index=index,
        recorded_at=f"{DAY}T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}.000001Z",
        submitted_by="module-1",
    )


def slice_of(
    records: Sequence[bytes], *, first: int = 0, withheld: Sequence[int] = (), wanted: Filter | None = None
) -> Slice:
    """Return a slice of records, in the table of those that can be read; the places `withheld` show a leaf hash."""
    disclosed = [record for place, record in enumerate(records) if place not in withheld]
    proof = [
        withheld_line(first + place, sha256(record).digest())
        if place in withheld
        else disclosed_line(first + place, sha256(record).digest()[:16])
        for place, record in enumerate(records)
    ]
    return Slice(
        tenant=COMPARTMENT.tenant,
        category=COMPARTMENT.category,
        filter=wanted or Filter(),
        day=DAY,
        first=first,
        size=len(records),
        proof=b"".join(proof),
        entries=b"".join(record + b"\n" for record in disclosed),
        rows=b"".join(map(row_of, disclosed)),
    )


def row_of(record: bytes) -> bytes:
    """Return a record's line of the table, or some line where it cannot be read."""
    try:
        return table.row(parse_record(record))
    except VerificationError:
        return b'"0"\r\n'


def strictly(part: Slice) -> Checked | None:
    """Check a slice entry by entry, as the walk does; None where anything is wrong."""
    try:
        return _strictly(part)
    except VerificationError:
        return None


def _lines(content: bytes, limit_bytes: int) -> list[bytes] | None:
    *lines, rest = content.split(b"\n")
    return None if rest or any(len(line) > limit_bytes for line in lines) else lines


def _strictly(part: Slice) -> Checked | None:
    proof, records, rows = (
        _lines(content, limit_bytes)
        for content, limit_bytes in (
            (part.proof, PROOF_LINE_LIMIT_BYTES),
            (part.entries, RECORD_LIMIT_BYTES),
            (part.rows, TABLE_LINE_LIMIT_BYTES),
        )
    )
    if proof is None or records is None or rows is None or len(proof) != part.size or len(records) != len(rows):
        return None
    leaves, times, indexes, names, kinds = b"", [""], [], array("q"), Counter[Kind]()
    remaining = iter(zip(records, rows, strict=True))
    for index, line in enumerate(proof, part.first):
        found, disclosed, value = parse_proof_line(line)
        if found != index:
            return None
        if not disclosed:
            leaves += value
            continue
        record, row = next(remaining, (b"", b""))
        entry = parse_record(record)
        time = format_time(entry.recorded_at)
        is_right = (entry.tenant, entry.category, entry.index) == (part.tenant, part.category, index)
        if not is_right or time < times[-1] or time[:10] != part.day or table.row(entry) != row + b"\n":
            return None
        if not part.filter.matches(entry):
            return None
        times.append(time)
        indexes.append(index)
        kinds[Kind(action_of(entry), time[:10], entry.event["time"][:10])] += 1
        names.append(hash((entry.event["source"], entry.event["id"])))
        leaves += leaf_hash(value, record)
    if next(remaining, None) is not None:
        return None
    return Checked(leaves, times[1] if indexes else "", times[-1], indexes, names, kinds)


SPELLINGS: tuple[tuple[bytes, bytes], ...] = (
    *(
        (b'"agent', b'"\\u0061gent'),
        (b"/openepm", b"\\/openepm"),
        (b"Relecture", b"Relecture\\u00e9"),
        (b"unit", b"\\u0075nit"),
    ),
    *(
        (b"Relecture", b"a\\u0001b"),
        (b"Relecture", b"a\\u001Fb"),
        (b"Relecture", b"a\\u000ab"),
        (b"Relecture", b"a\\nb"),
    ),
    *((b"Relecture", b'a\\"b'), (b"Relecture", b"a\\\\"), (b"Relecture", b"\\u0000"), (b"Relecture", b"a\x00b")),
    *((b"Relecture", b"a\tb"), (b"Relecture", b"a\x1fb"), (b"Relecture", b"\xed\xa0\x80"), (b"Relecture", b"\xc0\xaf")),
    *((b"Relecture", b"\\ud800"), (b"Relecture", b"\\ud83d\\ude00"), (b"Relecture", b"\xff"), (b"Relecture", b"\\x41")),
    *((b"Relecture", b"\xef\xbb\xbf"), (b"Relecture", b"\\u0008"), (b"Relecture", b"\\b"), (b"Relecture", b"\\u0013")),
    *(
        (b'"v":1', b'"v":1.0'),
        (b'"v":1', b'"v":true'),
        (b'"v":1', b'"v":"1"'),
        (b'"v":1', b'"v":01'),
        (b'"v":1', b'"v":1e0'),
    ),
    *(
        (b'"index":', b'"index":0'),
        (b'"index":', b'"index":-'),
        (b'"index":', b'"index":1'),
        (b'"index":', b'"index": '),
    ),
    *(
        (b'"index":', b'"index":+'),
        (b'"index":', b'"index":1,"index":'),
        (b'"count":', b'"count":0'),
        (b'"count":', b'"count":-'),
    ),
    *((b'"count":', b'"count":9999999999'), (b'"count":', b'"count":1.'), (b'"count":', b'"count":12345678901234')),
    *((b":", b": "), (b",", b", "), (b"{", b"{ "), (b"}", b" }"), (b"]", b",]"), (b'{"c', b'\xef\xbb\xbf{"c')),
    *((b'"account"', b'"account":"x","account"'), (b'"account"', b'"zz":1,"account"'), (b'"subject"', b'"Subject"')),
    *((b'"specversion":"1.0"', b'"specversion":"1.1"'), (b'"tenant":"montreuil"', b'"tenant":"bagnolet"')),
    *((b'"category":"main-courante"', b'"category":"ecrits"'), (b'"source":"/openepm/montreuil"', b'"source":""')),
    *((b'"submitted_by":"module-1"', b'"submitted_by":""'), (b'"submitted_by":"module-1"', b'"submitted_by":"m;-2"')),
    *(
        (b"T08:", b"T24:"),
        (b"T08:", b"T8:"),
        (b"T08:", b" 08:"),
        (b":00.000", b":60.000"),
        (b":00.000000Z", b":00.000000z"),
    ),
    *(
        (b"2026-03-01", b"2026-02-29"),
        (b"2026-03-01", b"0000-03-01"),
        (b"2026-03-01", b"2026-13-01"),
        (b"2026-03-01", b"9999-12-31"),
    ),
    *(
        (b"2026-03-02", b"2026-03-03"),
        (b"2026-03-02", b"2026-02-30"),
        (b"000001Z", b"0000001Z"),
        (b"000001Z", b"000001+00:00"),
    ),
    *(
        (b"fr.openepm.journal.", b"fr.openepm.journal"),
        (b"fr.openepm.journal.", b"fr.openepm.journal.x"),
        (b"null", b"null"),
    ),
    *(
        (b'"success"', b'"Success"'),
        (b'"success"', b"null"),
        (b'"success"', b"true"),
        (b'"view"', b'"viewx"'),
        (b'"view"', b'["view"]'),
    ),
)


def change_record(random: Random, record: bytes) -> bytes:
    """Return a record changed where a reader might be lenient: escapes, twins, numbers, order, characters, lengths."""
    kind = random.randrange(8)
    if kind < 4:
        before, after = random.choice(SPELLINGS)
        places = [place for place in range(len(record)) if record.startswith(before, place)]
        if not places:
            return record
        place = random.choice(places)
        return record[:place] + after + record[place + len(before) :]
    if kind == 4:
        return _reorder(random, record)
    if kind == 5:
        length = RECORD_LIMIT_BYTES - len(record) + random.choice((-1, 0, 1, 2))
        return record.replace(b"Relecture", b"R" * length, 1)
    place = random.randrange(len(record))
    byte = random.choice((b"", b'"', b"\\", b"0", b"e", b" ", b",", b"\x7f", b"\xc3", bytes([random.randrange(256)])))
    return record[:place] + byte + record[place + random.randrange(2) :]


def _reorder(random: Random, record: bytes) -> bytes:
    def turned(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        names = list(value)
        if random.random() < 0.5:
            random.shuffle(names)
        return {name: turned(value[name]) for name in names}

    try:
        value = json.loads(record)
    except ValueError:
        return record
    return json.dumps(turned(value), ensure_ascii=False, separators=(",", ":")).encode(errors="surrogatepass")
