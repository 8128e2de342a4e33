"""The table of an extract for spreadsheets: `extrait.csv`, a pure function of the disclosed entries.

RFC 4180 with semicolons, UTF-8 with a byte order mark, every field quoted, one line per entry: French
spreadsheets open such a file with a double click. No cell can be taken for a formula, a number or a date, and no
character hides or reorders its neighbours. The rules are fixed sets of characters, not the Unicode tables of the
Python at hand, so that the verifier makes the same bytes with any version.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from journal.core.entry import ACTIONS, OPERATIONS, OUTCOMES
from journal.core.paris import paris_time
from journal.core.times import format_time
from journal.extract.manifest import action_of
from journal.extract.words import CODES, MEMBERS, PURPOSES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from journal.core.entry import Entry

COLUMNS = (
    "n°",
    "survenu le (heure de Paris)",
    "survenu le (UTC)",
    "enregistré le (UTC)",
    "action",
    "opération",
    "nombre",
    "résultat",
    "compte",
    "nom",
    "rôle et unité",
    "objet",
    "motif",
    "destinataires",
    "champs",
    "poste",
    "événement",
    "détails",
)
EVENT = frozenset(("specversion", "id", "source", "type", "time", "subject", "datacontenttype", "data"))
_MODULE_DATA = frozenset(("actor", "client", "count", "fields", "justification", "operation", "outcome", "recipients"))
_DATA = _MODULE_DATA | {"purpose", "reason", "requester"}
_ACTOR = frozenset(("account", "name", "role", "unit"))
_CLIENT = frozenset(("address", "session", "workstation"))
_NOTHING: dict[str, Any] = {}
_NO_CODES: dict[str, str] = {}
_PLACES = {name: place for place, name in enumerate(MEMBERS)}
_WORDS = frozenset(("", *ACTIONS.values(), *OPERATIONS.values(), *OUTCOMES.values()))
# Spreadsheets show a longer one in another way than it was written.
_NUMBER = re.compile("0|[1-9][0-9]{0,10}").fullmatch

# Characters that begin a formula: ASCII, then their full-width, small and mathematical variants.
_FORMULA = "=+\\-@\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u2212"
# Invisible, or changing how others are displayed: controls, soft hyphen, Arabic letter mark, Hangul fillers,
# Mongolian vowel separator, zero-width and bidirectional marks, line separators, variation selectors,
# byte order mark, interlinear annotations, tags.
UNSEEN = (
    "\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff"
)
_BLANK = " \xa0\u1680\u2000-\u200a\u202f\u205f\u3000"
_UNSEEN_START = ("\t", "\r", "\n", "\0")


def _any_case(words: Sequence[str]) -> str:
    """Return a pattern for one of these words in upper or lower case: `re.IGNORECASE` goes by a version of Unicode.

    Words share their beginnings: a letter that begins none is looked at once.
    """
    tails: dict[str, list[str]] = {}
    for word in filter(None, words):
        tails.setdefault(word[0], []).append(word[1:])
    branches = [f"[{letter}{letter.upper()}]{_any_case(rest)}" for letter, rest in tails.items()]
    return f"(?:{'|'.join(branches)}){'?' if '' in words else ''}" if branches else ""


# What spreadsheets read as something else than a text, after these signs: a number, an error, a date, a truth value.
_BEFORE = f"[{_BLANK}\"'.,(%€$£¥]*"
_TRUTH = ("true", "false", "vrai", "faux")
DATE_WORDS = (
    *("lundi", "lun", "mardi", "mar", "mercredi", "mer", "jeudi", "jeu", "vendredi", "ven", "samedi", "sam"),
    *("dimanche", "dim", "monday", "mon", "tuesday", "tue", "wednesday", "wed", "thursday", "thu", "friday", "fri"),
    *("saturday", "sat", "sunday", "sun"),
    *("janvier", "janv", "january", "jan", "février", "fevrier", "févr", "fevr", "fév", "fev", "february", "feb"),
    *("mars", "march", "mar", "avril", "avr", "april", "apr", "mai", "may", "juin", "june", "jun"),
    *("juillet", "juill", "juil", "july", "jul", "août", "aout", "aoû", "aou", "august", "aug"),
    *("septembre", "september", "sept", "sep", "octobre", "october", "oct", "novembre", "november", "nov"),
    *("décembre", "decembre", "december", "déc", "dec"),
)
_AFTER = f"[{_BLANK}.,/\"'-]*"
_VALUE = (
    f"[#0-9\uff10-\uff19]|(?:{_any_case(DATE_WORDS)}{_AFTER}){{1,2}}[0-9\uff10-\uff19]"
    f"|{_any_case(_TRUTH)}[{_BLANK}\"']*(?:\0|\r|$)"
)
_START = f"'|[{_BLANK}\"']*[{_FORMULA}]|{_BEFORE}(?:{_VALUE})"
_GUARDED = re.compile(_START)
# Where a separator other than ours would begin a cell; some spreadsheets ignore blanks and quotation marks before it.
_FORMULA_WITHIN = re.compile(f"([,;|])(?=[{_BLANK}\"']*[{_FORMULA}])")
_HIDDEN = re.compile(f"[{UNSEEN}]")
# The same for a whole line whose cells are separated by U+0000, which no record holds: bytes but the plain ones are
# looked at, and where cells begin.
APART = "\0"
_BETWEEN = '";"'
_PLAIN = bytes((0, *range(0x20, 0x7F), *range(0x80, 0xC0), *range(0xC3, 0xCA)))
_SUSPECT = re.compile(f"[{UNSEEN}]".replace("\0-", "\1-"))
# Most cells do not even begin with a character that one of these begins with: that is looked at first.
_FIRST = "".join(sorted({letter for word in (*DATE_WORDS, *_TRUTH) for letter in (word[0], word[0].upper())}))
_SUSPECT_FIRST = f"[{_BLANK}\"'{_FORMULA}.,(%€$£¥#0-9\uff10-\uff19{_FIRST}]"
_SUSPECT_START = re.compile(f"\0(?={_SUSPECT_FIRST})(?={_START})")
_SUSPECT_WITHIN = _FORMULA_WITHIN
_UNSEEN_IN_LINES = re.compile(f"[{UNSEEN}]".replace("\0-\x1f", "\1-\x09\x0b\x0c\x0e-\x1f"))
_UNSEEN_STARTS = re.compile("\0[\t\r\n]")
# And for many lines: what may begin a formula within a cell is told by two bytes, once each says which kind it is.
_PLAIN_LINES = _PLAIN + b"\r\n"
_KINDS = bytes.maketrans(b",;| \"'=+-@", b",,,,,,----")
_DELETE = 0x7F


def _show(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < ord(" ") or code == _DELETE:
        return chr(0x2400 + min(code, 0x21))  # the pictures of control characters, U+2421 that of DELETE
    return f"⟦U+{code:04X}⟧"


def visible(text: str) -> str:
    """Return `text` with every character that hides or reorders others replaced by a visible sign."""
    return _HIDDEN.sub(_show, text)


def _safe(text: str) -> str:
    """Return `text` as a spreadsheet leaves it: nothing invisible, no start of a formula, a number or a date."""
    safe = visible(text)
    is_guarded = _GUARDED.match(safe) or text.startswith(_UNSEEN_START)
    safe = _FORMULA_WITHIN.sub(r"\1'", safe)
    return f"'{safe}" if is_guarded else safe


def join(texts: list[str]) -> str:
    """Return cells of any text, made safe, with what stands between two."""
    joined = APART + APART.join(texts)
    if joined.count(APART) != len(texts) or _UNSEEN_STARTS.search(joined):
        joined = APART + APART.join(map(_safe, texts))
    else:
        # The whole line at once. Almost every line is plain, and found to be so sooner than each of its cells.
        if joined.encode().translate(None, _PLAIN):
            joined = _SUSPECT.sub(_show, joined)
        if _SUSPECT_START.search(joined):
            joined = _SUSPECT_START.sub("\0'", joined)
        if _SUSPECT_WITHIN.search(joined):
            joined = _SUSPECT_WITHIN.sub(r"\1'", joined)
    return joined[1:].replace('"', '""').replace(APART, _BETWEEN)


HEADER = f'\ufeff"{_BETWEEN.join(COLUMNS)}"\r\n'.encode()


def _say(value: Any) -> str:
    """Return any value of canonical JSON as text; empty for None."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "oui" if value else "non"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return ", ".join(map(_say, value))
    return f"({_tell(value, value)})"


def _say_code(words: Mapping[str, str], code: Any) -> str:
    """Return a code as its word, any other value as text."""
    text = _say(code)
    return words.get(text, text)


def _tell(members: Mapping[str, Any], names: Collection[str]) -> str:
    """Return those of the members with their names, in the order of the words, then of the names."""
    ordered = sorted(names, key=lambda name: (_PLACES.get(name, len(_PLACES)), name)) if len(names) > 1 else names
    return " ; ".join(
        [f"{MEMBERS.get(name, name)} : {_say_code(CODES.get(name, _NO_CODES), members[name])}" for name in ordered]
    )


def _said(value: Mapping[str, Any], *names: str) -> str:
    """Return those of the members that are there, with `, ` between them."""
    return ", ".join([_say(value[name]) for name in names if name in value])


def _details(event: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """Return what no column shows of an event, and of its data."""
    hidden, of_data = event.keys() - EVENT, data.keys() - _DATA
    for name, shown in (("actor", _ACTOR), ("client", _CLIENT)):
        value = data.get(name, _NOTHING)
        rest = {each: value[each] for each in value.keys() - shown} if isinstance(value, dict) else value
        if rest != _NOTHING:
            data, of_data = {**data, name: rest}, of_data | {name}
    if "data" in event and not isinstance(event["data"], dict):
        hidden |= {"data"}
    return _together(_tell(event, hidden), _tell(data, of_data), between=" ; ")


def _together(*texts: str, between: str = ", ") -> str:
    return between.join(filter(None, texts))


def _word(text: str) -> str:
    """Return the cell of what is a word, or was said as it is."""
    return text if text in _WORDS else join([text])


def _number(text: str) -> str:
    """Return the cell of a number: as it is where a spreadsheet shows it so."""
    return text if not text or _NUMBER(text) else join([text])


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else _NOTHING


def is_usual(event: Mapping[str, Any]) -> bool:
    """Tell whether an event holds nothing but what modules submit, and columns show."""
    data = event.get("data")
    if not (isinstance(data, dict) and event.keys() <= EVENT and data.keys() <= _MODULE_DATA):
        return False
    actor, client = data.get("actor", _NOTHING), data.get("client", _NOTHING)
    return isinstance(actor, dict) and isinstance(client, dict) and actor.keys() <= _ACTOR and client.keys() <= _CLIENT


def texts(entry: Entry) -> list[str]:
    """Return what each column says of an entry that `parse_record` accepts, before it is made safe."""
    event = entry.event
    data = _object(event.get("data"))
    actor, client = _object(data.get("actor")), _object(data.get("client"))
    name, reason, details = _say(actor.get("name")), _say(data.get("justification")), ""
    if not is_usual(event):
        name = _together(name, _say(data.get("requester")))
        reason = _together(reason, _say_code(PURPOSES, data.get("purpose")), _say(data.get("reason")))
        details = _details(event, data)
    return [
        str(entry.index),
        paris_time(event["time"]),
        event["time"],
        format_time(entry.recorded_at),
        _say_code(ACTIONS, action_of(entry)),
        _say_code(OPERATIONS, data.get("operation")),
        _say(data.get("count")),
        _say_code(OUTCOMES, data.get("outcome")),
        _say(actor.get("account")),
        name,
        _said(actor, "role", "unit"),
        _say(event.get("subject")),
        reason,
        _say(data.get("recipients")),
        _say(data.get("fields")),
        _said(client, "workstation", "address", "session"),
        f"{event['source']} {event['id']}, transmis par {entry.submitted_by}",
        details,
    ]


def row(entry: Entry) -> bytes:
    """Return the line of an entry, for any entry that `parse_record` accepts."""
    index, paris, utc, recorded_at, action, operation, count, outcome, *others = texts(entry)
    return (
        f'"{_number(index)}";"{paris}";"{utc}";"{recorded_at}";"{_word(action)}";"{_word(operation)}'
        f'";"{_number(count)}";"{_word(outcome)}";"{join(others)}"\r\n'
    ).encode()


def safe_lines(lines: Iterable[str]) -> bytes | None:
    """Return lines with their cells made safe, all at once; None where one holds what is not seen.

    Each is whole, but that APART stands before each cell that may hold any text but a quotation mark.
    """
    whole = "".join(lines)
    if _SUSPECT_START.search(whole):
        whole = _SUSPECT_START.sub("\0'", whole)
    written = whole.replace(APART, _BETWEEN).encode()
    if b",-" in written.translate(_KINDS):
        whole = _SUSPECT_WITHIN.sub(r"\1'", whole)
        written = whole.replace(APART, _BETWEEN).encode()
    if written.translate(None, _PLAIN_LINES) and _UNSEEN_IN_LINES.search(whole):
        return None
    return written
