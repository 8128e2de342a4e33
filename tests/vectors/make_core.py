"""Write the test vectors of the core (tests/vectors/v1/core.json) on standard output.

Made from FORMAT.md alone, by another road than the library's: it imports none of its modules, spells
canonical JSON out by hand, writes HKDF and HMAC from their RFCs, and builds the tree on sets of bit strings.
Only AES-GCM comes from where the library takes it. The vectors of a published format version are never
edited: a test compares this program's output with the file.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SERVICE = "journal.example.fr"
DAY = "2026-03-14"
DAY_KEY = bytes(range(32))
TENANT_KEY = bytes(range(32, 64))


def sha(*parts: bytes) -> bytes:
    """Hash the parts put together."""
    return hashlib.sha256(b"".join(parts)).digest()


def hmac(key: bytes, message: bytes) -> bytes:
    """Compute HMAC-SHA-256 (RFC 2104 section 2) for a key of at most one block."""
    block = key + bytes(64 - len(key))
    inner = sha(bytes(b ^ 0x36 for b in block), message)
    return sha(bytes(b ^ 0x5C for b in block), inner)


def hkdf(ikm: bytes, salt: bytes, info: bytes) -> bytes:
    """Compute HKDF-SHA256 (RFC 5869) for 32 bytes of output: one round of expansion."""
    return hmac(hmac(salt, ikm), info + b"\x01")


def b64(data: bytes) -> str:
    """Spell bytes in standard base64 with padding."""
    return base64.b64encode(data).decode()


# --- canonical JSON -------------------------------------------------------------------------------------

# name, value, canonical text
ACCEPTED: list[tuple[str, Any, str]] = [
    ("empty object", {}, "{}"),
    ("empty array", [], "[]"),
    ("empty string", "", '""'),
    ("true", True, "true"),
    ("false", False, "false"),
    ("zero", 0, "0"),
    ("largest integer", 9007199254740991, "9007199254740991"),
    ("smallest integer", -9007199254740991, "-9007199254740991"),
    (
        "members in order of their characters",
        {"b": 1, "a": 2, "B": 3, "_": 4, "10": 5, "9": 6, "~": 7, " ": 8},
        '{" ":8,"10":5,"9":6,"B":3,"_":4,"a":2,"b":1,"~":7}',
    ),
    ("members in order at every level", {"b": [{"d": 1, "c": 2}], "a": {}}, '{"a":{},"b":[{"c":2,"d":1}]}'),
    ("a name and its own beginning", {"ab": 1, "a": 2, "a b": 3}, '{"a":2,"a b":3,"ab":1}'),
    ("escaped names", {"\\": 1, '"': 2, "/": 3}, '{"\\"":2,"/":3,"\\\\":1}'),
    ("longest name", {"n" * 64: 1}, '{"' + "n" * 64 + '":1}'),
    ("quotation mark and backslash", '"\\', '"\\"\\\\"'),
    ("solidus is not escaped", "a/b", '"a/b"'),
    ("two-letter escapes", "\b\t\n\f\r", '"\\b\\t\\n\\f\\r"'),
    ("other control characters", "\x01\x0b\x0e\x1f", '"\\u0001\\u000b\\u000e\\u001f"'),
    ("delete and C1 controls are not escaped", "\x7f\x80\x9f", '"\x7f\x80\x9f"'),
    ("accents stand for themselves", "procès-verbal n° 12", '"procès-verbal n° 12"'),
    ("composed", "\u00e9", '"\u00e9"'),
    ("decomposed: another string", "e\u0301", '"e\u0301"'),
    ("outside the basic plane", "\U0001f600", '"\U0001f600"'),
    ("last character", "\U0010ffff", '"\U0010ffff"'),
    ("line and paragraph separators are not escaped", "\u2028\u2029", '"\u2028\u2029"'),
    ("a byte order mark within a string", "\ufeff", '"\ufeff"'),
    ("noncharacters", "\ufffe\uffff", '"\ufffe\uffff"'),
    ("bidirectional controls", "\u202eabc", '"\u202eabc"'),
    ("backslash before what looks like an escape", "\\u0000", '"\\\\u0000"'),
    ("array keeps its order", [3, 1, 2, "b", "a", True], '[3,1,2,"b","a",true]'),
    ("deepest", json.loads("[" * 32 + "]" * 32), "[" * 32 + "]" * 32),
]

# name, JSON of the same value in another spelling, canonical text
RESPELT: list[tuple[str, bytes, str]] = [
    ("space before", b" {}", "{}"),
    ("line feed after", b"{}\n", "{}"),
    ("carriage return and line feed after", b"{}\r\n", "{}"),
    ("carriage return and line feed within", b'{\r\n"a":1\r\n}', '{"a":1}'),
    ("tab within", b'{\t"a":1}', '{"a":1}'),
    ("space after colon", b'{"a": 1}', '{"a":1}'),
    ("space after comma", b"[1, 2]", "[1,2]"),
    ("members out of order", b'{"b":1,"a":2}', '{"a":2,"b":1}'),
    ("members of a member out of order", b'{"a":{"d":1,"c":2}}', '{"a":{"c":2,"d":1}}'),
    ("escaped letter", b'"\\u0061"', '"a"'),
    ("escaped letter in a name", b'{"\\u0061":1}', '{"a":1}'),
    ("escaped solidus", b'"a\\/b"', '"a/b"'),
    ("escape in upper case", b'"\\u001F"', '"\\u001f"'),
    ("long escape of line feed", b'"\\u000a"', '"\\n"'),
    ("long escape of tab", b'"\\u0009"', '"\\t"'),
    ("long escape of backspace", b'"\\u0008"', '"\\b"'),
    ("long escape of form feed", b'"\\u000c"', '"\\f"'),
    ("long escape of carriage return", b'"\\u000d"', '"\\r"'),
    ("long escape of quotation mark", b'"\\u0022"', '"\\""'),
    ("long escape of backslash", b'"\\u005c"', '"\\\\"'),
    ("escaped delete", b'"\\u007f"', '"\x7f"'),
    ("escaped accent", b'"\\u00e9"', '"\u00e9"'),
    ("escaped pair", b'"\\ud83d\\ude00"', '"\U0001f600"'),
    ("escaped pair in upper case", b'"\\uD83D\\uDE00"', '"\U0001f600"'),
    ("escaped line separator", b'"\\u2028"', '"\u2028"'),
]

# name, bytes that no reader of ours takes for a value
REFUSED: list[tuple[str, bytes]] = [
    ("nothing", b""),
    ("white space alone", b" \n"),
    ("null", b"null"),
    ("null in an array", b"[1,null]"),
    ("null in a member", b'{"a":{"b":null}}'),
    ("NaN", b"NaN"),
    ("NaN in a member", b'{"a":NaN}'),
    ("Infinity", b"Infinity"),
    ("minus Infinity", b"[-Infinity]"),
    ("negative zero", b"-0"),
    ("negative zero in a member", b'{"a":-0}'),
    ("zero with a fraction", b"0.0"),
    ("negative zero with a fraction", b"-0.0"),
    ("whole number with a fraction", b"1.0"),
    ("fraction", b"[1.5]"),
    ("exponent", b"1e2"),
    ("exponent in upper case", b"1E2"),
    ("exponent beyond a double", b"1e400"),
    ("negative exponent beyond a double", b"-1e400"),
    ("exponent below a double", b"1e-400"),
    ("2^53", b"9007199254740992"),
    ("-2^53", b"-9007199254740992"),
    ("2^53+1", b"9007199254740993"),
    ("17 digits", b"10000000000000000"),
    ("2^63", b"9223372036854775808"),
    ("2^64", b"18446744073709551616"),
    ("integer of 400 digits", b"9" * 400),
    ("negative integer of 400 digits", b"-" + b"9" * 400),
    ("leading zero", b"01"),
    ("leading zeros", b"-00"),
    ("plus sign", b"+1"),
    ("no digit before the point", b".5"),
    ("no digit after the point", b"1."),
    ("minus alone", b"-"),
    ("hexadecimal", b"0x10"),
    ("underscore between digits", b"1_000"),
    ("Arabic-Indic digit", "\u0661".encode()),
    ("full-width digit", "\uff11".encode()),
    ("member twice", b'{"a":1,"a":1}'),
    ("member twice, other value", b'{"a":1,"a":2}'),
    ("member twice, apart", b'{"a":1,"b":2,"a":1}'),
    ("member three times", b'{"a":1,"a":1,"a":1}'),
    ("member twice, once escaped", b'{"\\u0061":1,"a":2}'),
    ("member twice, both escaped", b'{"\\u0061":1,"\\u0061":2}'),
    ("member twice in a member", b'{"a":{"b":1,"b":2}}'),
    ("member twice in an array", b'[{"b":1,"b":2}]'),
    ("member twice, escaped, in a member", b'{"a":{"b":1,"\\u0062":2}}'),
    ("member twice, one null", b'{"a":null,"a":1}'),
    ("name of no character", b'{"":1}'),
    ("name of 65 characters", b'{"' + b"n" * 65 + b'":1}'),
    ("name with an accent", '{"\u00e9":1}'.encode()),
    ("name with an escaped accent", b'{"\\u00e9":1}'),
    ("name with a combining accent", '{"e\u0301":1}'.encode()),
    ("name in Cyrillic that looks Latin", '{"\u0430":1}'.encode()),
    ("name with a control character", b'{"a\\nb":1}'),
    ("name with delete", b'{"a\x7f":1}'),
    ("name with U+0000", b'{"a\\u0000":1}'),
    ("name with a lone surrogate", b'{"\\ud800":1}'),
    ("name with a line separator", '{"\u2028":1}'.encode()),
    ("name that is a number", b"{1:1}"),
    ("name without quotes", b"{a:1}"),
    ("byte order mark before", b"\xef\xbb\xbf{}"),
    ("byte order mark within", b'{\xef\xbb\xbf"a":1}'),
    ("byte order mark after", b"{}\xef\xbb\xbf"),
    ("UTF-16, little-endian", "{}".encode("utf-16-le")),
    ("UTF-16 with its mark", b"\xfe\xff" + "{}".encode("utf-16-be")),
    ("UTF-32", "{}".encode("utf-32-le")),
    ("lone high surrogate, raw", b'"\xed\xa0\x80"'),
    ("lone low surrogate, raw", b'"\xed\xb0\x80"'),
    ("pair of surrogates, raw", b'"\xed\xa0\xbd\xed\xb8\x80"'),
    ("lone high surrogate, escaped", b'"\\ud800"'),
    ("lone high surrogate, escaped in upper case", b'"\\uDBFF"'),
    ("lone low surrogate, escaped", b'"\\udc00"'),
    ("surrogates in the wrong order", b'"\\ude00\\ud83d"'),
    ("high surrogate before a letter", b'"\\ud83dx"'),
    ("two high surrogates", b'"\\ud83d\\ud83d"'),
    ("lone surrogate in an array", b'["a","\\udfff"]'),
    ("lone surrogate in a member", b'{"a":"\\ud800"}'),
    ("U+0000, raw", b'"\x00"'),
    ("U+0000, escaped", b'"\\u0000"'),
    ("U+0000, escaped, among others", b'{"a":"b\\u0000c"}'),
    ("U+0000 and an accent", b'"\\u0000\\u00e9"'),
    ("byte zero before", b"\x00{}"),
    ("byte zero after", b"{}\x00"),
    ("line feed within a string", b'"a\nb"'),
    ("carriage return within a string", b'"a\rb"'),
    ("tab within a string", b'"a\tb"'),
    ("control character within a string", b'"\x1f"'),
    ("33 arrays", b"[" * 33 + b"]" * 33),
    ("33 objects", b'{"a":' * 33 + b"1" + b"}" * 33),
    ("33 levels, the last empty", b'[{"a":' * 16 + b"[" + b"]" + b"}]" * 16),
    ("1,000 arrays", b"[" * 1000 + b"]" * 1000),
    ("1,000 arrays left open", b"[" * 1000),
    ("letter after", b"{}x"),
    ("second value after", b"{}{}"),
    ("second value after a space", b"{} {}"),
    ("second value after a line feed", b"{}\n{}"),
    ("comma after", b"{},"),
    ("bracket after", b"[]]"),
    ("digit after a space", b"1 2"),
    ("byte FF", b'"\xff"'),
    ("byte FE", b'"\xfe"'),
    ("continuation byte alone", b'"\x80"'),
    ("sequence cut short", b'"\xc3"'),
    ("sequence cut short at the end", b'"\xe2\x82'),
    ("overlong solidus, two bytes", b'"\xc0\xaf"'),
    ("overlong solidus, three bytes", b'"\xe0\x80\xaf"'),
    ("overlong solidus, four bytes", b'"\xf0\x80\x80\xaf"'),
    ("overlong U+0000", b'"\xc0\x80"'),
    ("above U+10FFFF", b'"\xf4\x90\x80\x80"'),
    ("five-byte sequence", b'"\xf8\x88\x80\x80\x80"'),
    ("Latin-1", "\u00e9".join('""').encode("latin-1")),
    ("comma before a bracket", b"[1,]"),
    ("comma before a brace", b'{"a":1,}'),
    ("two commas", b"[1,,2]"),
    ("no comma", b"[1 2]"),
    ("no colon", b'{"a"1}'),
    ("no value", b'{"a":}'),
    ("single quotes", b"'a'"),
    ("line comment", b"{}//"),
    ("block comment", b"/**/{}"),
    ("True", b"True"),
    ("None", b"None"),
    ("undefined", b"undefined"),
    ("truth cut short", b"tru"),
    ("string left open", b'"a'),
    ("object left open", b'{"a":1'),
    ("array left open", b"[1"),
    ("escape of x", b'"\\x41"'),
    ("escape of a", b'"\\a"'),
    ("escape cut short", b'"\\u12"'),
    ("escape in braces", b'"\\u{61}"'),
    ("escape of eight digits", b'"\\U0001F600"'),
    ("escape with a letter past f", b'"\\u00g0"'),
    ("escape with a sign", b'"\\u+061"'),
    ("escape with a space", b'"\\u 061"'),
    ("escape with an underscore", b'"\\u0_61"'),
    ("no-break space", b"\xc2\xa0{}"),
    ("vertical tab", b"\x0b{}"),
    ("form feed", b"\x0c{}"),
    ("next line", b"\xc2\x85{}"),
    ("line separator", b"\xe2\x80\xa8{}"),
]


def canonical() -> dict[str, Any]:
    """List the cases of canonical JSON, each as value, text and bytes."""
    return {
        "accepted": [
            {"name": name, "value": value, "text": text, "hex": text.encode().hex()} for name, value, text in ACCEPTED
        ],
        "respelt": [{"name": name, "hex": data.hex(), "canonical": text} for name, data, text in RESPELT],
        "refused": [{"name": name, "hex": data.hex()} for name, data in REFUSED],
    }


# --- records, chain, envelope ---------------------------------------------------------------------------

ORIGIN = f"openepm-journal/v1/{SERVICE}/ville-a/main-courante"
OTHER_ORIGIN = f"openepm-journal/v1/{SERVICE}/_service/journal"

CONSULTATION = (
    '{"data":{"actor":{"account":"agent.042","role":"brigadier"},"fields":["lieu","récit"],'
    '"justification":"suite d\'une intervention","outcome":"success"},"id":"0001",'
    '"source":"openepm:ville-a/main-courante","specversion":"1.0","subject":"mc/2026/00123",'
    '"time":"2026-03-14T08:00:00.000001Z","type":"fr.openepm.journal.consultation"}'
)
ACCESS = (
    '{"data":{"actor":{"account":"agent.007"},"outcome":"denied"},"id":"0002",'
    '"source":"openepm:ville-a/main-courante","specversion":"1.0",'
    '"time":"2026-03-14T08:00:00.000001Z","type":"fr.openepm.journal.access"}'
)
SMALLEST = (
    '{"id":"\U0001f600\\"\\\\","sequence":9007199254740991,"source":"s","specversion":"1.0",'
    '"time":"2026-03-14T23:59:59.999999Z","type":"t"}'
)
EVENT_TEXTS = [CONSULTATION, ACCESS, SMALLEST]
RECORDED_AT = ["2026-03-14T08:00:00.250000Z", "2026-03-14T08:00:00.250000Z", "2026-03-15T00:00:00.000000Z"]
SUBMITTED_BY = ["k3f9", "k3f9", 'l\'accès "n° 2"']


def record_text(index: int) -> str:
    """Spell out the record of one entry."""
    submitted_by = SUBMITTED_BY[index].replace('"', '\\"')
    return (
        '{"category":"main-courante","event":' + EVENT_TEXTS[index] + f',"index":{index}'
        f',"recorded_at":"{RECORDED_AT[index]}","submitted_by":"{submitted_by}","tenant":"ville-a","v":1}}'
    )


def remainder_of(index: int) -> bytes:
    """Lay out what the place of an entry does not say of its record."""
    name = SUBMITTED_BY[index].replace('"', '\\"').encode()
    digits = "".join(letter for letter in RECORDED_AT[index] if letter.isdigit())
    return len(name).to_bytes(2, "big") + bytes.fromhex(digits) + name + EVENT_TEXTS[index].encode()


def entries() -> dict[str, Any]:
    """Make one chain of three entries, with everything derived from them."""
    data_key = hkdf(DAY_KEY, TENANT_KEY, b"\0".join((b"openepm-journal/v1/data-key", ORIGIN.encode(), DAY.encode())))
    event_key_key = hkdf(TENANT_KEY, bytes(32), b"openepm-journal/v1/event-key\0" + ORIGIN.encode())
    chain_hash = sha(b"\x04", ORIGIN.encode())
    chain: dict[str, Any] = {
        "origin": ORIGIN,
        "day": DAY,
        "day_key": DAY_KEY.hex(),
        "tenant_key": TENANT_KEY.hex(),
        "data_key": data_key.hex(),
        "event_key_key": event_key_key.hex(),
        "genesis": chain_hash.hex(),
        "entries": [],
    }
    for index, event in enumerate(EVENT_TEXTS):
        record = record_text(index).encode()
        salt, nonce = bytes([0xA0 + index]) * 16, bytes([0xB0 + index]) * 12
        bound = ORIGIN.encode() + b"\0" + index.to_bytes(8, "big")
        attributes = json.loads(event)
        source = attributes["source"].encode()
        message = len(source).to_bytes(2, "big") + source + attributes["time"].encode() + attributes["id"].encode()
        leaf = sha(b"\x00", salt, record)
        chain_hash = sha(b"\x01", chain_hash, leaf)
        chain["entries"].append(
            {
                "index": index,
                "recorded_at": RECORDED_AT[index],
                "submitted_by": SUBMITTED_BY[index],
                "event": event,
                "record": record.decode(),
                "record_hex": record.hex(),
                "salt": salt.hex(),
                "leaf_hash": leaf.hex(),
                "chain_hash": chain_hash.hex(),
                "event_key": hmac(event_key_key, message)[:16].hex(),
                "nonce": nonce.hex(),
                "associated_data": bound.hex(),
                "remainder": remainder_of(index).hex(),
                "ciphertext": (nonce + AESGCM(data_key).encrypt(nonce, salt + remainder_of(index), bound)).hex(),
            }
        )
    return chain


GOOD_RECORD = record_text(0)


def refused_records() -> list[dict[str, str]]:
    """List canonical JSON that is no record, one fault each, made from the first record."""
    changes = [
        ("version 2", '"v":1', '"v":2', "/v"),
        ("version true", '"v":1', '"v":true', "/v"),
        ("version as text", '"v":1', '"v":"1"', "/v"),
        ("index negative", '"index":0', '"index":-1', "/index"),
        ("index false", '"index":0', '"index":false', "/index"),
        ("index as text", '"index":0', '"index":"0"', "/index"),
        ("member missing", ',"submitted_by":"k3f9"', "", ""),
        ("member more", '"v":1', '"v":1,"w":1', ""),
        ("category in upper case", '"main-courante","event"', '"Main-courante","event"', "/category"),
        ("category no string", '"category":"main-courante"', '"category":1', "/category"),
        ("category with a line feed", '"main-courante","event"', '"main-courante\\n","event"', "/category"),
        ("tenant empty", '"tenant":"ville-a"', '"tenant":""', "/tenant"),
        ("tenant reserved but for a letter", '"tenant":"ville-a"', '"tenant":"_services"', "/tenant"),
        ("tenant no string", '"tenant":"ville-a"', '"tenant":["ville-a"]', "/tenant"),
        ("recorded_at without fraction", "08:00:00.250000Z", "08:00:00Z", "/recorded_at"),
        ("recorded_at with an offset", "08:00:00.250000Z", "08:00:00.250000+00:00", "/recorded_at"),
        ("recorded_at no date", "2026-03-14T08:00:00.250000Z", "2026-02-30T08:00:00.250000Z", "/recorded_at"),
        ("recorded_at no string", '"2026-03-14T08:00:00.250000Z"', "1", "/recorded_at"),
        ("submitted_by empty", '"k3f9"', '""', "/submitted_by"),
        ("submitted_by no string", '"k3f9"', "7", "/submitted_by"),
        ("event no object", EVENT_TEXTS[0], '"event"', "/event"),
        ("event of another version", '"specversion":"1.0"', '"specversion":"0.3"', "/event/specversion"),
        ("event without version", '"specversion":"1.0",', "", "/event/specversion"),
        ("event without source", '"source":"openepm:ville-a/main-courante",', "", "/event/source"),
        ("event of empty id", '"id":"0001"', '"id":""', "/event/id"),
        ("event id no string", '"id":"0001"', '"id":1', "/event/id"),
        ("event without type", ',"type":"fr.openepm.journal.consultation"', "", "/event/type"),
        ("event time in lower case", "08:00:00.000001Z", "08:00:00.000001z", "/event/time"),
        ("event time with a leap second", "08:00:00.000001Z", "08:00:60.000001Z", "/event/time"),
        ("not canonical", '"index":0', '"index": 0', ""),
    ]
    refused = []
    for name, old, new, part in changes:
        if GOOD_RECORD.count(old) != 1:
            raise AssertionError(name)
        refused.append({"name": name, "record": GOOD_RECORD.replace(old, new), "part": part})
    return refused


# --- seals ----------------------------------------------------------------------------------------------


def head_text(head: dict[str, Any]) -> str:
    """Write the five lines of a head."""
    chain_hash = b64(bytes.fromhex(head["chain_hash"]))
    return f"{head['origin']}\n{head['size']}\n{chain_hash}\n{head['kept_from']}\n{head['retention_days']}\n"


def make_heads(count: int) -> list[dict[str, Any]]:
    """Make the heads of many chains; the first is the reserved tenant's, empty."""
    heads: list[dict[str, Any]] = []
    for number in range(count):
        origin = f"openepm-journal/v1/{SERVICE}/ville-{number}/ecrits" if number else OTHER_ORIGIN
        size = number * 1000
        chain_hash = sha(b"\x04", origin.encode()) if not size else sha(f"chain {number}".encode())
        head = {
            "origin": origin,
            "size": size,
            "chain_hash": chain_hash.hex(),
            "kept_from": number * 900,
            "retention_days": 2 + number % 59,
        }
        text = head_text(head)
        head["text"] = text
        head["leaf"] = sha(b"\x02", sha(origin.encode()), text.encode()).hex()
        heads.append(head)
    return heads


def bits(origin: str) -> str:
    """Write the key of an origin as 256 characters 0 or 1."""
    return f"{int.from_bytes(sha(origin.encode()), 'big'):0256b}"


def node(leaves: dict[str, bytes], prefix: str) -> bytes:
    """Hash the chains whose key begins with a prefix, straight from the definition."""
    below = [leaf for key, leaf in leaves.items() if key.startswith(prefix)]
    if not below:
        return bytes(32)
    if len(below) == 1:
        return below[0]
    return sha(b"\x03", node(leaves, prefix + "0"), node(leaves, prefix + "1"))


def path(leaves: dict[str, bytes], key: str) -> list[bytes]:
    """List the siblings from the root down to one chain's leaf."""
    siblings: list[bytes] = []
    depth = 0
    while sum(other.startswith(key[:depth]) for other in leaves) > 1:
        flipped = "1" if key[depth] == "0" else "0"
        siblings.append(node(leaves, key[:depth] + flipped))
        depth += 1
    return siblings


def trees(heads: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Make trees over the first 0, 1, 2, 3, … heads, with the paths of all their chains."""
    made = []
    for count in (0, 1, 2, 3, 7, len(heads)):
        leaves = {bits(head["origin"]): bytes.fromhex(head["leaf"]) for head in heads[:count]}
        made.append(
            {
                "chains": count,
                "root": node(leaves, "").hex(),
                "paths": [[sibling.hex() for sibling in path(leaves, bits(head["origin"]))] for head in heads[:count]],
            }
        )
    return made


def seals(roots: list[tuple[int, str]]) -> list[dict[str, Any]]:
    """Write a short history: a close seal, an open one, a close seal, and one after a declared loss."""
    made: list[dict[str, Any]] = []
    previous = previous_close = sha(b"")
    history = [
        (1, "2026-03-14T00:00:05Z", "2026-03-13", None),
        (2, "2026-03-14T00:01:00Z", None, None),
        (3, "2026-03-15T00:00:05Z", "2026-03-14", None),
        (9, "2026-03-16T12:00:00Z", None, 3),
    ]
    for position, (number, sealed_at, day, recovered_from) in enumerate(history):
        chains, root = roots[position]
        lines = [
            "openepm-journal/seal/v1",
            SERVICE,
            str(number),
            sealed_at,
            f"close {day}" if day else "open",
            str(chains),
            b64(bytes.fromhex(root)),
            b64(previous),
            b64(previous_close),
        ]
        if recovered_from:
            lines.append(f"recovered-from {recovered_from}")
        text = "\n".join(lines) + "\n"
        seal = {
            "service": SERVICE,
            "number": number,
            "sealed_at": sealed_at,
            "chains": chains,
            "root": root,
            "previous": previous.hex(),
            "previous_close": previous_close.hex(),
            "text": text,
            "digest": sha(text.encode()).hex(),
        }
        if day:
            seal["day"] = day
        if recovered_from:
            seal["recovered_from"] = recovered_from
        made.append(seal)
        previous = sha(text.encode())
        if day:
            previous_close = previous
    return made


def refused_seals(good: str) -> list[dict[str, str]]:
    """List texts that are no seal, one fault each, made from the third seal."""
    lines = good.split("\n")[:-1]
    nothing = b64(sha(b""))

    def with_line(position: int, line: str) -> str:
        return "".join(f"{text}\n" for text in [*lines[:position], line, *lines[position + 1 :]])

    return [
        {"name": name, "text": text}
        for name, text in [
            ("nothing", ""),
            ("one line", "openepm-journal/seal/v1\n"),
            ("another format", with_line(0, "openepm-journal/seal/v2")),
            ("service in upper case", with_line(1, "Journal.example.fr")),
            ("service empty", with_line(1, "")),
            ("number zero", with_line(2, "0")),
            ("number with a leading zero", with_line(2, "03")),
            ("number with a sign", with_line(2, "+3")),
            ("number with a space", with_line(2, " 3")),
            ("number with an underscore", with_line(2, "1_0")),
            ("number above 2^53-1", with_line(2, "9007199254740992")),
            ("no number", with_line(2, "three")),
            ("number one, yet one before it", with_line(2, "1")),
            ("none before it, yet number three", with_line(7, nothing)),
            ("time with a fraction", with_line(3, "2026-03-15T00:00:05.0Z")),
            ("time with an offset", with_line(3, "2026-03-15T00:00:05+00:00")),
            ("time in lower case", with_line(3, "2026-03-15t00:00:05z")),
            ("no such day", with_line(4, "close 2026-02-29")),
            ("kind in upper case", with_line(4, "Close 2026-03-14")),
            ("kind unknown", with_line(4, "shut")),
            ("kind with two spaces", with_line(4, "close  2026-03-14")),
            ("day not over", with_line(4, "close 2026-03-15")),
            ("count negative", with_line(5, "-1")),
            ("no chain, yet a root", with_line(5, "0")),
            ("chains, yet the empty root", with_line(6, b64(bytes(32)))),
            ("root without padding", with_line(6, lines[6].rstrip("="))),
            ("root of 31 bytes", with_line(6, b64(bytes(range(31))))),
            ("root in the other alphabet", with_line(6, b64(b"\xff" * 32).replace("/", "_"))),
            ("root with bits beyond its end", with_line(6, lines[6][:-2] + chr(ord(lines[6][-2]) + 1) + "=")),
            ("digest with a space", with_line(7, lines[7] + " ")),
            ("no line feed at the end", good[:-1]),
            ("line feed more at the end", good + "\n"),
            ("carriage returns", good.replace("\n", "\r\n")),
            ("space after", good + " "),
            ("line missing", "".join(f"{line}\n" for line in lines[:-1])),
            ("line unknown", good + "note x\n"),
            ("recovered from itself", good + "recovered-from 3\n"),
            ("recovered from none", good + "recovered-from 0\n"),
            ("recovered from twice", good + "recovered-from 2\nrecovered-from 2\n"),
            ("letter outside ASCII", with_line(1, "journal.ex\u00e4mple.fr")),
            ("longer than a seal", with_line(1, "a" * 1024)),
        ]
    ]


def receipts() -> dict[str, Any]:
    """Spell out the receipts of the chain's entries: two submissions of one append, of one and of two events."""
    made = []
    for index, entry in enumerate(entries()["entries"]):
        event = json.loads(EVENT_TEXTS[index])
        source, name = (event[member].replace("\\", "\\\\").replace('"', '\\"') for member in ("source", "id"))
        text = (
            f'{{"chain_hash":"{entry["chain_hash"]}","id":"{name}","index":{index},"leaf_hash":"{entry["leaf_hash"]}"'
            f',"origin":"{ORIGIN}","recorded_at":"{RECORDED_AT[index]}","source":"{source}","time":"{event["time"]}"}}'
        )
        made.append({"text": text, "leaf": sha(b"\x05", text.encode()).hex()})
    first, second, third = (bytes.fromhex(receipt["leaf"]) for receipt in made)
    both = sha(b"\x06", *sorted((second, third)))
    root = sha(b"\x06", *sorted((first, both)))
    point = bytes.fromhex(
        "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
        "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
    )
    key = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + point
    return {
        "receipts": made,
        "paths": [[both.hex()], [first.hex()]],
        "root": root.hex(),
        "signed_at": "2026-03-15T00:00:01Z",
        "signed": f"openepm-journal/receipt/v1\n{SERVICE}\n2026-03-15T00:00:01Z\n{b64(root)}\n",
        "delegation": (
            f"openepm-journal/receipt-key/v1\n{SERVICE}\n2026-03-14T00:00:00Z\n2026-04-13T00:00:00Z\n{b64(key)}\n"
        ),
    }


def document() -> dict[str, Any]:
    """Put everything together in the order of FORMAT.md."""
    heads = make_heads(40)
    made_trees = trees(heads)
    roots = {tree["chains"]: tree["root"] for tree in made_trees}
    made_seals = seals([(count, roots[count]) for count in (0, 2, 7, 40)])
    return {
        "format": "openepm-journal/vectors/v1",
        "canonical": canonical(),
        "chain": entries(),
        "receipts": receipts(),
        "refused_records": refused_records(),
        "heads": heads,
        "trees": made_trees,
        "seals": made_seals,
        "refused_seals": refused_seals(made_seals[2]["text"]),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(document(), indent=1, ensure_ascii=True) + "\n")
