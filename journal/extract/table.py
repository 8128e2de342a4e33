"""The table of an extract for spreadsheets: `extrait.csv`, a pure function of the disclosed entries.

RFC 4180 with semicolons, UTF-8 with a byte order mark, every field quoted, one line per entry: French
spreadsheets open such a file with a double click. No cell can be taken for a formula, and no character hides or
reorders its neighbours. The rules are fixed sets of characters, not the Unicode tables of the Python at hand, so
that the verifier makes the same bytes with any version.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from journal.core import canonical
from journal.core.entry import ACTIONS, OUTCOMES
from journal.core.times import format_time
from journal.extract.manifest import action_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from journal.core.entry import Entry

COLUMNS = (
    "n°",
    "enregistré le",
    "survenu le",
    "action",
    "compte",
    "nom",
    "rôle",
    "unité",
    "objet",
    "motif",
    "destinataires",
    "résultat",
    "champs",
    "adresse",
    "poste",
    "session",
    "source",
    "identifiant",
    "séquence",
    "trace",
    "transmis par",
    "détails",
)
_EVENT = frozenset(
    (
        "specversion",
        "id",
        "source",
        "type",
        "time",
        "subject",
        "datacontenttype",
        "sequence",
        "traceparent",
        "data",
    )
)
_DATA = frozenset(("actor", "client", "fields", "justification", "outcome", "recipients"))
_ACTOR = ("account", "name", "role", "unit")
_CLIENT = ("address", "workstation", "session")

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
_HIDDEN = re.compile(f"[{UNSEEN}]")
# At the start, or where a separator other than ours would begin a cell; some spreadsheets ignore blanks and
# quotation marks before it.
_FORMULA_START = re.compile(f"(^|[,;|])(?=[{_BLANK}\"']*[{_FORMULA}])")
_UNSEEN_START = ("\t", "\r", "\n", "\0")
# The same two for a whole line whose cells are separated by U+0000, which no record holds.
_APART = "\0"
_SUSPECT = re.compile(f"[{UNSEEN}]".replace("\0-", "\1-"))
_SUSPECT_START = re.compile(f"[,;|\0][{_BLANK}\"']*[{_FORMULA}]")
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
    """Return `text` with an apostrophe before everything that begins a formula, and nothing invisible."""
    safe = _FORMULA_START.sub(r"\1'", visible(text))
    return f"'{safe}" if text.startswith(_UNSEEN_START) else safe


def _line(texts: list[str]) -> bytes:
    joined = _APART + _APART.join(texts)
    # Almost every line is plain: one search over the whole line finds those whose cells need work.
    if joined.count(_APART) != len(texts) or _SUSPECT.search(joined) or _SUSPECT_START.search(joined):
        joined = _APART + _APART.join(map(_safe, texts))
    quoted = joined[1:].replace('"', '""').replace(_APART, '";"')
    return f'"{quoted}"\r\n'.encode()


HEADER = b"\xef\xbb\xbf" + _line(list(COLUMNS))


def _text(value: Any) -> str:
    """Return any value of canonical JSON as the text of a cell; empty for None."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return canonical.encode(value).decode()


def _word(words: dict[str, str], code: Any) -> str:
    """Return a code in French, followed by the code itself if the word differs."""
    text = _text(code)
    word = words.get(text, text)
    return text if word == text else f"{word} ({text})"


def _open(value: Any, name: str, shown: Collection[str], rest: dict[str, Any]) -> dict[str, Any]:
    """Return `value` if it is an object, else an empty one; add to `rest` what the columns do not show of it."""
    if not isinstance(value, dict):
        if value is not None:
            rest[name] = value
        return {}
    hidden = {member: value[member] for member in value if member not in shown}
    if hidden:
        rest[name] = hidden
    return value


def row(entry: Entry) -> bytes:
    """Return the line of an entry, for any entry that `parse_record` accepts."""
    rest: dict[str, Any] = {}
    event = _open(entry.event, "event", _EVENT, rest)
    data = _open(event.get("data"), "data", _DATA, rest)
    actor = _open(data.get("actor"), "actor", _ACTOR, rest)
    client = _open(data.get("client"), "client", _CLIENT, rest)
    return _line(
        [
            str(entry.index),
            format_time(entry.recorded_at),
            event["time"],
            _word(ACTIONS, action_of(entry)),
            *[_text(actor.get(name)) for name in _ACTOR],
            _text(event.get("subject")),
            _text(data.get("justification")),
            _text(data.get("recipients")),
            _word(OUTCOMES, data.get("outcome")),
            _text(data.get("fields")),
            *[_text(client.get(name)) for name in _CLIENT],
            event["source"],
            event["id"],
            _text(event.get("sequence")),
            _text(event.get("traceparent")),
            entry.submitted_by,
            _text(rest or None),
        ]
    )
