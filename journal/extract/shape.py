"""The shapes that records come in, each learnt from its first record: the others are read at the cost of one match.

A shape is what records of one form share: their members and the kinds of their values. Its pattern matches only
records spelt canonically; its lines are those of the table. Both are derived from what `parse_record` accepted and from
`table.texts`. Of a record that no shape matches, right or wrong, nothing is said here.
"""

from __future__ import annotations

import json
import re
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

from journal.core.entry import ACTIONS, OPERATIONS, OUTCOMES, TYPE_PREFIX, Entry
from journal.core.paris import paris_time
from journal.core.times import format_day
from journal.extract import table
from journal.extract.words import CODES

if TYPE_CHECKING:
    from journal.extract.manifest import Filter

# What is learnt stays small, whatever an extract holds: other records are read one by one.
RECORD_LIMIT_BYTES = 4096
GROUPS_LIMIT = 64

Path = tuple[Any, ...]
Groups = tuple[str, ...]

# A pattern holds these two for a text, and for one that is not empty, until it is known whether escapes are looked for.
_ANY, _SOME = "\x01", "\x02"
_UNESCAPED = r'[^"\\\x00-\x1f]'
_PLAIN = {_ANY: f"{_UNESCAPED}*", _SOME: f"{_UNESCAPED}+"}
_ESCAPE = r'\\(?:["\\bfnrt]|u00(?:0[1-7bef]|1[0-9a-f]))'  # those of canonical JSON
_ESCAPED = {_ANY: f"{_UNESCAPED}*(?:{_ESCAPE}{_UNESCAPED}*)*", _SOME: f'(?!"){_UNESCAPED}*(?:{_ESCAPE}{_UNESCAPED}*)*'}
# Indexes and counts that the table shows as they are.
_NUMBER = "(0|[1-9][0-9]{0,10})"
# Whether there is such a day is left to whoever asks.
_TIME = r'"([0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{6}Z)"'

_DATA, _ACTOR = ("event", "data"), ("event", "data", "actor")
_ACCOUNT, _SUBJECT, _TIMED, _TYPE = (*_ACTOR, "account"), ("event", "subject"), ("event", "time"), ("event", "type")
_NAMED = (("event", "source"), ("event", "id"))
_OPERATION, _OUTCOME, _COUNT = (*_DATA, "operation"), (*_DATA, "outcome"), (*_DATA, "count")
_CODES = {_TYPE: (TYPE_PREFIX, ACTIONS), _OPERATION: ("", OPERATIONS), _OUTCOME: ("", OUTCOMES)}
_OBJECTS = {(), ("event",), _DATA, _ACTOR, (*_DATA, "client")}
_NUMBERS, _TIMES = {("index",), _COUNT}, {_TIMED, ("recorded_at",)}
_FIXED = {("category",), ("tenant",), ("v",), ("event", "specversion")}
_NEVER_EMPTY = {("submitted_by",), ("event", "source"), ("event", "id")}

# Members whose values the table shows as words, or beside others in their columns.
_SAID_OTHERWISE = frozenset((*CODES, "actor", "client", "purpose", "reason", "requester"))
# What stands for a text while the cells of a shape are made. It is of characters for private use.
_MARK = "\ue000"
_MARKED = re.compile(f"{_MARK}([0-9]+){_MARK}")
_OPENING = '"%s";"%s";"%s";"%s";"{action}";"{operation}";"{count}";"{outcome}'
OPENING_CELLS = 8
DAY_CHARACTERS = len("YYYY-MM-DD")
CLOSING = '"\r\n'


class UnlearntError(Exception):
    """A record is of a form that is not learnt."""


class Kind(NamedTuple):
    """What entries are counted by: action, day of recording, day of the access."""

    action: str
    day: str
    occurred: str


class Line(NamedTuple):
    """How the line of a record is made, of its groups in this order; APART before each cell that may hold any text."""

    template: str
    shown: Callable[[Groups], Groups]


class Shape:
    """One form of record; the last three groups of its matches are `index`, `recorded_at` and `submitted_by`."""

    def __init__(self, entry: Entry) -> None:
        """Learn the form of an entry that `parse_record` accepted. Raises UnlearntError."""
        if len(entry.record) > RECORD_LIMIT_BYTES or _MARK.encode() in entry.record or not _is_learnt(entry.event):
            raise UnlearntError
        self.places: dict[Path, int] = {}
        self._pattern, marked = self._learn(json.loads(entry.record), ())
        if len(self.places) > GROUPS_LIMIT:
            raise UnlearntError
        self.match = _compile(self._pattern, _PLAIN).fullmatch
        # No match is longer than a line: there are as many as lines only if each is of this shape.
        self.match_lines = _compile(f"^{self._pattern}$", _PLAIN, re.MULTILINE).findall
        self._escaped: re.Pattern[str] | None = None
        stand_in = Entry(entry.index, entry.recorded_at, "", "", marked["submitted_by"], marked["event"], b"")
        self._texts = table.texts(stand_in)[OPENING_CELLS:]
        self._attributes = [
            (path[1], place) for path, place in self.places.items() if path[0] == "event" and len(path) == len(_TYPE)
        ]
        self._lines: dict[Any, Line] = {}
        self._codes = itemgetter(*[self.places[path] for path in _CODES if path in self.places])
        self.time_place = self.places[_TIMED]
        # Source and id.
        self.name = itemgetter(*[self.places[path] for path in _NAMED])
        self.facts = itemgetter(*[self.places[path] for path in (("index",), ("recorded_at",), *_NAMED, _TIMED)])
        self._numbered = [self.places.get(("event", name)) for name in ("source", "epoch", "sequence")]
        self._kind = itemgetter(self.places[_TYPE], self.places["recorded_at",], self.time_place)

    def match_escaped(self, line: str) -> Groups | None:
        """Return the groups of a record whose texts may be escaped, without their escapes."""
        if self._escaped is None:
            self._escaped = _compile(self._pattern, _ESCAPED)
        match = self._escaped.fullmatch(line)
        return match and tuple([json.loads(f'"{text}"') if "\\" in text else text for text in match.groups()])

    def line(self, groups: Groups) -> str:
        """Return the line of a match, not yet made safe."""
        codes = self._codes(groups)
        line = self._lines.get(codes)
        if line is None:
            line = self._lines[codes] = self._write(groups)
        template, shown = line
        return template % shown((*groups, paris_time(groups[self.time_place])))

    def kind(self, groups: Groups) -> tuple[str, str, str]:
        """Return what a match is counted by, as in `Kind`."""
        action, recorded_at, time = self._kind(groups)
        return action, recorded_at[:DAY_CHARACTERS], time[:DAY_CHARACTERS]

    def numbered(self, groups: Groups) -> tuple[str, str, str] | None:
        """Return source, epoch and number of a match that has a number."""
        source, epoch, sequence = self._numbered
        if source is None or sequence is None:
            return None
        return groups[source], "" if epoch is None else groups[epoch], groups[sequence]

    def attributes(self, groups: Groups) -> dict[str, Any]:
        """Return the members of the event that are texts."""
        event = {name: groups[place] for name, place in self._attributes}
        event["type"] = TYPE_PREFIX + event["type"]
        return event

    def is_wanted(self, groups: Groups, wanted: Filter) -> bool:
        """Tell whether a filter matches."""
        for path, text in ((_ACCOUNT, wanted.account), (_SUBJECT, wanted.subject), (_TYPE, wanted.action)):
            if text is not None and (path not in self.places or groups[self.places[path]] != text):
                return False
        occurred = groups[self.time_place][:DAY_CHARACTERS]
        first, last = wanted.occurred_from, wanted.occurred_to
        if (first and occurred < format_day(first)) or (last and occurred > format_day(last)):
            return False
        return not wanted.withhold_all

    def _learn(self, value: Any, path: Path) -> tuple[str, Any]:
        """Return the pattern of a value as it is spelt canonically, and what stands for it in the marked record."""
        if isinstance(value, dict) and path in _OBJECTS:
            members = [(name, *self._learn(value[name], (*path, name))) for name in sorted(value)]
            pattern = ",".join(f"{re.escape(json.dumps(name))}:{pattern}" for name, pattern, _ in members)
            return rf"\{{{pattern}\}}", {name: marked for name, _, marked in members}
        if isinstance(value, list):
            items = [self._learn(item, (*path, place)) for place, item in enumerate(value)]
            return rf"\[{','.join(pattern for pattern, _ in items)}\]", [marked for _, marked in items]
        if path in _FIXED:
            return re.escape(json.dumps(value)), value
        place = self.places[path] = len(self.places)
        return self._learn_text(value, path, place) if path not in _NUMBERS else (_learn_number(value), value)

    @staticmethod
    def _learn_text(value: Any, path: Path, place: int) -> tuple[str, Any]:
        if not isinstance(value, str):
            raise UnlearntError
        if path in _CODES:
            return _learn_code(value, *_CODES[path]), value
        if path in _TIMES:
            return _TIME, value
        return f'"({_SOME if path in _NEVER_EMPTY else _ANY})"', f"{_MARK}{place}{_MARK}"

    def _write(self, groups: Groups) -> Line:
        """Make the line of records with the codes of this one."""
        words = {
            path[-1]: codes[groups[self.places[path]]] for path, (_, codes) in _CODES.items() if path in self.places
        }
        opening = _OPENING.format(
            action=words["type"],
            operation=words.get("operation", ""),
            count="%s" if _COUNT in self.places else "",
            outcome=words.get("outcome", ""),
        )
        places = [self.places["index",], len(self.places), self.time_place, self.places["recorded_at",]]
        places += [self.places[_COUNT]] if _COUNT in self.places else []
        texts = []
        for text in self._texts:
            places += map(int, _MARKED.findall(text))
            texts.append(_MARKED.sub("%s", text.replace("%", "%%")))
        return Line(table.APART.join([opening, *texts]) + CLOSING, itemgetter(*places))


def _is_learnt(event: dict[str, Any]) -> bool:
    """Tell whether the table says of an event nothing but its values, and the words of `_CODES`.

    Where no column shows a member (`sequence`, `act`), the details say it by its name.
    """
    data = event.get("data")
    if not isinstance(data, dict):
        return False
    usual = {name: value for name, value in data.items() if table.is_usual({"data": {name: value}})}
    others = [*(event.keys() - table.EVENT), *(data.keys() - usual.keys())]
    return table.is_usual({"data": usual}) and not _SAID_OTHERWISE.intersection(others)


def _learn_number(value: Any) -> str:
    if type(value) is not int:
        raise UnlearntError
    return _NUMBER


def _learn_code(value: str, prefix: str, codes: dict[str, str]) -> str:
    """Return the pattern of a code. Raises UnlearntError for one that the table does not translate."""
    if not value.startswith(prefix) or value[len(prefix) :] not in codes:
        raise UnlearntError
    return f'"{re.escape(prefix)}({"|".join(map(re.escape, codes))})"'


def _compile(pattern: str, texts: dict[str, str], flags: int = 0) -> re.Pattern[str]:
    return re.compile(pattern.replace(_ANY, texts[_ANY]).replace(_SOME, texts[_SOME]), flags)
