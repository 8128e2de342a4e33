"""A signer that signs whatever the database says, as that of an operator who changed the program would."""

from __future__ import annotations

from typing import TYPE_CHECKING

from journal.signer.judge import Judge, Judgement

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from journal.database.heads import HeadRow


async def _obey(_: Judge, heads: Sequence[HeadRow], *__: object) -> Judgement:
    return Judgement(heads=[head.sealed for head in heads], refusals=[])


def let_the_signer_obey(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let heads be signed as they are: what verifiers and the audit notice must not depend on the signer."""
    monkeypatch.setattr(Judge, "judge", _obey)
