"""Writes an extract that another program has packed again as the container that the format knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from journal.core.errors import JournalError
from journal.extract.packing import ContainerWriter
from journal.extract.verify import open_container
from journal.verifier.files import NotRunError, opened

if TYPE_CHECKING:
    from pathlib import Path


def repair(source: Path, target: Path) -> None:
    """Write the parts of `source` as a container, to a file that must not exist yet.

    The parts are not verified here. Their compression may differ from that of the container that was issued, which
    proves nothing. Raises NotRunError, and leaves no file, if `target` exists or cannot be written.
    """
    try:
        with opened(source) as file, target.open("xb") as written:
            try:
                parts, writer = open_container(file), ContainerWriter()
                for name in parts.names:
                    written.write(writer.start(name))
                    for piece in parts.stream(name):
                        written.write(writer.write(piece))
                    written.write(writer.finish())
                written.write(writer.close())
            except BaseException:
                target.unlink()
                raise
    except (OSError, JournalError) as error:
        raise NotRunError(f"--repair: {target} was not written: {error}") from error
