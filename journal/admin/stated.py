"""The file of a provisioning: communes, categories, credentials and hand-overs, each with the line that states it.

Two forms. TOML: tables `[[category]]`, `[[tenant]]`, `[[credential]]`, `[[handover]]`. JSON lines: an object a line,
whose member `kind` is one of these words. Members are those of the classes below; an unknown one is refused.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 - msgspec reads the annotation
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

from journal.choices import DEFAULT_BASIS
from journal.core.errors import OperatorError
from journal.core.times import MAX_RETENTION_DAYS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class StatedCategory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A category."""

    code: str
    label: str
    regime: str
    retention_days: int = MAX_RETENTION_DAYS
    needs_authorisation: bool = False
    basis: str = DEFAULT_BASIS
    legal_basis: str = ""
    required_days: int = 0


class StatedTenant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A commune."""

    code: str
    name: str


class StatedCredential(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A credential, known by its commune and its label, which also names the file of its token.

    `certificate` is the client certificate it is bound to, a PEM file, seen from the file that states it; `person` and
    `function` are whose it is.
    """

    tenant: str
    label: str
    role: str
    categories: tuple[str, ...]
    source_prefix: str = ""
    certificate: str | None = None
    person: str | None = None
    function: str | None = None
    expires_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class StatedHandover(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The certificate (a PEM file, seen from the file that states it) for a commune's hand-over."""

    tenant: str
    certificate: str


Item = StatedCategory | StatedTenant | StatedCredential | StatedHandover
KINDS: Final[dict[str, type[Item]]] = {
    "category": StatedCategory,
    "tenant": StatedTenant,
    "credential": StatedCredential,
    "handover": StatedHandover,
}


@dataclass(frozen=True, slots=True)
class Stated:
    """An item, and where it is: `line 12`, or `the tenant number 3` where no line is known."""

    place: str
    item: Item


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and where."""

    place: str
    reason: str

    def __str__(self) -> str:
        """Return both."""
        return f"{self.place}: {self.reason}"


def read_stated(path: Path) -> tuple[list[Stated], list[Fault]]:
    """Return what the file states, in its order, and every fault found. Raises OperatorError if it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise OperatorError(f"{path} is not UTF-8 text") from error
    except OSError as error:
        raise OperatorError(f"{path} cannot be read: {error.strerror}") from error
    stated: list[Stated] = []
    faults: list[Fault] = []
    is_lines = text.lstrip().startswith("{")
    for place, kind, members in _json_lines(text) if is_lines else _toml(text):
        if isinstance(members, str):
            faults.append(Fault(place, members))
        elif kind not in KINDS:
            faults.append(Fault(place, f"{kind!r} is no kind of item: they are {', '.join(KINDS)}"))
        else:
            try:
                stated.append(Stated(place, msgspec.convert(members, KINDS[kind])))
            except msgspec.ValidationError as error:
                faults.append(Fault(place, f"{kind}: {_told(error)}"))
    return stated, faults


def _told(error: msgspec.ValidationError) -> str:
    """Return the message, with the member in words: msgspec writes ``Expected `int`, got `str` - at `$.code```."""
    what, _, where = str(error).partition(" - at `$.")
    what = what[:1].lower() + what[1:]
    return f"{where.rstrip('`')}: {what}" if where else what


def _json_lines(text: str) -> Iterator[tuple[str, object, Any]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        place = f"line {number}"
        try:
            members = msgspec.json.decode(line)
        except msgspec.DecodeError as error:
            yield place, None, f"no JSON: {error}"
            continue
        if not isinstance(members, dict):
            yield place, None, "an object is expected"
            continue
        yield place, members.pop("kind", None), members


def _toml(text: str) -> Iterator[tuple[str, object, Any]]:
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        what, _, where = str(error).rpartition(" (at ")
        yield where.rstrip(")").split(",")[0] or "the end", None, f"no TOML: {what}"
        return
    for kind, items in tables.items():
        if not isinstance(items, list):
            yield f"[{kind}]", None, f"write [[{kind}]] for each item; the kinds are {', '.join(KINDS)}"
            continue
        lines = _headers(text, kind)
        for number, members in enumerate(items):
            # tomllib gives no lines: where headers and items do not match one to one, they are counted.
            place = f"line {lines[number]}" if len(lines) == len(items) else f"the {kind} number {number + 1}"
            yield place, kind, members if isinstance(members, dict) else "a table is expected"


def _headers(text: str, kind: str) -> list[int]:
    header = re.compile(rf"\s*\[\[\s*\"?{re.escape(kind)}\"?\s*\]\]\s*(#.*)?")
    return [number for number, line in enumerate(text.splitlines(), start=1) if header.fullmatch(line)]
