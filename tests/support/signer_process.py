"""The signer as its own unit runs it: a process that alone has the signing key, on a socket."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
import sys
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.serving import Site, found_site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

SIGNER_PROGRAM = ("-m", "journal.cli.main", "signer")


@dataclass(slots=True, kw_only=True)
class SignerProcess:
    """A site whose signing key the service has not got, and the process that has it, if it runs."""

    site: Site
    directory: Path
    process: asyncio.subprocess.Process | None = None

    @property
    def memory(self) -> Path:
        """Its memory."""
        return self.directory / "signer.state"

    async def start(self, program: Sequence[str] = SIGNER_PROGRAM) -> None:
        """Start it, and wait until it listens."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("JOURNAL_")}
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            *program,
            env=kept
            | {
                "JOURNAL_SIGNING_KEY": str(self.directory / "signing.key"),
                "JOURNAL_SIGNING_CERT": str(self.site.settings.signing_cert_path),
                "JOURNAL_SIGNER_STATE": str(self.memory),
                "JOURNAL_TRUST": str(self.site.settings.trust_path),
                "JOURNAL_SIGNER_SOCKET": self.site.signer_socket,
            },
            stderr=asyncio.subprocess.PIPE,
        )
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            if b"the signer listens on" in line:
                return
        raise RuntimeError("the signer did not start")

    def open_to_all(self) -> int:
        """Let the files' modes keep nobody from the socket; return the mode that it had."""
        path = Path(self.site.signer_socket)
        mode = stat.S_IMODE(path.stat().st_mode)
        path.chmod(0o666)
        self.directory.chmod(0o755)
        return mode

    def stop(self) -> None:
        """Let it hang."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        """Kill it, without a word."""
        process, self.process = self.process, None
        if process is not None and process.returncode is None:
            process.kill()
        if process is not None:
            await process.wait()


@asynccontextmanager
async def a_site_with_a_signer(dsn: str, home: Path) -> AsyncIterator[SignerProcess]:
    """Make an installation whose signing key is moved out of the service's reach; the signer does not run yet."""
    # A socket's path has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="oej-signer-") as directory:
        site = replace(await found_site(home, dsn), signer_socket=f"{directory}/socket")
        key = Path(directory) / "signing.key"
        shutil.move(site.settings.signing_key_path, key)
        signer = SignerProcess(site=site, directory=Path(directory))
        try:
            yield signer
        finally:
            await signer.kill()
