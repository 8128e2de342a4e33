"""Events that differ from a sound one, as authors of modules get them wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from journal.core.entry import MODULE_ACTIONS, OPERATIONS, TYPE_PREFIX
from journal.core.times import format_time

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
# What differs from a sound event, member by member (None: it is not there), and by what action.
VARIANTS: list[tuple[str, Any]] = [
    *(("access", {"/data/operation": operation}) for operation in (*OPERATIONS, "vue", "", 3)),
    *(("consultation", {"/data/operation": operation}) for operation in ("view", "update", "login")),
    *(("erasure", {"/data/operation": operation}) for operation in ("delete", "view")),
    *(("disclosure", {"/data/operation": operation}) for operation in ("transmit", "print", "logout")),
    *((action, {}) for action in (*MODULE_ACTIONS, "vue", "")),
    *((action, {"/subject": None, "/data/justification": None}) for action in MODULE_ACTIONS),
    *((action, {"/data/recipients": None, "/data/outcome": "denied"}) for action in MODULE_ACTIONS),
    ("access", {"/data/operation": "login-failed", "/data/outcome": "failure"}),
    ("consultation", {"/data/justification": None, "/data/outcome": "failure"}),
    *(("consultation", {"/data/outcome": outcome}) for outcome in ("ok", 1, None)),
    *(("consultation", {"/data/justification": text}) for text in ("M" * 2000, "M" * 2001, "a\nb\tc", "a\x01b", 3)),
    *(
        ("consultation", {"/subject": text})
        for text in ("é" * 256, "é" * 257, "a\u200bb", "a\nb", "\u00a0", "😀" * 256)
    ),
    *(("consultation", {"/data/count": count}) for count in (0, -1, 2**53 - 1, 2**53, 1.5, "3", True)),
    *(("consultation", {"/data/fields": names}) for names in (["faits", "lieu_2"], ["a b"], ["é" * 65], "faits", [])),
    *(("consultation", {"/data/fields": names}) for names in (["a"] * 100, ["a"] * 101, [3], ["2a", "b", "c="])),
    *(
        ("disclosure", {"/data/recipients": names})
        for names in (["P"] * 101, ["P" * 256], ["P" * 257], "P", ["\u202e"])
    ),
    *(("consultation", {"/data/actor/account": text}) for text in ("a" * 128, "a" * 129, 3)),
    *(
        ("consultation", {"/data/actor": actor})
        for actor in ({"account": "c", "nom": "x"}, {"account": "c", "role": "x"})
    ),
    *(("consultation", {"/data/client": client}) for client in ({"address": "a" * 65}, {"workstation": "p"}, "p")),
    *(("consultation", {"/data/act": text}) for text in ("a-1", "a b", "a" * 65)),
    *(("consultation", {"/data/autre": 1, "/extension": "x"}) for _ in (1,)),
    *(("consultation", {"/traceparent": text}) for text in (TRACEPARENT, TRACEPARENT.replace("00-", "ff-"), "x")),
    *(("consultation", {"/time": text}) for text in ("hier", "2026-11-29", 3)),
]


def variant(action: str, changed: dict[str, Any], source: str) -> dict[str, Any]:
    """Return an event that differs so from a sound one."""
    data: dict[str, Any] = {"actor": {"account": "c"}, "outcome": "success", "justification": "M", "recipients": ["P"]}
    event: dict[str, Any] = {"specversion": "1.0", "id": "1", "source": source, "type": TYPE_PREFIX + action}
    event |= {"time": format_time(datetime.now(UTC)), "subject": "MC-1", "data": data}
    for pointer, value in changed.items():
        *path, name = pointer.split("/")[1:]
        holder = event
        for step in path:
            holder = holder[step]
        if value is None:
            holder.pop(name, None)
        else:
            holder[name] = value
    return event
