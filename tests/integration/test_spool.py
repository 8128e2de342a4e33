"""What an extract keeps aside: the same bytes come back, none of them is on disk in clear, and nothing stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from journal.core.errors import StoreError
from journal.reading.spool import HELD_BYTES, Spool

PIECE = b"Relecture avant transmission; " * 1000


def files_of(folder: Path) -> list[Path]:
    """Return the open files of this process in a folder, named or not."""
    opened = [one for one in Path("/proc/self/fd").iterdir() if one.is_symlink()]
    return [one for one in opened if str(one.readlink()).startswith(f"{folder}/")]


@pytest.mark.parametrize("size", [0, 1, HELD_BYTES - 1, HELD_BYTES, 3 * HELD_BYTES + 7])
def test_what_is_kept_comes_back(size: int, tmp_path: Path) -> None:
    """In order, few bytes from memory and many from a file without a name, encrypted."""
    content = (PIECE * (size // len(PIECE) + 1))[:size]
    spool = Spool(tmp_path)
    for start in range(0, size, 100_000):
        spool.add(content[start : start + 100_000])
    opened = files_of(tmp_path)
    assert len(opened) == (size >= HELD_BYTES)
    assert list(tmp_path.iterdir()) == []
    for one in opened:
        assert b"Relecture" not in one.read_bytes()
    assert b"".join(spool.take()) == content
    spool.close()
    assert files_of(tmp_path) == []


def test_what_was_changed_on_disk_is_refused(tmp_path: Path) -> None:
    """It would be signed."""
    spool = Spool(tmp_path)
    spool.add(bytes(HELD_BYTES))
    (opened,) = files_of(tmp_path)
    with opened.open("r+b") as file:
        file.seek(1000)
        file.write(b"changed")
    with pytest.raises(StoreError, match="not what is read again"):
        list(spool.take())
    spool.close()


def test_a_folder_that_takes_nothing_is_told_of(tmp_path: Path) -> None:
    """With what to do."""
    spool = Spool(tmp_path / "gone")
    with pytest.raises(StoreError, match=r"cannot be kept in .*gone: No such file or directory; make room there"):
        spool.add(bytes(HELD_BYTES))
    spool.close()
