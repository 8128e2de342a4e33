"""The directory of a commune's hand-over, beside others who may write to it."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from retention.outbox import Outbox

if TYPE_CHECKING:
    from pathlib import Path


def test_no_link_is_followed(tmp_path: Path) -> None:
    """Who writes to the directory has no other file overwritten, nor its mode changed, nor one made."""
    secret, directory = tmp_path / "secret", tmp_path / "albi"
    secret.write_text("kept")
    secret.chmod(0o600)
    directory.mkdir()
    (directory / "a.p7m.part").symlink_to(secret)
    with closing(Outbox.hold(tmp_path, "albi")) as outbox:
        outbox.put("a.p7m", b"encrypted")
    assert (secret.read_text(), secret.stat().st_mode & 0o777) == ("kept", 0o600)
    assert (directory / "a.p7m").read_bytes() == b"encrypted"
    assert not (directory / "a.p7m").is_symlink()
    (directory / ".lock").unlink()
    (directory / ".lock").symlink_to(tmp_path / "made")
    with pytest.raises(OSError, match="symbolic links"):
        Outbox.hold(tmp_path, "albi")
    assert not (tmp_path / "made").exists()
