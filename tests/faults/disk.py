"""A disk of the test's own whose power is cut: ext4 on a file, shut down by the kernel without a word to its journal.

What was not synced is gone when it is mounted again, as after a power cut; until then every write and sync fails with
EIO. Little is saved by chance: metadata is committed only by a sync (`commit=`), and data is not written because a file
is renamed (`noauto_da_alloc`). Needs root.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.memory import choose_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

# Numbers of the kernel's ext4.h: _IOR('X', 125, __u32), and going down without flushing the journal.
_SHUTDOWN: Final = 0x8004587D
_WITHOUT_FLUSH: Final = 2
RELEASE_SECONDS: Final = 60
OPTIONS: Final = "commit=300,noauto_da_alloc,discard"


class Disk:
    """A file system at `place`, on a file."""

    def __init__(self, image: Path, place: Path) -> None:
        """Be mounted by `disk`."""
        self._image = image
        self.place = place
        self.cuts = 0
        self._device = ""

    def mount(self) -> None:
        """Mount it; what its journal has is replayed. Skips the test where that is not allowed."""
        try:
            # A device that was not there before: another namespace may still have the file system that was shut down.
            line = ["losetup", "--find", "--show", str(self._image)]
            self._device = subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()
            subprocess.run(["mount", "-o", OPTIONS, self._device, str(self.place)], capture_output=True, check=True)
        except subprocess.CalledProcessError as error:
            if self.cuts:
                raise
            pytest.skip(f"may not mount: {error.stderr}")

    def sync(self) -> None:
        """Have everything on it, as before a test begins."""
        subprocess.run(["sync", "-f", str(self.place)], check=True)

    def cut(self) -> None:
        """Cut its power."""
        self.cuts += 1
        descriptor = os.open(self.place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _WITHOUT_FLUSH))
        finally:
            os.close(descriptor)

    def come_back(self) -> None:
        """Have the power back: nothing may run on it any more."""
        self.unmount()
        self.mount()

    def unmount(self) -> None:
        """Unmount it, once the last process that was killed has let go of it."""
        deadline = time.monotonic() + RELEASE_SECONDS
        while subprocess.run(["umount", str(self.place)], capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline, subprocess.run(
                ["fuser", "-vm", str(self.place)], capture_output=True, text=True, check=False
            )
            time.sleep(0.05)
        subprocess.run(["losetup", "--detach", self._device], check=True)


@contextlib.contextmanager
def disk(size: str) -> Iterator[Disk]:
    """Have a disk of this size, in memory where there is room: its own cache is what a cut loses."""
    with tempfile.TemporaryDirectory(prefix="oej-disk-", dir=choose_directory()) as directory:
        image, place = Path(directory) / "image", Path(directory) / "m"
        place.mkdir()
        subprocess.run(["truncate", "-s", size, str(image)], check=True)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
        made = Disk(image, place)
        made.mount()
        try:
            yield made
        finally:
            made.unmount()
