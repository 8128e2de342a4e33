"""The table of kinds: for each id of KINDS.md, the act. Each act is a function of the scene."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.campaign.scene import Scene

    Act = Callable[[Scene], Coroutine[Any, Any, None]]

LIST = Path(__file__).parents[1] / "tamper" / "KINDS.md"
_ROW = re.compile(r"^\| ([A-Z][0-9]{2}) \| (.+?) \|(?: (.+?) \|)?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Listed:
    """A row of the list: what is done, and who must notice."""

    id: str
    done: str
    noticed_by: str

    @property
    def is_control(self) -> bool:
        """Tell whether nobody may say anything."""
        return self.id.startswith("Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind as it is played.

    `before` is done while the service does not run yet. `own_server`: it changes what all databases of a server share.
    `own_programs`: and the server's programs are replaced. `small_disk`: and its file system is filled. `hand_over`:
    the hourly hand-over is what notices. `lasting`: the act takes a while, and is listened to meanwhile.
    """

    act: Act
    before: Act | None = None
    own_server: bool = False
    own_programs: bool = False
    small_disk: bool = False
    hand_over: bool = False
    lasting: bool = False


KINDS: dict[str, Kind] = {}


def kind(
    identifier: str, *, before: Act | None = None, own_server: bool = False, hand_over: bool = False
) -> Callable[[Act], Act]:
    """Enter an act in the table."""

    def enter(act: Act) -> Act:
        assert identifier not in KINDS, identifier
        KINDS[identifier] = Kind(act=act, before=before, own_server=own_server, hand_over=hand_over)
        return act

    return enter


def statement(identifier: str, text: str, *, own_server: bool = False, hand_over: bool = False) -> None:
    """Enter an act that is SQL alone."""

    async def act(scene: Scene) -> None:
        await scene.execute(text)

    kind(identifier, own_server=own_server, hand_over=hand_over)(act)


def read_list() -> dict[str, Listed]:
    """Return the list."""
    rows = _ROW.findall(LIST.read_text(encoding="utf-8"))
    return {identifier: Listed(identifier, done, noticed_by) for identifier, done, noticed_by in rows}
